"""The plan: the graph pruned to what is wanted, compiled into steps, with outputs, checks and files to decode ahead.

Nothing is built here; `predict` adds bytes and refuses what cannot be. Source: DESIGN section 6.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from anyany.engine.compile import Compiler, Step, leaves
from anyany.engine.items import Item, Taken
from anyany.engine.readers import (
    BracketList,
    Decode,
    DecodeParts,
    PartsOf,
    Reader,
    SelectList,
    SelectText,
    Slot,
    Wrap,
)
from anyany.errors import CallError, problem
from anyany.kinds.message import REGION_KINDS, FilePath, Message
from anyany.spec.graph import Bracket, Fill, Flow, Graph, GraphInput, GraphOutput, Input, Output, Select, Source, Stack

_PART_KINDS = ("text", "image", "audio", "video", *REGION_KINDS)


@dataclass(frozen=True, eq=False)
class Wanted:
    """One output to be made: `listed` outputs are lists of `kind` picked out of a message.

    among: all kinds that its values may be of, where a list holds several; `kind` is the first.
    """

    name: str
    reader: Reader
    kind: str
    stack: Stack
    listed: bool = False
    kinds: tuple[str, ...] = ()
    among: tuple[str, ...] = ()

    def kind_of(self, value: Any) -> str:
        """The kind of one value: where several are possible, the one that its type tells."""
        if len(self.among) < 2:
            return self.kind
        told = {"Audio": "audio", "Video": "video", "Message": "message", "str": "text"}.get(type(value).__name__)
        others = [kind for kind in self.among if kind not in ("audio", "video", "message", "text")]
        return told if told in self.among else (others or [self.kind])[0]


@dataclass(frozen=True, eq=False)
class Fetch:
    """Files of one input to be decoded ahead: as `kind`, meeting `facets`; `select` picks parts of a message."""

    input: str
    select: str | None
    kind: str
    facets: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """What a run does.

    owners: nodes whose components may be needed. checks: run after the inputs ("") and after nodes.
    """

    graph: Graph
    steps: tuple[Step, ...]
    outputs: Mapping[str, Wanted]
    inputs: Mapping[str, GraphInput]
    checks: Mapping[str, tuple[Taken, ...]]
    owners: tuple[str, ...]
    defaulted: frozenset[str]
    default_values: Mapping[str, Any]
    fetches: tuple[Fetch, ...] = field(default=())

    def files(self, item: Item) -> Iterator[tuple[str, FilePath, Mapping[str, Any]]]:
        """(kind, path, facets) of every file of an item that the run will decode."""
        for fetch in self.fetches:
            value = item.values.get(fetch.input)
            many = self.inputs[fetch.input].many
            for one in value if many and isinstance(value, list) else [value]:
                if fetch.select is None:
                    found = [one]
                else:
                    found = one.select(fetch.select) if isinstance(one, Message) else []
                for path in found:
                    if type(path) is FilePath:
                        yield fetch.kind, path, fetch.facets


def make_plan(graph: Graph, want: Sequence[str] | None = None, defaults: Mapping[str, Any] | None = None) -> Plan:
    """Prune and compile. `want` holds OUTPUT or OUTPUT.KIND; none means every output. Raises CallError (E904)."""
    compiler = Compiler(graph)
    wanted = _wants(graph, want)
    outputs: dict[str, Wanted] = {}
    needed: list[tuple[str, str]] = []
    for name, kinds in wanted.items():
        made, found = _output(compiler, graph.outputs[name], kinds)
        outputs[name] = made
        needed += found
    nodes, held, inputs = _closure(graph, needed)
    order = [n for n in graph.order if n in nodes and graph.nodes[n].runs]
    steps = tuple(compiler.step(graph.nodes[n]) for n in order)
    used = {n: i for n, i in graph.inputs.items() if n in inputs}
    given = defaults or {}
    return Plan(
        graph=graph, steps=steps, outputs=outputs, inputs=used, checks=_checks(graph, nodes, inputs),
        owners=tuple(dict.fromkeys(graph.nodes[n].owner for n in graph.order if n in nodes | held)),
        defaulted=frozenset(n for n in used if n in given), default_values=given,
        fetches=tuple(_fetches(steps, outputs)),
    )  # fmt: skip


# wants -----------------------------------------------------------------------------------------------------------
def _wants(graph: Graph, want: Sequence[str] | None) -> dict[str, tuple[str, ...]]:
    from anyany.errors.suggest import suggest

    if not want:
        return dict.fromkeys(graph.outputs, ())
    found: dict[str, tuple[str, ...]] = {}
    whole: set[str] = set()
    for text in want:
        name, _, kind = text.partition(".")
        if name not in graph.outputs:
            near = suggest(name, list(graph.outputs))
            help = f"did you mean {' or '.join(near)}?" if near else f"outputs are {', '.join(graph.outputs)}"
            raise CallError([problem("E904", f"there is no output {name!r} to want", help=help)])
        kinds = _kinds_of(graph.outputs[name])
        if kind and kind not in kinds:
            help = f"{name} has {', '.join(kinds)}"
            raise CallError([problem("E904", f"output {name!r} has no kind {kind!r}", help=help)])
        if not kind or "message" not in graph.outputs[name].flow.kinds:
            whole.add(name)
        found[name] = (*found.get(name, ()), kind) if kind and name not in whole else ()
    return {n: () if n in whole else tuple(dict.fromkeys(k)) for n, k in found.items()}


def _kinds_of(output: GraphOutput) -> tuple[str, ...]:
    source = output.source
    if isinstance(source, Fill):
        return ("text", *source.fills)
    return _PART_KINDS if "message" in output.flow.kinds else output.flow.kinds


def _output(compiler: Compiler, output: GraphOutput, kinds: tuple[str, ...]) -> tuple[Wanted, list[tuple[str, str]]]:
    source, flow = output.source, output.flow
    kind = flow.kinds[0]
    if not kinds:
        reader = compiler.decoded(compiler.reader(source, flow), source, kind, {})
        return Wanted(output.name, reader, kind, flow.stack, among=flow.kinds), leaves(source)
    if isinstance(source, Fill):
        needed = leaves(source.reply)
        for k in kinds:
            if k in source.fills:
                needed += leaves(source.fills[k].source)
        if kinds == ("text",):
            reader = SelectText(compiler.reader(source.reply, source.reply_flow))
            return Wanted(output.name, reader, "text", flow.stack, kinds=kinds), needed
        reader = compiler.fill(source, frozenset(kinds))
    else:
        needed = leaves(source)
        reader = compiler.reader(source, flow)
        if kinds == ("text",):
            return Wanted(output.name, SelectText(reader), "text", flow.stack, kinds=kinds), needed
    if len(kinds) == 1:
        return Wanted(output.name, PartsOf(reader, kinds[0]), kinds[0], flow.stack, True, kinds), needed
    return Wanted(output.name, reader, kind, flow.stack, kinds=kinds), needed


def _closure(graph: Graph, needed: list[tuple[str, str]]) -> tuple[set[str], set[str], set[str]]:
    """(nodes to run, nodes that are only given to others as such, inputs)."""
    nodes: set[str] = set()
    held: set[str] = set()
    inputs: set[str] = set()
    todo = list(needed)
    while todo:
        kind, name = todo.pop()
        if kind != "node":
            (inputs if kind == "in" else held).add(name)
        elif name not in nodes:
            nodes.add(name)
            node = graph.nodes[name]
            for edge in [*node.edges.values(), *([node.when] if node.when else [])]:
                todo += leaves(edge.source)
    return nodes, held, inputs


# messages: who takes what ----------------------------------------------------------------------------------------
def _checks(graph: Graph, nodes: set[str], inputs: set[str]) -> dict[str, tuple[Taken, ...]]:
    """For each message that some node uses: the kinds that nodes of the whole graph take from it."""
    taken: dict[tuple[str, str], set[str]] = {}
    for node in graph.nodes.values():
        for edge in [*node.edges.values(), *([node.when] if node.when else [])]:
            for slot, kinds in _takes(edge.source, edge.flow):
                taken.setdefault(slot, set()).update(kinds)
            port = node.call.takes.get(edge.port)
            if port is not None and "message" in port.kinds and edge is not node.when:
                fed = {n for n, p in node.call.takes.items() if p.per == edge.port and n in node.edges}
                for slot in _whole_messages(edge.source, edge.flow):
                    taken.setdefault(slot, set()).update(port.native | fed)
            elif port is not None:
                for slot in _whole_messages(edge.source, edge.flow):
                    taken.setdefault(slot, set()).update(_PART_KINDS)
    found: dict[str, tuple[Taken, ...]] = {}
    for slot, kinds in taken.items():
        owner, name = slot
        if (owner and owner not in nodes) or (not owner and name not in inputs):
            continue
        label = f"{owner}.{name}" if owner else name
        found[owner] = (*found.get(owner, ()), Taken(label, slot, frozenset(kinds)))
    return found


def _slot(source: Source) -> tuple[str, str] | None:
    if isinstance(source, Input):
        return ("", source.name)
    return (source.node, source.port) if isinstance(source, Output) else None


def _takes(source: Source, flow: Flow) -> Iterator[tuple[tuple[str, str], set[str]]]:
    if isinstance(source, Select):
        slot = _slot(source.source)
        if slot is not None:
            yield slot, {source.kind} if source.list_id is not None else set()
    elif isinstance(source, Bracket):
        for entry in source.entries:
            yield from _takes(entry.source, entry.flow)
    elif isinstance(source, Fill):
        for entry in source.fills.values():
            yield from _takes(entry.source, entry.flow)


def _whole_messages(source: Source, flow: Flow) -> Iterator[tuple[str, str]]:
    if isinstance(source, Bracket):
        for entry in source.entries:
            yield from _whole_messages(entry.source, entry.flow)
        return
    slot = _slot(source)
    if slot is not None and "message" in flow.kinds:
        yield slot


# files -----------------------------------------------------------------------------------------------------------
def _fetches(steps: Sequence[Step], outputs: Mapping[str, Wanted]) -> Iterator[Fetch]:
    seen: set[Any] = set()
    for reader in [p.reader for s in steps for p in s.rows] + [o.reader for o in outputs.values()]:
        for fetch in _fetches_of(reader):
            key = (fetch.input, fetch.select, fetch.kind, tuple(sorted(fetch.facets.items(), key=str)))
            if key not in seen:
                seen.add(key)
                yield fetch


def _fetches_of(reader: Reader) -> Iterator[Fetch]:
    if isinstance(reader, Wrap):
        yield from _fetches_of(reader.inner)
    elif isinstance(reader, DecodeParts):
        if isinstance(reader.inner, Slot) and not reader.inner.name[0]:
            for kind in sorted(reader.kinds - {"text"}):
                yield Fetch(reader.inner.name[1], kind, kind, {})
    elif isinstance(reader, BracketList):  # of several kinds
        for entry in reader.entries:
            yield from _fetches_of(entry.reader)
    elif isinstance(reader, Decode):
        for name, select in _inputs_of(reader.inner):
            yield Fetch(name, select, reader.kind, reader.facets)


def _inputs_of(reader: Reader) -> Iterator[tuple[str, str | None]]:
    if isinstance(reader, Slot) and not reader.name[0]:
        yield reader.name[1], None
    elif isinstance(reader, SelectList):
        for name, _ in _inputs_of(reader.inner):
            yield name, reader.kind
    elif isinstance(reader, BracketList):
        for entry in reader.entries:
            yield from _inputs_of(entry.reader)
