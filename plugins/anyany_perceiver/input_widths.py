"""Widths of the arrays that the preprocessors give: values and Fourier features of their positions. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def fourier_width(axes: int, bands: int) -> int:
    """Positions, sines and cosines."""
    return axes * (1 + 2 * bands)


def image_width(config: Any) -> int:
    """Channels of each place of a picture, as `perceiver/image` gives it."""
    if config.prep == "learned":
        return int(config.channels + (config.places or config.channels))
    values = {"pixels": 3, "conv": config.channels, "patches": 3 * config.patch**2}[config.prep]
    return int(values) + fourier_width(2, config.bands)


def image_grid(config: Any) -> tuple[int, int] | None:
    """(rows, columns) of places, None where the convolution decides."""
    height, width = config.size
    if config.prep == "patches":
        return height // config.patch, width // config.patch
    return None if config.prep == "conv" else (height, width)


def resolution(config: Any, grid: Sequence[int]) -> tuple[int, ...]:
    """What the highest Fourier band is for: the option, or the grid itself."""
    return tuple(config.resolution) or tuple(grid)
