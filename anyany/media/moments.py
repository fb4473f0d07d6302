"""Which frames of a film are wanted: by facets, before anything is decoded, or of a film that is decoded already.

Moments are seconds from the film's start; frames [T, C, H, W].
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from anyany.media.errors import MediaError
from anyany.media.values import Video


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which frames of a film are wanted, by their time; nothing set: all of them.

    frames: the middle frames of so many equal stretches. fps: the frame shown at each k / fps, more coarsely in a film
    that would give more than `most` frames.
    """

    fps: float = 0.0
    frames: int = 0
    most: int = 0

    def speed(self, seconds: float) -> float:
        """Frames a second of what is chosen from a film of so many seconds; 0 for all frames."""
        if self.frames:
            return self.frames / seconds
        return self.most / seconds if self.most and round(seconds * self.fps) > self.most else self.fps

    def times(self, start: float, end: float) -> list[float] | None:
        """The moments (seconds) whose frames are wanted; None for all frames."""
        seconds = max(end - start, 1e-3)
        speed = self.speed(seconds)
        if not speed:
            return None
        offset = 0.5 if self.frames else 0.0
        return [start + (i + offset) / speed for i in range(max(1, round(seconds * speed)))]


def wanted(facets: Mapping[str, Any]) -> Choice:
    """The choice that facets make: `frames`, `fps` or `every` (seconds from one frame to the next), and `most`.

    `fps` is a property that a film has on an edge; `every` is a wish of a component that would choose the frames
    itself, so that the loader decodes no others. Raises MediaError.
    """
    given = {name: facets.get(name) or 0 for name in ("fps", "every", "frames", "most")}
    for name, value in given.items():
        if not isinstance(value, (int, float)) or not 0 <= value < math.inf:
            raise MediaError("E525", f"the facet `{name}` cannot be {value!r}", "give a number above zero")
    fps = float(given["fps"] or (1 / given["every"] if given["every"] else 0))
    return Choice(fps=fps, frames=int(given["frames"]), most=int(given["most"]))


def sample_frames(
    video: Video, *, every: float | None = None, frames: int | None = None, most: int | None = None
) -> Video:
    """A decoded film with frames chosen as the loader would: one `every` so many seconds, but not more than `most`; or
    `frames` of them, the middle ones of equal stretches. Its `fps` is then that of the chosen frames.
    """
    return chosen(video, wanted({"every": every, "frames": frames, "most": most}))


def chosen(video: Video, choice: Choice) -> Video:
    """A decoded film with the frames of a choice alone."""
    times = choice.times(0.0, video.seconds)
    if times is None:
        return video
    last = video.frames.shape[0] - 1
    index = torch.tensor([min(last, int(t * video.fps + 1e-6)) for t in times])
    return Video(video.frames[index], choice.speed(video.seconds), video.audio)
