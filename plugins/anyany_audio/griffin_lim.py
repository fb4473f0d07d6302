"""Griffin-Lim (1984) as a vocoder without weights, by torchaudio: log-mel features become sound.

features: B x [T,M] -> audio, `hop` samples a frame. Suffixes: T frames, M mel bands.
"""

from __future__ import annotations

from typing import Any

from anyany.api.torch import Audio, Build, Component, Context, Rows
from anyany_audio.mel_wave import MelShape, wave_of


class GriffinLim(Component):
    """Options: `GriffinLimConfig`."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        self.shape = MelShape(rate=config.rate, mels=config.mels, n_fft=config.n_fft, win=config.win or config.n_fft,
                              hop=config.hop, low=config.low, high=config.high, power=config.power,
                              log=config.log)  # fmt: skip

    def speak(self, ctx: Context, features: Rows) -> dict[str, Rows]:
        """features: B spectrograms [T,M]. audio: B sounds, mono. Raises ValueError for values that are no numbers."""
        made = []
        for mel_TM in features:
            ctx.check()
            wave = wave_of(mel_TM, self.shape, self.config.iterations)
            made.append(Audio(wave[None].cpu(), self.shape.rate))
        return {"audio": ctx.rows(made)}
