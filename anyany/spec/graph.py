"""The checked spec: what `anyany.spec` hands to the planner and the engine.

Every edge is resolved: its source tree, its static stack of lists, and how the port that takes it consumes it.
Most classes compare by identity and have no repr: each generated method costs every `check` a tenth of a millisecond.
A *stack* is a tuple of list identities, outermost first: ("prompts", "prompts.image").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from anyany.api.v1 import Call, Card, Config
from anyany.errors import Mark

Stack = tuple[str, ...]


@dataclass(frozen=True, kw_only=True, repr=False)
class Input:
    """An input of the spec."""

    name: str


@dataclass(frozen=True, kw_only=True, repr=False)
class Output:
    """An output port of a node."""

    node: str
    port: str


@dataclass(frozen=True, kw_only=True, repr=False)
class Select:
    """`M.K`: the values of kind K in a message, as the list `list_id`; kind "text" gives the last turn's text."""

    source: Source
    kind: str
    list_id: str | None


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Entry:
    """One entry of a bracket; `star` splices its innermost list in place."""

    source: Source
    flow: Flow
    star: bool


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Bracket:
    """`[a, b*]`: values gathered into a list `list_id`, or into a message when `into` is "message"."""

    entries: tuple[Entry, ...]
    into: Literal["list", "message"]
    list_id: str | None


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Fill:
    """`{fill: reply, K: edge}`: an open message closed, place by place."""

    reply: Source
    reply_flow: Flow
    fills: Mapping[str, Entry]


@dataclass(frozen=True, kw_only=True, repr=False)
class Handle:
    """`{of: node}` given to a port of kind `node`: the component itself, to be called from inside a loop."""

    node: str


Source = Input | Output | Select | Bracket | Fill | Handle


@dataclass(frozen=True, kw_only=True, repr=False)
class Axis:
    """A named axis of a flow and its solved size (None: varies from row to row)."""

    name: str
    size: int | None


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Flow:
    """The static type of what an edge carries. `label` is how errors and drawings call it."""

    kinds: tuple[str, ...]
    stack: Stack = ()
    maybe: bool = False
    axes: tuple[Axis, ...] = ()
    facets: Mapping[str, Any] = field(default_factory=dict)
    space: str | None = None
    open_places: Mapping[str, str] = field(default_factory=dict)
    label: str = ""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Edge:
    """What feeds one port of a node.

    mode "map":    one value for each element of the node (a shorter stack broadcasts);
         "gather": the port takes the whole innermost list, flow.stack[-1];
         "one":    the port takes a list and gets a list of this one value;
         "places": the values at the places of the message port named `per`, in order.
    wrap: a text or medium given to a message port becomes a message of one part.
    """

    node: str
    port: str
    source: Source
    flow: Flow
    mode: Literal["map", "gather", "one", "places"]
    mapped: Stack
    per: str | None = None
    wrap: bool = False
    optional: bool = False
    facets: Mapping[str, Any] = field(default_factory=dict)
    mark: Mark | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
class Placement:
    """Where a node runs: device "auto", "cpu", "cuda", "cuda:1"…; dtype "float32", "bfloat16"… or None (as stored)."""

    device: str = "auto"
    dtype: str | None = None


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Node:
    """One use of a component. `owner` is the node that holds the weights (itself unless `of:`)."""

    name: str
    owner: str
    card: Card
    call_name: str
    call: Call
    config: Config
    facts: Mapping[str, Any]
    sizes: Mapping[str, int | None]
    edges: Mapping[str, Edge]
    when: Edge | None
    stack: Stack
    gives: Mapping[str, Flow]
    given_lists: Mapping[str, str]
    maybe: bool
    weights: tuple[str, ...]
    skip: tuple[str, ...]
    placement: Placement
    per_item: tuple[str, ...]
    mark: Mark | None = None

    @property
    def runs(self) -> bool:
        """False for a node that only holds weights (no `in:`)."""
        return bool(self.edges)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class GraphInput:
    """A declared input: kind, list or optional, default (None with has_default False when there is none)."""

    name: str
    kind: str
    many: bool
    optional: bool
    has_default: bool
    default: Any
    flow: Flow
    mark: Mark | None = None


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class GraphOutput:
    """A declared output and the edge behind it."""

    name: str
    source: Source
    flow: Flow
    mark: Mark | None = None


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Graph:
    """A spec that passed `check`. `order` is topological.

    `taken`: identity of a message ("prompt", "think", "think.reply") -> kinds that nodes select from it.
    """

    name: str
    about: str
    file: str | None
    folder: str
    profile: str | None
    inputs: Mapping[str, GraphInput]
    nodes: Mapping[str, Node]
    order: tuple[str, ...]
    outputs: Mapping[str, GraphOutput]
    taken: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    train: Any = None
    raw: Any = None
