"""Text and JSON files: UTF-8 only, with the line and column of the first byte that is not.

A byte order mark is dropped; line ends stay as they are.
"""

from __future__ import annotations

from typing import Any

from anyany.media.errors import MediaError
from anyany.media.files import read_all
from anyany.media.limits import Limits


def load_text(path: str, limits: Limits) -> str:
    """The text of a UTF-8 file. Raises MediaError with the place of the first bad byte."""
    data = read_all(path, limits)
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise MediaError("E518", "the text is UTF-16, not UTF-8", f"iconv -f UTF-16 -t UTF-8 {path}", path)
    if len(data) > 4 * limits.text_chars + 4:  # no character takes more than four bytes
        raise _too_long(len(data) // 4, limits, path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        message = f"line {line}, byte {column}: 0x{data[error.start]:02x} is not UTF-8 (offset {error.start})"
        raise MediaError("E518", message, "save it as UTF-8", path) from error
    if len(text) > limits.text_chars:
        raise _too_long(len(text), limits, path)
    if "\0" in text:
        raise MediaError("E518", f"the text holds a zero byte (offset {text.index(chr(0))})", "give a text file", path)
    return text


def _too_long(count: int, limits: Limits, path: str) -> MediaError:
    message = f"the text has {count:,} characters or more; the limit is {limits.text_chars:,}"
    return MediaError("E514", message, "cut it into parts, or raise the limit on characters", path)


def load_json(path: str, limits: Limits) -> Any:
    """The value in a JSON file. Raises MediaError with the line and column of the first mistake."""
    import json

    text = load_text(path, limits)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        message = f"line {error.lineno}, column {error.colno}: not valid JSON ({error.msg.lower()})"
        raise MediaError("E519", message, "mend it there", path) from error
    except (ValueError, RecursionError) as error:
        message = "not valid JSON (nested too deeply, or a number too long)"
        raise MediaError("E519", message, "write it more simply", path) from error
