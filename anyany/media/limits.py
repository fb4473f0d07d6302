"""Limits on what is decoded, checked from headers before any memory is taken.

Units: pixels, seconds, bytes, characters.
"""

from __future__ import annotations

from dataclasses import dataclass

from anyany.media.errors import MediaError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a loaded file may be at most.

    pixels: of one picture or frame. seconds: of sound or film. bytes: of the file. decoded: bytes of the
    decoded
    value. text_chars: characters of a text or JSON file.
    """

    pixels: float = 64e6
    seconds: float = 3600
    bytes: int = 2**30
    decoded: int = 2**32
    text_chars: int = 1_000_000


def check_pixels(width: int, height: int, limits: Limits, path: str | None) -> None:
    """Raise MediaError for a picture or frame without pixels, or with too many."""
    if width <= 0 or height <= 0:
        raise MediaError("E515", f"the picture is {width}×{height}: it has no pixels", "give another file", path)
    if width * height > limits.pixels:
        message = (
            f"the picture is {width}×{height}, {width * height / 1e6:,.0f} million pixels; "
            f"the limit is {limits.pixels / 1e6:,.0f} million"
        )
        raise MediaError("E511", message, "scale it down, or raise the limit on pixels", path)


def check_seconds(seconds: float, limits: Limits, path: str | None) -> None:
    """Raise MediaError for a sound or film that is too long. Seconds may be an estimate of the header."""
    if seconds > limits.seconds:
        message = f"it lasts {seconds:,.0f} s; the limit is {limits.seconds:,.0f} s"
        raise MediaError("E512", message, "cut it, or raise the limit on seconds", path)


def check_decoded(size: float, limits: Limits, path: str | None, hint: str = "") -> None:
    """Raise MediaError where the decoded value would take too many bytes of memory."""
    if size > limits.decoded:
        message = f"it would take {human(size)} once decoded; the limit is {human(limits.decoded)}"
        help = f"{hint or 'use a shorter or smaller file'}, or raise the limit on decoded bytes"
        raise MediaError("E513", message, help, path)


def human(size: float) -> str:
    """Bytes for people: "1.5 GiB"."""
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:,.1f} GiB"
