"""Marking speech by program, apart from any model: dynamic time warping of MFCCs (Sakoe & Chiba 1978).

Suffixes: S samples, N M frames, K coefficients.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torchaudio
from numpy.typing import NDArray

RATE, HOP, COEFFICIENTS = 16000, 512, 13
SCALE = 0.5
"""Of the stored whole numbers: MFCCs of speech lie within some 60 of 0 once their mean is gone."""
Frames = NDArray[np.int8]


@lru_cache(maxsize=1)
def _transform() -> Any:
    return torchaudio.transforms.MFCC(
        RATE, COEFFICIENTS, melkwargs={"n_fft": 1024, "hop_length": HOP, "n_mels": 40, "center": True}
    )


def mfcc(samples_S: NDArray[np.float32]) -> Frames:
    """[N,K] int8: MFCCs at 31.25 frames a second, silence at both ends cut, the loudness and the mean taken out."""
    loud = np.flatnonzero(np.abs(samples_S) > 0.02 * np.abs(samples_S).max(initial=1e-9))
    kept = samples_S[loud[0] : loud[-1] + 1] if len(loud) else samples_S
    kept = np.pad(kept, (0, max(0, 2048 - len(kept))))
    found = _transform()(torch.from_numpy(kept / np.abs(kept).max(initial=1e-9)))[1:].T.numpy()
    found = found - found.mean(0)
    return np.clip(np.round(found / SCALE), -127, 127).astype(np.int8)


def distance(a_NK: Frames, b_MK: Frames) -> float:
    """The cost of the cheapest warping path, divided by both lengths."""
    a, b = a_NK.astype(np.float32), b_MK.astype(np.float32)
    cost_NM = np.sqrt(np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T, 0))
    n, m = cost_NM.shape
    total = np.full((n + 1, m + 1), np.inf)
    total[0, 0] = 0.0
    for diagonal in range(2, n + m + 1):  # all cells of an anti-diagonal at once
        rows = np.arange(max(1, diagonal - m), min(n, diagonal - 1) + 1)
        columns = diagonal - rows
        before = np.minimum(
            total[rows - 1, columns - 1], np.minimum(total[rows - 1, columns], total[rows, columns - 1])
        )
        total[rows, columns] = cost_NM[rows - 1, columns - 1] + before
    return float(total[n, m] / (n + m))


def nearest(spoken: Frames, candidates: list[Frames]) -> int:
    """Which of the candidates is nearest."""
    return int(np.argmin([distance(spoken, c) for c in candidates]))
