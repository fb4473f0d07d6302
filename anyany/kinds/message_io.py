"""Messages as people write them: lists of the `--items` format, Python lists, and command line templates.

Light: files are sniffed by their first bytes, never decoded here. Every mistake is a MediaError.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from anyany.kinds.message import MEDIA_KINDS, REGION_KINDS, ROLES, Media, Message, Part, Place, Region, Turn
from anyany.media.errors import MediaError

_FORMS = (
    'a part is a string, {"image"|"audio"|"video"|"text"|"file": PATH}, '
    '{"boxes": [[x1, y1, x2, y2], …], "of": K}, '
    '{"points": [[x, y], …]}, {"mask": PATH} or {"role": "user"|"assistant"|"system"}'
)

_MEDIA_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tiff", ".tif", ".avif", ".wav", ".flac", ".ogg",
                   ".mp3", ".aiff", ".mp4", ".webm", ".mkv", ".avi")  # fmt: skip


def message_from(value: Any, base_dir: str | None) -> Message:
    """See `Message.of`."""
    if isinstance(value, Message):
        return value
    if isinstance(value, (list, tuple)):
        parts: list[Part] = []
        for index, item in enumerate(value):
            parts.extend(_parts(item, base_dir, index))
        return _checked(Message(tuple(parts)))
    return Message(tuple(_parts(value, base_dir, 0)))


def _parts(item: Any, base_dir: str | None, index: int) -> tuple[Part, ...]:
    if isinstance(item, Message):
        return item.parts
    if isinstance(item, (str, Media, Region, Turn, Place)):
        return (item,)
    if isinstance(item, os.PathLike):
        return (_file(os.fspath(item), base_dir),)
    if isinstance(item, dict):
        return (_from_dict(item, base_dir, index),)
    raise MediaError("E521", f"part {index} of the message is {_short(item)}", _FORMS)


def _from_dict(item: dict[Any, Any], base_dir: str | None, index: int) -> Part:
    tags = [k for k in item if k not in ("of", "drawn")]  # `drawn` names a picture that a saved message wrote
    if len(tags) != 1:
        raise MediaError("E521", f"part {index} of the message is {_short(item)}: it needs one tag", _FORMS)
    tag, value = tags[0], item[tags[0]]
    if tag == "role":
        if value not in ROLES:
            raise MediaError(
                "E521", f"part {index} of the message has the role {value!r}", f"roles: {', '.join(ROLES)}"
            )
        return Turn(value)
    if tag in ("boxes", "points"):
        return Region(kind=tag, value=_rows(tag, value, index), of=_of(item, index))
    if tag not in (*MEDIA_KINDS, "mask", "text", "file"):
        raise MediaError("E521", f"part {index} of the message has the unknown tag {tag!r}", _FORMS)
    if not isinstance(value, (str, os.PathLike)):
        raise MediaError("E521", f"part {index} of the message: {tag!r} wants a path, not {_short(value)}", _FORMS)
    path = _join(os.fspath(value), base_dir)
    if tag == "mask":
        return Region(kind="mask", path=path, of=_of(item, index))
    if "of" in item:
        raise MediaError("E521", f"part {index} of the message: only regions have `of`", _FORMS)
    if tag == "text":
        return _text(path)
    return _file(path, None) if tag == "file" else Media(kind=tag, path=path)


def _rows(kind: str, value: Any, index: int) -> list[list[float]]:
    """Rows of numbers, as they were written; one row may stand alone."""
    columns = (4,) if kind == "boxes" else (2, 3)
    rows = [value] if isinstance(value, list) and value and not isinstance(value[0], list) else value
    if not isinstance(rows, list):
        rows = [[]]
    for row in rows:
        numbers = isinstance(row, list) and all(_number(x) for x in row)
        if not numbers or len(row) not in columns or len(row) != len(rows[0]):
            form = "[[x1, y1, x2, y2], …]" if kind == "boxes" else "[[x, y], …]"
            raise MediaError("E521", f"part {index} of the message: {kind} are {form}, not {_short(value)}", _FORMS)
    return [[float(x) for x in row] for row in rows]


def _number(x: Any) -> bool:
    return isinstance(x, (int, float)) and not isinstance(x, bool) and abs(x) < 1e300


def _of(item: dict[Any, Any], index: int) -> int | None:
    of = item.get("of")
    if of is not None and (not isinstance(of, int) or isinstance(of, bool) or of < 0):
        raise MediaError("E521", f"part {index} of the message: `of` counts the images from 0, not {of!r}", _FORMS)
    return of


def _checked(message: Message) -> Message:
    """Regions whose image is not in the message; one before any image may mean an image of a message
    before it.
    """
    images = sum(isinstance(p, (Media, Place)) and p.kind == "image" for p in message.parts)
    for part in message.parts:
        if isinstance(part, Region) and part.of is not None and images and part.of >= images:
            raise MediaError("E521", f"the region is of image {part.of}, but the message has {images} (from 0)", _FORMS)
    return message


def _join(path: str, base_dir: str | None) -> str:
    path = os.path.expanduser(path)
    return path if base_dir is None else os.path.join(base_dir, path)


def _file(path: str, base_dir: str | None) -> Part:
    """A file whose content decides: image, audio, video; text and JSON become part of the text."""
    from anyany.media.sniffing import sniff

    path = _join(path, base_dir)
    found = sniff(path)
    if found.kind in MEDIA_KINDS:
        return Media(kind=found.kind, path=path)
    if found.kind in ("text", "json"):
        suffix = os.path.splitext(path)[1].lower()
        if suffix in _MEDIA_SUFFIXES:  # an error's page or a pointer saved in a medium's place is nobody's prompt
            help = "get the file itself; text goes by another name, as notes.txt"
            raise MediaError("E506", f"its name says {suffix[1:].upper()}, and it holds {found}", help, path)
        return _text(path)
    raise MediaError("E506", f"expected text, an image, audio or a video, found {found}", "convert it first", path)


def _text(path: str) -> str:
    from anyany.media.limits import Limits
    from anyany.media.texts import load_text

    return load_text(path, Limits())


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def part_to_json(part: Part, path: str | None) -> Any:
    """One part in the `--items` format; `path` is its file's, where the caller wrote one."""
    if isinstance(part, str):
        return part
    if isinstance(part, Turn):
        return {"role": part.role}
    if isinstance(part, Place):
        return {part.kind: None}
    own = path if path is not None else part.path
    if isinstance(part, Media):
        return {part.kind: own}
    value = own if own is not None else part.value
    item = {part.kind: value.tolist() if hasattr(value, "tolist") else value}
    return item if part.of is None else {**item, "of": part.of}


# templates --------------------------------------------------------------------------------------------
_TAGS = (*MEDIA_KINDS, "file", "text", *REGION_KINDS, "role")


def parse_template(text: str, base_dir: str | None = None) -> Message:
    """See `anyany.kinds.message.parse_template`."""
    return _checked(Message.join([part for part in _pieces(text, base_dir) if part != ""]))


def _pieces(text: str, base_dir: str | None) -> Iterator[Part]:
    position = 0
    while position < len(text):
        start = text.find("{", position)
        plain = text[position:] if start < 0 else text[position:start]
        yield plain.replace("}}", "}")
        if start < 0:
            return
        if text.startswith("{{", start):
            yield "{"
            position = start + 2
            continue
        end = text.find("}", start)
        if end < 0:
            message = f"the brace at character {start + 1} is never closed: {text[start : start + 40]}"
            raise MediaError("E520", message, "close it with }, or write {{ for a brace that is text")
        yield _tag(text[start + 1 : end], start, base_dir)
        position = end + 1


def _tag(inside: str, start: int, base_dir: str | None) -> Part:
    name, colon, value = inside.partition(":")
    name, value = name.strip(), value.strip()
    if name not in _TAGS or not colon:
        message = f"{{{inside[:40]}}} at character {start + 1} is no tag"
        help = f"tags are {', '.join('{' + t + ':…}' for t in _TAGS)}; write {{{{ for a brace that is text"
        raise MediaError("E520", message, help)
    if not value:
        raise MediaError(
            "E520", f"{{{inside}}} at character {start + 1} names nothing", "write what it is after the colon"
        )
    if name in ("boxes", "points"):
        return _from_dict({name: _coordinates(value, start)}, base_dir, 0)
    part = _from_dict({name: value}, base_dir, 0)
    if isinstance(part, (Media, Region)) and part.path is not None:
        from anyany.media.sniffing import sniff

        sniff(part.path)  # a missing or unreadable file is better told now than in the middle of a run
    return part


def _coordinates(value: str, start: int) -> list[list[float]]:
    try:
        return [[float(x) for x in row.split(",")] for row in value.split(";")]
    except ValueError as error:
        message = f"{value[:40]!r} at character {start + 1} is not numbers"
        raise MediaError("E520", message, "write x1,y1,x2,y2;x1,y1,x2,y2 with numbers") from error
