"""Sizes solved along edges: a union-find whose classes hold at most one value and remember who fixed it.

A term is the number of a variable. Values are whole numbers for axes, any plain value for facets.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from anyany.errors.problems import Mark

Value = int | float | str | bool


@dataclass(kw_only=True, eq=False)
class Fixed:
    """A known size and where it comes from (`why` completes "…: `why`")."""

    value: Value
    why: str
    mark: Mark | None = None


@dataclass(kw_only=True, eq=False)
class Conflict:
    """Two ends that disagree."""

    left: Fixed
    right: Fixed


@dataclass(kw_only=True, eq=False)
class Meet:
    """A size shared by several values if they agree, and unknown (varying) if they do not."""

    term: int
    of: tuple[int, ...]


class Sizes:
    """All size variables of one check."""

    def __init__(self) -> None:
        self._parent: list[int] = []
        self._fixed: dict[int, Fixed] = {}
        self._default: dict[int, Fixed] = {}
        self._named: dict[Hashable, int] = {}
        self._meets: list[Meet] = []

    def new(self) -> int:
        """A fresh unknown."""
        self._parent.append(len(self._parent))
        return len(self._parent) - 1

    def named(self, key: Hashable, default: Fixed | None = None) -> int:
        """The variable of this key, made at first use; the first default given for it counts."""
        if key not in self._named:
            self._named[key] = self.new()
        term = self._named[key]
        if default is not None:
            self._default.setdefault(self._root(term), default)
        return term

    def has(self, key: Hashable) -> bool:
        return key in self._named

    def constant(self, fixed: Fixed) -> int:
        """A term of known value."""
        term = self.new()
        self._fixed[term] = fixed
        return term

    def _root(self, term: int) -> int:
        while self._parent[term] != term:
            self._parent[term] = self._parent[self._parent[term]]
            term = self._parent[term]
        return term

    def fixed(self, term: int) -> Fixed | None:
        """What is known of a term, or None."""
        return self._fixed.get(self._root(term))

    def unify(self, a: int, b: int) -> Conflict | None:
        """Make two terms one. When both are known and differ they stay apart and the conflict is returned."""
        a, b = self._root(a), self._root(b)
        if a == b:
            return None
        left, right = self._fixed.get(a), self._fixed.get(b)
        if left is not None and right is not None and left.value != right.value:
            return Conflict(left=left, right=right)
        self._parent[b] = a
        if left is None and right is not None:
            self._fixed[a] = right
        default = self._default.pop(b, None)
        if default is not None:
            self._default.setdefault(a, default)
        return None

    def meet(self, terms: Sequence[int]) -> int:
        """One term for the members of a list: their common size, or unknown where they differ."""
        if len({self._root(t) for t in terms}) == 1:
            return terms[0]
        term = self.new()
        self._meets.append(Meet(term=term, of=tuple(terms)))
        return term

    def solve(self) -> list[Conflict]:
        """Close the meets, then give defaults to what is still unknown. Returns what conflicts in lists."""
        conflicts: dict[int, Conflict] = {}
        for _ in range(len(self._meets) + 1):
            if not self._close_meets(conflicts):
                break
        self._apply_defaults()
        self._close_meets(conflicts)
        return list(conflicts.values())

    def _apply_defaults(self) -> None:
        for term, default in self._default.items():
            self._fixed.setdefault(self._root(term), default)

    def _close_meets(self, conflicts: dict[int, Conflict]) -> bool:
        changed = False
        for number, meet in enumerate(self._meets):
            known = [self.fixed(t) for t in meet.of]
            values = {f.value for f in known if f is not None}
            own = self.fixed(meet.term)
            if own is not None:
                wrong = next((f for f in known if f is not None and f.value != own.value), None)
                if wrong is not None and number not in conflicts:
                    conflicts[number] = Conflict(left=wrong, right=own)
            elif len(values) == 1 and all(f is not None for f in known):
                first = known[0]
                assert first is not None
                self._fixed[self._root(meet.term)] = first
                changed = True
        return changed
