"""Whisper's log-mel features (Radford et al. 2022, arXiv 2212.04356), by transformers' feature extractor.

audio at 16 kHz -> [M,T], 100 frames a second. Suffixes: S samples, M mel bands, T frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch

from anyany.api.torch import Audio, Build, Component, Context, Rows

RATE, HOP, SHORTEST = 16000, 160, 400


@lru_cache(maxsize=8)
def extractor(mels: int, seconds: float) -> Any:
    """transformers' extractor for clips of `seconds`."""
    from transformers import WhisperFeatureExtractor

    found = WhisperFeatureExtractor(feature_size=mels, chunk_length=1)
    found.n_samples = round(seconds * RATE)
    found.nb_max_frames = found.n_samples // HOP
    return found


def waves(clips: Sequence[Audio]) -> list[torch.Tensor]:
    """Each clip as mono samples [S] on the CPU. Raises ValueError for one that is too short or silent."""
    found = []
    for clip in clips:
        if clip.rate != RATE:
            raise ValueError(f"the sound has {clip.rate} samples a second; Whisper hears {RATE}")
        wave = clip.samples.float().mean(0).cpu()
        if wave.shape[0] < SHORTEST:
            raise ValueError(f"the sound is {1000 * wave.shape[0] / RATE:.0f} ms long; Whisper wants at least 25")
        if not bool(wave.any()):
            raise ValueError("the sound is silent: every sample is zero; check the recording")
        found.append(wave)
    return found


def log_mel(pieces: Sequence[torch.Tensor], mels: int, seconds: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Samples [S], zero padded or cut to `seconds` -> (features [B,M,T], mask [B,T] of frames that are not padding)."""
    made = extractor(mels, seconds)(
        [p.numpy() for p in pieces], sampling_rate=RATE, max_length=round(seconds * RATE), return_tensors="pt",
        return_attention_mask=True,
    )  # fmt: skip
    return made.input_features, made.attention_mask


def windows(wave: torch.Tensor, seconds: float) -> list[torch.Tensor]:
    """A long sound in pieces of `seconds`; a rest too short to be heard goes to nobody."""
    size = round(seconds * RATE)
    pieces = list(wave.split(size))
    return pieces[:-1] if len(pieces) > 1 and pieces[-1].shape[0] < SHORTEST else pieces


class LogMel(Component):
    """Options: `LogMelConfig`."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)

    def filters(self) -> torch.Tensor:
        """[201,M] float64: the Slaney-normalised bank."""
        return torch.from_numpy(extractor(self.config.mels, self.config.seconds).mel_filters)

    def extract(self, ctx: Context, audio: Rows) -> dict[str, Rows]:
        """audio: B sounds. features: [B,T,M] of the first `seconds`, padded with silence."""
        made_BMT, _ = log_mel(waves(audio.list()), self.config.mels, self.config.seconds)
        return {"features": ctx.rows(made_BMT.transpose(1, 2).contiguous().to(ctx.device, ctx.dtype))}
