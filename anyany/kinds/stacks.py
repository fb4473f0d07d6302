"""Stacks of lists: which node is mapped over what. A stack is a tuple of list identities, outermost first.

Source: DESIGN section 3 (lists): the same list pairs up, a shorter stack broadcasts, anything else is an error.
"""

from __future__ import annotations

from collections.abc import Iterable

Stack = tuple[str, ...]


def is_prefix(short: Stack, long: Stack) -> bool:
    """Whether a value of stack `short` broadcasts over the elements of `long` (equal stacks do)."""
    return long[: len(short)] == short


def longest(stacks: Iterable[Stack]) -> tuple[Stack, int | None]:
    """The longest of the stacks and the index of the first that is no prefix of it (None when all are)."""
    table = list(stacks)
    best = max(table, key=len, default=())
    return best, next((i for i, s in enumerate(table) if not is_prefix(s, best)), None)


def show(stack: Stack) -> str:
    """A stack in words: `one value`, `the list photos`, `the lists prompts > prompts.image`."""
    if not stack:
        return "one value"
    return ("the list " if len(stack) == 1 else "the lists ") + " > ".join(stack)
