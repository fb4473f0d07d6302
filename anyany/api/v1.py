"""The plugin API, version 1: cards, calls, ports, options, facts, kinds and hooks. Torch-free and frozen by test.

A plugin's `plugin.py` imports this module and nothing heavy; its implementations import `anyany.api.torch`.
Source: DESIGN section 4. Names are the field's; a card is the declaration of a component, a call what it can do.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, dataclass_transform

import pluggy

from anyany.kinds.message import Media, Message, Place, Region, Turn

PROJECT = "anyany.v1"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

ROLES = ("encoder", "tokenizer", "adapter", "backbone", "decoder", "transform", "objective", "metric", "source")
RUNTIMES = ("torch", "process", "remote")

__all__ = [
    "PROJECT", "ROLES", "Batching", "Call", "Card", "Config", "Facts", "Kind", "Media", "Message", "Place", "Port",
    "Region", "Turn", "Var", "card", "hookimpl", "json", "option", "tensor", "var",
]  # fmt: skip


@dataclass(frozen=True)
class Var:
    """An axis size or facet that the graph solves. Shared by name between all calls of one component.

    `default` is used where neither end of any edge knows the size.
    """

    name: str
    default: int | None = None


def var(name: str, default: int | None = None) -> Var:
    """A size to be solved along the edges, in both directions (`D=var("width", 512)`)."""
    return Var(name, default)


class Port:
    """What one port of a call takes or gives.

    `spec` is a kind, a union `features|label`, or `any` (one kind across the node), with `*` (the whole innermost
    list) or `?` (may be absent) behind it. `axes` are names from the outermost ("N D"); a leading "..." stands for
    any axes before the named ones. Keyword arguments: an axis name gives that axis a size (int or `Var`); the rest
    are facets (`rate`, `channels`, `vocab`, `fps`, any that the kind declares).

    per:    the message port whose places this port's values belong to (a backbone's `image`, per="message"); on an
            output, the open message output whose places it fills (per="reply").
    ties:   for a list output, the input port whose list identity it keeps.
    space:  tokens, embeddings and latents: "self" (this component plus its weights), "of:PORT" (the space of what
            feeds PORT), or a fixed name.
    native: kinds of parts that a message port takes by itself, without a port beside it.
    open:   a message output with places to be filled.
    """

    __slots__ = (
        "axes",
        "doc",
        "facets",
        "kinds",
        "many",
        "native",
        "open",
        "optional",
        "per",
        "sizes",
        "space",
        "ties",
    )

    def __init__(
        self, spec: str, axes: str = "", *, per: str | None = None, ties: str | None = None,
        space: str | None = None, native: Sequence[str] = (), open: bool = False, doc: str = "", **named: Any,
    ) -> None:  # fmt: skip
        text = spec.strip()
        suffix = text[len(text.rstrip("*?")) :]
        self.many = "*" in suffix
        self.optional = "?" in suffix
        self.kinds: tuple[str, ...] = tuple(k.strip() for k in text.rstrip("*?").split("|"))
        self.axes: tuple[str, ...] = tuple(axes.split())
        self.sizes: dict[str, int | Var] = {k: v for k, v in named.items() if k in self.axes and v is not None}
        self.facets: dict[str, Any] = {k: v for k, v in named.items() if k not in self.axes and v is not None}
        self.per, self.ties, self.space = per, ties, space
        self.native: frozenset[str] = frozenset(native)
        self.open, self.doc = open, doc

    def _key(self) -> tuple[Any, ...]:
        return (self.kinds, self.many, self.optional, self.axes, tuple(sorted(self.sizes.items(), key=str)),
                tuple(sorted(self.facets.items(), key=str)), self.per, self.ties, self.space, self.native,
                self.open)  # fmt: skip

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Port) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        suffix = ("*" if self.many else "") + ("?" if self.optional else "")
        axes = " ".join(f"{a}={self.sizes[a]}" if a in self.sizes else a for a in self.axes)
        return f"Port({'|'.join(self.kinds)}{suffix}{' ' + axes if axes else ''})"


@dataclass(frozen=True, kw_only=True)
class Batching:
    """How a call batches: rows that differ in `group_by` never mix; at most `max_rows` rows a call.

    group_by: names of axes of the main input ("H", "W"), or "shape" for its whole shape.
    cost:     attribute of a row that batches are sorted by and cut on ("length"), with `max_cost` a call.
    """

    group_by: tuple[str, ...] = ()
    max_rows: int = 64
    cost: str | None = None
    max_cost: int | None = None


@dataclass(frozen=True, kw_only=True)
class Call:
    """One thing a component can do: the ports it takes and gives (the first on each side is the main one).

    parts:    names of weight parts (submodules) it touches; empty means all.
    teach:    name of the call that replaces it in training.
    prepare:  the implementation has `prepare_<call>(config, assets)` run in worker threads (decode, resize, tokenise).
    batching: how rows may be put together.
    """

    takes: Mapping[str, Port]
    gives: Mapping[str, Port]
    parts: tuple[str, ...] = ()
    teach: str | None = None
    batching: Batching = Batching()
    prepare: bool = False

    @property
    def main_in(self) -> str | None:
        return next(iter(self.takes), None)

    @property
    def main_out(self) -> str | None:
        return next(iter(self.gives), None)


def option(default: Any = dataclasses.MISSING, *, per_item: bool = False, doc: str = "",
           choices: Sequence[Any] | None = None, low: float | None = None,
           high: float | None = None) -> Any:  # fmt: skip
    """An option of a `Config` with its documentation and bounds; `per_item` ones may be set by an item's `with`."""
    meta = {"per_item": per_item, "doc": doc, "choices": choices, "low": low, "high": high}
    if isinstance(default, (list, dict)):
        frozen = default
        return field(default_factory=lambda: type(frozen)(frozen), metadata=meta)
    return field(default=default, metadata=meta)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(option, field))
class Config:
    """Base of a component's options. Subclasses become frozen, keyword-only dataclasses by themselves, at first use:
    making all of them at import would cost a third of every `anyany check`."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.__init__ = _first_use  # type: ignore[assignment]


def _first_use(self: Config, **options: Any) -> None:
    fields_of(type(self))
    type(self).__init__(self, **options)


def fields_of(config: type[Config]) -> tuple[dataclasses.Field[Any], ...]:
    """The options of a component, as dataclass fields (their metadata is what `option` was told)."""
    for one in reversed(config.__mro__):
        if one is not Config and issubclass(one, Config) and "__dataclass_fields__" not in vars(one):
            del one.__init__  # the placeholder, which dataclass would keep
            dataclass(frozen=True, kw_only=True)(one)
    return dataclasses.fields(config)  # type: ignore[arg-type]


class NoConfig(Config):
    """For components without options."""


@dataclass(frozen=True)
class TensorFact:
    """A size read from a tensor of the checkpoint: `pattern` is a glob over tensor names."""

    pattern: str
    axis: int
    kind: str = "tensor"


@dataclass(frozen=True)
class JsonFact:
    """A value read from a JSON file of the checkpoint; `key` may be dotted."""

    key: str
    file: str = "config.json"
    kind: str = "json"


def tensor(pattern: str, axis: int = 0) -> TensorFact:
    """Fact: the size of `axis` of the first tensor whose name matches the glob `pattern`."""
    return TensorFact(pattern, axis)


def json(key: str, file: str = "config.json") -> JsonFact:
    """Fact: the value under the dotted `key` of a JSON file beside the weights."""
    return JsonFact(key, file)


Fact = TensorFact | JsonFact


class Facts:
    """How to read sizes from a checkpoint: `Facts(width=[tensor("*class_embedding"), json("hidden_size")])`.

    Each name lists where to look, tried in order. Without a checkpoint (`random:`) a fact is the option of the
    same name. An unknown fact is a variable of that name.
    """

    def __init__(self, **sources: Sequence[Fact]) -> None:
        self.sources: dict[str, tuple[Fact, ...]] = {k: tuple(v) for k, v in sources.items()}


class FactValues:
    """What a card's `calls(config, facts)` sees: known facts as values, unknown ones as `Var`."""

    def __init__(self, known: Mapping[str, Any], names: Sequence[str] = ()) -> None:
        self._known = dict(known)
        self._names = tuple(names)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self._known.get(name, Var(name))

    def known(self, name: str, default: Any = None) -> Any:
        return self._known.get(name, default)


CallsFunction = Callable[[Any, Any], Mapping[str, Call]]


@dataclass(frozen=True)
class _Fixed:
    """Calls that depend on neither options nor facts."""

    calls: Mapping[str, Call]

    def __call__(self, config: Any, facts: Any) -> Mapping[str, Call]:
        return self.calls


@dataclass(frozen=True, kw_only=True)
class Card:
    """The torch-free declaration of a component. Make one with `card(...)`."""

    name: str
    role: str
    config: type[Config]
    calls: CallsFunction
    impl: str
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    facts: Facts = field(default_factory=Facts)
    ignores: tuple[str, ...] = ()
    about: str = ""
    source: str = ""
    weights: bool = True
    runtime: str = "torch"
    deterministic: bool = True
    concurrency: int = 1
    major: int = 1

    @property
    def namespace(self) -> str:
        return self.name.split("/", 1)[0]


def card(
    name: str, *, role: str, calls: CallsFunction | Mapping[str, Call], impl: str, config: type[Config] = NoConfig,
    tiny: Mapping[str, Any] | None = None, presets: Mapping[str, Mapping[str, Any]] | None = None, **more: Any,
) -> Card:  # fmt: skip
    """Declare a component.

    name:    "namespace/name".
    calls:   a pure function (config, facts) -> {call name: Call}, or that mapping. The first is the default call.
    impl:    "package.module:Class", imported only when the component runs.
    tiny:    the preset used by miniature profiles (`with: tiny`); `presets` holds further named ones.
    weights: False for components without parameters (they take no `weights:`).
    Raises ValueError for a malformed declaration.
    """
    if name.count("/") != 1 or not all(name.split("/")):
        raise ValueError(f"a card's name is 'namespace/name', not {name!r}")
    if role not in ROLES:
        raise ValueError(f"card {name}: role {role!r} is none of {', '.join(ROLES)}")
    if ":" not in impl:
        raise ValueError(f"card {name}: impl is 'package.module:Class', not {impl!r}")
    table = dict(presets or {})
    if tiny is not None:
        table["tiny"] = tiny
    function: CallsFunction = calls if not isinstance(calls, Mapping) else _Fixed(calls)
    return Card(name=name, role=role, config=config, calls=function, impl=impl, presets=table, **more)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A modality: what may flow on an edge, and how it meets files.

    group: "media", "tensor", "result" or "training". load/save/preview: "package.module:function" or "" for none;
    load(path, facets, limits) -> value, save(value, path_without_suffix) -> path, preview(value) -> HTML.
    """

    name: str
    group: str
    axes: tuple[str, ...] = ()
    facets: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    load: str = ""
    save: str = ""
    preview: str = ""
    about: str = ""


class Hooks:
    """The hooks a plugin may implement (pluggy). They and their arguments only grow."""

    @hookspec
    def anyany_cards(self) -> Sequence[Card]:  # type: ignore[empty-body]
        """The components that this plugin offers."""

    @hookspec
    def anyany_kinds(self) -> Sequence[Kind]:  # type: ignore[empty-body]
        """New modalities."""

    @hookspec
    def anyany_specs(self) -> Sequence[str]:  # type: ignore[empty-body]
        """Paths (relative to the plugin's package) of the YAML specs it ships."""

    @hookspec
    def anyany_events(self, event: Mapping[str, Any]) -> None:
        """Observe what a run does; what it returns is ignored."""
