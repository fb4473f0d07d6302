"""From a log-mel spectrogram back to sound without learned parts: the filters' pseudo-inverse, then Griffin-Lim.

Griffin & Lim 1984; the fast variant of Perraudin et al. 2013, by torchaudio. Suffixes: T frames, M mel bands,
F frequencies, S samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
import torchaudio.functional as audio  # its filters are tensors made at import, which must not be made on meta

LOGS = ("natural", "log10", "whisper")
LOUDEST = 12.0
"""Natural logarithm beyond which a magnitude is no sound's: exp of it would only overflow."""


@dataclass(frozen=True, kw_only=True)
class MelShape:
    """How a spectrogram was made. power: 1 for magnitudes, 2 for energies; log: `natural`, `log10`, or Whisper's own
    (log10 of energies, the lowest 8 below the highest kept, (x + 4) / 4)."""

    rate: int = 16000
    mels: int = 80
    n_fft: int = 1024
    win: int = 1024
    hop: int = 256
    low: float = 0.0
    high: float | None = None
    power: int = 1
    log: str = "natural"


@lru_cache(maxsize=16)
def inverse_filters(shape: MelShape) -> torch.Tensor:
    """[M,F] float32: the pseudo-inverse of the Slaney-normalised mel filters."""
    high = shape.rate / 2 if shape.high is None else shape.high
    with torch.device("cpu"):
        filters_FM = audio.melscale_fbanks(shape.n_fft // 2 + 1, shape.low, high, shape.mels, shape.rate, "slaney",
                                           "slaney")  # fmt: skip
    return torch.linalg.pinv(filters_FM.double()).float()


def wave_of(log_mel_TM: torch.Tensor, shape: MelShape, iterations: int = 32, momentum: float = 0.99) -> torch.Tensor:
    """[S] samples in -1..1, T * hop of them, from phases that start at zero: the same whenever it is run.

    The search is chaotic: values that differ by 1e-6, as those of another batch may, get other phases.
    Raises ValueError for another number of bands and for values that are not numbers.
    """
    if log_mel_TM.dim() != 2 or log_mel_TM.shape[1] != shape.mels or not len(log_mel_TM):
        raise ValueError(f"expected a spectrogram [T,{shape.mels}], got {list(log_mel_TM.shape)}")
    value = log_mel_TM.float()
    if not bool(torch.isfinite(value).all()):
        raise ValueError("the spectrogram holds values that are not numbers (NaN or infinity)")
    if shape.log == "whisper":
        value = value * 4 - 4
    natural = value if shape.log == "natural" else value * 2.302585092994046
    mel_TM = torch.exp(natural.clamp(max=LOUDEST))
    spectrum_FT = (mel_TM @ inverse_filters(shape).to(mel_TM.device)).clamp_min(0).T
    window = torch.hann_window(shape.win, device=mel_TM.device)
    frames = max(len(log_mel_TM), shape.n_fft // 2 // shape.hop + 1)  # a shorter sound has no reflected edges
    silent = frames - len(log_mel_TM) + 1  # and one frame more, centred behind the last sample
    padded_FT = torch.nn.functional.pad(spectrum_FT, (0, silent)).contiguous()
    made = audio.griffinlim(padded_FT, window, shape.n_fft, shape.hop, shape.win, shape.power, iterations,
                            momentum, frames * shape.hop, False)  # fmt: skip
    return made[: len(log_mel_TM) * shape.hop].clamp(-1, 1)
