"""Problems as text for people: header, message, the source line with carets, related places, help.

The layout follows rustc: `error[E021] spec.yaml:14:21 nodes.think.in.image`, then what was found and why.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from anyany.errors.problems import Mark, Problem

WIDEST = 160
"""Columns of a source line that are shown; a longer line is cut to a window round the caret."""
TAB = 4
_LINE_BREAKS = "\r\n|[\r\n\x85\u2028\u2029]"
_COLOURS = {"error": "1;31", "warning": "1;33", "help": "1;36", "dim": "2", "bold": "1"}


def wants_colour(stream: object = None) -> bool:
    """Whether to colour text for `stream` (default stdout): only a terminal, never with NO_COLOR or dumb."""
    import os

    target = sys.stdout if stream is None else stream
    isatty = getattr(target, "isatty", None)
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or isatty is None:
        return False
    return bool(isatty())


def split_lines(text: str) -> list[str]:
    """Lines as YAML counts them (`str.splitlines` knows more line breaks, and the numbers would drift)."""
    return re.split(_LINE_BREAKS, text)


@dataclass(slots=True)
class _Sources:
    """Texts of the files that marks point into: those given, else read from disk, each split once."""

    given: Mapping[str, str]
    lines: dict[str, list[str]]

    def line(self, mark: Mark) -> str | None:
        """The line a mark is on; None where there is no text to show."""
        if mark.file not in self.lines:
            text = self.given.get(mark.file)
            self.lines[mark.file] = split_lines(_read(mark.file) if text is None else text)
        lines = self.lines[mark.file]
        return lines[mark.line - 1] or None if 1 <= mark.line <= len(lines) else None


def _read(file: str) -> str:
    """The file's text, or nothing: a problem must show even when its file is gone, huge or not text."""
    import os

    if file.startswith("<") or not os.path.isfile(file):
        return ""
    try:
        with open(file, "rb") as handle:
            data = handle.read(1 << 20)
    except OSError:
        return ""
    return data.decode("utf-8", "replace").removeprefix("\ufeff")


def clean(text: str) -> str:
    """`text` with control characters and lone surrogates made visible: no spec may drive a terminal."""
    if text.isprintable():
        return text
    return "".join(_visible(char) for char in text)


def _visible(char: str) -> str:
    if char in "\n\t" or char.isprintable():
        return char
    code = ord(char)
    if code < 32:
        return chr(0x2400 + code)
    return " " if char.isspace() else "\ufffd"


def _width(char: str) -> int:
    """Terminal columns of a character: 0 for combining marks, 2 for wide ones."""
    if char < "\x7f":
        return 1
    import unicodedata

    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def caret_line(line: str, column: int, length: int) -> tuple[str, int, int]:
    """The line as shown, and where its caret run starts (0-based) and how many columns it takes.

    `column` is 1-based and in characters; tabs become four columns, wide characters count two. A line
    beyond `WIDEST` is cut to a window round the caret, with `…` at the cut ends.
    """
    start = max(0, min(column - 1, len(line)))
    stop = max(start + 1, min(start + max(1, length), len(line)))
    left, right = 0, len(line)
    if len(line) > WIDEST:
        left = max(0, min(start - WIDEST // 3, len(line) - WIDEST))
        right = left + WIDEST
        stop = max(start + 1, min(stop, right))
    shown, offset, width = ("…", 1, 0) if left else ("", 0, 0)
    for index in range(left, right):
        char = line[index]
        cells = TAB if char == "\t" else _width(char)
        offset += cells if index < start else 0
        width += cells if start <= index < stop else 0
        shown += " " * TAB if char == "\t" else _visible(char)
    return shown + ("…" if right < len(line) else ""), offset, max(1, width)


class _Painter:
    def __init__(self, colour: bool) -> None:
        self.colour = colour

    def __call__(self, style: str, text: str) -> str:
        return f"\x1b[{_COLOURS[style]}m{text}\x1b[0m" if self.colour else text


def _snippet(mark: Mark, note: str, sources: _Sources, paint: _Painter, style: str, gutter: int) -> list[str]:
    line = sources.line(mark)
    if line is None:
        return [f"{' ' * gutter} {paint('dim', '|')} {note}"] if note else []
    shown, offset, width = caret_line(line, mark.column, mark.length)
    sign = "^" if style in ("error", "warning") else "-"
    carets = paint(style, sign * width + (f" {note}" if note else ""))
    return [
        f"{paint('dim', f'{mark.line:>{gutter}} |')} {shown}",
        f"{paint('dim', ' ' * gutter + ' |')} {' ' * offset}{carets}",
    ]


def _indent(text: str, head: str) -> str:
    return clean(text).replace("\n", "\n" + " " * len(head))


def _one(item: Problem, sources: _Sources, paint: _Painter) -> str:
    mark = item.mark
    place = f" {clean(mark.file)}:{mark.line}:{mark.column}" if mark else ""
    path = f" {clean(item.path)}" if item.path else ""
    lines = [paint(item.severity, f"{item.severity}[{item.code}]") + paint("bold", place) + path]
    lines.append(f"  {_indent(item.message, '  ')}")
    gutter = max([len(str(m.line)) for m, _ in item.related] + [len(str(mark.line)) if mark else 1, 3])
    if mark:
        lines += _snippet(mark, "", sources, paint, item.severity, gutter)
    for other, note in item.related:
        if mark is None or other.file != mark.file:
            lines.append(f"{' ' * gutter} {paint('dim', f'--> {clean(other.file)}:{other.line}:{other.column}')}")
        lines += _snippet(other, clean(note), sources, paint, "help", gutter)
    for word, value in (("expected", item.expected), ("found", item.found)):
        if value:
            lines.append(f"{word + ':':>11} {_indent(value, ' ' * 12)}")
    if item.help:
        lines.append(f"{paint('help', '      help:')} {_indent(item.help, ' ' * 12)}")
    return "\n".join(lines)


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Problems by file, line and column, each once; those without a place come last."""
    unique = dict.fromkeys(problems)
    return sorted(
        unique,
        key=lambda p: (
            p.mark is None,
            *((p.mark.file, p.mark.line, p.mark.column) if p.mark else ("", 0, 0)),
            p.code,
        ),
    )


def summary(problems: Sequence[Problem]) -> str:
    """The last line: `3 errors, 1 warning`, or `no problems`."""
    errors = sum(p.is_error for p in problems)
    counts = ((errors, "error"), (len(problems) - errors, "warning"))
    return ", ".join(f"{n} {word}{'s' if n != 1 else ''}" for n, word in counts if n) or "no problems"


def render(problems: Iterable[Problem], sources: Mapping[str, str] | None = None, colour: bool | None = None) -> str:
    """All problems as text, in file order, with the count as the last line.

    `sources` maps a mark's file to its text; files not given are read from disk where they exist.
    `colour=None` asks `wants_colour()`. The text has no lone surrogates and no control characters.
    """
    paint = _Painter(wants_colour() if colour is None else colour)
    store = _Sources(given=sources or {}, lines={})
    ordered = in_order(problems)
    return "\n\n".join([_one(item, store, paint) for item in ordered] + [summary(ordered)])
