"""Results: what a component gave is checked against its card, put back in order and written to the state's slots.

A call gives one Rows for each output port; list ports carry counts. What breaks the card is E607.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from anyany.engine.align import Aligned
from anyany.engine.compile import OutPlan, Step
from anyany.engine.failures import NodeFault
from anyany.engine.rows import Key, Rows
from anyany.engine.state import State

Outputs = dict[str, Rows]


def checked(step: Step, given: Any, count: int) -> Outputs:
    """The outputs of one call over `count` elements; raises NodeFault where they break the card's promise."""
    if type(given) is not dict and not isinstance(given, Mapping):
        raise NodeFault("E607", f"`{step.call_name}` gave a {type(given).__name__}, not a mapping of output ports",
                        _REPORT)  # fmt: skip
    out: Outputs = {}
    for port in step.outs:
        value = given.get(port.name)
        if value is None:
            if not port.optional:
                raise NodeFault("E607", f"it gave no {port.name!r}, which its card promises", _REPORT)
            value = Rows([], counts=[0] * count)
        if not isinstance(value, (Rows, list, tuple, torch.Tensor)):
            raise NodeFault("E607", f"it gave a {type(value).__name__} as {port.name!r}, not Rows", _REPORT)
        rows = value if type(value) is Rows else Rows(value)
        n = len(rows)
        if port.many or (port.optional and rows.counts is not None):
            counts = rows.counts
            if counts is None:
                raise NodeFault("E607", f"it gave {port.name!r} without counts, though it is a list", _REPORT)
            if len(counts) != count or sum(counts) != n:
                told = f"counts for {len(counts)} of {count} rows, {sum(counts)} in all, beside {n} values"
                raise NodeFault("E607", f"it gave {port.name!r} with {told}", _REPORT)
        elif n != count:
            raise NodeFault("E607", f"it gave {n} rows of {port.name!r} for {count}", _REPORT)
        if (fault := promise_broken(port, rows)) is not None:
            raise NodeFault("E607", f"it gave {port.name!r} as {fault}", _REPORT)
        out[port.name] = rows
    return out


def promise_broken(port: OutPlan, rows: Rows) -> str | None:
    """What is wrong with the values of an output port: no value, no text where text is promised, other axes or widths
    than the solved ones. Without this, the next node would be blamed.
    """
    data = rows.data
    if isinstance(data, torch.Tensor):
        if rows.offsets is None:
            return _shape_broken(port, tuple(data.shape[1:]))
        return _shape_broken(port, (None, *data.shape[1:]))
    for value in data:
        if value is None:
            return "None"
        if port.kind == "text" and not isinstance(value, str):
            return f"a {type(value).__name__}, not a string"
        if isinstance(value, torch.Tensor) and (fault := _shape_broken(port, tuple(value.shape))) is not None:
            return fault
    return None


def _shape_broken(port: OutPlan, shape: tuple[int | None, ...]) -> str | None:
    """A value's shape (None: the ragged axis of packed rows) beside what the card and the solved sizes promise."""
    if port.shape is None:
        return None
    known = shape[len(shape) - len(port.shape) :] if port.loose else shape
    if len(known) == len(port.shape) and all(a is None or b is None or a == b for a, b in zip(known, port.shape)):
        return None
    found, wanted = (", ".join("–" if n is None else str(n) for n in s) for s in (shape, port.shape))
    return f"[{found}], but its card promises [{'..., ' if port.loose else ''}{wanted}]"


_REPORT = "this is a fault of the component; report it to its authors"


def regroup(step: Step, parts: Sequence[tuple[list[int], Outputs]]) -> tuple[list[int], Outputs]:
    """The outputs of all calls, element by element in the elements' own order (failed elements are missing)."""
    if len(parts) == 1:
        order, outputs = parts[0]
        if all(a < b for a, b in itertools.pairwise(order)):
            return order, outputs
    owners = [i for indices, _ in parts for i in indices]
    order = sorted(range(len(owners)), key=owners.__getitem__)
    merged: Outputs = {}
    for port in step.outs:
        rows = Rows.cat([outputs[port.name] for _, outputs in parts])
        if any(outputs[port.name].counts is not None for _, outputs in parts):
            counts = [c for _, o in parts for c in _counts(o[port.name])]
            merged[port.name] = Rows(rows.data, rows.offsets, counts=counts)
        else:
            merged[port.name] = rows
    return [owners[n] for n in order], select_elements(merged, order)


def _counts(rows: Rows) -> Sequence[int]:
    return rows.counts if rows.counts is not None else [1] * len(rows)


def select_elements(outputs: Outputs, order: Sequence[int]) -> Outputs:
    """The outputs of some elements, in the order given; list ports keep their counts."""
    chosen: Outputs = {}
    for name, rows in outputs.items():
        if rows.counts is None:
            chosen[name] = rows.select(order)
            continue
        starts = [0]
        for c in rows.counts:
            starts.append(starts[-1] + c)
        part = rows.select([i for n in order for i in range(starts[n], starts[n + 1])])
        chosen[name] = Rows(part.data, part.offsets, counts=[rows.counts[n] for n in order])
    return chosen


def store(state: State, step: Step, keys: list[Key], outputs: Outputs, aligned: Mapping[str, Aligned]) -> None:
    """Write the outputs of the elements `keys` to their slots, and the lengths of the lists they open."""
    for port in step.outs:
        rows = outputs[port.name]
        if port.many:
            _store_list(state, port, keys, rows, aligned)
            continue
        held = keys
        if rows.counts is not None and port.optional:
            held = [k for k, c in zip(keys, rows.counts) if c]
        state.slots[port.slot] = keyed(rows, held)


def keyed(rows: Rows, keys: list[Key]) -> Rows:
    """The rows with their keys; the same object wherever possible."""
    if rows.keys is None and rows.counts is None:
        rows.keys = keys
        return rows
    if rows.keys is keys and rows.counts is None:
        return rows
    return Rows(rows.data, rows.offsets, keys=keys)


def _store_list(state: State, port: OutPlan, keys: list[Key], rows: Rows, aligned: Mapping[str, Aligned]) -> None:
    assert port.list_id is not None
    counts = rows.counts or []
    if port.tied is None:
        state.set_lengths(port.list_id, {k: int(c) for k, c in zip(keys, counts)})
        held = [(*k, i) for k, c in zip(keys, counts) for i in range(c)]
        state.slots[port.slot] = keyed(rows, state.share(port.stack, held))
        return
    source = aligned[port.tied]
    assert source.rows.keys is not None and source.spans is not None
    lengths = dict(state.extents.get(port.list_id, {}))
    held = []
    for n, k in enumerate(keys):
        start, stop = source.spans[n]
        held += [(*k, source.rows.keys[i][-1]) for i in range(start, stop)]
        parent = source.rows.keys[start][:-1] if stop > start else k
        lengths.setdefault(k, lengths.get(parent, 0))
    state.set_lengths(port.list_id, lengths)
    state.slots[port.slot] = keyed(rows, state.share(port.stack, held))


def empty(state: State, step: Step) -> None:
    """The node ran on nothing: every output is absent, every list it opens is empty."""
    for port in step.outs:
        if port.many and port.tied is None and port.list_id is not None:
            state.set_lengths(port.list_id, {})
        state.slots[port.slot] = Rows([], keys=[])


def tied_counts(step: Step, outputs: Outputs, aligned: Mapping[str, Aligned], chosen: Sequence[int]) -> None:
    """A list output tied to an input's list has as many values; raises NodeFault otherwise."""
    for port in step.outs:
        if port.tied is None:
            continue
        spans = aligned[port.tied].spans
        assert spans is not None
        wanted = [spans[i][1] - spans[i][0] for i in chosen]
        if list(outputs[port.name].counts or []) != wanted:
            raise NodeFault("E607", f"{port.name!r} keeps the list of {port.tied!r}, but has another length", _REPORT)
