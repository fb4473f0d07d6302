"""Pictures as autoencoders take them, and back: [B,3,H,W] in -1..1, cut to one square or taken as they are.

`crop`: the short side to the size, then the square in the middle; `stretch`: the whole picture; `none`: as it is.
Pictures are [C,H,W], uint8 or float 0..1. Suffixes: B rows, C channels, H W sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from anyany.api.torch import to_float, to_uint8


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How pictures meet a network. size: side given; unit: what its sides must be multiples of.

    how: crop, stretch or none. filter: PIL's name of the resampling. over: the short side before the crop, times the
    size. halve: halve by boxes first while that leaves enough (ADM's way).
    """

    size: int
    unit: int
    how: str = "crop"
    filter: str = "BICUBIC"
    over: float = 1.0
    halve: bool = False

    def batch(self, images: Sequence[torch.Tensor], device: torch.device, dtype: torch.dtype) -> torch.Tensor:
        """[B,3,H,W] in -1..1. Raises ValueError for a picture that cannot be taken."""
        ready = [self._one(image) for image in images]
        shapes = sorted({tuple(p.shape[1:]) for p in ready})
        if len(shapes) > 1:
            raise ValueError(f"pictures of {shapes[0]} and {shapes[1]} pixels cannot go together; give `fit: crop`")
        return torch.stack(ready).to(device=device, dtype=dtype)

    def _one(self, image: torch.Tensor) -> torch.Tensor:
        pixels = _three(image)
        if pixels.is_floating_point() and not pixels.is_meta and not bool(pixels.isfinite().all()):
            raise ValueError("the picture holds values that are not numbers; look at what makes it, and at its `dtype`")
        height, width = pixels.shape[1:]
        if self.how == "none":
            if height % self.unit or width % self.unit or not height or not width:
                raise ValueError(
                    f"a picture of {width}×{height} pixels does not divide into cells of {self.unit}×{self.unit}; "
                    f"resize it to multiples of {self.unit}, or give `fit: crop`"
                )
        elif (height, width) != (self.size, self.size):
            if pixels.is_meta:  # counting FLOPs: shapes alone
                return torch.empty(3, self.size, self.size, device="meta")
            pixels = self._squared(pixels)
        return to_float(pixels).float() * 2 - 1

    def _squared(self, pixels: torch.Tensor) -> torch.Tensor:
        import numpy
        from PIL import Image

        filter_ = Image.Resampling[self.filter]
        picture: Any = Image.fromarray(to_uint8(pixels).permute(1, 2, 0).contiguous().numpy(), "RGB")
        if self.how == "stretch":
            picture = picture.resize((self.size, self.size), filter_)
        else:
            short = round(self.over * self.size)
            while self.halve and min(picture.size) >= 2 * short:
                picture = picture.resize((picture.size[0] // 2, picture.size[1] // 2), Image.Resampling.BOX)
            scale = short / min(picture.size)
            sides = [max(short, round(side * scale)) for side in picture.size]
            picture = picture.resize((sides[0], sides[1]), filter_)
            left, top = (picture.size[0] - self.size) // 2, (picture.size[1] - self.size) // 2
            picture = picture.crop((left, top, left + self.size, top + self.size))
        return torch.from_numpy(numpy.array(picture)).permute(2, 0, 1)


def _three(image: torch.Tensor) -> torch.Tensor:
    """[3,H,W] of a grey, colour or transparent picture."""
    if image.dim() != 3 or image.shape[0] not in (1, 3, 4):
        raise ValueError(f"a picture is [C,H,W] with 1, 3 or 4 channels, not {list(image.shape)}")
    return image.expand(3, -1, -1) if image.shape[0] == 1 else image[:3]


def picture(x_BCHW: torch.Tensor) -> torch.Tensor:
    """[B,3,H,W] in -1..1 -> float32 in 0..1, cut there; gradients pass as if it were not cut."""
    pixels = (x_BCHW.float() + 1) / 2
    return pixels + (pixels.clamp(0, 1) - pixels).detach() if pixels.requires_grad else pixels.clamp(0, 1)


def square_side(count: int, node: str) -> int:
    """The side of a square grid of `count` tokens. Raises ValueError where there is none."""
    side = round(count**0.5)
    if count < 1 or side * side != count:
        raise ValueError(f"{node} decodes square grids of tokens, and {count} tokens are none")
    return side


def check_ids(ids: torch.Tensor, codes: int, node: str) -> None:
    """Raises ValueError for a token outside the vocabulary."""
    if ids.is_floating_point():
        raise ValueError(f"{node} takes whole numbers as tokens, not {ids.dtype}")
    if ids.is_meta or not ids.numel():
        return
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high >= codes:
        raise ValueError(f"token {low if low < 0 else high} is out of the vocabulary of {node}, 0 to {codes - 1}; "
                         "decode with what encoded")  # fmt: skip
