"""Sound as ImageBind hears it: clips of two seconds, their log-mel filter banks, normalised.

16 kHz, 25 ms windows every 10 ms, 128 bands, 204 frames; filter banks by torchaudio (Kaldi's). T samples.
"""

from __future__ import annotations

import torch
from torchaudio.compliance import kaldi

RATE, SECONDS, CLIPS = 16000, 2.0, 3
SHIFT, SPREAD = -4.268, 9.138


def clips_of(samples_T: torch.Tensor, rate: int) -> list[torch.Tensor]:
    """Three clips of two seconds spread over the sound; a shorter sound is its own three clips."""
    length = min(len(samples_T), int(SECONDS * rate))
    starts = [round(i * (len(samples_T) - length) / (CLIPS - 1)) for i in range(CLIPS)]
    return [samples_T[s : s + length] for s in starts]


def log_mel(samples_T: torch.Tensor, rate: int, bands: int, frames: int) -> torch.Tensor:
    """[1,bands,frames] of one clip, its mean removed; zeros after its end. Raises ValueError below 25 ms."""
    if len(samples_T) < 0.025 * rate:
        raise ValueError(f"the sound is {len(samples_T) / rate * 1000:.0f} ms long; ImageBind hears from 25 ms on")
    if samples_T.is_meta:  # counting FLOPs: shapes alone
        return torch.empty(1, bands, frames, device="meta")
    wave = (samples_T - samples_T.mean()).float().cpu()[None]
    found = kaldi.fbank(wave, htk_compat=True, sample_frequency=rate, use_energy=False, window_type="hanning",
                        num_mel_bins=bands, dither=0.0, frame_length=25, frame_shift=10).t()  # fmt: skip
    return torch.nn.functional.pad(found[:, :frames], (0, max(0, frames - found.shape[1])))[None]


def network_input(mel: torch.Tensor) -> torch.Tensor:
    """(x - mean) / deviation of the training set; padding is normalised with the rest."""
    return (mel - SHIFT) / SPREAD
