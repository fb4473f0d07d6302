"""State: everything known about one chunk of items while it runs: values on edges, lengths of lists, failures.

Rows on an edge carry keys (item, i, j, ...) of present values only; `extents` holds the length of every list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from anyany.engine.failures import Failure
from anyany.engine.noise import Noise
from anyany.engine.rows import Key, Rows

Stack = tuple[str, ...]
EMPTY_OPTIONS: Mapping[str, Mapping[str, Any]] = {}
Loader = Callable[[str, Any, Mapping[str, Any]], Any]


class State:
    """One chunk. Slots are keyed by compiled sources or by (node, port); keys are shared list objects where equal.

    ids: identity of each item. options: per item, node -> option -> value. defaulted: per item, the names of inputs
    that took their default. notes: what the summary should tell, by node, with how often. told: what components
    remarked of single items, as (node, text), each once.
    """

    __slots__ = (
        "defaulted", "errors", "extents", "ids", "live", "loader", "noise", "notes", "options", "slots", "stale",
        "told", "universes",
    )  # fmt: skip

    def __init__(self, ids: Sequence[str], seed: int, loader: Loader) -> None:
        self.ids = ids
        self.live: list[int] = list(range(len(ids)))
        self.noise = Noise(seed, ids)
        self.loader = loader
        self.slots: dict[Any, Rows] = {}
        self.extents: dict[str, dict[Key, int]] = {}
        self.universes: dict[Stack, list[Key]] = {(): [(i,) for i in self.live]}
        self.errors: dict[int, Failure] = {}
        self.options: list[Mapping[str, Mapping[str, Any]]] | None = None
        self.defaulted: list[frozenset[str]] | None = None
        self.notes: dict[tuple[str, str], int] = {}
        self.told: dict[int, dict[tuple[str, str], None]] = {}
        self.stale = False

    # keys --------------------------------------------------------------------------------------------------------
    def universe(self, stack: Stack) -> list[Key]:
        """Every element of `stack`, present or a hole, in order. The same list object for the same stack."""
        known = self.universes.get(stack)
        if known is None:
            lengths = self.extents.get(stack[-1], {})
            known = [(*k, i) for k in self.universe(stack[:-1]) for i in range(lengths.get(k, 0))]
            self.universes[stack] = known
        return known

    def share(self, stack: Stack, keys: list[Key]) -> list[Key]:
        """The universe's own list where `keys` is all of it, so that later steps recognise it by identity."""
        whole = self.universe(stack)
        return whole if keys == whole else keys

    def set_lengths(self, list_id: str, lengths: dict[Key, int]) -> None:
        """Record how long each list `list_id` is; universes that were read before it was known are forgotten."""
        self.extents[list_id] = lengths
        for stack in [s for s in self.universes if list_id in s]:
            del self.universes[stack]

    # failures ----------------------------------------------------------------------------------------------------
    def fail(self, item: int, failure: Failure) -> None:
        """Take an item out of the run; the first reason counts. `purge` must follow before the next step."""
        if item not in self.errors:
            self.errors[item] = failure
            self.stale = True

    def tell(self, item: int, node: str, text: str) -> None:
        """Keep what a node remarks of an item. A batch that is run again says the same: it counts once."""
        self.told.setdefault(item, {})[node, text] = None

    def purge(self) -> None:
        """Drop every row of the items that failed since the last call."""
        if not self.stale:
            return
        self.stale = False
        self.live = [i for i in self.live if i not in self.errors]
        self.universes = {(): [(i,) for i in self.live]}
        shared: dict[int, list[Key]] = {}
        for name, rows in self.slots.items():
            assert rows.keys is not None
            kept = [n for n, k in enumerate(rows.keys) if k[0] not in self.errors]
            if len(kept) == len(rows.keys):
                continue
            before = id(rows.keys)
            fresh = rows.select(kept)
            assert isinstance(fresh.keys, list)
            fresh.keys = shared.setdefault(before, fresh.keys)
            self.slots[name] = fresh
        for lengths in self.extents.values():
            for key in [k for k in lengths if k[0] in self.errors]:
                del lengths[key]
        for rows in self.slots.values():
            if len(rows) and all(len(k) == 1 for k in rows.keys or ()) and rows.keys == self.universes[()]:
                rows.keys = self.universes[()]


def group_by_parent(keys: Sequence[Key], depth: int) -> dict[Key, tuple[int, int]]:
    """For sorted keys: where the run of each parent (the first `depth` numbers) starts and stops."""
    runs: dict[Key, tuple[int, int]] = {}
    start = 0
    while start < len(keys):
        parent = keys[start][:depth]
        stop = start + 1
        while stop < len(keys) and keys[stop][:depth] == parent:
            stop += 1
        runs[parent] = (start, stop)
        start = stop
    return runs
