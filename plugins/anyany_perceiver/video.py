"""Film as Perceiver's input array: patches of each frame with their place in time and picture.

video: B films -> features B x [N,C]; Perceiver IO, appendix on Kinetics (arXiv 2107.14795). On transformers'
preprocessor. Suffixes: T frames, H height, W width, N patches, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import PerceiverConfig
from transformers.models.perceiver.modeling_perceiver import PerceiverImagePreprocessor

from anyany.api.torch import Build, Component, Context, Rows, to_float


class Video(Component):
    """Options: `VideoConfig`."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        extent = tuple(config.resolution) or (config.frames, *config.size)
        self.patches = video_patches(config.bands, extent, config.patch)

    def encode(self, ctx: Context, video: Rows) -> dict[str, Rows]:
        """video: B films of at most `frames` frames (a longer one is thinned out evenly). features: B x [N,C]."""
        arrays = []
        for one in video:
            frames_T3HW = frames_of(one.frames, self.config.size, self.config.frames)
            arrays.append(self.patches(frames_T3HW[None].to(ctx.device, torch.float32))[0][0].to(ctx.dtype))
        return {"features": ctx.rows(torch.cat(arrays), [len(a) for a in arrays])}


def video_patches(bands: int, resolution: Sequence[int], patch: int) -> nn.Module:
    """transformers' module: [B,T,3,H,W] -> patches of patch x patch pixels with Fourier features on three axes."""
    return PerceiverImagePreprocessor(
        PerceiverConfig(), prep_type="patches", position_encoding_type="fourier", spatial_downsample=patch,
        temporal_downsample=1,
        fourier_position_encoding_kwargs={"num_bands": bands, "max_resolution": tuple(resolution)},
    )  # fmt: skip


def frames_of(frames: torch.Tensor, size: Sequence[int], most: int) -> torch.Tensor:
    """[T,3,H,W] float 0..1 of at most `most` frames, evenly taken, each resized whole to `size`."""
    count = frames.shape[0]
    if count > most:
        frames = frames[[int((i + 0.5) * count / most) for i in range(most)]]
    if frames.is_meta:  # counting FLOPs: shapes alone
        return torch.empty(len(frames), 3, *size, device="meta")
    ready = to_float(frames).float()
    ready = ready.expand(-1, 3, -1, -1) if ready.shape[1] == 1 else ready[:, :3]
    if tuple(ready.shape[-2:]) == tuple(size):
        return ready
    return nn.functional.interpolate(ready, tuple(size), mode="bilinear", antialias=True).clamp(0, 1)
