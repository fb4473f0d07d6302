"""The `train:` section as written: its data and its stages in typed form, every part with its place.

Made from the marked tree beside `raw.py`'s types; `stages.py` checks each stage as a graph. Source: DESIGN section 8.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from anyany.errors import suggest
from anyany.errors.problems import Mark
from anyany.spec.raw import RawNode
from anyany.spec.stage_settings import SETTINGS, is_number, merged, read_settings
from anyany.spec.yaml_tree import Marked, to_plain

DATA = "data"
SECTION = ("data", "stages", *SETTINGS)
SOURCE = ("use", "with", "fields")
STAGE = ("name", "about", "data", "learn", "start", "lora", "feed", "add", "minimise", "validate", *SETTINGS)
BOUNDS = ("at_least", "at_most")
VALIDATE = ("every", "items", "data", "feed", "add", "measure", "show", *BOUNDS)
_FIELD = re.compile(r"data\.([A-Za-z_][\w-]*)")
_PORT = re.compile(r"([a-z_][a-z0-9_-]*)(?:\.([A-Za-z_][\w-]*))?")


@dataclass(kw_only=True, eq=False)
class RawData:
    """Where records come from: a source, and the kind of each field of a record."""

    node: RawNode
    fields: Mapping[str, str]
    marks: Mapping[str, Mark]
    mark: Mark


@dataclass(kw_only=True, eq=False)
class RawFeed:
    """`prompt: data.prompt` or `think.target: data.reply`: an input (port None) or a port gets a field."""

    node: str
    port: str | None
    field: str
    mark: Mark
    target_mark: Mark
    path: str


@dataclass(kw_only=True, eq=False)
class RawTarget:
    """`think.loss: 1.0`: an output, with its weight."""

    node: str
    port: str | None
    weight: float
    mark: Mark
    path: str


@dataclass(kw_only=True, eq=False)
class RawValidate:
    """What is measured and shown on other records, every so many steps, with the graph as it runs.

    bounds: `at_least` and `at_most`, each metric -> what the stage must end with.
    """

    every: int = 500
    items: int = 64
    data: RawData | None = None
    feeds: tuple[RawFeed, ...] = ()
    adds: Mapping[str, RawNode] = field(default_factory=dict)
    measure: tuple[RawTarget, ...] = ()
    show: tuple[RawTarget, ...] = ()
    bounds: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    mark: Mark


@dataclass(kw_only=True, eq=False)
class RawStage:
    """One stage. `settings` holds steps, batch, optim and the like, with defaults filled in.

    parts: of nodes that are learned in part, the names of these parts.
    """

    name: str
    data: RawData | None
    learn: Mapping[str, Mark]
    parts: Mapping[str, tuple[str, ...]]
    start: Mapping[str, tuple[tuple[str, ...], Mark]]
    lora: Mapping[str, tuple[Mapping[str, Any], Mark]]
    feeds: tuple[RawFeed, ...]
    adds: Mapping[str, RawNode]
    minimise: tuple[RawTarget, ...]
    validate: RawValidate | None
    settings: Mapping[str, Any]
    mark: Mark
    path: str


@dataclass(kw_only=True, eq=False)
class RawTrain:
    """The section: its stages, in order."""

    stages: tuple[RawStage, ...]
    mark: Mark


class TrainReader:
    """Reads one `train:` section. `tell` gets problems; `node(name, value, mark, path)` reads a node."""

    def __init__(self, tell: Callable[..., None], node: Callable[[str, Marked, Mark, str], RawNode | None]) -> None:
        self.tell, self._read_node = tell, node

    def read(self, tree: Marked) -> RawTrain | None:
        """The section, or None where it is no mapping."""
        if not isinstance(tree.value, dict):
            self._shape(tree, "a mapping", "train", "write `train: {data: …, stages: […]}`")
            return None
        self._keys(tree, SECTION, "`train`", "train")
        data = self._data(tree, "train")
        common = read_settings(tree, "train", self.tell)
        table = tree.get("stages")
        if table is None or not isinstance(table.value, list) or not table.value:
            mark = tree.mark if table is None else table.mark
            self.tell("E705", "`train` has no list of stages", mark=mark, path="train.stages",
                      help="write `stages:` and each stage after a dash")  # fmt: skip
            return None
        stages: list[RawStage] = []
        for number, value in enumerate(table.value):
            stage = self._stage(value, f"train.stages.{number}", data, common)
            if stage is None:
                continue
            if any(s.name == stage.name for s in stages):
                self.tell("E705", f"two stages are called `{stage.name}`", mark=stage.mark, path=stage.path,
                          help="rename one: its results are written under its name")  # fmt: skip
            stages.append(stage)
        return RawTrain(stages=tuple(stages), mark=tree.mark)

    # parts -------------------------------------------------------------------------------------------------------
    def _stage(self, value: Marked, path: str, data: RawData | None, common: Mapping[str, Any]) -> RawStage | None:
        if not isinstance(value.value, dict):
            self._shape(value, "a mapping", path, "write `- name: …` and the stage's keys under it")
            return None
        self._keys(value, STAGE, "a stage", path)
        name = value.get("name")
        if name is None or not isinstance(name.value, str) or not re.fullmatch(r"[\w][\w.-]*", name.value):
            self.tell("E705", "the stage has no `name`", mark=value.mark if name is None else name.mark, path=path,
                      help="add `name:`, a word; its results are written under it")  # fmt: skip
            return None
        lora, minimise = self._lora(value, path), self._targets(value, "minimise", path)
        learn, parts = self._learn(value, path)
        stage = RawStage(
            name=name.value, data=self._data(value, path) or data, learn=learn, parts=parts,
            start=self._start(value, path), lora=lora, feeds=self._feeds(value, path), adds=self._adds(value, path),
            minimise=minimise, validate=self._validate(value, path),
            settings=merged(common, read_settings(value, path, self.tell)), mark=name.mark, path=path,
        )  # fmt: skip
        if stage.settings["batch"] % stage.settings["accumulate"]:
            told = f"a batch of {stage.settings['batch']} cannot be shared out in {stage.settings['accumulate']} parts"
            self.tell("E707", told, mark=stage.mark, path=path, help="make `batch` a multiple of `accumulate`")
        lacks = [
            *(["`data`, here or under `train`"] if stage.data is None else []),
            *(["`learn` or `lora`"] if not stage.learn and not lora else []),
            *(["`feed`"] if value.get("feed") is None else []),
            *(["`minimise`"] if not minimise else []),
        ]
        for lack in lacks:
            self.tell("E705", f"stage `{stage.name}` has no {lack}", mark=stage.mark, path=path,
                      help=f"add {lack.replace(', here or under `train`', '')}")  # fmt: skip
        return None if lacks else stage

    def _data(self, parent: Marked, path: str) -> RawData | None:
        tree = parent.get("data")
        if tree is None:
            return None
        where = f"{path}.data"
        if not isinstance(tree.value, dict):
            self._shape(tree, "a mapping", where, "write `{use: sources/jsonl, with: {path: …}, fields: {…}}`")
            return None
        self._keys(tree, SOURCE, "`data`", where)
        kept = {k: v for k, v in tree.items() if k in ("use", "with")}
        bare = Marked(value=kept, mark=tree.mark, end=tree.end, key_marks=tree.key_marks)
        node = self._read_node(DATA, bare, parent.key_mark("data"), where)
        fields, marks = {}, {}
        table = tree.get("fields")
        for name, kind in table.items() if table is not None else ():
            if isinstance(kind.value, str) and re.fullmatch(r"[a-z][a-z0-9_-]*[*?]?", kind.value):
                fields[name], marks[name] = kind.value, kind.mark
            else:
                self._shape(kind, "a kind such as `image` or `text*`", f"{where}.fields.{name}")
        if not fields:
            self.tell("E705", "`data` declares no `fields`", mark=tree.mark, path=where,
                      help="add `fields: {caption: text, picture: image}`: a kind for each field")  # fmt: skip
        return None if node is None or not fields else RawData(node=node, fields=fields, marks=marks, mark=tree.mark)

    def _learn(self, value: Marked, path: str) -> tuple[dict[str, Mark], dict[str, tuple[str, ...]]]:
        """Nodes, and the parts of those that are written `node.part`; a node also named whole is learned whole."""
        tree = value.get("learn")
        if tree is None:
            return {}, {}
        items = tree.value if isinstance(tree.value, list) else [tree]
        if not all(isinstance(i.value, str) for i in items):
            self._shape(tree, "a list of nodes", f"{path}.learn")
            return {}, {}
        nodes: dict[str, Mark] = {}
        parts: dict[str, tuple[str, ...]] = {}
        for item in items:
            node, dot, part = str(item.value).partition(".")
            if not node or (dot and not part.strip(".")):
                self.tell("E704", f"`{item.value}` is neither a node nor a part of one", mark=item.mark,
                          path=f"{path}.learn", help="write `node` or `node.part`")  # fmt: skip
                continue
            nodes.setdefault(node, item.mark)
            parts[node] = (*parts.get(node, ()), part)
        return nodes, {node: found for node, found in parts.items() if all(found)}

    def _start(self, value: Marked, path: str) -> dict[str, tuple[tuple[str, ...], Mark]]:
        found: dict[str, tuple[tuple[str, ...], Mark]] = {}
        for node, source in self._table(value, "start", path, "node: weights"):
            items = source.value if isinstance(source.value, list) else [source]
            if items and all(isinstance(i.value, str) for i in items):
                found[node] = (tuple(str(i.value) for i in items), source.mark)
            else:
                self._shape(source, "a source of weights", f"{path}.start.{node}", 'write `"random:0"` or `"file:…"`')
        return found

    def _lora(self, value: Marked, path: str) -> dict[str, tuple[Mapping[str, Any], Mark]]:
        found: dict[str, tuple[Mapping[str, Any], Mark]] = {}
        for node, given in self._table(value, "lora", path, "node: {rank: 16}"):
            where = f"{path}.lora.{node}"
            if not isinstance(given.value, dict):
                self._shape(given, "a mapping", where, "write `{rank: 16}`")
                continue
            self._keys(given, ("rank", "alpha", "dropout", "targets"), "`lora`", where)
            plain: Any = to_plain(given)
            rank, targets = plain.get("rank", 16), plain.get("targets", [])
            dropout = plain.get("dropout", 0.0)
            wrong = {
                "rank": None if is_number(rank) and isinstance(rank, int) and rank > 0 else "a whole number above 0",
                "alpha": None if is_number(alpha := plain.get("alpha", 16)) and alpha > 0 else "a number above 0",
                "dropout": None if is_number(dropout) and 0 <= dropout < 1 else "a number of 0 or more, below 1",
            }
            for key, told in wrong.items():
                if told:
                    self.tell("E707", f"`{key}` is {told}", mark=(given.get(key) or given).mark, path=f"{where}.{key}",
                              help="write for instance `{rank: 16, alpha: 32, dropout: 0.1}`")  # fmt: skip
            if any(wrong.values()):
                continue
            if not isinstance(targets, list) or not all(isinstance(t, str) for t in targets):
                self.tell("E707", "`targets` is a list of module names", mark=given.mark, path=f"{where}.targets",
                          help="write `targets: [q_proj, v_proj]`, or leave it out for all linear layers")  # fmt: skip
                continue
            found[node] = ({"alpha": 2 * rank, "dropout": 0.0, **plain, "rank": rank, "targets": targets}, given.mark)
        return found

    def _feeds(self, value: Marked, path: str) -> tuple[RawFeed, ...]:
        found = []
        for target, source in self._table(value, "feed", path, "input: data.field"):
            where, mark = f"{path}.feed.{target}", (value.get("feed") or value).key_mark(target)
            port, name = _PORT.fullmatch(target), None
            if isinstance(source.value, str):
                name = _FIELD.fullmatch(source.value)
            if port is None or name is None:
                self.tell("E703", f"`{target}: {source.value}` is no feed", mark=source.mark, path=where,
                          help="write `input: data.field` or `node.port: data.field`")  # fmt: skip
                continue
            found.append(RawFeed(node=port[1], port=port[2], field=name[1], mark=source.mark, target_mark=mark,
                                 path=where))  # fmt: skip
        return tuple(found)

    def _adds(self, value: Marked, path: str) -> dict[str, RawNode]:
        found = {}
        for name, given in self._table(value, "add", path, "node: {use: …}"):
            table = value.get("add")
            assert table is not None
            node = self._read_node(name, given, table.key_mark(name), f"{path}.add.{name}")
            if node is not None:
                found[name] = node
        return found

    def _targets(self, value: Marked, key: str, path: str) -> tuple[RawTarget, ...]:
        """`{node.port: weight}`, or a list of `node.port`."""
        tree = value.get(key)
        if tree is None:
            return ()
        where = f"{path}.{key}"
        if isinstance(tree.value, list):
            pairs = [(str(i.value), i, i.mark) for i in tree.value]
        elif isinstance(tree.value, str):
            pairs = [(tree.value, tree, tree.mark)]
        else:
            pairs = [(n, v, tree.key_mark(n)) for n, v in self._table(value, key, path, "node.loss: 1.0")]
        found = []
        for text, given, mark in pairs:
            port = _PORT.fullmatch(text)
            weight = given.value if isinstance(tree.value, dict) else 1.0
            if port is None or not is_number(weight):
                self.tell("E702", f"`{text}` is no output with a weight", mark=mark, path=where,
                          help="write `node.loss: 1.0`")  # fmt: skip
                continue
            found.append(RawTarget(node=port[1], port=port[2], weight=float(weight), mark=mark, path=f"{where}.{text}"))
        return tuple(found)

    def _validate(self, value: Marked, path: str) -> RawValidate | None:
        tree = value.get("validate")
        if tree is None:
            return None
        where = f"{path}.validate"
        if not isinstance(tree.value, dict):
            self._shape(tree, "a mapping", where, "write `{every: 500, feed: {…}, measure: […]}`")
            return None
        self._keys(tree, VALIDATE, "`validate`", where)
        numbers = {}
        for key in ("every", "items"):
            given = tree.get(key)
            number = None if given is None else given.value
            if is_number(number) and isinstance(number, int) and number > 0:
                numbers[key] = number
            elif given is not None:
                self.tell("E707", f"`{key}` is a whole number of 1 or more", mark=given.mark, path=f"{where}.{key}",
                          help=f"write `{key}: 64`")  # fmt: skip
        measure = self._targets(tree, "measure", where)
        names = [m.node if m.port is None else f"{m.node}.{m.port}" for m in measure]
        return RawValidate(
            data=self._data(tree, where), feeds=self._feeds(tree, where), adds=self._adds(tree, where),
            measure=measure, show=self._targets(tree, "show", where),
            bounds={key: self._bounds(tree, key, where, names) for key in BOUNDS}, mark=tree.mark, **numbers,
        )  # fmt: skip

    def _bounds(self, tree: Marked, key: str, path: str, measured: list[str]) -> dict[str, float]:
        found: dict[str, float] = {}
        for name, bound in self._table(tree, key, path, "metric: 0.9"):
            if not is_number(bound.value):
                self._shape(bound, "a number", f"{path}.{key}.{name}", f"write `{name}: 0.9`")
            elif name not in measured:
                self.tell("E709", f"`{name}` is not measured", mark=bound.mark, path=f"{path}.{key}.{name}",
                          help=suggest.did_you_mean(name, measured) or "name it under `measure`, too")  # fmt: skip
            else:
                found[name] = float(bound.value)
        return found

    # helpers -----------------------------------------------------------------------------------------------------
    def _table(self, parent: Marked, key: str, path: str, form: str) -> list[tuple[str, Marked]]:
        tree = parent.get(key)
        if tree is None:
            return []
        if not isinstance(tree.value, dict):
            self._shape(tree, "a mapping", f"{path}.{key}", f"write `{key}: {{{form}}}`")
            return []
        return list(tree.items())

    def _keys(self, value: Marked, known: tuple[str, ...], what: str, path: str) -> None:
        for key, _ in value.items():
            if key not in known:
                help = suggest.did_you_mean(key, known) or f"its keys are {', '.join(f'`{k}`' for k in known)}"
                self.tell("E040", f"{what} has no key `{key}`", mark=value.key_mark(key), path=f"{path}.{key}",
                          help=help)  # fmt: skip

    def _shape(self, value: Marked, wanted: str, path: str, help: str | None = None) -> None:
        last = path.rpartition(".")[2]
        self.tell("E041", f"`{last}` is {wanted}, and this is {value.what}", mark=value.mark, path=path,
                  help=help or f"write {wanted}")  # fmt: skip
