"""Which kinds fit which ports, what may be part of a message, and which axes are lengths.

A port's kinds are a tuple; `("any",)` takes everything. Empty kinds stand for "unknown after an error" and fit all.
"""

from __future__ import annotations

from collections.abc import Mapping

from anyany.api.v1 import Kind
from anyany.kinds.builtin import REGIONS

LENGTHS = frozenset(("N", "T", "H", "W", "..."))
"""Axes that are lengths: the members of one list may differ in them. Widths may not."""

STRICT_SPACES = frozenset(("tokens",))
"""Kinds whose values mean nothing in another space; for the others it is a warning."""


def fits(port: tuple[str, ...], flow: tuple[str, ...]) -> bool:
    """Whether every kind that the flow may carry is one that the port takes."""
    return port == ("any",) or not flow or set(flow) <= set(port)


def part_kinds(kinds: Mapping[str, Kind]) -> frozenset[str]:
    """The kinds that may be parts of a message: text, media (of plugins too) and regions."""
    media = (k.name for k in kinds.values() if k.group == "media" and k.name != "message")
    return frozenset((*media, *REGIONS))


UNCOUNTED = frozenset(("text", "audio", "anything"))


def a(kinds: tuple[str, ...]) -> str:
    """Kinds with their articles: `an image`, `features or an embedding`, `anything`."""
    if kinds == ("any",):
        return "anything"
    names = tuple(k if k in UNCOUNTED or k.endswith("s") else f"{'an' if k[0] in 'aeiou' else 'a'} {k}" for k in kinds)
    return show(names)


def show(kinds: tuple[str, ...]) -> str:
    """Kinds in words: `features or embedding`; `anything` for `any`."""
    if kinds == ("any",):
        return "anything"
    return " or ".join(kinds) if len(kinds) < 3 else ", ".join(kinds[:-1]) + " or " + kinds[-1]
