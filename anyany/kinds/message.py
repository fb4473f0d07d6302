"""Messages: text, media, regions and turns in order, with the unfilled places of an open reply.

Source: DESIGN section 3 (messages, places). Torch-free: a medium's value is opaque here, or not yet decoded.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

ROLES = ("user", "assistant", "system")
REGION_KINDS = ("boxes", "points", "mask")
MEDIA_KINDS = ("image", "audio", "video")


@dataclass(frozen=True)
class FilePath:
    """The value of a medium that is still a file: a path to be decoded by whoever needs it. An
    `os.PathLike`.
    """

    path: str

    def __fspath__(self) -> str:
        return self.path


@dataclass(frozen=True, kw_only=True, eq=False)
class Media:
    """A medium in its place: decoded (`value`), or still a file (`path`, decoded on demand), or both.

    tokens: of a medium that a model produced, what that model wrote for it, in a form that is its own. It is read
    again by the same model as it was written; files do not keep it.
    """

    kind: str
    value: Any = None
    path: str | None = None
    tokens: Any = None

    @property
    def content(self) -> Any:
        """The decoded value, or the path of the file (a `FilePath`) where it is not decoded yet."""
        return FilePath(self.path) if self.value is None and self.path is not None else self.value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Media) or (self.kind, self.path) != (other.kind, other.path):
            return False
        return self.value is other.value or _same(self.value, other.value)

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, kw_only=True, eq=False)
class Region:
    """Boxes, points or a mask of an image of the same message.

    `of` is the image's number in the message, counted from 0; None means the nearest image before the region.
    """

    kind: str
    value: Any = None
    of: int | None = None
    path: str | None = None

    @property
    def content(self) -> Any:
        """The value, or the path of a mask's file (a `FilePath`) where it is not decoded yet."""
        return FilePath(self.path) if self.value is None and self.path is not None else self.value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Region):
            return False
        if (self.kind, self.of, self.path) != (other.kind, other.of, other.path):
            return False
        return self.value is other.value or _same(self.value, other.value)

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Turn:
    """Opens a turn: the parts after it, up to the next turn, are said by `role`."""

    role: str

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ValueError(f"a turn's role is one of {', '.join(ROLES)}, not {self.role!r}")


@dataclass(frozen=True)
class Place:
    """An unfilled place of an open reply: `index` counts the places of its kind from 0.

    tokens: see `Media`; a medium that fills the place takes them over.
    """

    kind: str
    index: int
    tokens: Any = field(default=None, compare=False)


Part = str | Media | Region | Turn | Place


def _same(a: Any, b: Any) -> bool:
    """Equality that survives arrays, whose `==` gives an array."""
    result = a == b
    if isinstance(result, bool):
        return result
    return getattr(a, "shape", None) == getattr(b, "shape", None) and bool(result.all())


@dataclass(frozen=True)
class Message:
    """Parts in order. Equal parts make equal messages; adjacent strings are kept apart unless joined."""

    parts: tuple[Part, ...] = ()

    # building -----------------------------------------------------------------------------------------
    @classmethod
    def of(cls, value: Any, base_dir: str | None = None) -> Message:
        """A message from what people write: a string, a path, a part, a message, or a list of these.

        Raises MediaError where an item cannot be read as a part.
        """
        from anyany.kinds.message_io import message_from

        return message_from(value, base_dir)

    @classmethod
    def join(cls, entries: Sequence[Message | Part]) -> Message:
        """One message of all entries in order. Adjacent strings merge; `of` numbers move along with their
        images.
        """
        parts: list[Part] = []
        for entry in entries:
            added = entry.parts if isinstance(entry, Message) else (entry,)
            before, own = _images(parts), _images(added)
            for part in added:
                if isinstance(part, Region) and part.of is not None and before and part.of < own:
                    part = replace(part, of=part.of + before)
                parts.append(part)
        return cls(_merged(parts))

    @classmethod
    def from_json(cls, data: Any, base_dir: str | None = None) -> Message:
        """The message that a list of the `--items` format describes (relative paths start at `base_dir`).

        Items: strings; `{"image"|"audio"|"video"|"file": PATH}`; `{"boxes": [[x1,y1,x2,y2], ...], "of": K}`,
        `{"points": ...}`, `{"mask": PATH}`; `{"role": "user"|"assistant"|"system"}`. Raises MediaError.
        """
        from anyany.kinds.message_io import message_from

        return message_from(data, base_dir)

    # reading ------------------------------------------------------------------------------------------
    @property
    def text(self) -> str:
        """The text of the last turn, joined in order."""
        turns = self.turns()
        return "".join(p for p in turns[-1][1] if isinstance(p, str)) if turns else ""

    def kinds(self) -> tuple[str, ...]:
        """The kinds of media, regions and unfilled places in the message, each once, in order of
        appearance.
        """
        return tuple(dict.fromkeys(p.kind for p in self.parts if isinstance(p, (Media, Region, Place))))

    def select(self, kind: str) -> list[Any]:
        """The values of `kind` at their places, in order: media or regions (a `FilePath` where not decoded).

        Unfilled places have no value and are left out.
        """
        return [p.content for p in self.parts if isinstance(p, (Media, Region)) and p.kind == kind]

    def images(self) -> list[Any]:
        """The pictures in order, as regions count them: values, a `FilePath` where not decoded, None where unfilled."""
        parts = [p for p in self.parts if isinstance(p, (Media, Place)) and p.kind == "image"]
        return [p.content if isinstance(p, Media) else None for p in parts]

    def regions(self, kind: str) -> list[tuple[Any, int | None]]:
        """Each region's value with the number (from 0) of the image it lies on; None where no image is
        before it.
        """
        found: list[tuple[Any, int | None]] = []
        images = 0
        for part in self.parts:
            if isinstance(part, (Media, Place)) and part.kind == "image":
                images += 1
            elif isinstance(part, Region) and part.kind == kind:
                found.append((part.content, part.of if part.of is not None else images - 1 if images else None))
        return found

    def turns(self) -> list[tuple[str, tuple[Part, ...]]]:
        """(role, parts) of each turn. Parts before the first `Turn` are the user's."""
        turns: list[tuple[str, list[Part]]] = []
        for part in self.parts:
            if isinstance(part, Turn):
                turns.append((part.role, []))
                continue
            if not turns:
                turns.append(("user", []))
            turns[-1][1].append(part)
        return [(role, tuple(parts)) for role, parts in turns]

    # places -------------------------------------------------------------------------------------------
    def unfilled(self) -> tuple[Place, ...]:
        """The places that wait for a value, in order."""
        return tuple(p for p in self.parts if isinstance(p, Place))

    def fill(self, kind: str, values: Sequence[Any]) -> Message:
        """The message with its places of `kind` taken by `values` in order; None removes its place.

        A value may be a decoded value, a `Media`, a `Region`, or for kind "message" a message. A region of
        a removed
        image goes with it. Raises ValueError unless there are exactly as many values as places.
        """
        count = sum(p.kind == kind for p in self.unfilled())
        if len(values) != count:
            raise ValueError(f"the message has {count} unfilled {kind} places, but {len(values)} values came")
        given = iter(values)
        parts: list[Part] = []
        for part in self.parts:
            if not (isinstance(part, Place) and part.kind == kind):
                parts.append(part)
                continue
            value = next(given)
            if value is None:
                parts.append(_GONE if kind == "image" else "")
            elif isinstance(value, Message):
                parts.extend(value.parts)
            else:
                parts.append(_written(_as_part(kind, value), part.tokens))
        return Message(_merged(_without_gone(parts)))

    def map(self, change: Callable[[Part], Part]) -> Message:
        """The message with every part replaced by what `change` makes of it (to decode all media at once,
        say).
        """
        return Message(tuple(change(part) for part in self.parts))

    # writing ------------------------------------------------------------------------------------------
    def to_json(self, paths: Mapping[int, str] | None = None) -> list[Any]:
        """The message in the `--items` format; `paths` gives the file of the part at each position.

        Without one, a medium's own path is used; a medium that has none, or an unfilled place, becomes null.
        """
        from anyany.kinds.message_io import part_to_json

        known = paths or {}
        return [part_to_json(part, known.get(i)) for i, part in enumerate(self.parts)]


_GONE = Place("image", -1)  # stands for a removed image until the numbers of regions are set right


def _as_part(kind: str, value: Any) -> Part:
    if isinstance(value, (Media, Region)):
        return value
    if kind == "text":
        return str(value)
    if kind in REGION_KINDS:
        return Region(kind=kind, value=value)
    return Media(kind=kind, value=value)


def _written(part: Part, tokens: Any) -> Part:
    """A medium with the tokens of the place that it fills."""
    return replace(part, tokens=tokens) if tokens is not None and isinstance(part, Media) else part


def _images(parts: Sequence[Part]) -> int:
    return sum(isinstance(p, (Media, Place)) and p.kind == "image" for p in parts)


def _without_gone(parts: Sequence[Part]) -> list[Part]:
    """Take removed images out, with their regions, and renumber `of` of the others."""
    if not any(p is _GONE for p in parts):
        return list(parts)
    new: dict[int, int | None] = {}
    kept = 0
    for part in parts:
        if isinstance(part, (Media, Place)) and part.kind == "image":
            new[len(new)] = None if part is _GONE else kept
            kept += part is not _GONE
    result: list[Part] = []
    seen = 0
    for part in parts:
        if isinstance(part, (Media, Place)) and part.kind == "image":
            seen += 1
        elif isinstance(part, Region):
            image = part.of if part.of is not None else seen - 1
            if image in new:
                if new[image] is None:
                    continue
                part = part if part.of is None else replace(part, of=new[image])
        if part is not _GONE:
            result.append(part)
    return result


def _merged(parts: Sequence[Part]) -> tuple[Part, ...]:
    """Adjacent strings become one; empty ones go."""
    result: list[Part] = []
    for part in parts:
        if isinstance(part, str):
            if part and result and isinstance(result[-1], str):
                result[-1] += part
            elif part:
                result.append(part)
        else:
            result.append(part)
    return tuple(result)


def parse_template(text: str, base_dir: str | None = None) -> Message:
    """The message that a template of the command line describes: `What is in {file:cat.png}?`.

    Tags: {image:PATH} {audio:PATH} {video:PATH} {text:PATH}, {file:PATH} (its content decides), {mask:PATH},
    {boxes:x1,y1,x2,y2;...}, {points:x,y;...}, {role:user}. `{{` and `}}` are literal braces. Raises
    MediaError for an
    unclosed brace, an unknown tag, or a file that is not there.
    """
    from anyany.kinds.message_io import parse_template as parse

    return parse(text, base_dir)


def is_path(value: Any) -> bool:
    """True where a value of an edge is still a file: a `FilePath` or any path object, never a plain
    string.
    """
    return isinstance(value, os.PathLike)
