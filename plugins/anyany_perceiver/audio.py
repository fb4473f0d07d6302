"""Sound as Perceiver's input array: patches of raw samples, or mel frames, with their place in time.

audio: B sounds -> features B x [N,C]; Jaegle et al. 2021, section 4.2 (arXiv 2103.03206). Mel by torchaudio.
Suffixes: S samples, N patches or frames, P samples of a patch, F mel bands, C channels.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
import torchaudio

from anyany.api.torch import Audio as Sound
from anyany.api.torch import Component, Context, Rows
from anyany_perceiver.fourier import fourier, grid


class Audio(Component):
    """Options: `AudioConfig`."""

    def encode(self, ctx: Context, audio: Rows) -> dict[str, Rows]:
        """audio: B sounds. features: B x [N,C]; the last patch is filled with silence.

        Raises ValueError for a sound of another rate, or one too short for a single patch.
        """
        arrays = [self.array(self._wave(one)) for one in audio]
        packed = torch.cat(arrays).to(ctx.device, ctx.dtype)
        return {"features": ctx.rows(packed, [len(a) for a in arrays])}

    def array(self, wave_S: torch.Tensor) -> torch.Tensor:
        """[S] -> [N,C]."""
        values_NP = mel_frames(wave_S, self.config) if self.config.prep == "mel" else patches(wave_S, self.config.patch)
        places = grid((len(values_NP),), device=values_NP.device)
        return torch.cat([values_NP, fourier(places, self.config.bands, (self.config.resolution,))], 1)

    def _wave(self, sound: Sound) -> torch.Tensor:
        """Mono samples [S], cut or filled with silence to `seconds` where it is given."""
        wave_S = mono(sound, self.config.rate)
        if self.config.seconds is None:
            return wave_S
        wanted = round(self.config.seconds * self.config.rate)
        return torch.nn.functional.pad(wave_S[:wanted], (0, max(0, wanted - len(wave_S))))


def mono(sound: Sound, rate: int) -> torch.Tensor:
    """[S] float32. Raises ValueError for another rate or no samples."""
    if sound.rate != rate:
        raise ValueError(f"the sound has {sound.rate} samples a second, not {rate}")
    if not sound.samples.shape[-1]:
        raise ValueError("the sound has no samples")
    return sound.samples.float().mean(0)


def patches(wave_S: torch.Tensor, size: int) -> torch.Tensor:
    """[N,P]: P samples after P samples, the last ones filled with silence."""
    return torch.nn.functional.pad(wave_S, (0, -len(wave_S) % size)).unflatten(0, (-1, size))


def mel_frames(wave_S: torch.Tensor, config: Any) -> torch.Tensor:
    """[N,F] natural logarithms of mel energies, a frame each `patch` samples."""
    wave_S = torch.zeros(wave_S.shape, device="cpu") if wave_S.is_meta else wave_S.cpu()
    mel = _mel(config.rate, config.patch, config.mels)
    if len(wave_S) <= mel.n_fft // 2:
        raise ValueError(f"the sound has {len(wave_S)} samples; `mel` wants more than {mel.n_fft // 2}")
    made: torch.Tensor = mel(wave_S)
    return made.clamp(min=1e-5).log().T.contiguous()


@lru_cache(maxsize=8)
def _mel(rate: int, hop: int, mels: int) -> Any:
    with torch.device("cpu"):
        return torchaudio.transforms.MelSpectrogram(rate, n_fft=max(4 * hop, 256), hop_length=hop, n_mels=mels)
