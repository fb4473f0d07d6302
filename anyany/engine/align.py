"""Aligning: which elements a node runs on, and the rows of each of its ports for exactly these.

A shorter stack broadcasts, a gathering port takes a whole list, an absent required port leaves the element out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from anyany.engine.compile import PortPlan, Step
from anyany.engine.failures import Failure
from anyany.engine.rows import Key, Rows
from anyany.engine.state import State, group_by_parent
from anyany.kinds.message import Message

WHOLE = None


@dataclass(eq=False, slots=True)
class Aligned:
    """The rows of a port for the elements of a node.

    spans: for each element, the half-open range of row numbers; None where row i simply belongs to element i.
    present: element numbers that have the port; None where all have.
    """

    rows: Rows
    spans: list[tuple[int, int]] | None = WHOLE
    present: frozenset[int] | None = None


def elements(state: State, step: Step) -> list[Key]:
    """The keys of the elements on which the node runs, in order; the universe's own list where nothing is absent."""
    for port in step.rows:
        port.reader.get(state)
    if step.when is not None:
        step.when.get(state)
    keys = state.universe(step.stack)
    deep = 1 + len(step.stack)
    for port in step.required:
        held = port.reader.get(state).keys
        if held is keys:
            continue
        if port.depth == deep and held is not None and len(held) < len(keys):
            there = set(held)
            kept = [k for k in keys if k in there]
            keys = held if kept == held else kept
        elif port.depth < deep:
            there = set(held or ())
            kept = [k for k in keys if k[: port.depth] in there]
            keys = keys if len(kept) == len(keys) else kept
    return _opened(state, step, keys) if step.when is not None else keys


def _opened(state: State, step: Step, keys: list[Key]) -> list[Key]:
    """`when`: elements whose value is present, or whose list is not empty."""
    assert step.when is not None
    depth = step.when_depth
    if step.when_list is not None:
        lengths = state.extents.get(step.when_list, {})
        kept = [k for k in keys if lengths.get(k[:depth], 0) > 0]
    else:
        there = set(step.when.get(state).keys or ())
        kept = [k for k in keys if k[:depth] in there]
    return keys if len(kept) == len(keys) else kept


def align(state: State, port: PortPlan, keys: Sequence[Key]) -> Aligned:
    """The port's rows for the elements `keys`."""
    rows = port.reader.get(state)
    held = rows.keys
    assert held is not None
    if port.mode == "gather":
        runs = group_by_parent(held, port.depth)
        spans = [runs.get(k[: port.depth], (0, 0)) for k in keys]
        return Aligned(rows, spans)
    if held is keys:
        return Aligned(rows, [(i, i + 1) for i in range(len(keys))] if port.mode == "one" else WHOLE)
    index = {k: i for i, k in enumerate(held)}
    found = [index.get(k[: port.depth], -1) for k in keys]
    present = None
    if -1 in found:
        present = frozenset(n for n, i in enumerate(found) if i >= 0)
    if present is None and port.mode == "map" and len(found) == len(rows) and found == list(range(len(found))):
        return Aligned(rows)
    return Aligned(rows, [(i, i + 1) if i >= 0 else (0, 0) for i in found], present)


def take(port: PortPlan, aligned: Aligned, chosen: Sequence[int] | None) -> Rows:
    """The rows of the elements numbered `chosen` (None: all, in order); counts are set for list ports."""
    rows, spans = aligned.rows, aligned.spans
    if spans is WHOLE:
        return rows if chosen is None else rows.select(chosen)
    picked = spans if chosen is None else [spans[i] for i in chosen]
    indices = [i for start, stop in picked for i in range(start, stop)]
    same = len(indices) == len(rows) and all(i == n for n, i in enumerate(indices))
    part = rows if same else rows.select(indices)
    if not port.counted:
        return part
    return Rows(part.data, part.offsets, counts=[stop - start for start, stop in picked], keys=part.keys)


def check_places(state: State, step: Step, keys: Sequence[Key], aligned: dict[str, Aligned]) -> None:
    """Each element's message must have exactly as many places of a kind as values come for them."""
    for port, message_port in step.places:
        places, messages = aligned[port.name], aligned[message_port.name]
        for n, key in enumerate(keys):
            have = 1 if places.spans is WHOLE else places.spans[n][1] - places.spans[n][0]
            at = n if messages.spans is WHOLE else messages.spans[n][0]
            message = messages.rows[at]
            wanted = count_places(message, port.name)
            if have != wanted:
                text = f"the message has {wanted} {port.name} places, but {have} values came for them"
                state.fail(key[0], Failure(code="E606", message=text, node=step.name))


def count_places(message: Message, kind: str) -> int:
    """How many parts of `kind` a message holds."""
    return sum(getattr(p, "kind", None) == kind for p in message.parts)
