"""Regions drawn on the picture they lie on: boxes as frames, points as dots, a mask as a tint with an outline.

Pixels of the picture; what reaches beyond it is cut at its edge. Colours go round for several boxes or points.
"""

from __future__ import annotations

from typing import Any

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from anyany.media.images import meet_image, pillow
from anyany.media.regions import image_of

COLOURS = ((230, 57, 70), (29, 120, 200), (42, 157, 80), (244, 140, 6), (131, 56, 200), (0, 160, 170))
SMALL = 256
"""Pictures smaller than this are drawn on larger, so that lines stay lines beside what they mark."""


def can_draw(kind: str, value: Any) -> bool:
    """Whether a value knows a picture to be drawn on."""
    return kind in ("boxes", "points", "mask") and image_of(value) is not None


def drawn(kind: str, value: Any, image: Tensor | None = None) -> Image.Image:
    """The picture with boxes [N,4], points [N,2] or a mask [H,W] on it. image: where the value knows none.

    Raises MediaError for a picture that is none.
    """
    under = image if image is not None else image_of(value)
    assert under is not None, "a region is drawn on a picture"
    picture = pillow(meet_image(under, {"channels": 3}))
    scale = max(1, -(-SMALL // max(picture.size)))
    plain = value.detach().cpu().as_subclass(Tensor) if isinstance(value, Tensor) else torch.as_tensor(value)
    if kind == "mask":
        picture = _tinted(picture, plain)
    picture = picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)
    pen, thick = ImageDraw.Draw(picture), max(2, round(max(picture.size) / 200))
    for i, row in enumerate(plain.float().tolist() if kind != "mask" else ()):
        colour = COLOURS[i % len(COLOURS)]
        if kind == "boxes" and len(row) == 4:
            _frame(pen, _inside(row, scale, picture.size), colour, thick)
        elif kind == "points" and len(row) >= 2:
            x, y, _, _ = _inside([*row[:2], *row[:2]], scale, picture.size)
            pen.ellipse((x - 2 * thick, y - 2 * thick, x + 2 * thick, y + 2 * thick), fill=colour,
                        outline=(255, 255, 255), width=max(1, thick // 2))  # fmt: skip
    return picture


def _inside(row: list[float], scale: int, size: tuple[int, int]) -> list[float]:
    """A box's corners in order, within the picture; what is no number counts as 0."""
    most = (size[0] - 1, size[1] - 1)
    x = [min(max(row[i] * scale if row[i] == row[i] else 0.0, 0.0), most[0]) for i in (0, 2)]
    y = [min(max(row[i] * scale if row[i] == row[i] else 0.0, 0.0), most[1]) for i in (1, 3)]
    return [min(x), min(y), max(x), max(y)]


def _frame(pen: ImageDraw.ImageDraw, box: list[float], colour: tuple[int, int, int], thick: int) -> None:
    pen.rectangle(box, outline=(255, 255, 255), width=thick + 2)
    pen.rectangle([box[0] + 1, box[1] + 1, max(box[0] + 1, box[2] - 1), max(box[1] + 1, box[3] - 1)],
                  outline=colour, width=thick)  # fmt: skip


def _tinted(picture: Image.Image, mask: Tensor) -> Image.Image:
    """The picture with the mask's pixels tinted and its edge drawn; a mask of another size is scaled to it."""
    flat = (mask.reshape(mask.shape[-2:]).float() > 0.5).numpy()
    shape = Image.fromarray(flat).convert("L").resize(picture.size, Image.Resampling.NEAREST)
    inside = torch.from_numpy(_array(shape)) > 127
    pixels = torch.from_numpy(_array(picture)).float()
    colour = torch.tensor(COLOURS[0]).float()
    pixels[inside] = 0.55 * pixels[inside] + 0.45 * colour
    pixels[_edge(inside)] = colour
    return Image.fromarray(pixels.round().to(torch.uint8).numpy())


def _array(picture: Image.Image) -> Any:
    import numpy

    return numpy.array(picture)


def _edge(inside: Tensor) -> Tensor:
    """[H,W] pixels of the mask beside one that is not."""
    around = torch.nn.functional.pad(inside[None, None].float(), (1, 1, 1, 1), value=1.0)
    lowest = -torch.nn.functional.max_pool2d(-around, 3, 1)[0, 0]
    return inside & (lowest < 0.5)
