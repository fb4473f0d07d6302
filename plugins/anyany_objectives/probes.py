"""Linear probes (Alain and Bengio 2016, arXiv 1610.01644) as an objective: classes read from each of some features.

features: B x [N,D], wanted: B x [N,A] class numbers, below 0 where nothing is asked -> loss [B], accuracy [B]. Learned
with what makes the features, they say what must be in them; the product does not need them. Suffix: C classes.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from anyany.api.torch import Build, Component, Context, Rows


class Probes(Component):
    """Options: `ProbesConfig`."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        width = config.inputs or build.facts.get("inputs") or build.sizes.get("inputs")
        if width is None:
            raise ValueError(f"nothing fixes the width of what {build.node} reads; give `with: {{inputs: …}}`")
        self.probes = nn.ModuleList(nn.Linear(int(width), count) for count in config.classes)

    def loss(self, ctx: Context, features: Rows, wanted: Rows) -> dict[str, Rows]:
        """loss [B]: cross-entropy, summed over the probes, mean over the positions. accuracy [B]: share of what is
        asked that is right. Raises ValueError for classes that are none, and for other sizes."""
        pairs = list(zip(features, wanted, strict=True))
        losses, right = [], []
        for row, (x_ND, wanted_NA) in enumerate(pairs):
            if tuple(wanted_NA.shape) != (len(x_ND), len(self.probes)):
                raise ValueError(f"{self.build.node} asks {len(self.probes)} things of {len(x_ND)} positions, and is "
                                 f"told {list(wanted_NA.shape)} classes")  # fmt: skip
            if self.config.noise:
                noise_1ND = ctx.noise.normal([ctx.keys[row]], tuple(x_ND.shape), f"{ctx.node}.loss", 0, ctx.device)
                x_ND = x_ND + self.config.noise * noise_1ND[0].to(x_ND)
            loss, share = self._read(x_ND, self._classes(wanted_NA.to(ctx.device)))
            losses.append(loss)
            right.append(share)
        return {"loss": ctx.rows(torch.stack(losses)), "accuracy": ctx.rows(torch.stack(right))}

    def _classes(self, wanted_NA: torch.Tensor) -> torch.Tensor:
        """The same as whole numbers, -100 where nothing is asked."""
        most = torch.tensor(self.config.classes, device=wanted_NA.device)
        if not bool(torch.isfinite(wanted_NA.float()).all()) or bool((wanted_NA >= most).any()):
            raise ValueError(f"{self.build.node} knows classes 0 to {[int(c) - 1 for c in most]}; one that is wanted "
                             "is none of them")  # fmt: skip
        asked_NA = wanted_NA.long()
        return torch.where(asked_NA < 0, torch.full_like(asked_NA, -100), asked_NA)

    def _read(self, x_ND: torch.Tensor, wanted_NA: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = [(probe(x_ND).float(), wanted_NA[:, a]) for a, probe in enumerate(self.probes)]
        total = torch.stack([F.cross_entropy(scores_NC, classes_N, reduction="sum") for scores_NC, classes_N in found])
        right = sum(((s.argmax(-1) == c) & (c >= 0)).sum() for s, c in found)
        return total.sum() / max(len(x_ND), 1), right / (wanted_NA >= 0).sum().clamp(min=1)
