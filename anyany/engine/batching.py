"""Batches: which elements of a node go through one call together. A pure function of what the elements are.

Elements that cannot mix are kept apart, the others are sorted by length and cut by rows and cost. Source: DESIGN 6.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from anyany.api.v1 import Batching
from anyany.kinds.message import Message

_AXES = {"image": "C H W", "video": "T C H W", "audio": "C T", "mask": "H W", "features": "N D", "latent": "C H W"}
PLACE_LENGTH = 256


Getter = Callable[[int], Any]


def cut(batching: Batching, count: int, *, patterns: Sequence[tuple[str, ...]] | None = None,
        value: Getter | None = None, axes: Sequence[str] = (), kind: str = "") -> list[list[int]]:  # fmt: skip
    """Lists of element numbers, each one call.

    patterns: per element, which optional ports it has. value: the main port's value of an element, None where it
    gathers; axes and kind describe it. Order within and between batches is fixed by the elements alone.
    """
    groups: dict[Any, list[int]] = {}
    for i in range(count):
        shape = _shape_key(batching.group_by, value(i), axes, kind) if batching.group_by and value else ()
        groups.setdefault((patterns[i] if patterns else (), shape), []).append(i)
    batches: list[list[int]] = []
    for members in groups.values():
        batches += _cut_group(batching, members, value)
    return batches


def _cut_group(batching: Batching, members: list[int], value: Getter | None) -> list[list[int]]:
    if batching.cost is None or value is None:
        size = max(1, batching.max_rows)
        return [members[i : i + size] for i in range(0, len(members), size)]
    costs = {i: cost_of(value(i), batching.cost) for i in members}
    if len(members) <= batching.max_rows and (
        batching.max_cost is None or max(costs.values()) * len(members) <= batching.max_cost
    ):
        return [members]
    batches: list[list[int]] = [[]]
    for i in sorted(members, key=lambda i: costs[i]):
        full = len(batches[-1]) >= max(1, batching.max_rows)
        # Sorted upwards, the newest is the longest: padded to it, the batch costs its length times the rows.
        dear = batching.max_cost is not None and costs[i] * (len(batches[-1]) + 1) > batching.max_cost
        if batches[-1] and (full or dear):
            batches.append([])
        batches[-1].append(i)
    return batches


def cost_of(value: Any, name: str) -> int:
    """How dear a row is: its length, or the attribute `name` of its value."""
    if name != "length":
        found = getattr(value, name, 1)
        return int(found() if callable(found) else found)
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Message):
        return sum(len(p) if isinstance(p, str) else PLACE_LENGTH for p in value.parts)
    shape = shape_of(value)
    return int(shape[-1] if hasattr(value, "samples") else shape[0]) if shape else 1


def shape_of(value: Any) -> tuple[int, ...]:
    """The shape of a tensor, or of the tensor inside a sound or film; () for anything else."""
    inner = getattr(value, "samples", getattr(value, "frames", value))
    return tuple(getattr(inner, "shape", ()))


def _shape_key(names: Sequence[str], value: Any, axes: Sequence[str], kind: str) -> tuple[int, ...]:
    shape = shape_of(value)
    if "shape" in names:
        return shape
    named = [a for a in axes if a != "..."] or _AXES.get(kind, "").split()
    sizes: Mapping[str, int] = dict(zip(reversed(named), reversed(shape)))
    return tuple(sizes.get(name, -1) for name in names)
