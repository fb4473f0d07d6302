"""The values that flow on edges: pictures as tensors, `Audio`, `Video`, and conversions between their ranges.

Axes: C channels, H height, W width, T samples or frames. Pictures: uint8 0...255 or floating 0...1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from anyany.media.errors import MediaError


@dataclass(frozen=True, eq=False)
class Audio:
    """Sound. samples: float32 [C, T] in -1...1. rate: samples a second."""

    samples: Tensor
    rate: int

    @property
    def seconds(self) -> float:
        return self.samples.shape[-1] / self.rate


@dataclass(frozen=True, eq=False)
class Video:
    """Film. frames: [T, C, H, W], uint8 0...255 or floating 0...1. fps: frames a second. audio: its sound,
    or None.
    """

    frames: Tensor
    fps: float
    audio: Audio | None = None

    @property
    def seconds(self) -> float:
        return self.frames.shape[0] / self.fps


def to_float(image: Tensor) -> Tensor:
    """Pictures or frames [..., C, H, W] as float 0...1; uint8 is divided by 255, floating ones pass as
    they are.
    """
    return image.float() / 255 if image.dtype == torch.uint8 else image


def to_uint8(image: Tensor) -> Tensor:
    """Pictures or frames [..., C, H, W] as uint8 0...255, clipped and rounded, on the CPU. Raises
    MediaError for NaN.
    """
    image = image.detach().to("cpu")
    if image.dtype == torch.uint8:
        return image
    if image.dtype == torch.bool:
        return image.to(torch.uint8) * 255
    if not image.is_floating_point():
        return image.clamp(0, 255).to(torch.uint8)
    image = image.float()
    if image.isnan().any():
        raise MediaError("E524", "the picture holds values that are not numbers (NaN)", _NAN)
    return (image.clamp(0, 1) * 255).round().to(torch.uint8)


_NAN = "the component that made it overflowed: try `dtype: float32` for its node"


def check_image(value: Any) -> Tensor:
    """The value, if it is a picture [C, H, W] with 1, 3 or 4 channels and some pixels. Raises MediaError."""
    if not isinstance(value, Tensor) or value.ndim != 3:
        raise MediaError("E524", f"a picture is a tensor [C, H, W], not {describe(value)}", "check what makes it")
    if value.shape[0] not in (1, 3, 4) or 0 in value.shape:
        raise MediaError("E524", f"a picture has 1, 3 or 4 channels and some pixels, not {describe(value)}",
                         "check what makes it")  # fmt: skip
    return value


def check_audio(value: Any) -> Audio:
    """The value, if it is a sound with samples [C, T] (or [T]) that are numbers. Raises MediaError."""
    if not isinstance(value, Audio) or not isinstance(value.samples, Tensor):
        raise MediaError("E524", f"a sound is an `Audio`, not {describe(value)}", "check what makes it")
    samples = value.samples.detach().to("cpu", torch.float32)
    samples = samples[None] if samples.ndim == 1 else samples
    if samples.ndim != 2 or 0 in samples.shape or value.rate <= 0:
        raise MediaError("E524", f"a sound has samples [C, T] and a rate, not {describe(samples)} at "
                         f"{value.rate}", "check what makes it")  # fmt: skip
    if not samples.isfinite().all():
        raise MediaError("E522", "the sound holds samples that are not numbers (NaN or infinity)", _NAN)
    return Audio(samples.clamp(-1, 1), int(value.rate))


def check_video(value: Any) -> Video:
    """The value, if it is a film [T, C, H, W] with frames and a speed. Raises MediaError."""
    if not isinstance(value, Video) or not isinstance(value.frames, Tensor):
        raise MediaError("E524", f"a film is a `Video`, not {describe(value)}", "check what makes it")
    shape = value.frames.shape
    if len(shape) != 4 or 0 in shape or shape[1] not in (1, 3, 4) or not 0 < value.fps < 1e4:
        raise MediaError("E524", f"a film is [T, C, H, W] with a speed, not {describe(value.frames)} at "
                         f"{value.fps}", "check what makes it")  # fmt: skip
    return value


def describe(value: Any) -> str:
    """A value in a few words: its type, and the shape of a tensor."""
    shape = getattr(value, "shape", None)
    if shape is not None:
        return f"{type(value).__name__} {list(shape)} {str(getattr(value, 'dtype', '')).removeprefix('torch.')}"
    return "nothing" if value is None else f"{type(value).__name__} {repr(value)[:40]}"
