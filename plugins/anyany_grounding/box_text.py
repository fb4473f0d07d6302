"""box-text: regions of a message become coordinates in its text, and coordinates of a text become boxes again.

Shikra (Chen et al. 2023, arXiv 2306.15195); with `form: ferret` Ferret's (You et al. 2023, arXiv 2310.07704).
Boxes [N,4] x1 y1 x2 y2 and points [N,2] in pixels; in text they are fractions of the picture, or of its square.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from anyany.api.torch import Build, Component, Context, OnImage, Rows, on_image
from anyany.api.v1 import Media, Message, Place, Region
from anyany_grounding.coordinates import box_around, picture_of, size_of, to_fractions, to_pixels
from anyany_grounding.text_forms import FORMS, Form, Row


class BoxText(Component):
    """Options: `BoxTextConfig`."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        form: Form = FORMS[config.form]
        self.form = replace(form, digits=config.digits, bins=config.bins if form.bins else 0)

    # writing -----------------------------------------------------------------------------------------------------
    def write(self, ctx: Context, message: Rows) -> dict[str, Rows]:
        """message: B messages. Their regions become text in their place; with `keep`, they also stay, one by one.

        Raises ValueError for a region without a picture, and for an empty mask.
        """
        return {"message": ctx.rows([self._written(one) for one in message.list()])}

    def _written(self, message: Message) -> Message:
        images = message.images()
        parts: list[Any] = []
        seen = 0
        for part in message.parts:
            if isinstance(part, (Media, Place)) and part.kind == "image":
                seen += 1
            if not isinstance(part, Region):
                parts.append(part)
                continue
            of = part.of if part.of is not None else seen - 1
            image = picture_of(part.value, images[of] if 0 <= of < len(images) else None)
            parts += self._piece(part, image)
        return Message.join(parts)

    def _piece(self, part: Region, image: torch.Tensor) -> list[Any]:
        """A region as text, or with `keep` as text and region in turn."""
        rows = _rows(part)
        written = self.fractions(rows, size_of(image))
        if not self.config.keep:
            return [self.form.write(written)] if written else []
        found: list[Any] = []
        for i, row in enumerate(written):
            value = part.value if part.kind == "mask" else rows[i : i + 1]
            found += [self.form.write([row]) + " ", replace(part, value=on_image(value, image), path=None)]
        return found

    def fractions(self, pixels: torch.Tensor, size: tuple[int, int]) -> list[Row]:
        """Pixels [N,2k] as fractions, rounded as they are printed."""
        found = to_fractions(pixels.double(), size, self.config.pad)
        return [tuple(round(x, self.form.digits) for x in row) for row in found.tolist()]

    # reading -----------------------------------------------------------------------------------------------------
    def parse(self, ctx: Context, text: Rows, images: Rows) -> dict[str, Rows]:
        """text: B texts; images: the pictures of each. Boxes and points [N,..] lie on the last picture, in order.

        What looks like coordinates and is none is passed over and remarked in `note`; nothing here fails an item.
        """
        boxes, points, notes = [], [], []
        for i, (one, pictures) in enumerate(zip(text.list(), images.groups())):
            remarks: list[str] = []
            image = pictures[-1] if pictures else None
            boxes.append(self._located(one, 4, image, remarks))
            points.append(self._located(one, 2, image, remarks))
            remarks = [*self.malformed(one), *remarks]
            notes.append("; ".join(remarks) or None)
            for remark in remarks:
                ctx.note(i, remark)
        return {"boxes": ctx.rows(boxes), "points": ctx.rows(points), "note": ctx.maybe(notes)}

    def malformed(self, text: str) -> list[str]:
        """What is wrong with each bracket that was meant as coordinates."""
        good = [w for columns in (4, 2) for w in self.form.mentions(text, columns)]
        return [f"{one[:60]!r} is no {self.form.example()}: passed over"
                for one in self.form.near(text) if one not in good]  # fmt: skip

    def _located(self, text: str, columns: int, image: torch.Tensor | None, remarks: list[str]) -> OnImage:
        rows = [row for mention in self.form.read(text, columns) for row in mention]
        kind = "boxes" if columns == 4 else "points"
        if rows and image is None:
            remarks.append(f"the text names {kind}, but there is no picture for them")
            rows = []
        found = torch.tensor(rows, dtype=torch.float64).reshape(-1, columns)
        if image is None:
            return on_image(found.float(), None)
        if bool((found > 1).any()):
            remarks.append(f"{kind} reach beyond the picture: cut at its edge")
        if columns == 4:
            low, high = torch.minimum(found[:, :2], found[:, 2:]), torch.maximum(found[:, :2], found[:, 2:])
            ordered = torch.cat([low, high], 1)
            if not torch.equal(ordered, found):
                remarks.append("a box names its corners in the wrong order: put right")
            found = ordered
        return on_image(to_pixels(found.clamp(0, 1), image, self.config.pad).float(), image)


def _rows(part: Region) -> torch.Tensor:
    """A region's boxes [N,4] or points [N,2]; of a mask, the box around it. Raises ValueError for no numbers."""
    if part.kind == "mask":
        return box_around(torch.as_tensor(part.value) > 0)
    columns = 4 if part.kind == "boxes" else 2
    rows = torch.as_tensor(part.value, dtype=torch.float32)
    rows = rows[None] if rows.dim() == 1 and rows.numel() else rows.reshape(len(rows), -1)
    if not bool(torch.isfinite(rows).all()):
        raise ValueError(f"the {part.kind} hold values that are no numbers")
    return rows[:, :columns] if rows.numel() else rows.reshape(0, columns)
