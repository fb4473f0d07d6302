"""Timed text as subtitles: SubRip (.srt) and WebVTT (.vtt).

Spans are {start, end, text} with times in seconds. Formats: https://www.w3.org/TR/webvtt1/; SubRip by use.
"""

from __future__ import annotations

import html
from typing import Any

from anyany.media.errors import MediaError


def rows_of(value: Any) -> list[tuple[float, float, str]]:
    """(start, end, text) of each span, in order of time; ends before their starts are put right. Raises MediaError."""
    found = []
    for one in value if isinstance(value, (list, tuple)) else [None]:
        try:
            start, end, text = (one[k] for k in ("start", "end", "text")) if isinstance(one, dict) else one
            row = (max(0.0, float(start)), float(start if end is None else end), str(text))
        except (TypeError, ValueError, KeyError, IndexError):
            raise MediaError("E524", f"spans are a list of {{start, end, text}}, not {str(value)[:60]}",
                             "check what makes them") from None  # fmt: skip
        if not row[0] < 1e9 or not abs(row[1]) < 1e9:
            raise MediaError("E524", f"a span goes from {row[0]} to {row[1]} seconds", "check what makes it")
        found.append((row[0], max(row[0], row[1]), row[2]))
    return sorted(found, key=lambda row: row[:2])


def clock(seconds: float, comma: str) -> str:
    """Seconds as 00:01:02.345; subtitles of SubRip have a comma."""
    whole = round(seconds * 1000)
    minutes, milliseconds = divmod(whole, 60_000)
    return (f"{minutes // 60:02d}:{minutes % 60:02d}:{milliseconds // 1000:02d}"
            f"{comma}{milliseconds % 1000:03d}")  # fmt: skip


def srt(value: Any) -> str:
    """SubRip: numbered blocks."""
    blocks = [
        f"{i}\n{clock(start, ',')} --> {clock(end, ',')}\n{_lines(text)}\n"
        for i, (start, end, text) in enumerate(rows_of(value), 1)
    ]
    return "\n".join(blocks)


def vtt(value: Any) -> str:
    """WebVTT."""
    blocks = [
        f"{clock(start, '.')} --> {clock(end, '.')}\n{html.escape(_lines(text), quote=False)}\n"
        for start, end, text in rows_of(value)
    ]
    return "\n".join(["WEBVTT\n", *blocks])


def _lines(text: str) -> str:
    """The text without the empty lines that would end its block."""
    return "\n".join(line.strip() for line in text.splitlines() if line.strip())
