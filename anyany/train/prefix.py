"""The frozen-prefix cache: what the nodes before anything learned give for a record is computed once and kept.

Kept in memory up to a limit, by record. Off where a prefix node is not deterministic or the source is endless.
Source: DESIGN section 8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import torch

from anyany.engine.items import Item
from anyany.engine.rows import Key, Rows
from anyany.engine.state import State
from anyany.train.model import StageModel

LIMIT = 4 << 30
Tail = tuple[int, ...]


@dataclass(eq=False)
class Entry:
    """One record's values: slot -> (rest of the key, value), and the lengths of lists."""

    values: dict[Any, list[tuple[Tail, Any]]] = field(default_factory=dict)
    lengths: dict[str, dict[Tail, int]] = field(default_factory=dict)
    bytes: int = 0


class Prefix:
    """Runs the prefix of a stage on items, or remembers it. `seconds` and `rows` tell what it cost."""

    def __init__(self, model: StageModel, *, cached: bool, limit: int = LIMIT) -> None:
        self.model = model
        self.slots = [o.slot for s in model.prefix for o in s.outs]
        self.cached = cached and bool(model.prefix) and all(s.node.card.deterministic for s in model.prefix)
        self.limit, self.bytes = limit, 0
        self.entries: dict[int, Entry] = {}
        self.computed, self.reused = 0, 0
        self.seconds = 0.0

    def state(self, items: Sequence[Item], indices: Sequence[int], seed: int) -> State:
        """The state of a batch with every prefix value in it; items that fail are failed in it."""
        if not self.cached:
            state = self.model.begin(items, seed)
            self._compute(state, len(items))
            return state
        known = {i: self.entries[i] for i in indices if i in self.entries}
        missing = [n for n, i in enumerate(indices) if i not in known and i not in indices[:n]]
        self.reused += len(items) - len(missing)
        if missing:
            part = self.model.begin([items[n] for n in missing], seed)
            self._compute(part, len(missing))
            for at, n in enumerate(missing):
                if at not in part.errors:
                    known[indices[n]] = self._entry(part, at)
                    self._keep(indices[n], known[indices[n]])
            wrong = {indices[n]: part.errors[at] for at, n in enumerate(missing) if at in part.errors}
            failed = {n: wrong[i] for n, i in enumerate(indices) if i in wrong}
        else:
            failed = {}
        state = self.model.begin(items, seed)
        for n, failure in failed.items():
            state.fail(n, failure)
        state.purge()
        self._fill(state, [known.get(i) for i in indices])
        return state

    def _compute(self, state: State, count: int) -> None:
        start = perf_counter()
        with torch.no_grad():
            self.model.run(state, self.model.prefix)
        self.seconds += perf_counter() - start
        self.computed += count

    def _keep(self, index: int, entry: Entry) -> None:
        if self.bytes + entry.bytes <= self.limit:
            self.entries[index] = entry
            self.bytes += entry.bytes

    # to and from states ------------------------------------------------------------------------------------------
    def _entry(self, state: State, item: int) -> Entry:
        entry = Entry()
        for slot in self.slots:
            rows = state.slots.get(slot)
            if rows is None:
                continue
            found = [(k[1:], _own(rows[n])) for n, k in enumerate(rows.keys or ()) if k[0] == item]
            entry.values[slot] = found
            entry.bytes += sum(v.numel() * v.element_size() for _, v in found if isinstance(v, torch.Tensor))
        for name, lengths in state.extents.items():
            entry.lengths[name] = {k[1:]: n for k, n in lengths.items() if k[0] == item}
        return entry

    def _fill(self, state: State, entries: Sequence[Entry | None]) -> None:
        live = [(i, e) for i in state.live if (e := entries[i]) is not None]
        for name in dict.fromkeys(n for _, e in live for n in e.lengths):
            state.set_lengths(name, {(i, *k): n for i, e in live for k, n in e.lengths.get(name, {}).items()})
        for step in self.model.prefix:
            for out in step.outs:
                pairs = [((i, *k), v) for i, e in live for k, v in e.values.get(out.slot, ())]
                keys: list[Key] = [k for k, _ in pairs]
                data: Any = [v for _, v in pairs]
                if data and all(isinstance(v, torch.Tensor) for v in data) and len({v.shape for v in data}) == 1:
                    data = torch.stack(data)
                state.slots[out.slot] = Rows(data, keys=state.share(out.stack, keys))


def _own(value: Any) -> Any:
    """The value without the batch it was cut from."""
    return value.clone() if isinstance(value, torch.Tensor) else value
