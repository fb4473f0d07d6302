"""Pictures as Perceiver's input array: pixels, a convolution, or learned features, each with its position.

image: B pictures -> features [B,N,C]; Perceiver IO, appendix A (arXiv 2107.14795). On transformers' preprocessor.
Suffixes: B rows, H height, W width, N places, C channels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import PerceiverConfig
from transformers.models.perceiver.image_processing_pil_perceiver import PerceiverImageProcessorPil
from transformers.models.perceiver.modeling_perceiver import PerceiverImagePreprocessor

from anyany.api.torch import Build, Component, Context, Rows, to_uint8
from anyany_perceiver.input_widths import resolution
from anyany_perceiver.layers import official

KINDS = {"pixels": "pixels", "conv": "conv", "learned": "conv1x1", "patches": "patches"}


class Image(Component):
    """Options: `ImageConfig`; a checkpoint's preprocessor_config.json overrides mean and deviation."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        self.input_preprocessor = preprocessor(config)
        seen = build.assets.json("preprocessor_config.json") or {}
        self.mean, self.std = seen.get("image_mean", config.mean), seen.get("image_std", config.std)

    def rename(self, name: str) -> str:
        """transformers' names."""
        return official(name)

    def pixels(self, image: torch.Tensor) -> torch.Tensor:
        """[3,H,W] of one picture: its middle, resized on bytes and normalised, as the released models want it."""
        height, width = self.config.size
        if image.is_meta:  # counting FLOPs: shapes alone
            return torch.empty(3, height, width, device="meta")
        crop = {"height": round(height * self.config.crop), "width": round(width * self.config.crop)}
        make = PerceiverImageProcessorPil(
            size={"height": height, "width": width}, crop_size=crop, do_center_crop=self.config.crop > 0,
            image_mean=list(self.mean), image_std=list(self.std),
        )  # fmt: skip
        colours = to_uint8(image)
        colours = colours.expand(3, -1, -1) if colours.shape[0] == 1 else colours[:3]
        found: torch.Tensor = make(colours.numpy(), return_tensors="pt").pixel_values[0]
        return found

    def array(self, pixels_B3HW: torch.Tensor) -> torch.Tensor:
        """[B,3,H,W] -> [B,N,C], row by row."""
        found: torch.Tensor = self.input_preprocessor(pixels_B3HW)[0]
        return found

    def encode(self, ctx: Context, image: Rows) -> dict[str, Rows]:
        """image: B pictures of any size. features: [B,N,C]."""
        pixels = torch.stack([self.pixels(one) for one in image]).to(ctx.device, ctx.dtype)
        return {"features": ctx.rows(self.array(pixels))}


def preprocessor(config: Any) -> nn.Module:
    """transformers' module for a kind of preprocessing."""
    height, width = config.size
    places: dict[str, Any] = {"position_encoding_type": "fourier", "out_channels": config.channels}
    if config.prep == "learned":
        table = {"num_channels": config.channels, "index_dims": height * width}
        places |= {"position_encoding_type": "trainable", "trainable_position_encoding_kwargs": table,
                   "project_pos_dim": config.places or config.channels}  # fmt: skip
    else:
        less = {"pixels": 1, "conv": 4, "patches": config.patch}[config.prep]
        bands = {"num_bands": config.bands, "max_resolution": resolution(config, (height // less, width // less))}
        places["fourier_position_encoding_kwargs"] = bands
    less = {"conv": 4, "patches": config.patch}.get(config.prep, 1)
    return PerceiverImagePreprocessor(
        PerceiverConfig(), prep_type=KINDS[config.prep], spatial_downsample=less, conv2d_use_batchnorm=config.norm,
        **places,
    )  # fmt: skip
