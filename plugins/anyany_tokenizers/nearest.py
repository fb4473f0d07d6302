"""Nearest codes: for each vector the codebook row closest to it, exactly, in little memory. For every codebook here.

Half squared distances without the vector's own norm, |c|²/2 - x·c, come from one matrix product per block of vectors
that stays in the cache. Minima over groups of codes find the best and the runner-up. A vector whose two lie closer
than the rounding error of float32 can reach is decided again in float64, on those codes alone that may win; equal
distances go to the lower index. So the result depends on neither the batch nor the number of threads.
Suffixes: M vectors, D width, K codes, R vectors of a block, G groups of W codes, P pairs of vector and code.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

ROWS_CPU, BYTES_CPU = 128, 4 << 20
BYTES_CUDA = 256 << 20
GROUP = 128
PAIRS = 1 << 18
"""Numbers of one piece of the float64 pass, so that a codebook of equal codes costs time and not memory."""


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
    best_M, close_M = search(x_MD, codes_KD, cosine)
    close = close_M.nonzero()[:, 0]
    for rows in close.split(_rows(len(x_MD), codes_KD)) if len(close) else ():
        best_M[rows] = _exact(x_MD[rows], codes_KD, cosine)
    return best_M


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
    half_K = _half(codes_KD, cosine)
    count, margin_M = len(x_MD), 2 * (_error(x_MD, codes_KD) if error_M is None else error_M)
    best_M = torch.empty(count, dtype=torch.int64, device=x_MD.device)
    close_M = torch.empty(count, dtype=torch.bool, device=x_MD.device)
    done = 0
    for group_RGW in _scores(x_MD, codes_KD, half_K):
        rows = slice(done, done + len(group_RGW))
        low_RG = group_RGW.amin(2)
        low_R, group_R = low_RG.min(1)
        low_RG.scatter_(1, group_R[:, None], math.inf)
        held_RW = group_RGW[torch.arange(len(group_RGW), device=x_MD.device), group_R]
        inside_R = held_RW.argmin(1)
        held_RW.scatter_(1, inside_R[:, None], math.inf)
        torch.add(inside_R, group_R, alpha=group_RGW.shape[2], out=best_M[rows])
        second_R = torch.minimum(low_RG.amin(1), held_RW.amin(1))
        torch.le(second_R, low_R + margin_M[rows], out=close_M[rows])
        done = rows.stop
    return best_M, close_M


def _half(codes_KD: torch.Tensor, cosine: bool) -> torch.Tensor:
    norms = torch.linalg.vector_norm(codes_KD, dim=1)
    return torch.zeros_like(norms) if cosine else norms.square_() / 2


def _error(x_MD: torch.Tensor, codes_KD: torch.Tensor) -> torch.Tensor:
    """[M]: what a score |c|²/2 - x·c may be off by: (D + 8) roundings of products no larger than |x||c| + |c|²/2."""
    unit = 2.0**-11 if x_MD.is_cuda and torch.backends.cuda.matmul.allow_tf32 else 2.0**-24
    longest = torch.linalg.vector_norm(codes_KD, dim=1).max()
    size_M = torch.linalg.vector_norm(x_MD, dim=1)
    return (x_MD.shape[1] + 8) * unit * longest * (size_M + longest / 2)


def _rows(count: int, codes_KD: torch.Tensor) -> int:
    """Vectors of a block: few enough for the cache, and for a small share of the whole table of distances."""
    if codes_KD.is_cuda:
        return max(1, BYTES_CUDA // (4 * len(codes_KD)))
    return max(1, min(ROWS_CPU, max(32, count // 48), max(16, BYTES_CPU // (4 * len(codes_KD)))))


def _scores(x_MD: torch.Tensor, codes_KD: torch.Tensor, half_K: torch.Tensor) -> Iterator[torch.Tensor]:
    """[R,G,W] scores of one block after another, in one buffer; codes that fill up the last group score infinity."""
    count, rows = len(codes_KD), _rows(len(x_MD), codes_KD)
    width = min(GROUP, count)
    groups = -(-count // width)
    buffer = x_MD.new_empty(min(rows, len(x_MD)), groups * width)
    buffer[:, count:] = math.inf
    for x_RD in x_MD.split(rows):
        scores_RK = buffer[: len(x_RD)]
        torch.addmm(half_K, x_RD, codes_KD.t(), alpha=-1, out=scores_RK[:, :count])
        yield scores_RK.view(len(x_RD), groups, width)


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
