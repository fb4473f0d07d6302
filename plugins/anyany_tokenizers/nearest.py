"""Nearest codes: for each vector the codebook row closest to it, exactly, in little memory. For every codebook here.

Half squared distances without the vector's own norm, |c|²/2 - x·c, come from matrix products, tile by tile in one
buffer that stays in the cache. Minima over groups of codes find the best and the runner-up. A vector whose two lie
closer than float32 can tell is decided again in float64, on those codes alone that may win; equal distances go to the
lower index. So the result depends on neither the batch nor the number of threads.
Suffixes: M vectors, D width, K codes, R vectors of a tile, T tiles of G groups of W codes, P pairs of vector and code.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from anyany_tokenizers.row_threads import by_rows

COLUMNS, GROUP = 1024, 128
"""Codes of a tile, and of a group in it."""
TILE, TILE_CUDA = 3 << 18, 1 << 26
"""Scores of a tile."""
SHARE = 64
"""A tile is at most this part of all distances."""
MANY = 1 << 20
"""So many distances are worth a second thread."""
ROWS, PAIRS = 64, 1 << 18
"""Vectors, and numbers of pairs, of a piece of the float64 pass: a codebook of equal codes costs time, not memory."""


@torch.no_grad()
def nearest(x_MD: torch.Tensor, codes_KD: torch.Tensor, cosine: bool = False) -> torch.Tensor:
    """[M] int64: the index of the code closest to each vector, the lowest one of equals.

    cosine: the code with the largest inner product instead (vectors and codes of length one).
    Raises ValueError for a wrong width, an empty codebook, and values that are not numbers.
    """
    x_MD, codes_KD = x_MD.detach(), codes_KD.detach()
    if x_MD.is_meta:  # counting FLOPs: shapes alone
        return torch.mm(x_MD, codes_KD.t()).argmin(1)
    _look(x_MD, codes_KD)

    def some(x_RD: torch.Tensor) -> torch.Tensor:
        best_R, close_R = search(x_RD, codes_KD, cosine)
        close = close_R.nonzero()[:, 0]
        if len(close) > ROWS:  # a codebook that has collapsed: its distinct codes are fewer
            first = _distinct(codes_KD)
            if len(first) < len(codes_KD):
                best_R[close] = first[nearest(x_RD[close], codes_KD[first], cosine)]
                return best_R
        for rows in close.split(ROWS) if len(close) else ():
            best_R[rows] = _exact(x_RD[rows], codes_KD, cosine)
        return best_R

    return by_rows(some, x_MD) if len(x_MD) * len(codes_KD) >= MANY else some(x_MD)


def _distinct(codes_KD: torch.Tensor) -> torch.Tensor:
    """Ascending: the first index of each code that is not equal to one before it."""
    values, group_K = torch.unique(codes_KD, dim=0, return_inverse=True)
    every = torch.arange(len(codes_KD), device=codes_KD.device)
    return every.new_full((len(values),), len(every)).scatter_reduce(0, group_K, every, "amin").sort().values


def _look(x_MD: torch.Tensor, codes_KD: torch.Tensor) -> None:
    if x_MD.dim() != 2 or codes_KD.dim() != 2 or x_MD.shape[1] != codes_KD.shape[1] or not len(codes_KD):
        raise ValueError(f"vectors {list(x_MD.shape)} cannot be looked up among codes {list(codes_KD.shape)}")
    ends = [end for values in (x_MD, codes_KD) if values.numel() for end in values.aminmax()]
    if not bool(torch.stack([end.float() for end in ends]).isfinite().all()):
        raise ValueError("vectors or codes hold values that are not finite numbers; try `dtype: float32`")


def search(
    x_MD: torch.Tensor, codes_KD: torch.Tensor, cosine: bool = False, error_M: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """([M] index of the best float32 score, [M] whether another code's score is within twice `error_M` of it).

    error_M: bound on the error of a score; the default bounds what float32 products of this width can be off by.
    """
    x_MD, codes_KD = x_MD.float(), codes_KD.float()
    error_M = _error(x_MD, codes_KD) if error_M is None else error_M
    shape = (len(x_MD), -(-len(codes_KD) // COLUMNS))
    best_MT, second_MT = x_MD.new_empty(shape), x_MD.new_empty(shape)
    index_MT = torch.empty(shape, dtype=torch.int64, device=x_MD.device)
    every = torch.arange(tile_rows(len(x_MD), codes_KD), device=x_MD.device)
    for rows, tile, scores_RGW in _tiles(x_MD, codes_KD, _half(codes_KD, cosine)):
        low_R2, group_R2 = scores_RGW.amin(2).topk(min(2, scores_RGW.shape[1]), largest=False)
        held_RW = scores_RGW[every[: len(scores_RGW)], group_R2[:, 0]]
        inside_R = held_RW.argmin(1)
        held_RW.scatter_(1, inside_R[:, None], math.inf)
        best_MT[rows, tile] = low_R2[:, 0]
        second_MT[rows, tile] = (
            held_RW.amin(1) if low_R2.shape[1] == 1 else torch.minimum(held_RW.amin(1), low_R2[:, 1])
        )
        torch.add(inside_R, group_R2[:, 0], alpha=scores_RGW.shape[2], out=index_MT[rows, tile])
    best_M, tile_M = best_MT.min(1)  # the first of equal ones
    index_M = index_MT.gather(1, tile_M[:, None])[:, 0] + tile_M * COLUMNS
    best_MT.scatter_(1, tile_M[:, None], math.inf)
    second_M = torch.minimum(best_MT.amin(1), second_MT.amin(1))
    return index_M, second_M <= best_M + 2 * error_M


def _half(codes_KD: torch.Tensor, cosine: bool) -> torch.Tensor:
    norms = torch.linalg.vector_norm(codes_KD, dim=1)
    return torch.zeros_like(norms) if cosine else norms.square_() / 2


def _error(x_MD: torch.Tensor, codes_KD: torch.Tensor) -> torch.Tensor:
    """[M]: what a score |c|²/2 - x·c may be off by: (D + 8) roundings of products no larger than |x||c| + |c|²/2."""
    unit = 2.0**-11 if x_MD.is_cuda and torch.backends.cuda.matmul.allow_tf32 else 2.0**-24
    longest = torch.linalg.vector_norm(codes_KD, dim=1).max()
    size_M = torch.linalg.vector_norm(x_MD, dim=1)
    return (x_MD.shape[1] + 8) * unit * longest * (size_M + longest / 2)


def tile_rows(count: int, codes_KD: torch.Tensor) -> int:
    """Vectors of a tile: it fits the cache, and is a small share of the whole table of distances."""
    columns = min(COLUMNS, len(codes_KD))
    if codes_KD.is_cuda:
        return max(1, TILE_CUDA // columns)
    return max(16, min(TILE, count * len(codes_KD) // SHARE) // columns)


def _tiles(
    x_MD: torch.Tensor, codes_KD: torch.Tensor, half_K: torch.Tensor
) -> Iterator[tuple[slice, int, torch.Tensor]]:
    """(which vectors, which tile of codes, [R,G,W] scores), in one buffer; columns without a code score infinity."""
    columns, rows = min(COLUMNS, len(codes_KD)), tile_rows(len(x_MD), codes_KD)
    width = min(GROUP, columns)
    groups = -(-columns // width)
    buffer = x_MD.new_empty(min(rows, len(x_MD)), groups * width)
    for start in range(0, len(x_MD), rows):
        x_RD = x_MD[start : start + rows]
        scores = buffer[: len(x_RD)]
        for tile, first in enumerate(range(0, len(codes_KD), columns)):
            some = slice(first, first + columns)
            table = codes_KD[some]
            scores[:, len(table) :] = math.inf
            torch.addmm(half_K[some], x_RD, table.t(), alpha=-1, out=scores[:, : len(table)])
            yield slice(start, start + len(x_RD)), tile, scores.view(len(x_RD), groups, width)


def _exact(x_RD: torch.Tensor, codes_KD: torch.Tensor, cosine: bool) -> torch.Tensor:
    """[R]: decided in float64 among the codes whose float32 scores leave them a chance."""
    x, codes = x_RD.float(), codes_KD.float()
    scores_RK = torch.addmm(_half(codes, cosine), x, codes.t(), alpha=-1)
    chance_RK = scores_RK <= scores_RK.amin(1, keepdim=True) + 2 * _error(x, codes)[:, None]
    row_P, code_P = chance_RK.nonzero(as_tuple=True)
    piece = max(1, PAIRS // x.shape[1])
    far_P = torch.cat([
        _far(x_RD[r].double(), codes_KD[c].double(), cosine) for r, c in zip(row_P.split(piece), code_P.split(piece))
    ])  # fmt: skip
    least_R = far_P.new_full((len(x),), math.inf).scatter_reduce(0, row_P, far_P, "amin")
    won_P = far_P == least_R[row_P]
    index_R = torch.full((len(x),), len(codes), device=x.device)
    return index_R.scatter_reduce(0, row_P[won_P], code_P[won_P], "amin")


def _far(x_PD: torch.Tensor, codes_PD: torch.Tensor, cosine: bool) -> torch.Tensor:
    return -(x_PD * codes_PD).sum(1) if cosine else (x_PD - codes_PD).square_().sum(1)
