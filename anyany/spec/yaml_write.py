"""Python values as YAML text, for specs built in Python: block style outside, one line inside.

Only what a spec can hold is written; everything else is refused with its place.
"""

from __future__ import annotations

import re

from anyany.spec.yaml_scalar import portable_float
from anyany.spec.yaml_tree import MAX_DEPTH, MAX_VALUES

_PLAIN = r"[A-Za-z_][\w/.*-]*"
_NOT_TEXT = frozenset(["y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf", "infinity"])
_BLOCK_LEVELS = 2


class Unwritable(ValueError):
    """A value that a spec cannot hold: the message, its dotted `path`, and a `help` line."""

    def __init__(self, message: str, path: tuple[str, ...], help: str) -> None:
        super().__init__(message)
        self.path = ".".join(path)
        self.help = help


def write(value: object) -> str:
    """YAML text of a spec; mappings of the first levels are written one key a line. Raises Unwritable."""
    return "\n".join(_block(value, (), [0])) + "\n"


def write_flow(value: object) -> str:
    """YAML text of a value on one line. Raises Unwritable."""
    return _flow(value, (), [0])


def _block(value: object, path: tuple[str, ...], count: list[int]) -> list[str]:
    if not isinstance(value, dict) or not value or len(path) > _BLOCK_LEVELS:
        return [_flow(value, path, count)]
    lines: list[str] = []
    for key, child in value.items():
        head = _key(key, path) + ":"
        inner = (*path, str(key))
        if isinstance(child, dict) and child and len(path) < _BLOCK_LEVELS:
            lines += [head, *(f"  {line}" for line in _block(child, inner, count))]
        else:
            lines.append(f"{head} {_flow(child, inner, count)}")
    return lines


def _flow(value: object, path: tuple[str, ...], count: list[int]) -> str:
    count[0] += 1
    if len(path) > MAX_DEPTH or count[0] > MAX_VALUES:
        raise Unwritable("the values nest too deep, or are too many", path, "write the spec without repetition")
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(k, path)}: {_flow(v, (*path, str(k)), count)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_flow(v, (*path, str(i)), count) for i, v in enumerate(value)) + "]"
    return _scalar(value, path)


def _key(key: object, path: tuple[str, ...]) -> str:
    if not isinstance(key, str):
        raise Unwritable(f"the key {key!r} is no text", path, "use text as keys")
    return _text(key)


def _scalar(value: object, path: tuple[str, ...]) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int):
        return str(int(value)) if abs(value) < 1 << 80 else "1" + "0" * 30
    if isinstance(value, float):
        if value != value:
            raise Unwritable("a value is not a number (nan)", path, "give a number, or leave the option out")
        if value in (float("inf"), float("-inf")):
            return ".inf" if value > 0 else "-.inf"
        return portable_float(repr(float(value)))
    raise Unwritable(
        f"a spec cannot hold a {type(value).__name__}", path, "convert it to text, a number, a list or a dict"
    )


def _text(text: str) -> str:
    if re.fullmatch(_PLAIN, text) and text.lower() not in _NOT_TEXT:
        return text
    import json

    return json.dumps(text)
