"""The spec as written: inputs, nodes, edges and profiles in typed form, every part with its place, no name resolved.

Made by `shape.py` and `edge_syntax.py` from the marked tree; the passes of the checker read it and change nothing.
The classes are not frozen and have no equality: each of those costs a millisecond at every start of the command.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from anyany.errors.problems import Mark
from anyany.spec.yaml_tree import Marked


@dataclass(kw_only=True, eq=False)
class Ref:
    """`look`, `look.patches`, `prompt.image`, `think.reply.text`: one to three names."""

    parts: tuple[str, ...]
    mark: Mark
    path: str

    @property
    def text(self) -> str:
        return ".".join(self.parts)


@dataclass(kw_only=True, eq=False)
class BracketRef:
    """`[a, b*]`: edges, each with whether a star follows it."""

    entries: tuple[tuple[RawEdge, bool], ...]
    mark: Mark
    path: str


@dataclass(kw_only=True, eq=False)
class FillRef:
    """`{fill: reply, K: edge}`."""

    reply: RawEdge
    fills: Mapping[str, RawEdge]
    mark: Mark
    path: str


@dataclass(kw_only=True, eq=False)
class OfRef:
    """`{of: node}`: a component itself, for a port of kind `node`."""

    node: str
    mark: Mark
    path: str


@dataclass(kw_only=True, eq=False)
class BadEdge:
    """An edge that could not be read; its problem is told already."""

    mark: Mark
    path: str


RawEdge = Ref | BracketRef | FillRef | OfRef | BadEdge


@dataclass(kw_only=True, eq=False)
class RawInput:
    """`name: kind`, or the long form; `spec` is the kind with its `*` or `?`."""

    name: str
    spec: str
    has_default: bool = False
    default: Any = None
    default_mark: Mark | None = None
    about: str = ""
    mark: Mark
    path: str


@dataclass(kw_only=True, eq=False)
class Settings:
    """What a node or a profile says about how components are made and where they run; None where it is silent.

    `options` may hold `preset`. `tree` is the mapping these were read from, for the places of options.
    """

    weights: tuple[str, ...] | None = None
    options: Mapping[str, Any] | None = None
    device: str | None = None
    dtype: str | None = None
    tree: Marked | None = None
    path: str = ""

    def mark_of(self, key: str, option: str | None = None, *, value: bool = False) -> Mark | None:
        """The place of `weights`, `device` …, or of one option under `with` (of its key, or of its `value`)."""
        if self.tree is None:
            return None
        child = self.tree.get(key)
        if child is None:
            return None
        if option is None or not isinstance(child.value, dict):
            return child.mark
        if value:
            inner = child.get(option)
            return None if inner is None else inner.mark
        return child.key_marks.get(option)


@dataclass(kw_only=True, eq=False)
class RawNode:
    """One entry under `nodes`. `short` is the edge of `in: x`; `ports` those of `in: {port: x}`."""

    name: str
    use: str | None = None
    of: str | None = None
    call: str | None = None
    settings: Settings = field(default_factory=Settings)
    skip: tuple[str, ...] = ()
    short: RawEdge | None = None
    ports: Mapping[str, RawEdge] = field(default_factory=dict)
    port_marks: Mapping[str, Mark] = field(default_factory=dict)
    has_in: bool = False
    when: RawEdge | None = None
    tree: Marked
    mark: Mark
    path: str

    def mark_of(self, key: str) -> Mark:
        """The place of the value of a key of the node, or of the node's name."""
        child = self.tree.get(key)
        return self.mark if child is None else child.mark


@dataclass(kw_only=True, eq=False)
class RawOutput:
    """One entry under `outputs`."""

    name: str
    edge: RawEdge
    mark: Mark
    path: str


@dataclass(kw_only=True, eq=False)
class RawProfile:
    """A named set of settings for nodes, or for all of them under `*`."""

    name: str
    targets: Mapping[str, Settings]
    mark: Mark
    path: str


@dataclass(kw_only=True, eq=False)
class RawSpec:
    """A spec whose shape was read; what was malformed is left out."""

    name: str
    about: str = ""
    inputs: Mapping[str, RawInput]
    nodes: Mapping[str, RawNode]
    outputs: Mapping[str, RawOutput]
    profiles: Mapping[str, RawProfile]
    lost: frozenset[str]
    """Names of inputs and nodes that are written but malformed: edges to them are no new problem."""
    train: Any = None
    stages: Any = None
    """`train_raw.RawTrain`, where the spec has a `train:` section."""
    tree: Marked
