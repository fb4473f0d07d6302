"""The mixed attention mask of Transfusion (Zhou et al. 2024, arXiv 2408.11039): causal, but runs see themselves whole.

Shape suffixes: B rows, N positions, K keys.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

Runs = Sequence[tuple[int, int]]


def mixed_mask(starts: Sequence[int], lengths: Sequence[int], together: Sequence[Runs], size: int, *,
               dtype: torch.dtype, device: torch.device | str, keys: int | None = None) -> torch.Tensor:  # fmt: skip
    """[B,1,N,K] to be added to attention's scores: 0 where a position sees a key, the lowest number elsewhere.

    starts, lengths: where each row's real positions lie in its `size` padded ones. together: of each row the runs
    (start, stop), counted from its first real position, whose positions see each other. keys: K, at least `size`.
    """
    seen_BNK = torch.zeros(len(starts), size, keys or size, dtype=torch.bool)
    for row, (start, length, runs) in enumerate(zip(starts, lengths, together)):
        real = seen_BNK[row, start : start + length, start : start + length]
        real[:] = torch.ones(length, length, dtype=torch.bool).tril()
        for first, stop in runs:
            real[first:stop, first:stop] = True
    low = torch.finfo(dtype).min
    return torch.where(seen_BNK, 0.0, low).to(device, dtype)[:, None]
