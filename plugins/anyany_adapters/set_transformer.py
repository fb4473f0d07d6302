"""Set Transformer blocks (Lee et al. 2019, arXiv 1810.00825): MAB, SAB, ISAB and PMA, for sets of features.

features: B x [N,D] ragged -> [N,E], or [M,E] for PMA. Names: the authors'. Suffixes: B rows, Q queries, K keys, E width
given (`dim_V`), A heads. Scores are divided by the root of the whole width E, not of a head's; the residual is the
projected query.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from anyany.api.torch import Build, Component, Context, Rows
from anyany_adapters.ragged import padded
from anyany_adapters.widths import width


class MultiheadBlock(nn.Module):
    """MAB(Q, K)."""

    def __init__(self, queries: int, keys: int, wide: int, heads: int, norm: bool) -> None:
        super().__init__()
        if wide % heads:
            raise ValueError(f"a width of {wide} does not split into {heads} heads")
        self.heads, self.wide = heads, wide
        self.fc_q, self.fc_k, self.fc_v = nn.Linear(queries, wide), nn.Linear(keys, wide), nn.Linear(keys, wide)
        self.fc_o = nn.Linear(wide, wide)
        if norm:
            self.ln0, self.ln1 = nn.LayerNorm(wide), nn.LayerNorm(wide)
        self.norm = norm

    def forward(self, q_BQD: torch.Tensor, k_BKD: torch.Tensor, real_BK: torch.Tensor | None = None) -> torch.Tensor:
        query = self.fc_q(q_BQD)
        q, k, v = (
            t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (query, self.fc_k(k_BKD), self.fc_v(k_BKD))
        )
        score = q @ k.transpose(-1, -2) / math.sqrt(self.wide)
        if real_BK is not None:
            score = score.masked_fill(~real_BK[:, None, None], float("-inf"))
        x_BQE = query + (score.softmax(-1) @ v).transpose(1, 2).flatten(2)
        x_BQE = self.ln0(x_BQE) if self.norm else x_BQE
        x_BQE = x_BQE + self.fc_o(x_BQE).relu()
        return self.ln1(x_BQE) if self.norm else x_BQE


class _Block(Component):
    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        self.taken, self.wide = width("inputs", config, build), self._wide(config, build)

    def _wide(self, config: Any, build: Build) -> int:
        return width("outputs", config, build)

    def _mab(self, queries: int, keys: int) -> MultiheadBlock:
        return MultiheadBlock(queries, keys, self.wide, self.config.heads, self.config.norm)

    def layers(self, x_BND: torch.Tensor, real_BN: torch.Tensor | None = None) -> torch.Tensor:
        """[B,N,D], and which positions are real -> [B,N,E] or [B,M,E]."""
        raise NotImplementedError

    def transform(self, ctx: Context, features: Rows) -> dict[str, Rows]:
        """features: B sets [N,D] -> as many vectors of width E."""
        x_BND, real_BN = padded(features)
        out_BNE = self.layers(x_BND, real_BN)
        if real_BN is None:
            return {"features": ctx.rows(out_BNE)}
        return {"features": ctx.rows([o[:n] for o, n in zip(out_BNE, features.lengths)])}


class Mab(_Block):
    """MAB as a component: `features` ask, `keys` are asked. Options: `MabConfig`."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        block = self._mab(self.taken, width("keys", config, build))
        self.block = block

    def rename(self, name: str) -> str:
        """The authors' names lie bare."""
        return name if name.startswith("block.") else f"block.{name}"

    def attend(self, ctx: Context, features: Rows, keys: Rows) -> dict[str, Rows]:
        """features: B sets [Q,D]; keys: B sets [K,F]. Gives B sets [Q,E]."""
        x_BQD, _ = features.padded()
        out = self.block(x_BQD, *padded(keys))
        return {"features": ctx.rows([o[:n] for o, n in zip(out, features.lengths)])}


class Sab(_Block):
    """Self-attention over the set; cost grows with its square. Options: `SetConfig`."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        self.mab = self._mab(self.taken, self.taken)

    def layers(self, x_BND: torch.Tensor, real_BN: torch.Tensor | None = None) -> torch.Tensor:
        return self.mab(x_BND, x_BND, real_BN)


class Isab(_Block):
    """Self-attention through learned points, linear in the size of the set. Options: `IsabConfig`."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        self.I = nn.Parameter(torch.empty(1, config.points, self.wide))
        self.mab0 = self._mab(self.wide, self.taken)
        self.mab1 = self._mab(self.taken, self.wide)

    def layers(self, x_BND: torch.Tensor, real_BN: torch.Tensor | None = None) -> torch.Tensor:
        return self.mab1(x_BND, self.mab0(self.I.expand(x_BND.shape[0], -1, -1), x_BND, real_BN))


class Pma(_Block):
    """Pooling by attention from learned seeds: a set becomes M vectors. Options: `PmaConfig`."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        self.S = nn.Parameter(torch.empty(1, config.seeds, self.wide))
        self.mab = self._mab(self.wide, self.wide)

    def layers(self, x_BND: torch.Tensor, real_BN: torch.Tensor | None = None) -> torch.Tensor:
        return self.mab(self.S.expand(x_BND.shape[0], -1, -1), x_BND, real_BN)

    def _wide(self, config: Any, build: Build) -> int:
        taken = width("inputs", config, build)
        if config.outputs not in (None, taken):
            raise ValueError(f"PMA keeps the width: it takes {taken}, but is to give {config.outputs}")
        return taken

    def pool(self, ctx: Context, features: Rows) -> dict[str, Rows]:
        """features: B sets [N,D] -> [B,M,D]."""
        return {"features": ctx.rows(self.layers(*padded(features)))}
