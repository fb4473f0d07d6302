"""Components of sound called by themselves, with items' names and options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from anyany.api.torch import Assets, Build, Context, Rows
from anyany.engine.noise import Noise


def context(items: Sequence[str], call: str = "audio", options: Sequence[Mapping[str, Any]] | None = None) -> Context:
    return Context(
        node="sing", call=call, keys=[(i,) for i in range(len(items))], noise=Noise(0, items), options=options,
        device=torch.device("cpu"), dtype=torch.float32,
    )  # fmt: skip


def called(component: Any, call: str, items: Sequence[str], options: Any = None, **ports: Any) -> dict[str, Rows]:
    with torch.inference_mode():
        found = getattr(component, call)(context(items, call, options), **{k: Rows(v) for k, v in ports.items()})
    return dict(found)


def loaded(kind: Any, config: Any, folder: Path) -> Any:
    """A component with the weights of a folder, as the engine loads it."""
    from anyany.weights.locate import Reach
    from anyany.weights.sources import parse_sources
    from anyany.weights.store import open_sources

    stores = open_sources(list(parse_sources([f"file:{folder}"], base="")), Reach())
    build = Build(node="sing", assets=Assets(folder))
    with torch.device("meta"):
        made = kind(config, build)
    made.load(stores, build)
    return made.eval().requires_grad_(False)
