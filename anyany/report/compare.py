"""Comparing two results of an item, as `--json` told them: texts word by word, media by their content."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LEVELS = 1
"""Levels of 255 by which a pixel may differ: another batch moves floats by up to 1e-4, and rounding may then turn."""


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What differs, a line each; none where the results are the same."""
    if before["status"] != after["status"]:
        told = after["error"] or before["error"]
        return [f"it was {before['status']}, and is {after['status']} now ({told})"]
    if before["status"] == "failed":
        same = before["error"] == after["error"]
        return [] if same else [f"it failed with {before['error']}, and now with {after['error']}"]
    found: list[str] = []
    for name in dict.fromkeys([*before["outputs"], *after["outputs"]]):
        found += _value(name, before["outputs"].get(name), after["outputs"].get(name))
    return found


def _value(name: str, a: Any, b: Any) -> list[str]:
    if a is None or b is None:
        return [] if a is b else [f"{name} was {'absent' if a is None else 'there'}, and now is not"]
    if isinstance(a, str) or isinstance(b, str):
        return [] if a == b else [f"{name}: {_short(a)} became {_short(b)}"]
    for key in ("parts", "items"):
        if key in a or key in b:
            return _lists(name, a.get(key, []), b.get(key, []))
    if "text" in a:
        return _value(name, a["text"], b.get("text", ""))
    kind = a.get("kind") or next((k for k in ("image", "audio", "video", "mask") if k in a), None)
    one, two = a.get("path") or a.get(kind), b.get("path") or b.get(kind)
    if not isinstance(one, str) or not isinstance(two, str):
        return [] if a == b else [f"{name}: {_short(a)} became {_short(b)}"]
    return _files(name, one, two)


def _lists(name: str, a: list[Any], b: list[Any]) -> list[str]:
    if len(a) != len(b):
        return [f"{name}: {len(a)} parts became {len(b)}"]
    return [line for i, (x, y) in enumerate(zip(a, b)) for line in _value(f"{name}[{i}]", x, y)]


def _files(name: str, a: str, b: str) -> list[str]:
    try:
        with open(a, "rb") as one, open(b, "rb") as two:
            if one.read() == two.read():
                return []
    except OSError as error:
        return [f"{name}: {error.filename} cannot be read any more ({error.strerror})"]
    if a.endswith((".wav", ".flac")):
        return _sounds(name, a, b)
    if not a.endswith(".png"):
        return [f"{name}: {a} and {b} differ"]
    from anyany import media

    before, after = media.load("image", a), media.load("image", b)
    if before.shape != after.shape:
        return [f"{name}: a picture of {tuple(before.shape)} became one of {tuple(after.shape)}"]
    worst = int((before.int() - after.int()).abs().max())
    return [] if worst <= LEVELS else [f"{name}: pixels differ by up to {worst} of 255"]


def _sounds(name: str, a: str, b: str) -> list[str]:
    """Samples within one of the 16-bit steps that files hold, whatever the format."""
    from anyany import media

    before, after = media.load("audio", a), media.load("audio", b)
    if (before.rate, before.samples.shape) != (after.rate, after.samples.shape):
        return [
            f"{name}: a sound of {before.seconds:g} s became one of {after.seconds:g} s, or changed rate or channels"
        ]
    worst = float((before.samples - after.samples).abs().max()) * 32768
    return [] if worst < LEVELS + 0.5 else [f"{name}: samples differ by up to {worst:.0f} of 32768"]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"
