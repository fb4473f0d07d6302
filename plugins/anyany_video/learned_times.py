"""Learned times: a vector for each place in a film, added to all features of the frame there.

Video-LLaMA (Zhang et al. 2023, arXiv 2306.02858), and its parameter name; Flamingo's interpolation for longer films.
frames: B lists of [N,D] or [D] -> the same. Suffixes: K known places, T frames, D width.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from anyany.api.torch import Build, Component, Context, Rows


class LearnedTimes(Component):
    """Options: `LearnedTimesConfig`."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        width = config.width or build.facts.get("width") or build.sizes.get("width")
        if width is None:
            raise ValueError(f"nothing fixes the width of {build.node}; give `with: {{width: …}}`")
        count = build.facts.get("frames") or config.frames
        self.video_frame_position_embedding = nn.Embedding(int(count), int(width))

    def times(self, count: int) -> torch.Tensor:
        """[T,D] for a film of `count` frames. Raises ValueError for more than are known, unless they may stretch."""
        table_KD = self.video_frame_position_embedding.weight
        if count <= len(table_KD):
            return table_KD[:count]
        if not self.config.stretch:
            raise ValueError(f"{count} frames, but only {len(table_KD)} have a learned time: take fewer with "
                             "video/frames (`most`), or set `stretch: true`")  # fmt: skip
        spread_1DT = F.interpolate(table_KD.float().T[None], size=count, mode="linear", align_corners=True)
        return spread_1DT[0].T.to(table_KD.dtype)

    def stamp(self, ctx: Context, frames: Rows) -> dict[str, Rows]:
        """frames: B lists of features. frames: the same, each with the vector of its place added."""
        groups = frames.groups()
        return {"frames": ctx.lists([[x + t for x, t in zip(group, self.times(len(group)))] for group in groups])}
