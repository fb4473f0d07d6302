"""Old checkpoints with a training run's bookkeeping inside (Lightning's callbacks, argparse's options), read safely.

torch's weights_only loader refuses every class it does not know. Those of a few training frameworks are replaced by
one that holds and does nothing: no code of theirs is imported or run. Everything else stays refused.
"""

from __future__ import annotations

import re
import warnings
from typing import Any

import torch

FRAMEWORKS = frozenset((
    "argparse", "pytorch_lightning", "lightning", "lightning_fabric", "lightning_utilities", "omegaconf", "easydict",
    "yacs", "ml_collections", "addict", "pathlib", "typing", "torchmetrics", "fairscale", "timm", "lavis", "taming",
))  # fmt: skip
"""Top-level packages whose objects may lie beside the tensors of a checkpoint."""
MOST = 200
_REFUSED = re.compile(r"Unsupported global: GLOBAL ([\w.]+)")


class Inert:
    """Stands for an object that is no tensor: takes whatever a pickle does to it, and does nothing."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        pass

    def __new__(cls, *arguments: Any, **options: Any) -> Inert:
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        pass

    def extend(self, values: Any) -> None:
        pass


def load(path: str) -> Any:
    """What a checkpoint holds, on the CPU; raises whatever torch.load does where it holds more than that."""
    stand_ins: list[Any] = []
    for _ in range(MOST):
        try:
            with warnings.catch_warnings(), torch.serialization.safe_globals(stand_ins):
                warnings.simplefilter("ignore")
                return torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            found = _REFUSED.search(str(error))
            if found is None or found[1].partition(".")[0] not in FRAMEWORKS:
                raise
            name = found[1]
            stand_ins.append((type(name.rpartition(".")[2], (Inert,), {}), name))
    raise ValueError(f"it holds objects of more than {MOST} classes")
