"""The shape of a spec: which keys stand where, and what each holds. Makes a `RawSpec` from a marked tree.

Every malformed part is told and left out; its name is remembered so that edges to it are no new problem.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from anyany.errors import suggest
from anyany.errors.problems import Mark, Problem, problem
from anyany.spec.edge_syntax import EdgeReader
from anyany.spec.raw import RawEdge, RawInput, RawNode, RawOutput, RawProfile, RawSpec, Settings
from anyany.spec.yaml_tree import Marked, to_plain

TOP = ("anyany", "name", "about", "inputs", "nodes", "outputs", "profiles", "train")
NODE = ("use", "of", "call", "weights", "with", "in", "when", "device", "dtype", "skip")
INPUT = ("kind", "default", "about")
SETTINGS = ("device", "dtype", "weights", "with")
NAME = re.compile(r"[a-z_][a-z0-9_-]*")
KIND = re.compile(r"[a-z][a-z0-9_-]*[*?]?")


class ShapeReader:
    """One reading of one tree. `problems` collects what was found."""

    def __init__(self, tree: Marked, stem: str, strict_header: bool) -> None:
        self.tree, self.stem, self.strict_header = tree, stem, strict_header
        self.problems: list[Problem] = []
        self.edges = EdgeReader(self.tell)
        self.lost: set[str] = set()

    def tell(self, code: str, message: str, **where: Any) -> None:
        self.problems.append(problem(code, message, **where))

    def read(self) -> RawSpec | None:
        """The spec, or None when the top level is no mapping."""
        tree = self.tree
        if not isinstance(tree.value, dict):
            self.tell(
                "E006", f"a spec is a mapping, and this is {tree.what}", mark=tree.mark, help="start with `anyany: 1`"
            )
            return None
        self._keys(tree, TOP, "a spec", "")
        self._version(tree)
        for key in ("nodes", "outputs"):
            if tree.get(key) is None:
                self.tell(
                    "E042", f"the spec has no `{key}`", mark=tree.mark, path=key, help=f"add `{key}:` at the top level"
                )
        self._misnamed_sections(tree)
        inputs = {n: i for n, v, m in self._named("inputs", "input") if (i := self._input(n, v, m))}
        nodes = {n: r for n, v, m in self._named("nodes", "node") if (r := self._node(n, v, m))}
        for name in [n for n in nodes if n in inputs]:
            self.tell(
                "E045",
                f"`{name}` names an input and a node",
                mark=nodes[name].mark,
                path=f"nodes.{name}",
                related=[(inputs[name].mark, "the input")],
                help="rename one of the two",
            )
            del nodes[name], inputs[name]
            self.lost.add(name)
        outputs = {
            n: RawOutput(name=n, edge=self.edges.read(v, f"outputs.{n}"), mark=m, path=f"outputs.{n}")
            for n, v, m in self._named("outputs", "output")
        }
        profiles = {n: p for n, v, m in self._named("profiles", "profile", empty=True) if (p := self._profile(n, v, m))}
        return RawSpec(
            name=self._text(tree, "name", "") or self.stem,
            about=self._text(tree, "about", "") or "",
            inputs=inputs,
            nodes=nodes,
            outputs=outputs,
            profiles=profiles,
            lost=frozenset(self.lost),
            train=None if tree.get("train") is None else to_plain(tree.get("train")),  # type: ignore[arg-type]
            stages=self._train(tree),
            tree=tree,
        )

    # the top level --------------------------------------------------------------------------------------------------
    def _keys(self, value: Marked, known: tuple[str, ...], what: str, path: str, code: str = "E040") -> None:
        for key, _ in value.items():
            if key in known:
                continue
            help = suggest.did_you_mean(key, known) or f"the keys of {what} are {_and(known)}"
            self.tell(code, f"{what} has no key `{key}`", mark=value.key_mark(key), path=_join(path, key), help=help)

    def _misnamed_sections(self, tree: Marked) -> None:
        """`input:` for `inputs:` is told once; the names in it are not told as unknown."""
        for key, value in tree.items():
            if key not in TOP and {"inputs", "nodes"} & set(suggest.suggest(key, TOP)):
                self.lost.update(name for name, _ in value.items())

    def _version(self, tree: Marked) -> None:
        version = tree.get("anyany")
        if version is None:
            if self.strict_header and "anyany" not in (tree.value or {}):  # type: ignore[operator]
                self.tell(
                    "E042",
                    "the spec does not say `anyany: 1`",
                    mark=tree.mark,
                    path="anyany",
                    help="make `anyany: 1` its first line",
                )
        elif version.value != 1 or isinstance(version.value, bool):
            shown = version.raw if version.raw is not None else version.value
            self.tell(
                "E043",
                f"this release reads version 1 of the spec language, not {shown}",
                mark=version.mark,
                path="anyany",
                help="write `anyany: 1`, or use a newer release of anyany",
            )

    def _text(self, parent: Marked, key: str, path: str) -> str | None:
        value = parent.get(key)
        if value is None:
            return None
        if isinstance(value.value, str):
            return value.value
        self._shape(value, "a text", _join(path, key))
        return None

    def _shape(self, value: Marked, wanted: str, path: str, help: str | None = None, code: str = "E041") -> None:
        last = path.rpartition(".")[2]
        self.tell(
            code,
            f"`{last}` is {wanted}, and this is {value.what}",
            mark=value.mark,
            path=path,
            help=help or f"write {wanted}",
        )

    def _named(self, section: str, what: str, empty: bool = False) -> Iterator[tuple[str, Marked, Mark]]:
        """The entries of a section whose names are names."""
        table = self.tree.get(section)
        if table is None:
            return
        if not isinstance(table.value, dict):
            self._shape(table, "a mapping", section, f"write `{section}: {{name: …}}`")
            return
        if not table.value and section in ("nodes", "outputs"):
            self.tell("E042", f"`{section}` is empty", mark=table.mark, path=section, help=f"add at least one {what}")
        for name, value in table.items():
            mark = table.key_mark(name)
            if NAME.fullmatch(name):
                yield name, value, mark
                continue
            self.lost.add(name)
            better = re.sub(r"[^a-z0-9_-]+", "_", name.lower()).strip("_")
            help = (
                f"write `{better}`"
                if NAME.fullmatch(better)
                else "use lower-case letters, digits, `_` and `-`, a letter first"
            )
            self.tell(
                "E044",
                f"`{name}` is not a name for an {what}"
                if what[0] in "aeiou"
                else f"`{name}` is not a name for a {what}",
                mark=mark,
                path=f"{section}.{name}",
                help=help,
            )

    def _train(self, tree: Marked) -> Any:
        """The training section in typed form; its reader is imported only where a spec has one."""
        train = tree.get("train")
        if train is None:
            return None
        from anyany.spec.train_raw import TrainReader

        return TrainReader(self.tell, self._node).read(train)

    # inputs ---------------------------------------------------------------------------------------------------------
    def _input(self, name: str, value: Marked, mark: Mark) -> RawInput | None:
        path = f"inputs.{name}"
        if isinstance(value.value, dict):
            self._keys(value, INPUT, "an input", path)
            kind = value.get("kind")
            if kind is None:
                self.tell(
                    "E042",
                    f"input `{name}` does not say its `kind`",
                    mark=mark,
                    path=path,
                    help="add `kind: text`, or another kind",
                )
                self.lost.add(name)
                return None
        else:
            kind = value
        if not isinstance(kind.value, str):
            self._shape(kind, "a kind such as `image` or `text*`", path)
            self.lost.add(name)
            return None
        spec = kind.value.strip()
        if not KIND.fullmatch(spec):
            self.tell(
                "E117",
                f"`{spec}` is not a kind",
                mark=kind.mark,
                path=path,
                help="write one kind, with `*` behind it for a list or `?` where it may be absent",
            )
            self.lost.add(name)
            return None
        default = value.get("default") if isinstance(value.value, dict) else None
        about = self._text(value, "about", path) if isinstance(value.value, dict) else None
        return RawInput(
            name=name,
            spec=spec,
            has_default=default is not None,
            default=None if default is None else to_plain(default),
            default_mark=None if default is None else default.mark,
            about=about or "",
            mark=kind.mark,
            path=path,
        )

    # nodes ----------------------------------------------------------------------------------------------------------
    def _node(self, name: str, value: Marked, mark: Mark, path: str | None = None) -> RawNode | None:
        path = path or f"nodes.{name}"
        if not isinstance(value.value, dict):
            help = (
                f"write `{name}: {{use: {value.value}}}`"
                if isinstance(value.value, str) and "/" in value.value
                else "write `{use: namespace/name, in: …}`"
            )
            self._shape(value, "a mapping", path, help)
            self.lost.add(name)
            return None
        self._keys(value, NODE, "a node", path)
        use, of = self._text(value, "use", path), self._text(value, "of", path)
        if (value.get("use") is None) == (value.get("of") is None):
            found = "both `use` and `of`" if value.get("use") else "neither `use` nor `of`"
            self.tell(
                "E046",
                f"node `{name}` says {found}",
                mark=mark,
                path=path,
                help="keep `use: namespace/name`, or `of: node` to share another node's weights",
            )
            self.lost.add(name)
            return None
        if use is None and of is None:
            self.lost.add(name)
            return None
        if of is not None:
            for key in ("with", "weights", "device", "dtype", "skip"):
                if value.get(key) is not None:
                    self.tell(
                        "E047",
                        f"`{key}` does not go with `of`: `{name}` shares all that with `{of}`",
                        mark=value.key_mark(key),
                        path=f"{path}.{key}",
                        help=f"move `{key}` to node `{of}`",
                    )
        ports, marks, short = self._in(value, path)
        when = value.get("when")
        return RawNode(
            name=name,
            use=use,
            of=of,
            call=self._text(value, "call", path),
            settings=self._settings(value, path),
            skip=self._texts(value, "skip", path) or (),
            short=short,
            ports=ports,
            port_marks=marks,
            has_in=value.get("in") is not None,
            when=None if when is None else self.edges.read(when, f"{path}.when", code="E209"),
            tree=value,
            mark=mark,
            path=path,
        )

    def _in(self, value: Marked, path: str) -> tuple[dict[str, RawEdge], dict[str, Mark], RawEdge | None]:
        inner = value.get("in")
        if inner is None:
            return {}, {}, None
        where = f"{path}.in"
        if not isinstance(inner.value, dict) or self.edges.is_edge_mapping(inner):
            return {}, {}, self.edges.read(inner, where)
        if not inner.value:
            self.tell(
                "E041",
                "`in` is an empty mapping",
                mark=inner.mark,
                path=where,
                help="name the ports to feed, or leave `in` out",
            )
        ports = {port: self.edges.read(edge, f"{where}.{port}") for port, edge in inner.items()}
        return ports, {port: inner.key_mark(port) for port in ports}, None

    def _texts(self, parent: Marked, key: str, path: str) -> tuple[str, ...] | None:
        """A text, or a list of texts."""
        value = parent.get(key)
        if value is None:
            return None
        items = value.value if isinstance(value.value, list) else [value]
        if not items or not all(isinstance(item.value, str) for item in items):
            self._shape(value, "a text or a list of texts", _join(path, key))
            return None
        return tuple(str(item.value) for item in items)

    def _settings(self, value: Marked, path: str) -> Settings:
        options: Mapping[str, Any] | None = None
        given = value.get("with")
        if given is not None:
            if isinstance(given.value, str):
                options = {"preset": given.value}
            elif isinstance(given.value, dict):
                options = {key: to_plain(child) for key, child in given.items()}
            else:
                self._shape(
                    given,
                    "a mapping of options or the name of a preset",
                    f"{path}.with",
                    "write `with: {option: value}` or `with: tiny`",
                )
        return Settings(
            weights=self._texts(value, "weights", path),
            options=options,
            device=self._text(value, "device", path),
            dtype=self._text(value, "dtype", path),
            tree=value,
            path=path,
        )

    # profiles -------------------------------------------------------------------------------------------------------
    def _profile(self, name: str, value: Marked, mark: Mark) -> RawProfile | None:
        path = f"profiles.{name}"
        if not isinstance(value.value, dict):
            self._shape(value, "a mapping", path, 'write `{"*": {device: cuda}}`, or settings by node')
            return None
        targets: dict[str, Settings] = {}
        for target, settings in value.items():
            where = f"{path}.{target}"
            if not isinstance(settings.value, dict):
                self._shape(settings, "a mapping", where, "write `{device: …, dtype: …, weights: …, with: …}`")
                continue
            for key, _ in settings.items():
                if key not in SETTINGS:
                    help = (
                        suggest.did_you_mean(key, SETTINGS) or f"a profile sets {_and(SETTINGS)}, and never the wiring"
                    )
                    self.tell(
                        "E116",
                        f"a profile cannot set `{key}`",
                        mark=settings.key_mark(key),
                        path=f"{where}.{key}",
                        help=help,
                    )
            targets[target] = self._settings(settings, where)
        return RawProfile(name=name, targets=targets, mark=mark, path=path)


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _and(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{n}`" for n in names[:-1]) + f" and `{names[-1]}`"
