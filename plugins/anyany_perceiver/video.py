"""Film as Perceiver's input array: patches of each frame with their place in time and picture.

video: B films -> features B x [N,C]; Perceiver IO, appendix on Kinetics (arXiv 2107.14795).
Suffixes: B rows, T frames, H height, W width, N patches, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers.models.perceiver.modeling_perceiver import space_to_depth

from anyany.api.torch import Build, Component, Context, Rows, to_float
from anyany_perceiver.fourier import fourier, grid


class Video(Component):
    """Options: `VideoConfig`."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        self.extent = tuple(config.resolution) or (config.frames, *config.size)

    def encode(self, ctx: Context, video: Rows) -> dict[str, Rows]:
        """video: B films of at most `frames` frames (a longer one is thinned out evenly). features: B x [N,C]."""
        arrays = []
        for one in video:
            frames_T3HW = frames_of(one.frames, self.config.size, self.config.frames).to(ctx.device)
            arrays.append(patches(frames_T3HW[None], self.config.patch, self.config.bands, self.extent)[0])
        return {"features": ctx.rows(torch.cat(arrays).to(ctx.dtype), [len(a) for a in arrays])}


def patches(frames_BT3HW: torch.Tensor, patch: int, bands: int, resolution: Sequence[int]) -> torch.Tensor:
    """[B,N,C]: pixels of patch x patch, then Fourier features on the three axes; frame after frame, row by row."""
    blocks = space_to_depth(frames_BT3HW, spatial_block_size=patch)
    places_NC = fourier(grid(blocks.shape[1:4], device=blocks.device), bands, resolution)
    return torch.cat([blocks.flatten(1, 3), places_NC.to(blocks.dtype).expand(len(blocks), -1, -1)], -1)


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
