"""From what people write to items: Python values and lines of `--items` become inputs of their kinds.

Files stay paths (decoded later, by threads); what cannot be used is the item's own failure. Torch is imported late.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from anyany.engine.failures import Failure, failure_of
from anyany.engine.items import Item
from anyany.errors.suggest import suggest
from anyany.kinds.message import FilePath, Media, Message
from anyany.registry.options import make_config
from anyany.spec.graph import Graph, GraphInput

FILE_KINDS = ("image", "audio", "video", "mask", "features", "embedding", "tokens", "latent", "field")


class BadInput(Exception):
    """An input that cannot be used; `failure` says why."""

    def __init__(self, code: str, message: str, help: str = "") -> None:
        super().__init__(message)
        self.failure = Failure(code=code, message=message, help=help)


def make_item(graph: Graph, raw: Mapping[str, Any], id: str, *, base_dir: str | None = None,
              defaults: Mapping[str, Any] | None = None, line: int | None = None) -> Item:  # fmt: skip
    """An item from a mapping of inputs (and "with"); what is wrong with it becomes its `failure`.

    base_dir: where relative paths start. defaults: coerced defaults of the inputs.
    """
    values: dict[str, Any] = {}
    known = defaults if defaults is not None else default_values(graph)
    try:
        for name in raw:
            if name not in graph.inputs and name not in ("id", "with"):
                raise BadInput("E603", f"{name!r} is no input of the spec", _near(name, list(graph.inputs)))
        options = item_options(graph, raw.get("with"))
        used = set()
        for name, declared in graph.inputs.items():
            if raw.get(name) is not None:
                values[name] = coerce_input(declared, raw[name], base_dir)
            elif declared.has_default:
                values[name] = known[name]
                used.add(name)
            elif not declared.optional:
                help = f"give it, or a default to the spec: {name}: {{kind: {declared.kind}, default: ...}}"
                raise BadInput("E602", f"the item gives no {name!r}", help)
            elif declared.many:
                values[name] = []
    except BadInput as error:
        return Item(id=id, failure=error.failure, line=line)
    except Exception as error:
        return Item(id=id, failure=failure_of(error, ""), line=line)
    return Item(id=id, values=values, defaulted=frozenset(used), options=options, line=line)


def default_values(graph: Graph) -> dict[str, Any]:
    """The defaults of the inputs that have one, as values of their kinds; files start at the spec's folder."""
    found = {}
    for name, declared in graph.inputs.items():
        if declared.has_default and declared.default is not None:
            found[name] = coerce_input(declared, declared.default, graph.folder)
    return found


def coerce_input(declared: GraphInput, value: Any, base_dir: str | None) -> Any:
    """A value of the input's kind; a list of them for `K*`. Raises BadInput or MediaError."""
    if not declared.many:
        return coerce(declared.kind, value, base_dir, declared.name)
    if isinstance(value, (str, bytes, os.PathLike, Message)) or not hasattr(value, "__iter__"):
        raise BadInput("E909", f"{declared.name!r} is a list of {declared.kind}, but one value was given",
                       "write a list, even of one")  # fmt: skip
    return [coerce(declared.kind, v, base_dir, f"{declared.name}[{i}]") for i, v in enumerate(value)]


def coerce(kind: str, value: Any, base_dir: str | None, name: str) -> Any:
    """One value as its kind. Strings are texts for `text`, `label` and `message`, and paths for media."""
    if kind == "message":
        parts = [_part(v) for v in value] if isinstance(value, (list, tuple)) else _part(value)
        message = Message.of(parts, base_dir)
        for part in message.parts:
            _whole(part, name)
        return message
    if isinstance(value, Mapping) and len(value) == 1 and next(iter(value)) in (kind, "file"):
        return _file(next(iter(value.values())), base_dir, name)
    if isinstance(value, Media):
        return value.content
    if isinstance(value, os.PathLike):
        return _file(value, base_dir, name)
    if kind == "text":
        if not isinstance(value, str):
            raise BadInput("E909", f"{name!r} is a text, not {_what(value)}", "give a string, or a path object")
        return _whole(value, name)
    if isinstance(value, str) and kind in FILE_KINDS:
        return _file(value, base_dir, name)
    if kind == "label" and isinstance(value, bool | list | dict):
        raise BadInput("E909", f"{name!r} is a label, not {_what(value)}", "give a name or a number")
    return _decoded(kind, value, name)


def _whole(text: Any, name: str) -> Any:
    """Itself; raises BadInput for text with half a character (a lone surrogate), which no file can hold."""
    if isinstance(text, str) and not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
        shown = text.encode("ascii", "backslashreplace").decode()[:40]
        raise BadInput("E909", f"{name!r} holds half a character, as in {shown!r}", "write the text as UTF-8")
    return text


def _part(value: Any) -> Any:
    """A decoded medium in a message as its part: pictures of PIL, arrays and tensors are images."""
    kind = {"Audio": "audio", "Video": "video"}.get(type(value).__name__)
    home = type(value).__module__.partition(".")[0]
    if kind is None and (home == "PIL" or (home in ("torch", "numpy") and getattr(value, "ndim", 0) in (2, 3))):
        kind = "image"
    if kind is None:
        return value
    from anyany import media

    return Media(kind=kind, value=media.meet(kind, value, {}))


def _file(path: Any, base_dir: str | None, name: str) -> FilePath:
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
        raise BadInput("E909", f"{name!r} wants a path, not {_what(path)}", "give the path of a file")
    text = os.path.expanduser(os.fspath(path))
    return FilePath(os.path.join(base_dir, text) if base_dir and not os.path.isabs(text) else text)


def _decoded(kind: str, value: Any, name: str) -> Any:
    """Pictures of PIL, arrays of NumPy and (samples, rate) become values of their kind; others stay as they are."""
    if isinstance(value, str) and kind != "label":
        if not os.path.exists(value):
            raise BadInput("E909", f"{name!r} is a {kind}; {value!r} is no file", "give the path of a JSON file")
        return FilePath(value)
    media_kinds = ("image", "audio", "video", "mask", "boxes", "points")
    if kind in media_kinds or type(value).__module__ == "numpy":
        from anyany import media

        return media.meet(kind, value, {})
    return value


def item_options(graph: Graph, given: Any) -> dict[str, dict[str, Any]]:
    """`with` of an item: node -> {option: value}, or an option for every node that has it per item. Raises BadInput."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise BadInput(
            "E603", f"`with` is a mapping of options, not {_what(given)}", 'write {"with": {"NODE": {"OPTION": VALUE}}}'
        )
    offered = {name: set(node.per_item) for name, node in graph.nodes.items() if node.per_item}
    options: dict[str, dict[str, Any]] = {}
    for name, value in given.items():
        if isinstance(value, Mapping) and name in graph.nodes:
            pairs = [(str(option), v, [name]) for option, v in value.items()]
        elif "." in str(name) and str(name).partition(".")[0] in graph.nodes:
            pairs = [(str(name).partition(".")[2], value, [str(name).partition(".")[0]])]
        else:
            pairs = [(str(name), value, [n for n, have in offered.items() if name in have])]
        for option, v, nodes in pairs:
            _set_option(graph, options, option, v, nodes, offered)
    return options


def _set_option(graph: Graph, options: dict[str, dict[str, Any]], option: str, value: Any, nodes: list[str],
                offered: Mapping[str, set[str]]) -> None:  # fmt: skip
    if not nodes or any(option not in offered.get(n, ()) for n in nodes):
        where = f" of `{nodes[0]}`" if nodes else ""
        choice = sorted(offered.get(nodes[0], ())) if nodes else sorted({o for have in offered.values() for o in have})
        what = "is no option" if nodes else "is neither a node nor an option"
        raise BadInput("E603", f"{option!r} {what}{where} that an item may set", _near(option, choice))
    for node in nodes:
        _, issues = make_config(graph.nodes[node].card, {option: value})
        for issue in issues:
            if issue.option == option:
                raise BadInput("E603", f"option {option!r} of `{node}`: {issue.message}", issue.help or "")
        options.setdefault(node, {})[option] = value


def _near(name: str, names: list[str]) -> str:
    near = suggest(name, names)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"it may be {', '.join(names)}" if names else "there is none to choose from"


def _what(value: Any) -> str:
    return f"{type(value).__name__} {str(value)[:40]!r}"
