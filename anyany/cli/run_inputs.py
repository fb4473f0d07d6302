"""From the command line to items: `--in NAME=VALUE` templates and literals, and the lines of `--items`.

Lines are read one at a time; a bad one is a failed item that names its line. Source: the README's run section.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

from anyany.errors import CallError, problem

if TYPE_CHECKING:
    from anyany.engine.items import Item
    from anyany.pipeline import Pipeline
    from anyany.spec.graph import Graph, GraphInput

LONGEST_LINE = 16 * 2**20


def given_inputs(graph: Graph, pairs: Sequence[str]) -> dict[str, Any]:
    """The values of `--in`, by input. Raises CallError (E902, E909) for what cannot be used."""
    from anyany.errors.suggest import suggest

    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise CallError([problem("E909", f"--in {pair!r} has no value", help="write --in NAME=VALUE")])
        if name not in graph.inputs:
            near = suggest(name, list(graph.inputs))
            help = f"did you mean {' or '.join(near)}?" if near else f"inputs are {', '.join(graph.inputs)}"
            raise CallError([problem("E902", f"there is no input {name!r}", help=help)])
        declared = graph.inputs[name]
        value = _value(declared, text)
        if declared.many:
            found.setdefault(name, []).extend(value if isinstance(value, list) else [value])
        elif name in found:
            raise CallError([problem("E909", f"--in {name}= is given twice", help="only lists take several values")])
        else:
            found[name] = value
    return found


def _value(declared: GraphInput, text: str) -> Any:
    """One value of the command line, by the input's kind: a template, a text, a path or a JSON literal."""
    from anyany.kinds.message import FilePath, parse_template
    from anyany.media.errors import MediaError

    kind = declared.kind
    try:
        if declared.many and text.startswith("["):
            return _list(text, declared)
        if kind == "message":
            return parse_template(text)
        tagged = text.startswith("{") and text.endswith("}") and ":" in text
        tag, _, path = text[1:-1].partition(":") if tagged else ("", "", "")
        if tag in ("file", kind):
            return FilePath(path)
        if kind == "text":
            return text
        if kind == "label":
            return int(text) if text.lstrip("-").isdigit() else text
        if text.startswith(("[", "{")) or kind in ("loss", "metric"):
            return json.loads(text)
        return FilePath(text)
    except MediaError as error:
        text = f"{error.path}: {error.message}" if error.path else error.message
        raise CallError([problem(error.code, f"--in {declared.name}: {text}", help=error.help)]) from None
    except ValueError as error:
        raise CallError([problem("E909", f"--in {declared.name}: not JSON ({error})",
                                 help=f"give a path, or a {kind} as JSON")]) from None  # fmt: skip


def _list(text: str, declared: GraphInput) -> list[Any]:
    value = json.loads(text)
    return value if isinstance(value, list) else [value]


def single_item(pipe: Pipeline, given: Mapping[str, Any]) -> Item:
    """The one item of a run without `--items`. Raises CallError where an input is missing (E903)."""
    for name, declared in pipe.plan.inputs.items():
        if name not in given and not declared.has_default and not declared.optional:
            example = "a question with {file:picture.png}" if declared.kind == "message" else "VALUE"
            help = f'add --in {name}="{example}", or --items FILE.jsonl'
            raise CallError([problem("E903", f"the input {name!r} ({declared.kind}) is missing", help=help)])
    return pipe.item(given, "0", line=None)


def read_items(pipe: Pipeline, path: str, common: Mapping[str, Any]) -> Iterator[Item]:
    """The items of a JSONL file ("-": standard input), one at a time. Relative paths start at the file's folder."""
    base = None if path == "-" else os.path.dirname(os.path.abspath(path))
    handle = open_items(path)
    seen: set[int] = set()
    try:
        for number, line in enumerate(iter(lambda: handle.readline(LONGEST_LINE + 1), b""), 1):
            if len(line) > LONGEST_LINE:
                while line and not line.endswith(b"\n"):
                    line = handle.readline(LONGEST_LINE + 1)
                yield _bad(number, f"the line is longer than {LONGEST_LINE // 2**20} MiB", "name files, not contents")
            elif line.strip():
                yield _item(pipe, line, number, common, base, seen)
    finally:
        if path != "-":
            handle.close()


def open_items(path: str) -> BinaryIO:
    """The items file, opened. Raises CallError (E907)."""
    if path == "-":
        return sys.stdin.buffer
    try:
        return open(path, "rb")
    except OSError as error:
        raise CallError([problem("E907", f"--items {path}: {error.strerror}", help="check the path")]) from None


def _item(pipe: Pipeline, line: bytes, number: int, common: Mapping[str, Any], base: str | None,
          seen: set[int]) -> Item:  # fmt: skip
    try:
        raw = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
    except UnicodeDecodeError as error:
        return _bad(number, f"it is not UTF-8 (byte {error.start + 1})", "save the file as UTF-8")
    except (ValueError, RecursionError) as error:
        return _bad(number, f"it is not JSON ({error})", "write one JSON object a line")
    if not isinstance(raw, dict):
        return _bad(number, f"it is a {type(raw).__name__}, not an object", 'write {"id": ..., INPUT: value}')
    id = raw.get("id", number - 1)
    if isinstance(id, bool) or not isinstance(id, (str, int)) or id == "":
        return _bad(number, f"its id is {json.dumps(id)[:40]}, not a text or a number", "give a unique id, or none")
    if not str(id).isascii() and any("\ud800" <= c <= "\udfff" for c in str(id)):
        return _bad(number, f"its id {json.dumps(id)[:40]} holds half a character", "write it as UTF-8")
    if "id" not in raw and hash(str(id)) in seen:
        id = f"line-{number}"  # its position is the name that another item chose
    if hash(str(id)) in seen:
        return _bad(number, f"its id {str(id)!r} was used before", "give every item its own id")
    seen.add(hash(str(id)))
    return pipe.item({**common, **raw}, str(id), base, number)


def _bad(number: int, text: str, help: str) -> Item:
    from anyany.engine.failures import Failure
    from anyany.engine.run import failed_item

    return failed_item(f"line-{number}", Failure(code="E604", message=f"line {number}: {text}", help=help), number)
