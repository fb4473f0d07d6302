"""What the checker carries along edges before sizes are solved: wires (types), feeds (resolved edges), node states.

`freeze.py` turns them into the `Flow`, `Source`, `Edge` and `Node` of the graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from anyany.api.v1 import Call, Card, Config, Kind
from anyany.errors.problems import Mark, Problem, problem
from anyany.kinds.compat import part_kinds
from anyany.kinds.sizes import Sizes
from anyany.spec.graph import Stack
from anyany.spec.raw import RawNode, RawSpec, Settings

ANY = ("any",)


@dataclass(kw_only=True, eq=False)
class AxisTerm:
    """A named axis and its size variable; the name "..." stands for any axes."""

    name: str
    term: int


@dataclass(kw_only=True, eq=False)
class Wire:
    """The type of what an edge carries. Empty `kinds`: unknown after an error, fits everywhere.

    loaded: the value comes from an input of the spec, so the loader meets media facets.
    open_places: for an open reply, port name -> identity of the list of its places.
    """

    kinds: tuple[str, ...]
    stack: Stack = ()
    maybe: bool = False
    axes: tuple[AxisTerm, ...] = ()
    facets: Mapping[str, int] = field(default_factory=dict)
    space: str | None = None
    open_places: Mapping[str, str] = field(default_factory=dict)
    label: str = ""
    loaded: bool = False
    mark: Mark | None = None

    @property
    def is_message(self) -> bool:
        return "message" in self.kinds


@dataclass(kw_only=True, eq=False)
class FeedEntry:
    """One entry of a bracket, or one filling of a reply."""

    feed: Feed
    star: bool

    @property
    def mapped(self) -> Stack:
        """The lists that remain when the entry has given its value or spliced its list."""
        return self.feed.wire.stack[:-1] if self.star else self.feed.wire.stack


@dataclass(kw_only=True, eq=False)
class Feed:
    """A resolved edge. `name` is the input or node, `message` the identity of a message value ("prompt", "think")."""

    form: Literal["input", "output", "select", "bracket", "fill", "handle"]
    wire: Wire
    mark: Mark
    path: str
    name: str = ""
    port: str = ""
    message: str | None = None
    source: Feed | None = None
    kind: str = ""
    list_id: str | None = None
    entries: tuple[FeedEntry, ...] = ()
    into: Literal["list", "message"] = "list"
    fills: Mapping[str, FeedEntry] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return self.wire.label


@dataclass(kw_only=True, eq=False)
class PortUse:
    """How a port of a node consumes its feed, found by the lists and places passes."""

    feed: Feed
    mode: Literal["map", "gather", "one", "places"] = "map"
    mapped: Stack = ()
    wrap: bool = False


@dataclass(kw_only=True, eq=False)
class NodeState:
    """All that is known of a node so far. `broken` ones give no wires, and edges from them no new problems."""

    raw: RawNode
    owner: NodeState | None = None
    card: Card | None = None
    config: Config | None = None
    settings: Settings = field(default_factory=Settings)
    facts: Mapping[str, Any] = field(default_factory=dict)
    calls: Mapping[str, Call] = field(default_factory=dict)
    call_name: str = ""
    call: Call | None = None
    uses: dict[str, PortUse] = field(default_factory=dict)
    when: Feed | None = None
    stack: Stack = ()
    maybe: bool = False
    gives: dict[str, Wire] = field(default_factory=dict)
    given_lists: dict[str, str] = field(default_factory=dict)
    broken: bool = False

    @property
    def name(self) -> str:
        return self.raw.name

    @property
    def root(self) -> NodeState:
        """The node that holds the weights."""
        return self.owner or self

    @property
    def space(self) -> str:
        """The space of tokens that this component with these weights speaks."""
        card = self.root.card
        weights = self.root.settings.weights
        return f"{card.name if card else '?'}:{'+'.join(weights) if weights else '@' + self.root.name}"


@dataclass(kw_only=True, eq=False)
class Check:
    """One check of one spec under one profile: what every pass reads and writes."""

    spec: RawSpec
    registry: Any
    folder: str
    profile: str | None = None
    online: bool = False
    require_weights: bool = True
    facts_of: frozenset[str] | None = None
    problems: list[Problem] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)
    nodes: dict[str, NodeState] = field(default_factory=dict)
    inputs: dict[str, Wire] = field(default_factory=dict)
    outputs: dict[str, Feed] = field(default_factory=dict)
    order: tuple[str, ...] = ()
    sizes: Sizes = field(default_factory=Sizes)
    taken: dict[str, dict[str, tuple[str, Mark]]] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    memo: dict[Any, Any] = field(default_factory=dict)

    @property
    def kinds(self) -> Mapping[str, Kind]:
        """All kinds that are known, by name."""
        if "kinds" not in self.memo:
            self.memo["kinds"] = self.registry.kinds()
        found: Mapping[str, Kind] = self.memo["kinds"]
        return found

    @property
    def parts(self) -> frozenset[str]:
        """The kinds that may be parts of a message."""
        if "parts" not in self.memo:
            self.memo["parts"] = part_kinds(self.kinds)
        found: frozenset[str] = self.memo["parts"]
        return found

    def tell(self, code: str, message: str, **where: Any) -> None:
        """Add a problem (see `anyany.errors.problem` for the keyword arguments)."""
        found = problem(code, message, **where)
        if found not in self.problems:
            self.problems.append(found)

    def take(self, message: str, kind: str, by: str, mark: Mark) -> None:
        """Remember that node `by` takes the parts of a kind from a message."""
        self.taken.setdefault(message, {}).setdefault(kind, (by, mark))
