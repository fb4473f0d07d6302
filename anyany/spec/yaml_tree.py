"""The tree that a spec is read into: plain values, each with the place it was written at.

`Marked.value` is None, bool, int, float, str, a list of `Marked`, or a dict from text to `Marked`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from anyany.errors.problems import Mark

Plain = None | bool | int | float | str | list["Plain"] | dict[str, "Plain"]

MAX_BYTES = 1_000_000
MAX_DEPTH = 64
MAX_VALUES = 100_000
"""Values in one spec, aliases counted as often as they are used."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Marked:
    """A value with its place. Trees are shared, never changed: `set_path` copies what it touches.

    `mark` spans the value if it is a scalar on one line, else its first character; `end` is the line and
    column just after it (1-based). `key_marks` has the places of a mapping's keys. `quoted` is true for
    scalars in quotes or block style; `raw` is the text of an unquoted scalar as it was written.
    """

    value: bool | int | float | str | list[Marked] | dict[str, Marked] | None
    mark: Mark
    end: tuple[int, int]
    key_marks: dict[str, Mark] = field(default_factory=dict)
    quoted: bool = False
    raw: str | None = None

    @property
    def what(self) -> str:
        """The value's shape in words, for messages: `a mapping`, `a list`, `a text`, `nothing` …"""
        if self.value is None:
            return "nothing"
        return WORDS[type(self.value)]

    @property
    def end_mark(self) -> Mark:
        """The place just after the value."""
        return Mark(self.mark.file, *self.end)

    def get(self, key: str) -> Marked | None:
        """The value under `key`, or None when it is missing or this is no mapping."""
        return self.value.get(key) if isinstance(self.value, dict) else None

    def items(self) -> Iterator[tuple[str, Marked]]:
        """Keys and values of a mapping in file order; nothing for other shapes."""
        return iter(self.value.items() if isinstance(self.value, dict) else ())

    def key_mark(self, key: str) -> Mark:
        """The place of a key, or of the whole mapping when it is not there."""
        return self.key_marks.get(key, self.mark)


WORDS: dict[type, str] = {
    dict: "a mapping",
    list: "a list",
    str: "a text",
    bool: "a boolean",
    int: "a whole number",
    float: "a number",
}


def to_plain(marked: Marked) -> Plain:
    """The tree without its marks, as ordinary Python values (new containers, safe to change)."""
    value = marked.value
    if isinstance(value, dict):
        return {key: to_plain(child) for key, child in value.items()}
    if isinstance(value, list):
        return [to_plain(child) for child in value]
    return value


def _step(node: Marked, parts: list[str]) -> tuple[str, Marked, int] | None:
    """The child that the first parts name, and how many parts its key takes (keys may hold dots)."""
    if isinstance(node.value, list):
        index = parts[0]
        if index.isdecimal() and len(index) < 8 and int(index) < len(node.value):
            return index, node.value[int(index)], 1
        return None
    if not isinstance(node.value, dict):
        return None
    for used in range(1, len(parts) + 1):
        key = ".".join(parts[:used])
        if key in node.value:
            return key, node.value[key], used
    return None


def find(marked: Marked, path: str) -> Marked | None:
    """The value at a dotted path (`nodes.see.with.queries`; list items by number), or None."""
    node, parts = marked, path.split(".") if path else []
    while parts:
        step = _step(node, parts)
        if step is None:
            return None
        _, node, used = step
        parts = parts[used:]
    return node


def at(marked: Marked, path: str, key: bool = False) -> Mark:
    """The place of the value at a dotted path, or of its key with `key=True`.

    A path that is not there gives the nearest thing above it that is: the key of its parent, or the root.
    """
    node, parts = marked, path.split(".") if path else []
    key_mark = marked.mark
    while parts:
        step = _step(node, parts)
        if step is None:
            return key_mark
        name, child, used = step
        key_mark = node.key_marks.get(name, child.mark)
        node, parts = child, parts[used:]
    return key_mark if key else node.mark
