"""HiFi-GAN (Kong et al. 2020, arXiv 2010.05646) as a vocoder, by transformers: log-mel features become sound.

features: B x [T,M] -> audio. Checkpoints: SpeechT5's, AudioLDM's, FastSpeech2Conformer's. Suffixes: T frames, M bands.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from anyany.api.torch import Audio, Build, Component, Context, Part, Rows, load_network, network_of

CLASSES = {"hifigan": "FastSpeech2ConformerHifiGan", "fastspeech2_conformer_hifigan": "FastSpeech2ConformerHifiGan"}


def small(mels: int, rate: int, width: int, upsample: Sequence[int]) -> dict[str, Any]:
    """The config of a HiFi-GAN without a checkpoint. upsample: samples a frame, factor by factor."""
    return {
        "model_in_dim": mels, "sampling_rate": rate, "upsample_initial_channel": width,
        "upsample_rates": list(upsample), "upsample_kernel_sizes": [2 * u + u % 2 for u in upsample],
        "resblock_kernel_sizes": [3, 7], "resblock_dilation_sizes": [[1, 3], [1, 3]],
    }  # fmt: skip


def part_of(settings: Mapping[str, Any]) -> Part:
    """The network of a vocoder's config.json."""
    name = CLASSES.get(str(settings.get("model_type")), "SpeechT5HifiGan")
    kept = {k: v for k, v in settings.items() if k not in ("architectures", "model_type", "transformers_version")}
    return Part(name=f"transformers.{name}", config=kept)


def waves(vocoder: Any, mels: Sequence[torch.Tensor], dtype: torch.dtype) -> list[torch.Tensor]:
    """Samples [S] in -1..1 of spectrograms [T,M]; those of one length together, for padding would be heard.

    Raises ValueError for another number of bands and for values that are not numbers.
    """
    bands, found = int(vocoder.config.model_in_dim), [torch.empty(0)] * len(mels)
    lengths: dict[int, list[int]] = {}
    for row, mel in enumerate(mels):
        if mel.dim() != 2 or mel.shape[1] != bands or not len(mel):
            raise ValueError(f"expected a spectrogram [T,{bands}], got {list(mel.shape)}")
        if not bool(torch.isfinite(mel).all()):
            raise ValueError("the spectrogram holds values that are not numbers (NaN or infinity)")
        lengths.setdefault(len(mel), []).append(row)
    for rows in lengths.values():
        made = vocoder(torch.stack([mels[r] for r in rows]).to(dtype)).reshape(len(rows), -1).float().cpu()
        for row, wave in zip(rows, made):
            found[row] = wave
    return found


class HifiGan(Component):
    """Options: `HifiGanConfig`; a checkpoint's config.json overrides the sizes."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        own = build.assets.json("config.json")
        if own is None:
            mels = config.mels or build.sizes.get("mels") or 80
            own = small(mels, config.rate, config.width, config.upsample)
        self.part = part_of(own)
        self.model = network_of(self.part)
        self.model.mean, self.model.scale = (b.to(build.dtype) for b in (self.model.mean, self.model.scale))
        self.rate = int(getattr(self.model.config, "sampling_rate", None) or config.rate)  # FastSpeech2's says none
        self.hop = math.prod(self.model.config.upsample_rates)

    def load(self, stores: Sequence[Any], build: Build) -> None:
        """transformers' names, strictly."""
        self.model = load_network(self.part, stores, build)

    def speak(self, ctx: Context, features: Rows) -> dict[str, Rows]:
        """features: B spectrograms [T,M]. audio: B sounds, mono. Raises ValueError as `waves` does."""
        made = waves(self.model, features.list(), ctx.dtype)
        return {"audio": ctx.rows([Audio(wave[None], self.rate) for wave in made])}
