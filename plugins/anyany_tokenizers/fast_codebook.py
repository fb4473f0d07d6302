"""Faster codebooks for vector-quantize-pytorch: its modules, in evaluation, search with `nearest`'s blocks.

`speed_up(module)` turns every plain codebook inside (also of residual quantisers) into a `FastCodebook`, in place;
names, weights and training stay as they are. Suffixes: H heads, M vectors, D width, K codes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from vector_quantize_pytorch import VectorQuantize
from vector_quantize_pytorch.vector_quantize_pytorch import Codebook, cdist

from anyany_tokenizers.nearest import search
from anyany_tokenizers.row_threads import by_rows

ROWS = 64
"""The library's formula runs on as many vectors at once: matrix products of very few round differently."""
LEAST = 1e-8
"""The library takes no squared distance below this."""


class FastCodebook(Codebook):
    """The library's codebook. Vectors whose best two codes are close are decided by its own arithmetic, so that the
    indices are the library's; all others need none of its table of distances, which is then not returned."""

    wants_distances = False

    def forward(self, x: torch.Tensor, *arguments: Any, **options: Any) -> Any:
        """As the library's: (codes, indices, distances or None)."""
        special = arguments or any(options.get(name) is not None for name in ("codebook_transform_fn", "topk"))
        if self.training or special or self.wants_distances or not self._plain():
            return super().forward(x, *arguments, **options)
        heads = x.detach().float() if x.dim() >= 4 else x.detach().float()[None]
        table_HKD = self.embed.detach().float()
        found = [
            by_rows(lambda rows, table=table: self._found(rows, table), flat.flatten(0, -2))
            for flat, table in zip(heads, table_HKD)
        ]
        ids = torch.stack([ids.view(heads.shape[1:-1]) for ids in found])
        codes = torch.stack([nn.functional.embedding(i, table) for i, table in zip(ids, table_HKD)])
        return (codes, ids, None) if x.dim() >= 4 else (codes[0], ids[0], None)

    def _plain(self) -> bool:
        learns = self.learnable_codebook and torch.is_grad_enabled()
        return bool(self.initted) and self.vq_bridge is None and not self.affine_param and not learns

    def _found(self, x_MD: torch.Tensor, table_KD: torch.Tensor) -> torch.Tensor:
        ids_M, close_M = search(x_MD, table_KD, self.use_cosine_sim, self._reach(x_MD, table_KD))
        close = close_M.nonzero()[:, 0]
        for rows in close.split(ROWS) if len(close) else ():
            ids_M[rows] = self._by_library(x_MD[rows], table_KD)
        return ids_M

    def _reach(self, x_MD: torch.Tensor, table_KD: torch.Tensor) -> torch.Tensor:
        """[M]: how far two scores may be apart for the library's rounding, and ours, to change their order."""
        size_M = torch.linalg.vector_norm(x_MD, dim=1) + torch.linalg.vector_norm(table_KD, dim=1).max()
        return (4 * x_MD.shape[1] ** 0.5 + 8) * 2.0**-24 * size_M.square() + LEAST

    def _by_library(self, x_RD: torch.Tensor, table_KD: torch.Tensor) -> torch.Tensor:
        filled = x_RD if len(x_RD) == ROWS else x_RD.repeat(-(-ROWS // len(x_RD)), 1)[:ROWS]
        if self.use_cosine_sim:
            near_RK = torch.einsum("hnd,hcd->hnc", filled[None], table_KD[None])
        else:
            near_RK = -cdist(filled[None], table_KD[None])
        return near_RK[0].argmax(-1)[: len(x_RD)]


def speed_up(module: nn.Module) -> int:
    """Make the plain codebooks inside a module fast; returns how many there are now."""
    count = 0
    for part in module.modules():
        if isinstance(part, VectorQuantize) and type(part._codebook) is Codebook:
            part._codebook.__class__ = FastCodebook
            part.register_forward_pre_hook(_ask, with_kwargs=True)
        count += isinstance(part, FastCodebook)
    return count


def _ask(quantiser: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
    """Distances are wanted where codes are given, for the cross-entropy on them."""
    given = arguments[1] if len(arguments) > 1 else options.get("indices")
    quantiser._codebook.wants_distances = given is not None
