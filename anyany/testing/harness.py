"""A component by itself, built and called as the engine would, without a spec: for the conformance kit.

`Bench` holds a card with options and sizes; `build` gives the component, `call` its results row by row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from anyany.api.v1 import Call, Card, Config, FactValues, Var
from anyany.engine.build import Built, build_component
from anyany.engine.context import Context
from anyany.engine.noise import Noise
from anyany.engine.rows import Rows
from anyany.registry.options import make_config
from anyany.spec.graph import Node, Placement
from anyany.testing.synthetic import Making, example_rows

SMALL, LARGER = 32, 48
"""What variables of the ports are set to, unless a smaller default is declared."""


@dataclass(frozen=True)
class Bench:
    """A card on the bench: config, facts, its calls, and values for the variables of its ports."""

    card: Card
    config: Config
    facts: Mapping[str, Any]
    calls: Mapping[str, Call]
    sizes: Mapping[str, int]

    def node(self, call: str, weights: Sequence[str], placement: Placement = Placement()) -> Node:  # noqa: B008
        """The node that a spec with this one component would have."""
        return Node(
            name="bench", owner="bench", card=self.card, call_name=call, call=self.calls[call], config=self.config,
            facts=self.facts, sizes=self.sizes, edges={}, when=None, stack=(), gives={}, given_lists={}, maybe=False,
            weights=tuple(weights) if self.card.weights else (), skip=(), placement=placement, per_item=(),
        )  # fmt: skip

    def build(self, weights: str = "random:0", *, dtype: str = "float32", device: str = "cpu") -> Built:
        """The component, as the engine builds it: on meta where it can, then its weights."""
        call = next(iter(self.calls))
        return build_component(self.node(call, (weights,), Placement(device=device, dtype=dtype)))

    def making(self, **more: Any) -> Making:
        """How values for this component's ports are made."""
        return Making(sizes=self.sizes, **more)


def bench(card: Card, options: Mapping[str, Any] | str | None = None, *, larger: bool = False) -> Bench:
    """Put a card on the bench. Without a checkpoint its facts are its options, as with `random:` weights.

    larger: another value for every variable of the ports. Raises ValueError for wrong options.
    """
    wanted = options
    if wanted is None and "tiny" in card.presets:
        wanted = "tiny"
    config, issues = make_config(card, wanted)
    if config is None:
        raise ValueError("; ".join(i.message for i in issues))
    known = {n: getattr(config, n) for n in card.facts.sources if getattr(config, n, None) is not None}
    calls = card.calls(config, FactValues(known, tuple(card.facts.sources)))
    ports = [p for call in calls.values() for p in (*call.takes.values(), *call.gives.values())]
    found = [v for p in ports for v in (*p.sizes.values(), *p.facets.values()) if isinstance(v, Var)]
    goal = LARGER if larger else SMALL
    return Bench(card, config, known, calls, {v.name: min(goal, v.default or goal) for v in found})


def call(
    built: Built, name: str, given: Mapping[str, Rows], rows: Sequence[int], *, seed: int = 0
) -> Mapping[str, Rows]:
    """Call a method over rows; row numbers are item identities, so that noise is theirs wherever they stand."""
    ctx = Context(
        node="bench", call=name, keys=[(i,) for i in range(len(rows))],
        noise=Noise(seed, [f"item-{row}" for row in rows]), device=built.device, dtype=built.dtype,
    )  # fmt: skip
    moved = {n: r.to(built.device, built.dtype) for n, r in given.items()}
    with torch.inference_mode():
        result: Mapping[str, Rows] = getattr(built.component, name)(ctx, **moved)
    return result


def run(built: Built, name: str, spec: Call, rows: Sequence[int], making: Making) -> list[dict[str, Any]]:
    """What a call gives for each row: {port: value, a list for list ports, None where absent}."""
    component = built.component
    example = getattr(component, "example_rows", None)
    given = example(name, rows, making) if example else example_rows(spec, rows, making)
    outputs = call(built, name, given, rows)
    return [dict(one) for one in _by_row(spec, outputs, len(rows))]


def _by_row(spec: Call, outputs: Mapping[str, Any], count: int) -> Iterator[dict[str, Any]]:
    columns: dict[str, list[Any]] = {}
    for name, port in spec.gives.items():
        value = outputs.get(name)
        rows = value if isinstance(value, Rows) or value is None else Rows(value)
        if rows is None:
            columns[name] = [[] if port.many else None] * count
        elif port.many or rows.counts is not None:
            groups: Any = rows.groups()
            columns[name] = [list(g) if port.many else g[0] if g else None for g in groups]
        else:
            columns[name] = rows.list()
        if len(columns[name]) != count:
            raise AssertionError(f"`{name}` has {len(columns[name])} rows for {count}")
    for i in range(count):
        yield {name: column[i] for name, column in columns.items()}


@contextmanager
def no_network() -> Iterator[list[str]]:
    """Sockets refuse to connect and names to resolve; gives the list of what was tried."""
    import socket

    tried: list[str] = []

    def refuse(*args: Any, **_: Any) -> Any:
        tried.append(repr([a for a in args if not isinstance(a, socket.socket)])[:200])
        raise OSError("the conformance kit allows no network")

    kept = {name: getattr(socket.socket, name) for name in ("connect", "connect_ex", "sendto")}
    resolve = socket.getaddrinfo
    try:
        for name in kept:
            setattr(socket.socket, name, refuse)
        socket.getaddrinfo = refuse
        yield tried
    finally:
        for name, method in kept.items():
            setattr(socket.socket, name, method)
        socket.getaddrinfo = resolve
