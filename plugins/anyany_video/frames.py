"""Frames: a film as a list of pictures, so many a second or so many in all (Flamingo, arXiv 2204.14198: one a second).

video: B films [T,C,H,W] -> frames: B lists of [C,H,W]; times: B lists of {start, end, text}, in seconds.
"""

from __future__ import annotations

import math
from typing import Any

from anyany.api.torch import Component, Context, Rows, Video, sample_frames


class Frames(Component):
    """Options: `FramesConfig`. A file's other frames are never decoded: the loader is told which are wanted."""

    def seen(self, video: Video) -> Video:
        """The film with the wanted frames alone. Raises ValueError for one without frames or without a speed."""
        if not video.frames.shape[0]:
            raise ValueError("the film has no frames")
        if not 0 < video.fps < math.inf:
            raise ValueError(f"the film has {video.fps} frames a second, so none of them has a time")
        if self.config.n:
            return sample_frames(video, frames=self.config.n)
        return sample_frames(video, every=1 / self.config.fps, most=self.config.most)

    def cut(self, ctx: Context, video: Rows) -> dict[str, Rows]:
        """video: B films. frames: a list of pictures each; times: the stretch that each of them stands for."""
        films = [self.seen(one) for one in video.list()]
        return {"frames": ctx.lists([list(f.frames) for f in films]), "times": ctx.rows([_times(f) for f in films])}


def _times(film: Video) -> list[dict[str, Any]]:
    step = 1 / film.fps
    return [{"start": i * step, "end": (i + 1) * step, "text": f"frame {i + 1}"} for i in range(len(film.frames))]
