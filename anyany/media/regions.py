"""Boxes, points and masks that know the picture they lie on: tensors with a reference that nodes keep.

Boxes [N,4] x1 y1 x2 y2, points [N,2], mask [H,W], all in pixels of the picture. Source: DESIGN section 3 (messages).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor


class OnImage(Tensor):
    """A tensor on a picture. image: the picture [C,H,W], or None; of: its number in its message, or None.

    What torch makes of it (moved, cut, compared) stays on the same picture.
    """

    image: Tensor | None = None
    of: int | None = None

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # fmt: skip
        result = super().__torch_function__(func, types, args, kwargs or {})
        if isinstance(result, OnImage) and result.image is None and result.of is None:
            source = next((a for a in args if isinstance(a, OnImage)), None)
            if source is not None:
                result.image, result.of = source.image, source.of
        return result


def on_image(value: Any, image: Tensor | None, of: int | None = None) -> OnImage:
    """The same numbers, on a picture."""
    made = torch.as_tensor(value).as_subclass(Tensor).as_subclass(OnImage)
    made.image, made.of = image, of
    return made


def image_of(value: Any) -> Tensor | None:
    """The picture that a region lies on, or None where it knows none."""
    return value.image if isinstance(value, OnImage) else None
