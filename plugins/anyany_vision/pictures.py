"""Pictures as the checkpoints' own preprocessing makes them: resized by PIL on bytes, cropped or padded, normalised.

A resize of float tensors is not equivalent. Shapes: a picture [C,H,W] uint8 or float 0..1; a batch [B,3,S,S] float.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from anyany.api.torch import to_uint8

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def to_pil(image: torch.Tensor) -> Any:
    """[C,H,W] -> a PIL picture in RGB."""
    from PIL import Image

    pixels = to_uint8(image).cpu()
    if pixels.shape[0] == 1:
        pixels = pixels.expand(3, -1, -1)
    return Image.fromarray(pixels[:3].permute(1, 2, 0).contiguous().numpy(), "RGB")


def from_pil(picture: Any) -> torch.Tensor:
    """A PIL picture in RGB -> [3,H,W] uint8."""
    import numpy

    return torch.from_numpy(numpy.array(picture)).permute(2, 0, 1).contiguous()


def short_side(picture: Any, size: int) -> Any:
    """The short side becomes `size`, the other in proportion, rounded down (CLIP's processor)."""
    from PIL import Image

    width, height = picture.size
    if min(width, height) == size:
        return picture
    if width <= height:
        wanted = (size, int(size * height / width))
    else:
        wanted = (int(size * width / height), size)
    return picture.resize(wanted, Image.Resampling.BICUBIC)


def crop_square(picture: Any, size: int, short: int | None = None) -> Any:
    """Short side to `short` (default `size`), then the square in the middle ("square": CLIP's processor)."""
    picture = short_side(picture, short or size)
    left, top = (picture.size[0] - size) // 2, (picture.size[1] - size) // 2
    return picture.crop((left, top, left + size, top + size))


def pad_square(picture: Any, mean: Sequence[float]) -> Any:
    """A square canvas of the mean's colour with the picture in the middle, as LLaVA-1.5 was trained."""
    from PIL import Image

    width, height = picture.size
    if width == height:
        return picture
    side = max(width, height)
    canvas = Image.new("RGB", (side, side), tuple(int(255 * m) for m in mean))
    canvas.paste(picture, ((side - width) // 2, (side - height) // 2))
    return canvas


def stretched(picture: Any, size: int) -> Any:
    """The whole picture as a square, its aspect ratio lost."""
    from PIL import Image

    return picture.resize((size, size), Image.Resampling.BICUBIC)


def normalised(picture: Any, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """[3,H,W] float32: (pixels / 255 - mean) / std."""
    pixels = from_pil(picture).float() / 255
    return (pixels - torch.tensor(list(mean)).view(-1, 1, 1)) / torch.tensor(list(std)).view(-1, 1, 1)


def prepared(image: torch.Tensor, size: int, mean: Sequence[float], std: Sequence[float], fit: str,
             short: int | None = None) -> torch.Tensor:  # fmt: skip
    """[3,size,size] of one picture; fit: `crop` (short side to `short` first), `pad` with the mean's colour,
    `white` (padded with it) or `stretch`.
    """
    if image.is_meta:  # counting FLOPs: shapes alone
        return torch.empty(3, size, size, device="meta")
    picture = to_pil(image)
    if fit == "crop":
        picture = crop_square(picture, size, short)
    elif fit in ("pad", "white"):
        picture = crop_square(pad_square(picture, mean if fit == "pad" else (1.0, 1.0, 1.0)), size)
    else:
        picture = stretched(picture, size)
    return normalised(picture, mean, std)


def fitted_size(size: Sequence[int], longest: int, patch: int) -> tuple[int, int]:
    """(height, width) near a picture's proportions: multiples of `patch`, neither above `longest`, none enlarged."""
    scale, most = min(1.0, longest / max(size)), longest // patch
    height, width = (min(most, max(1, round(side * scale / patch))) * patch for side in size)
    return height, width


def fitted(image: torch.Tensor, longest: int, patch: int, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """[3,H,W] of one picture at its own aspect ratio: H and W multiples of `patch`, neither above `longest`."""
    from PIL import Image

    height, width = fitted_size(image.shape[-2:], longest, patch)
    if image.is_meta:  # counting FLOPs: shapes alone
        return torch.empty(3, height, width, device="meta")
    picture = to_pil(image)
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    return normalised(picture, mean, std)


def best_resolution(size: tuple[int, int], choices: Sequence[Sequence[int]]) -> tuple[int, int]:
    """(width, height) among `choices` that keeps most of the picture's own pixels, then wastes least (LLaVA-1.6)."""
    width, height = size
    best, kept, wasted = (0, 0), -1, 0
    for wide, high in choices:
        scale = min(wide / width, high / height)
        used = min(int(width * scale) * int(height * scale), width * height)
        waste = wide * high - used
        if used > kept or (used == kept and waste < wasted):
            best, kept, wasted = (int(wide), int(high)), used, waste
    return best


def letterboxed(picture: Any, size: tuple[int, int]) -> tuple[Any, tuple[int, int, int, int]]:
    """(picture as large as fits, in the middle of black; where it lies: left, top, right, bottom)."""
    from PIL import Image

    width, height = picture.size
    across, down = size[0] / width, size[1] / height
    if across < down:
        inner = (size[0], min(math.ceil(height * across), size[1]))
    else:
        inner = (min(math.ceil(width * down), size[0]), size[1])
    canvas = Image.new("RGB", size, (0, 0, 0))
    at = ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2)
    canvas.paste(picture.resize(inner, Image.Resampling.BICUBIC), at)
    return canvas, (*at, at[0] + inner[0], at[1] + inner[1])


def chances(logits_BK: torch.Tensor, names: Sequence[str]) -> tuple[list[str], list[dict[str, float]]]:
    """(the likeliest name, all probabilities by name) of each row; names default to 0, 1, 2, …"""
    words = list(names) or [str(i) for i in range(logits_BK.shape[-1])]
    if logits_BK.is_meta:  # counting FLOPs: shapes alone
        logits_BK = torch.zeros(logits_BK.shape, device="cpu")
    scores = [dict(zip(words, row)) for row in logits_BK.float().softmax(-1).tolist()]
    return [max(s, key=s.__getitem__) for s in scores], scores
