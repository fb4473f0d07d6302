"""Sinusoidal times: the second at which each frame is seen, as sines and cosines (Vaswani et al. 2017, 1706.03762).

frames: B lists of [N,D] or [D], times: B lists of {start, end} in seconds -> the same. Suffixes: T frames, D width.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from anyany.api.torch import Component, Context, Rows


class SinusoidalTimes(Component):
    """Options: `SinusoidalTimesConfig`."""

    def waves(self, seconds: list[float], width: int) -> torch.Tensor:
        """[T,D] float32: sines and cosines in turn, of waves from 2 pi seconds to `longest` times that."""
        if width % 2:
            raise ValueError(f"sines and cosines come in pairs, but the features are {width} wide")
        rate_D = torch.exp(torch.arange(0, width, 2) * (-math.log(self.config.longest) / width))
        angle_TD = torch.tensor(seconds)[:, None] * rate_D
        return torch.stack([angle_TD.sin(), angle_TD.cos()], -1).flatten(1)

    def stamp(self, ctx: Context, frames: Rows, times: Rows | None = None) -> dict[str, Rows]:
        """frames: B lists of features, times: when each is. frames: the same, with the waves of their times added.

        Raises ValueError where frames and times are not equally many, or the width is odd.
        """
        groups = frames.groups()
        spans = times.list() if times is not None else [None] * len(groups)
        return {"frames": ctx.lists([self._stamped(group, one) for group, one in zip(groups, spans)])}

    def _stamped(self, group: list[torch.Tensor], spans: list[dict[str, Any]] | None) -> list[torch.Tensor]:
        if not group:
            return []
        seconds = [float(i) for i in range(len(group))] if spans is None else [float(s["start"]) for s in spans]
        if len(seconds) != len(group):
            raise ValueError(f"{len(group)} frames, but {len(seconds)} times: both must come from one video/frames")
        waves_TD = self.waves(seconds, group[0].shape[-1])
        return [x + t.to(x) for x, t in zip(group, waves_TD)]

    def example_rows(self, call: str, rows: Any, making: Any) -> dict[str, Rows]:
        """Rows for tests: films of several frames, each with its second where times are fed."""
        frames, spans = [], []
        for row in rows:
            generator = torch.Generator().manual_seed(row)
            spans.append([{"start": 1.5 * i, "end": 1.5 * i + 1, "text": ""} for i in range(1 + row % 3)])
            frames += [torch.randn(2 + row, making.sizes["width"], generator=generator) for _ in spans[-1]]
        given = {"frames": Rows(frames, counts=[len(s) for s in spans])}
        return given if making.fed is not None and "times" not in making.fed else {**given, "times": Rows(spans)}
