"""Stages of training as graphs: the spec with `teach` calls swapped in, nodes added and ports fed from data.

Each stage is derived as a spec of its own and goes through the same passes as any other; what only training asks is
checked after that. Source: DESIGN section 8.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from anyany.api.v1 import Card, Config
from anyany.errors import Problem
from anyany.errors.suggest import did_you_mean
from anyany.spec import freeze
from anyany.spec.gradients import reached_by_gradient
from anyany.spec.graph import Graph
from anyany.spec.order import refs_of_node
from anyany.spec.raw import BracketRef, FillRef, OfRef, RawEdge, RawInput, RawNode, RawOutput, RawSpec, Ref, Settings
from anyany.spec.train_raw import DATA, RawData, RawFeed, RawStage, RawTarget, RawTrain, RawValidate
from anyany.spec.wires import Check

Run = Callable[[RawSpec], Check]


@dataclass(frozen=True, kw_only=True, eq=False)
class DataSource:
    """A source of records, and the kind of each field."""

    card: Card
    config: Config
    fields: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """A graph fed from data. feeds: input of the graph -> field of a record. targets: output name -> weight."""

    graph: Graph
    data: DataSource
    feeds: Mapping[str, str]
    targets: Mapping[str, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class Validation:
    """The graph as it runs, with what is measured (`metric` outputs) and shown of it, and what must be reached."""

    part: Part
    every: int
    items: int
    measure: tuple[str, ...]
    show: tuple[str, ...]
    bounds: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Stage:
    """A checked stage. learn: owners of the weights to be learned; parts: of those learned in part, names of the parts.
    lora: node -> rank, alpha, dropout, targets. start: owners whose weights the stage itself names."""

    name: str
    part: Part
    learn: tuple[str, ...]
    parts: Mapping[str, tuple[str, ...]]
    lora: Mapping[str, Mapping[str, Any]]
    start: frozenset[str]
    settings: Mapping[str, Any]
    validation: Validation | None


@dataclass(kw_only=True, eq=False)
class _Derived:
    """A spec of one stage under way."""

    spec: RawSpec
    feeds: dict[str, str]
    outputs: dict[str, RawTarget]
    missing: list[tuple[Ref, str]] = field(default_factory=list)


def check_stages(base: Check, run: Run) -> tuple[list[Stage], list[Problem]]:
    """The stages of a checked spec and what is wrong with them. `run` makes all passes over a derived spec."""
    train: RawTrain | None = base.spec.stages
    stages: list[Stage] = []
    problems: list[Problem] = []
    for raw in train.stages if train is not None else ():
        reader = _StageCheck(base, raw, run)
        stage = reader.stage()
        problems += [p for p in reader.problems if p not in problems]
        if stage is not None:
            stages.append(stage)
    return stages, problems


class _StageCheck:
    """One stage, checked; `problems` holds what was found."""

    def __init__(self, base: Check, raw: RawStage, run: Run) -> None:
        self.base, self.raw, self.run = base, raw, run
        self.problems: list[Problem] = []
        self._scratch = Check(spec=base.spec, registry=base.registry, folder=base.folder, problems=self.problems)
        self.tell = self._scratch.tell

    def stage(self) -> Stage | None:
        """The stage, or None where it cannot be derived."""
        raw = self.raw
        self._names()
        if self.problems:
            return None
        assert raw.data is not None
        part, check = self._part(raw.data, raw.feeds, raw.adds, raw.minimise, "loss", teach=True)
        if part is None or check is None:
            return None
        learned = self._learned(part)
        validation = None if raw.validate is None else self._validation(raw.validate, raw.data)
        if any(p.is_error for p in self.problems):
            return None
        return Stage(
            name=raw.name, part=part, learn=learned, parts=raw.parts,
            lora={n: options for n, (options, _) in raw.lora.items()}, start=frozenset(raw.start),
            settings=raw.settings, validation=validation,
        )  # fmt: skip

    # names -------------------------------------------------------------------------------------------------------
    def _names(self) -> None:
        """What the stage names is there, and has weights where they are to be learned."""
        raw, nodes = self.raw, self.base.spec.nodes
        adds = {**raw.adds, **(raw.validate.adds if raw.validate else {})}
        for name, node in adds.items():
            if name in nodes or name in self.base.spec.inputs or name == DATA:
                self.tell("E045", f"`{name}` is the name of an added node and of something else", mark=node.mark,
                          path=node.path, help="rename the added node")  # fmt: skip
        if DATA in nodes or DATA in self.base.spec.inputs:
            place: RawNode | RawInput = nodes.get(DATA) or self.base.spec.inputs[DATA]
            self.tell("E045", "`data` is where a stage's records come from, and the name of something else",
                      mark=place.mark, path=place.path, help="rename the node or input")  # fmt: skip
        marks = {**raw.learn, **{n: m for n, (_, m) in raw.lora.items()}, **{n: m for n, (_, m) in raw.start.items()}}
        for name, mark in marks.items():
            found = nodes.get(name) or raw.adds.get(name)
            state = self.base.nodes.get(name)
            if found is None:
                help = did_you_mean(name, nodes) or f"its nodes are {', '.join(f'`{n}`' for n in nodes)}"
                self.tell("E704", f"`{name}` is no node", mark=mark, path=raw.path, help=help)
            elif found.of is not None:
                self.tell("E704", f"`{name}` shares the weights of `{found.of}`", mark=mark, path=raw.path,
                          help=f"name `{found.of}`")  # fmt: skip
            elif state is not None and state.card is not None and not state.card.weights:
                self.tell("E704", f"`{name}` ({state.card.name}) has no weights", mark=mark, path=raw.path,
                          help="name a node with weights")  # fmt: skip
            elif state is not None and state.card is not None and state.card.runtime != "torch":
                self.tell("E706", f"`{name}` ({state.card.name}) runs elsewhere and cannot be trained", mark=mark,
                          path=raw.path, help="choose a component that runs here")  # fmt: skip

    # a part ------------------------------------------------------------------------------------------------------
    def _part(self, data: RawData, feeds: Iterable[RawFeed], adds: Mapping[str, RawNode],
              targets: Iterable[RawTarget], kind: str, *, teach: bool) -> tuple[Part | None, Check | None]:  # fmt: skip
        """The graph of fed nodes that gives the targets; problems of the derived spec carry the stage's name."""
        derived = self._derive(data, list(feeds), adds, list(targets), teach)
        if derived is None:
            return None, None
        check = self.run(derived.spec)
        self._adopt(check)
        if any(p.is_error for p in check.problems) or any(p.is_error for p in self.problems):
            return None, None
        graph = freeze.freeze(check, self.base.spec.tree.mark.file)
        self._kinds(graph, derived.outputs, kind)
        source = check.nodes[DATA]
        assert source.card is not None and source.config is not None
        if source.card.role != "source":
            self.tell("E708", f"`{source.card.name}` is no source of records", mark=data.node.mark, path=data.node.path,
                      help="`anyany plugins` lists components of role source, such as sources/jsonl")  # fmt: skip
            return None, None
        made = DataSource(card=source.card, config=source.config, fields=data.fields)
        weights = {name: t.weight for name, t in derived.outputs.items()}
        return Part(graph=graph, data=made, feeds=derived.feeds, targets=weights), check

    def _adopt(self, check: Check) -> None:
        known = {(p.code, p.message, p.path) for p in self.base.problems}
        for p in check.problems:
            if p.is_error and (p.code, p.message, p.path) not in known:
                named = replace(p, message=f"in stage {self.raw.name}: {p.message}")
                if named not in self.problems:
                    self.problems.append(named)

    def _kinds(self, graph: Graph, outputs: Mapping[str, RawTarget], kind: str) -> None:
        for name, target in outputs.items():
            if kind and kind not in graph.outputs[name].flow.kinds:
                found = "|".join(graph.outputs[name].flow.kinds)
                code = "E702" if kind == "loss" else "E709"
                self.tell(code, f"`{name}` is {found}, not a {kind}", mark=target.mark, path=target.path,
                          help=f"name an output of kind `{kind}`")  # fmt: skip

    def _derive(self, data: RawData, feeds: list[RawFeed], adds: Mapping[str, RawNode], targets: list[RawTarget],
                teach: bool) -> _Derived | None:  # fmt: skip
        base = self.base.spec
        nodes = {**base.nodes, **{n: _redirected(node) for n, node in adds.items()}}
        inputs: dict[str, RawInput] = {f"{DATA}.{n}": self._field(data, n) for n in data.fields}
        names = {f"{DATA}.{n}": n for n in data.fields}
        fed: dict[str, dict[str, RawFeed]] = {}
        for feed in feeds:
            if feed.field not in data.fields:
                help = did_you_mean(feed.field, data.fields) or f"its fields are {', '.join(data.fields)}"
                self.tell("E703", f"`data` has no field `{feed.field}`", mark=feed.mark, path=feed.path, help=help)
            elif feed.port is None and feed.node in base.inputs:
                self._same_kind(base.inputs[feed.node], data.fields[feed.field], feed)
                inputs[feed.node] = replace(base.inputs[feed.node], has_default=False, default=None)
                names[feed.node] = feed.field
            elif feed.port is not None and feed.node in nodes:
                fed.setdefault(feed.node, {})[feed.port] = feed
            else:
                scope = [*base.inputs, *(f"{n}.{p}" for n, s in self.base.nodes.items() for p in _takes(s))]
                help = did_you_mean(feed.node, scope) or f"inputs are {', '.join(base.inputs) or 'none'}"
                self.tell("E703", f"`{feed.node}` is neither an input nor a node", mark=feed.target_mark,
                          path=feed.path, help=help)  # fmt: skip
        wanted: dict[str, set[str]] = {}
        for target in targets:
            if target.node not in nodes:
                help = did_you_mean(target.node, nodes) or "name a node's output"
                self.tell("E702", f"`{target.node}` is no node of this stage", mark=target.mark, path=target.path,
                          help=help)  # fmt: skip
            wanted.setdefault(target.node, set()).add(target.port or "")
        if any(p.is_error for p in self.problems):
            return None
        for name in nodes:
            nodes[name] = self._taught(nodes[name], fed.get(name, {}), wanted.get(name, set()) if teach else None)
        return self._pruned(nodes, inputs, names, targets, data)

    def _field(self, data: RawData, name: str) -> RawInput:
        return RawInput(name=f"{DATA}.{name}", spec=data.fields[name], mark=data.marks[name],
                        path=f"{data.node.path}.fields.{name}")  # fmt: skip

    def _same_kind(self, declared: RawInput, kind: str, feed: RawFeed) -> None:
        if declared.spec.rstrip("?") != kind.rstrip("?"):
            self.tell("E703", f"input `{declared.name}` is `{declared.spec}`, and field `{feed.field}` is `{kind}`",
                      mark=feed.mark, path=feed.path, related=[(declared.mark, "the input")],
                      help=f"declare the field as `{declared.spec}`, or feed another")  # fmt: skip

    def _taught(self, node: RawNode, feeds: Mapping[str, RawFeed], wanted: set[str] | None) -> RawNode:
        """The node as the stage uses it: fed ports, weights to start from, and its `teach` call where that is meant."""
        state = self.base.nodes.get(node.name)
        call = state.call if state is not None else None
        calls = state.calls if state is not None else {}
        chosen = node.call
        if wanted is not None and call is not None and call.teach is not None and call.teach in calls:
            taught = calls[call.teach]
            main = taught.gives[taught.main_out].kinds if taught.main_out else ()
            if (
                any(p in taught.takes and p not in call.takes for p in feeds)
                or any(p in taught.gives and p not in call.gives for p in wanted)
                or ("" in wanted and "loss" in main)
            ):
                chosen = call.teach
        ports = dict(node.ports)
        if feeds and node.short is not None:
            if call is None or call.main_in is None:
                feed = next(iter(feeds.values()))
                self.tell("E703", f"`{node.name}` takes its main input in short form", mark=feed.target_mark,
                          path=feed.path, help="name the ports under its `in`, `data.field` among them")  # fmt: skip
            else:
                ports = {call.main_in: node.short}
        for port, feed in feeds.items():
            ports[port] = Ref(parts=(f"{DATA}.{feed.field}",), mark=feed.mark, path=feed.path)
        marks = {**node.port_marks, **{p: f.target_mark for p, f in feeds.items()}}
        short = None if feeds else node.short
        settings = node.settings
        if node.name in self.raw.start:
            settings = replace(settings, weights=self.raw.start[node.name][0])
        return replace(node, call=chosen, ports=ports, port_marks=marks, short=short, settings=settings,
                       has_in=node.has_in or bool(feeds))  # fmt: skip

    def _pruned(self, nodes: dict[str, RawNode], inputs: dict[str, RawInput], names: dict[str, str],
                targets: list[RawTarget], data: RawData) -> _Derived | None:  # fmt: skip
        base = self.base.spec
        needed, asked = _reached(nodes, [t.node for t in targets])
        missing = False
        for name, ref in asked.items():
            if name in inputs or name not in base.inputs:
                continue
            declared = base.inputs[name]
            if declared.has_default or declared.spec[-1:] in "?*":
                inputs[name] = declared
                continue
            missing = True
            told = f"stage `{self.raw.name}` needs input `{name}` (for `{ref.path}`) and feeds nothing to it"
            self.tell("E703", told,
                      mark=self.raw.mark, path=self.raw.path, related=[(declared.mark, "the input")],
                      help=f"add `{name}: data.…` to its `feed`")  # fmt: skip
        if missing:
            return None
        kept = {n: node for n, node in nodes.items() if n in needed}
        kept[DATA] = data.node
        outputs = {}
        for t in targets:
            text = t.node if t.port is None else f"{t.node}.{t.port}"
            parts = (t.node,) if t.port is None else (t.node, t.port)
            outputs[text] = RawOutput(name=text, edge=Ref(parts=parts, mark=t.mark, path=t.path), mark=t.mark,
                                      path=t.path)  # fmt: skip
        used = {n: i for n, i in inputs.items() if n in asked}
        profiles = {n: replace(p, targets=self._started(p.targets, kept)) for n, p in base.profiles.items()}
        spec = replace(base, nodes=kept, inputs=used, outputs=outputs, profiles=profiles, train=None, stages=None)
        return _Derived(spec=spec, feeds={n: names[n] for n in used if n in names},
                        outputs=dict(zip(outputs, targets)))  # fmt: skip

    def _started(self, targets: Mapping[str, Settings], kept: Mapping[str, RawNode]) -> dict[str, Settings]:
        """A profile's settings, where `start` has the last word on weights, as it has on the node's own."""
        found = {t: s for t, s in targets.items() if t == "*" or t in kept}
        for name, (weights, _) in self.raw.start.items():
            if name in kept:
                found[name] = replace(found.get(name, Settings(path=self.raw.path)), weights=weights)
        return found

    # what only training asks -----------------------------------------------------------------------------------------
    def _learned(self, part: Part) -> tuple[str, ...]:
        """The nodes to be learned; each must be reached by a loss over edges that carry gradients."""
        carried = reached_by_gradient(part.graph)
        for name, mark in {**self.raw.learn, **{n: m for n, (_, m) in self.raw.lora.items()}}.items():
            users = {n.name for n in part.graph.nodes.values() if n.owner == name and n.runs}
            if not users & carried:
                losses = ", ".join(f"`{t}`" for t in part.targets)
                self.tell("E701", f"`{name}` is learned, but no gradient of {losses} reaches it", mark=mark,
                          path=self.raw.path, help="minimise a loss that depends on it, or leave it alone")  # fmt: skip
        return tuple(self.raw.learn)

    def _validation(self, raw: RawValidate, data: RawData) -> Validation | None:
        feeds = raw.feeds or tuple(f for f in self.raw.feeds if f.port is None)
        measure, _ = self._part(raw.data or data, feeds, raw.adds, (*raw.measure, *raw.show), "", teach=False)
        if measure is None:
            return None
        names = [t.node if t.port is None else f"{t.node}.{t.port}" for t in (*raw.measure, *raw.show)]
        found = names[: len(raw.measure)]
        for name, target in zip(found, raw.measure):
            if "metric" not in measure.graph.outputs[name].flow.kinds:
                self.tell("E709", f"`{name}` is no metric", mark=target.mark, path=target.path,
                          help="add a node such as metrics/exact-match and name it here")  # fmt: skip
        return Validation(part=measure, every=raw.every, items=raw.items, measure=tuple(found),
                          show=tuple(names[len(raw.measure) :]), bounds=raw.bounds)  # fmt: skip


def _takes(state: Any) -> Iterable[str]:
    return [p for c in state.calls.values() for p in c.takes]


def _reached(nodes: Mapping[str, RawNode], targets: Iterable[str]) -> tuple[set[str], dict[str, Ref]]:
    """Nodes that the targets need, and every name that those refer to."""
    waiting, needed = list(targets), set()
    asked: dict[str, Ref] = {}
    while waiting:
        name = waiting.pop()
        if name in needed or name not in nodes:
            continue
        needed.add(name)
        node = nodes[name]
        for ref in refs_of_node(node):
            asked.setdefault(ref.parts[0], ref)
            waiting.append(ref.parts[0])
        waiting += [node.of] if node.of is not None else []
        waiting += [e.node for e in (node.short, *node.ports.values()) if isinstance(e, OfRef)]
    return needed, asked


def _redirected(node: RawNode) -> RawNode:
    """An added node, with `data.field` read as one name."""
    return replace(node, short=_edge(node.short), when=_edge(node.when),
                   ports={p: e for p, edge in node.ports.items() if (e := _edge(edge)) is not None})  # fmt: skip


def _edge(edge: RawEdge | None) -> RawEdge | None:
    if isinstance(edge, Ref) and edge.parts[0] == DATA and len(edge.parts) > 1:
        return replace(edge, parts=(".".join(edge.parts[:2]), *edge.parts[2:]))
    if isinstance(edge, BracketRef):
        return replace(edge, entries=tuple((_edge(e), star) for e, star in edge.entries))  # type: ignore[misc]
    if isinstance(edge, FillRef):
        fills = {k: _edge(e) for k, e in edge.fills.items()}
        return replace(edge, reply=_edge(edge.reply), fills=fills)  # type: ignore[arg-type]
    return edge
