"""Film, sound and class as one input array, and the queries that ask for them: the parts of `perceiver/io`.

Names and order are those of transformers' multimodal Perceiver: audio, image, label. Suffixes as in `multimodal.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PerceiverConfig
from transformers.models.perceiver.modeling_perceiver import PerceiverBasicDecoder, PerceiverTrainablePositionEncoding

from anyany_perceiver.fourier import fourier, grid, steps
from anyany_perceiver.input_widths import fourier_width
from anyany_perceiver.layers import attend
from anyany_perceiver.video import patches

NAMES = {"audio": "audio", "video": "image", "label": "label"}
"""Our ports and the names in checkpoints, in the order in which arrays are put together."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What a clip is: frames of side x side, sound in patches of `samples`; widths of positions and of outputs."""

    frames: int
    side: int
    patch: int
    samples_per_frame: int
    samples: int
    classes: int
    audio_bands: int
    video_bands: int
    label_width: int
    outputs: int

    @property
    def wave(self) -> int:
        """Samples of a clip."""
        return self.frames * self.samples_per_frame

    @property
    def extent(self) -> tuple[int, int, int]:
        return self.frames, self.side, self.side

    def places(self, name: str) -> tuple[int, ...]:
        """The grid of outputs of a modality."""
        return {"video": self.extent, "audio": (self.wave // self.samples,), "label": (1,)}[name]

    def input_width(self, name: str) -> int:
        return {
            "video": 3 * self.patch**2 + fourier_width(3, self.video_bands),
            "audio": self.samples + fourier_width(1, self.audio_bands),
            "label": self.classes,
        }[name]

    def query_width(self, name: str) -> int:
        return {"video": fourier_width(3, self.video_bands), "audio": fourier_width(1, self.audio_bands),
                "label": self.label_width}[name]  # fmt: skip

    def output_width(self, name: str) -> int:
        return {"video": 3, "audio": self.samples, "label": self.classes}[name]


def sizes_of(config: Any, found: Mapping[str, Any]) -> Sizes:
    """From the options, and over them a checkpoint's config.json."""
    told = len(found.get("id2label") or ()) or found.get("num_labels")
    classes = told or config.classes or len(config.names) or 700
    return Sizes(
        frames=found.get("num_frames", config.frames), side=found.get("image_size", config.side), patch=config.patch,
        samples_per_frame=found.get("audio_samples_per_frame", config.samples_per_frame),
        samples=found.get("samples_per_patch", config.samples), classes=classes, audio_bands=config.audio_bands,
        video_bands=config.video_bands, outputs=found.get("output_num_channels", config.outputs),
        label_width=found.get("_label_trainable_num_channels", config.label_width),
    )  # fmt: skip


class Inputs(nn.Module):
    """Arrays of each modality, padded to one width by a learned vector, or replaced by a learned mask."""

    SPARE = 4

    def __init__(self, sizes: Sizes, names: tuple[str, ...]) -> None:
        super().__init__()
        self.sizes, self.names = sizes, tuple(n for n in NAMES if n in names)
        self.width = max(sizes.input_width(n) for n in self.names) + self.SPARE
        self.padding = nn.ParameterDict(
            {NAMES[n]: nn.Parameter(torch.empty(1, self.width - sizes.input_width(n))) for n in self.names}
        )
        self.mask = nn.ParameterDict({NAMES[n]: nn.Parameter(torch.empty(1, self.width)) for n in self.names})

    def array(self, name: str, value: torch.Tensor) -> torch.Tensor:
        """[B,N,own width] of frames [B,T,3,H,W], a wave [B,S], or classes [B,K]."""
        if name == "label":
            return value[:, None]
        if name == "video":
            return patches(value, self.sizes.patch, self.sizes.video_bands, self.sizes.extent)
        values_BNP = value.unflatten(1, (-1, self.sizes.samples))
        places = fourier(grid((values_BNP.shape[1],), device=value.device), self.sizes.audio_bands, (self.sizes.wave,))
        return torch.cat([values_BNP, places.to(value.dtype).expand(len(value), -1, -1)], -1)

    def forward(self, given: Mapping[str, torch.Tensor], masked: tuple[str, ...]) -> torch.Tensor:
        """[B,N,C] of the modalities that are there, those in `masked` replaced."""
        parts = []
        for name in self.names:
            if name not in given:
                continue
            own_BNC = self.array(name, given[name])
            if name in masked:
                parts.append(self.mask[NAMES[name]].expand(*own_BNC.shape[:2], -1))
            else:
                parts.append(torch.cat([own_BNC, self.padding[NAMES[name]].expand(*own_BNC.shape[:2], -1)], -1))
        return torch.cat(parts, 1)


class Asked(nn.Module):
    """One decoder for all modalities: queries from positions (film, sound) or a learned vector (class)."""

    SPARE = 2

    def __init__(self, sizes: Sizes, settings: PerceiverConfig, names: tuple[str, ...]) -> None:
        super().__init__()
        self.sizes, self.names = sizes, tuple(n for n in NAMES if n in names)
        self.width = max(sizes.query_width(n) for n in self.names) + self.SPARE
        self.decoder = PerceiverBasicDecoder(
            settings, output_num_channels=sizes.outputs, position_encoding_type="none", num_channels=self.width,
            use_query_residual=False,
        )  # fmt: skip
        self.padding = nn.ParameterDict(
            {NAMES[n]: nn.Parameter(torch.empty(1, self.width - sizes.query_width(n))) for n in self.names}
        )
        self.modalities = nn.ModuleDict()
        if "label" in self.names:
            inside = nn.ModuleDict(
                {"output_position_encodings": PerceiverTrainablePositionEncoding(1, sizes.label_width)}
            )
            self.modalities["label"] = nn.ModuleDict({"decoder": inside})

    def query(self, name: str, index_BQ: torch.Tensor) -> torch.Tensor:
        """[B,Q,E] of places by their flat index; a class has the one place 0."""
        if name == "label":
            table: Any = self.modalities["label"]
            own = table["decoder"]["output_position_encodings"](len(index_BQ))
        else:
            bands = self.sizes.video_bands if name == "video" else self.sizes.audio_bands
            extent = self.sizes.extent if name == "video" else (self.sizes.wave,)
            own = fourier(steps(index_BQ, self.sizes.places(name)), bands, extent)
        padding = self.padding[NAMES[name]]
        return torch.cat([own.to(padding.dtype), padding.expand(*own.shape[:2], -1)], -1)

    def forward(
        self, query_BQE: torch.Tensor, latents_BMD: torch.Tensor, real_BM: torch.Tensor | None = None
    ) -> torch.Tensor:
        """[B,Q,outputs]; each is the same whichever others are asked."""
        found = attend(self.decoder.decoding_cross_attention, query_BQE, latents_BMD, real_BM)
        out: torch.Tensor = self.decoder.final_layer(found)
        return out
