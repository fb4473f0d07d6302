"""Items and results of a run: what goes in for one item, what comes out, and how values meet the state's slots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from anyany.engine.failures import Failure, ItemError
from anyany.engine.readers import Reader
from anyany.engine.rows import Key, Rows
from anyany.engine.state import EMPTY_OPTIONS, Stack, State
from anyany.kinds.message import Media, Message, Region
from anyany.spec.graph import GraphInput


@dataclass(frozen=True, kw_only=True)
class Item:
    """One set of inputs. values: by input name (lists for `K*`; an absent one is left out); defaulted: names of the
    inputs that took their default; options: node -> option -> value; failure: why it cannot even start.
    """

    id: str
    values: Mapping[str, Any] = field(default_factory=dict)
    defaulted: frozenset[str] = frozenset()
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    failure: Failure | None = None
    line: int | None = None


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of one item. outputs: name -> value (nested lists for lists, None where absent); empty if it failed.

    seconds: its share of the time of the chunk that it ran in. notes: what nodes remarked of it, though it went well.
    """

    item: str
    status: str
    outputs: Mapping[str, Any]
    error: Failure | None = None
    seconds: float = 0.0
    source: Item | None = None
    notes: tuple[str, ...] = ()

    def raised(self) -> Result:
        """Itself; raises `ItemError` if the item failed."""
        if self.error is not None:
            raise ItemError(self.item, self.error)
        return self


@dataclass(frozen=True, eq=False)
class Taken:
    """A message on an edge and the kinds of its parts that nodes take; another kind fails its item."""

    name: str
    slot: tuple[str, str]
    kinds: frozenset[str]


def fill_inputs(state: State, inputs: Mapping[str, GraphInput], items: Sequence[Item]) -> None:
    """Write the inputs' values to the state; items that cannot start are failed first."""
    for n, item in enumerate(items):
        if item.failure is not None:
            state.fail(n, item.failure)
    state.purge()
    if any(item.options for item in items):
        state.options = [item.options or EMPTY_OPTIONS for item in items]
    if any(item.defaulted for item in items):
        state.defaulted = [item.defaulted for item in items]
    for name, declared in inputs.items():
        if declared.many:
            _fill_list(state, name, items)
            continue
        held = [i for i in state.live if name in items[i].values]
        keys = state.universe(()) if len(held) == len(state.live) else [(i,) for i in held]
        state.slots[("", name)] = Rows([items[i].values[name] for i in held], keys=keys)


def _fill_list(state: State, name: str, items: Sequence[Item]) -> None:
    lengths: dict[Key, int] = {}
    values: list[Any] = []
    for i in state.live:
        given = items[i].values.get(name, ())
        lengths[(i,)] = len(given)
        values += given
    state.set_lengths(name, lengths)
    state.slots[("", name)] = Rows(values, keys=state.universe((name,)))


def check_taken(state: State, check: Taken) -> None:
    """Fail the items whose message holds a part that no node takes."""
    rows = state.slots.get(check.slot)
    for key, message in zip((rows.keys or ()) if rows is not None else (), rows or ()):
        if not isinstance(message, Message):
            continue
        left = [p.kind for p in message.parts if isinstance(p, (Media, Region)) and p.kind not in check.kinds]
        for kind in left[:1]:
            article = "an" if kind[0] in "aeiou" else "a" if kind not in ("boxes", "points") else ""
            named = f"{article} {kind}".strip()
            text = f"`{check.name}` holds {named} that no node takes"
            help = f"add a node that takes {check.name}.{kind} (and reaches what takes the message), or leave it out"
            state.fail(key[0], Failure(code="E605", message=text, help=help))
    state.purge()


def nested(state: State, reader: Reader, stack: Stack) -> dict[int, Any]:
    """The value of an edge for each live item: nested lists along `stack`, None for what is absent."""
    rows = reader.get(state)
    keys = rows.keys or []
    if not stack:
        return {k[0]: v for k, v in zip(keys, rows)}
    index = {k: i for i, k in enumerate(keys)}
    deep = 1 + len(stack)

    def value(key: Key) -> Any:
        if len(key) == deep:
            at = index.get(key)
            return None if at is None else rows[at]
        length = state.extents.get(stack[len(key) - 1], {}).get(key, 0)
        return [value((*key, i)) for i in range(length)]

    return {i: value((i,)) for i in state.live}
