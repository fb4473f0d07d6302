"""The miniature's ear: log-mel features, three strided convolutions, a small transformer; 12.5 features a second.

audio: B sounds at 16 kHz -> features [N,D] ragged, N = ceil(samples / 1280). The eightfold subsampling is that of Fast
Conformer (Rekesh et al. 2023, arXiv 2305.05084). Suffixes: B sounds, T frames, M mel bands, N positions, D width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
import torchaudio  # its filters are tensors made at import, which must not be made on meta
from torch import nn

from anyany.api.torch import Audio, Build, Component, Context, Rows

RATE, HOP, WINDOW, STRIDE = 16000, 160, 400, 8
FLOOR, RANGE = 1e-10, 8.0
SHORTEST = 0.025


def positions(length: int, width: int) -> torch.Tensor:
    """[N,D] sines and cosines of the places."""
    rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width))
    angles = torch.arange(length)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], -1)


class Ear(Component):
    """Options: `HearConfig`."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        mels, width = config.mels, config.width
        self.stem = nn.ModuleList(nn.Conv1d(mels if n == 0 else width, width, 3, 2, 1) for n in range(3))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(width, config.heads, config.mlp, 0.0, "gelu", batch_first=True, norm_first=True)
            for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(width)

    def _log_mel(self, wave_S: torch.Tensor) -> torch.Tensor:
        """[T,M]: log10 energies, the lowest 8 below the highest kept, about -1..1."""
        window = torch.hann_window(WINDOW)
        spectrum_FT = torch.stft(F.pad(wave_S, (0, HOP)), WINDOW, HOP, WINDOW, window, return_complex=True)
        mels = torchaudio.functional.melscale_fbanks(WINDOW // 2 + 1, 0.0, RATE / 2, self.config.mels, RATE, "slaney",
                                                     "slaney")  # fmt: skip
        energies_TM = spectrum_FT.abs().square().T @ mels
        logs_TM = energies_TM.clamp_min(FLOOR).log10()
        return (torch.maximum(logs_TM, logs_TM.max() - RANGE) + 4) / 4

    def _frames(self, clips: Sequence[Audio]) -> list[torch.Tensor]:
        found = []
        for clip in clips:
            wave_S = clip.samples.float().mean(0).cpu()
            if len(wave_S) < SHORTEST * RATE:
                raise ValueError(f"the sound is {1000 * len(wave_S) / RATE:.0f} ms long; speech has at least 25")
            if not bool(torch.isfinite(wave_S).all()):
                raise ValueError("the sound holds samples that are not numbers")
            found.append(self._log_mel(wave_S))
        return found

    def encode(self, ctx: Context, audio: Rows) -> dict[str, Rows]:
        """audio: B sounds -> features: B x [N,D]. Raises ValueError for a sound under 25 ms or with NaN samples."""
        frames = self._frames(audio.list())
        lengths = torch.tensor([len(f) for f in frames], device=ctx.device)
        x_BCT = nn.utils.rnn.pad_sequence(frames, batch_first=True).transpose(1, 2).to(ctx.device, ctx.dtype)
        for layer in self.stem:
            x_BCT = F.gelu(layer(x_BCT))
            lengths = (lengths + 1) // 2
            x_BCT = x_BCT * self._real(lengths, x_BCT.shape[-1])[:, None]  # silence behind a sound stays silence
        x_BND = x_BCT.transpose(1, 2)
        x_BND = x_BND + positions(x_BND.shape[1], x_BND.shape[2]).to(x_BND)
        hidden = ~self._real(lengths, x_BND.shape[1])
        for block in self.blocks:
            x_BND = block(x_BND, src_key_padding_mask=hidden)
        x_BND = self.norm(x_BND)
        return {"features": ctx.rows([row[:n] for row, n in zip(x_BND, lengths.tolist())])}

    @staticmethod
    def _real(lengths_B: torch.Tensor, longest: int) -> torch.Tensor:
        """[B,N] true where a row holds something."""
        return torch.arange(longest, device=lengths_B.device) < lengths_B[:, None]
