"""Specs as marked trees: from YAML text, a file or Python values; dotted places; `--set`.

Nothing here raises for what a user wrote: every function gives the tree, as far as it goes, and problems.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from anyany.errors.problems import Mark, Problem, problem
from anyany.spec.yaml_tree import MAX_BYTES, Marked, Plain, at, find, to_plain

__all__ = [
    "PYTHON",
    "SET",
    "Marked",
    "Plain",
    "apply_sets",
    "at",
    "find",
    "from_python",
    "parse",
    "parse_file",
    "parse_value",
    "set_path",
    "to_plain",
]

SET = "<--set>"
"""The file name in marks of values given by `--set`; line N is the N-th `--set`."""
PYTHON = "<python>"
"""The file name in marks of specs built in Python."""
_BAD_CHARS = "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"


def parse(text: str | bytes, file: str, pure: bool = False) -> tuple[Marked | None, list[Problem]]:
    """The marked tree of one spec, and everything wrong with its YAML.

    The tree is a mapping, or None when the text cannot be read so far; it is given beside errors that
    allow going on (duplicate keys, misplaced stars …). `file` is only a name, for the marks. `pure` takes
    PyYAML's own parser instead of libyaml's. Never raises, whatever the text.
    """
    root, problems = parse_value(text, file, pure)
    if root is None or isinstance(root.value, dict):
        return root, problems
    if root.value is None:
        return None, [*problems, _empty(file)]
    return None, [*problems, _not_a_mapping(root)]


def _empty(file: str) -> Problem:
    return problem("E005", "the spec is empty", mark=Mark(file, 1, 1), help="write `inputs:`, `nodes:` and `outputs:`")


def _not_a_mapping(root: Marked) -> Problem:
    glued = isinstance(root.value, str) and re.match(r"[\w-]+:\S", root.value)
    return problem(
        "E006",
        f"a spec is a mapping, and this is {root.what}",
        mark=root.mark,
        expected="keys such as `inputs:`, `nodes:`, `outputs:`",
        help="put a space after each colon" if glued else "write `key: value` lines",
    )


def parse_value(text: str | bytes, file: str, pure: bool = False) -> tuple[Marked | None, list[Problem]]:
    """As `parse`, for a YAML value of any shape. None without a problem never happens."""
    text, found = _readable(text, file)
    if found is not None:
        return None, [found]
    from yaml import YAMLError

    from anyany.spec.yaml_build import Builder

    builder = Builder(text, file, pure)
    try:
        root = builder.build()
    except YAMLError as error:
        from anyany.spec.yaml_syntax import retell

        return None, [*builder.problems, retell(error, text, file)]
    if root is None and not builder.problems:
        return None, [_empty(file)]
    return root, builder.problems


def _readable(text: str | bytes, file: str) -> tuple[str, Problem | None]:
    """The text without its byte order mark, or why it cannot be parsed at all."""
    start = Mark(file, 1, 1)
    if len(text) > MAX_BYTES:
        size = f"{len(text) / 1e6:.1f} MB"
        return "", problem(
            "E002",
            f"the spec has {size}; at most 1 MB is read",
            mark=start,
            help="keep data in files of their own",
        )
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            return "", _not_utf8(error, file)
    text = text.removeprefix("\ufeff")
    bad = re.search(_BAD_CHARS, text)
    if bad is None:
        return text, None
    lines = re.split("\r\n|[\r\n\x85\u2028\u2029]", text[: bad.start()])
    mark = Mark(file, len(lines), len(lines[-1]) + 1)
    name = f"U+{ord(bad[0]):04X}"
    return "", problem("E004", f"the character {name} is not allowed in YAML", mark=mark, help="delete it")


def _not_utf8(error: UnicodeDecodeError, file: str) -> Problem:
    data = error.object  # without its byte order mark, as `error.start` counts
    lines = data[: error.start].replace(b"\r\n", b"\n").split(b"\n")
    mark = Mark(file, len(lines), len(lines[-1].decode("utf-8", "replace")) + 1)
    sixteen = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    kind = "it looks like UTF-16" if sixteen else f"byte 0x{data[error.start]:02x} is not UTF-8"
    return problem("E003", f"the spec is not UTF-8 text: {kind}", mark=mark, help="save the file as UTF-8")


def parse_file(path: str) -> tuple[Marked | None, list[Problem], str]:
    """Read and parse a spec file: the tree, the problems, and the text for the renderer.

    Pipes, devices and folders are refused without opening them.
    """
    import os
    import stat

    def unreadable(why: str) -> tuple[Marked | None, list[Problem], str]:
        found = problem("E001", f"`{path}` {why}", mark=Mark(path, 1, 1), help="check the path")
        return None, [found], ""

    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            return unreadable("is a folder, not a spec file")
        if not stat.S_ISREG(mode):
            return unreadable("is not a regular file")
        with open(path, "rb") as handle:
            data = handle.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return unreadable("does not exist")
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        return unreadable(f"cannot be read: {getattr(error, 'strerror', None) or error}")
    root, problems = parse(data, path)
    return root, problems, data.decode("utf-8", "replace").removeprefix("\ufeff")


def from_python(value: object, file: str = PYTHON) -> tuple[Marked | None, list[Problem], str]:
    """A spec built of Python values as a marked tree, its problems, and YAML text that the marks point into.

    dict, list, tuple, str, int, float, bool and None are taken; text is written out so that errors can
    show a line.
    """
    from anyany.spec.yaml_write import Unwritable, write

    try:
        text = write(value)
    except Unwritable as error:
        return (
            None,
            [problem("E034", str(error), path=error.path, mark=Mark(file, 1, 1), help=error.help)],
            "",
        )
    root, problems = parse(text, file)
    return root, problems, text


# --set


def apply_sets(root: Marked, texts: Iterable[str]) -> tuple[Marked, list[Problem], str]:
    """The tree with every `dotted.path=VALUE` applied in order, problems, and the text that marks point into.

    The tree is unchanged where a setting is wrong.
    """
    problems: list[Problem] = []
    lines = list(texts)
    for number, text in enumerate(lines, 1):
        dotted, equals, value = text.partition("=")
        if not equals or not dotted.strip():
            problems.append(_set_problem(number, 1, len(text), f"`{text}` is not `dotted.path=VALUE`", dotted))
            continue
        root, found = set_path(root, dotted.strip(), value, number, len(dotted) + 1)
        problems += found
    return root, problems, "\n".join(re.sub(r"[\r\n]", " ", line) for line in lines)


def set_path(root: Marked, dotted: str, value: object, line: int = 1, offset: int = 0) -> tuple[Marked, list[Problem]]:
    """A tree with the value at a dotted path replaced; mappings on the way are made when missing.

    A str is parsed as YAML (`3`, `[a, b*]`, `{width: 8}`, `hub:org/name`), other values are taken as they
    are. List items are named by number. Where `with` holds a preset's name, it becomes `{preset: name}`.
    The given tree is not changed; with problems it is returned as it was. `line` and `offset` place the
    value's text within the settings, for marks.
    """
    parts = dotted.split(".")
    if not all(part.strip() for part in parts) or len(parts) > 32:
        return root, [_set_problem(line, 1, len(dotted), f"`{dotted}` is not a dotted path", dotted)]
    if isinstance(value, str):
        if not value.strip():
            return root, [
                _set_problem(line, 1, len(dotted) + 1, f"no value for `{dotted}`; write `null` for nothing", dotted)
            ]
        new, problems = parse_value(value, SET)
    else:
        from anyany.spec.yaml_write import Unwritable, write_flow

        try:
            new, problems = parse_value(write_flow(value), SET)
        except Unwritable as error:
            return root, [_set_problem(line, 1, len(dotted), str(error), dotted)]
    problems = [_moved_problem(p, line, offset, dotted) for p in problems]
    if new is None or any(p.is_error for p in problems):
        return root, problems
    placed = _put(root, parts, _moved(new, line, offset), Mark(SET, line, 1, len(dotted)))
    if isinstance(placed, str):
        return root, [*problems, _set_problem(line, 1, len(dotted), placed, dotted)]
    return placed, problems


def _set_problem(line: int, column: int, length: int, message: str, path: str) -> Problem:
    return problem(
        "E905",
        message,
        path=path,
        mark=Mark(SET, line, column, max(1, length)),
        help="write `--set nodes.see.with.width=64`",
    )


def _shift(mark: Mark, line: int, offset: int) -> Mark:
    """A mark in the value's own text, as a place in the settings (each of which is shown on one line)."""
    return Mark(SET, line, mark.column + (offset if mark.line == 1 else 0), mark.length)


def _moved_problem(found: Problem, line: int, offset: int, path: str) -> Problem:
    from dataclasses import replace

    return replace(
        found,
        mark=_shift(found.mark, line, offset) if found.mark else None,
        path=f"{path}.{found.path}" if found.path else path,
        related=tuple((_shift(mark, line, offset), note) for mark, note in found.related),
    )


def _moved(node: Marked, line: int, offset: int) -> Marked:
    value = node.value
    if isinstance(value, dict):
        value = {key: _moved(child, line, offset) for key, child in value.items()}
    elif isinstance(value, list):
        value = [_moved(child, line, offset) for child in value]
    return Marked(
        value=value,
        mark=_shift(node.mark, line, offset),
        end=_shift(node.end_mark, line, offset)[1:3],
        key_marks={key: _shift(mark, line, offset) for key, mark in node.key_marks.items()},
        quoted=node.quoted,
        raw=node.raw,
    )


def _put(node: Marked | None, parts: list[str], new: Marked, mark: Mark) -> Marked | str:
    """A copy of `node` with `new` at `parts`, or why that cannot be."""
    if not parts:
        return new
    head, rest = parts[0], parts[1:]
    if node is None or node.value is None:
        child = _put(None, rest, new, mark)
        if isinstance(child, str):
            return child
        return Marked(value={head: child}, mark=mark, end=mark[1:3], key_marks={head: mark})
    if isinstance(node.value, list):
        return _put_item(node, head, rest, new, mark)
    if not isinstance(node.value, dict):
        return f"`{head}` cannot be set inside {node.what}"
    old = node.value.get(head)
    if head == "with" and rest and old is not None and isinstance(old.value, str):
        old = Marked(value={"preset": old}, mark=old.mark, end=old.end, key_marks={"preset": old.mark})
    child = _put(old, rest, new, mark)
    if isinstance(child, str):
        return child
    return Marked(
        value={**node.value, head: child},
        mark=node.mark,
        end=node.end,
        key_marks={head: mark, **node.key_marks},
    )


def _put_item(node: Marked, head: str, rest: list[str], new: Marked, mark: Mark) -> Marked | str:
    assert isinstance(node.value, list)
    if not head.isdecimal() or len(head) > 6 or int(head) >= len(node.value):
        return f"`{head}` is no item of a list of {len(node.value)}"
    child = _put(node.value[int(head)], rest, new, mark)
    if isinstance(child, str):
        return child
    items = [*node.value]
    items[int(head)] = child
    return Marked(value=items, mark=node.mark, end=node.end)
