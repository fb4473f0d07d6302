"""Names of classes: from the options, the checkpoint, or their numbers; the likeliest of them as label and scores.

Suffixes: B rows, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from anyany.api.torch import Context, Rows


class Names:
    """The classes of one head. Raises ValueError for another count of names."""

    def __init__(self, given: Sequence[str], card: Mapping[str, Any], count: int) -> None:
        found = card.get("id2label") or {}
        count = len(found) or count
        self.all = list(given) or [str(found.get(str(i), i)) for i in range(count)]
        if len(self.all) != count:
            raise ValueError(f"{len(self.all)} names for {count} classes")

    def index(self, label: Any) -> int:
        """The number of a class given by number or name. Raises ValueError for one that there is not."""
        if isinstance(label, int) and 0 <= label < len(self.all):
            return label
        if str(label) in self.all:
            return self.all.index(str(label))
        raise ValueError(f"there is no class {label!r} among the {len(self.all)} known")

    def told(self, ctx: Context, logits_BK: torch.Tensor, top: int = 0) -> dict[str, Rows]:
        """label: the likeliest class by name; scores: probabilities of the first `top` (0: of all)."""
        if logits_BK.is_meta:  # counting FLOPs: shapes alone
            logits_BK = torch.zeros(logits_BK.shape, device="cpu")
        chances = logits_BK.softmax(-1).sort(-1, descending=True)
        rows = [list(zip(i, p)) for i, p in zip(chances.indices.tolist(), chances.values.tolist())]
        scores = [
            {self.all[i]: p for i, p in reversed(row[: top or len(row)])} for row in rows
        ]  # of twins the likelier
        scores = [dict(reversed(s.items())) for s in scores]
        return {"label": ctx.rows([next(iter(s)) for s in scores]), "scores": ctx.rows(scores)}
