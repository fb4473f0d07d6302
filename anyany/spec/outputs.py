"""Inputs declared and outputs resolved; what is never used; sizes that nobody knows.

The first and the last passes of a check.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from anyany.api.v1 import Var
from anyany.errors import problem
from anyany.errors.suggest import did_you_mean
from anyany.spec.axes import tell_conflict
from anyany.spec.brackets import tell_unfilled
from anyany.spec.order import refs_of, refs_of_node
from anyany.spec.raw import BracketRef, FillRef, OfRef, RawEdge, RawInput, RawNode
from anyany.spec.resolve import Where, resolve
from anyany.spec.wires import Check, Wire

NOT_INPUTS = ("loss", "metric")


def declare_inputs(check: Check) -> None:
    """The wires of the inputs. A kind that is unknown counts as unknown, and is told."""
    for name, raw in check.spec.inputs.items():
        kind = raw.spec.rstrip("*?")
        many = raw.spec.endswith("*")
        known = kind in check.kinds and kind not in NOT_INPUTS
        if not known:
            names = [k for k in check.kinds if k not in NOT_INPUTS]
            check.tell(
                "E117",
                f"input `{name}` is of the unknown kind `{kind}`",
                mark=raw.mark,
                path=raw.path,
                help=did_you_mean(kind, names) or f"kinds are {', '.join(names)}",
            )
        elif raw.has_default:
            _check_default(check, raw, kind, many)
        check.inputs[name] = Wire(
            kinds=(kind,) if known else (),
            stack=(name,) if many else (),
            label=name,
            loaded=True,
            mark=raw.mark,
            maybe=raw.spec.endswith("?") and (not raw.has_default or raw.default is None),
        )


def _check_default(check: Check, raw: RawInput, kind: str, many: bool) -> None:
    value = raw.default
    if value is None and raw.spec.endswith("?"):
        return
    wanted = _wrong_default(value, kind, many)
    if wanted:
        check.tell(
            "E210",
            f"the default of `{raw.name}` is no {kind}{' list' if many else ''}",
            mark=raw.default_mark,
            path=f"{raw.path}.default",
            expected=wanted,
            help=f"write {wanted}",
        )


def _wrong_default(value: Any, kind: str, many: bool) -> str | None:
    """What a default should look like, or None when it does."""
    if many:
        if not isinstance(value, list):
            return "a list"
        return next((f"a list, each {w}" for v in value if (w := _wrong_default(v, kind, False))), None)
    if kind == "message":
        return None if isinstance(value, (str, list)) else "a text or a list of parts"
    if kind == "text":
        return None if isinstance(value, str) else "a text (in quotes)"
    if kind in ("image", "audio", "video", "mask"):
        return None if isinstance(value, str) and value else "the path of a file"
    if kind == "label":
        return None if isinstance(value, (str, int)) and not isinstance(value, bool) else "a name or a number"
    return None if value is not None else "a value"


def resolve_outputs(check: Check) -> None:
    """The feeds of the outputs; a reply with unfilled places or a node itself is no output."""
    for name, raw in check.spec.outputs.items():
        feed = resolve(check, raw.edge, Where(node=None, list_id=f"outputs.{name}"))
        if feed is None:
            continue
        if feed.form == "handle":
            check.tell(
                "E207", "an output is a value, not a node", mark=feed.mark, path=feed.path, help=f"write `{feed.name}`"
            )
        elif feed.wire.open_places:
            tell_unfilled(check, feed)
        else:
            check.outputs[name] = feed


# the end of a check ---------------------------------------------------------------------------------------------------
def solve_sizes(check: Check) -> None:
    """Solve, tell conflicts inside lists, and note the sizes of used ports that stay unknown."""
    for conflict in check.sizes.solve():
        mark = conflict.left.mark or conflict.right.mark
        if mark is not None:
            tell_conflict(check, conflict, "size", mark, "", "E401", conflict.left.why, conflict.right.why)
    used = _used_ports(check)
    noted: set[tuple[str, str]] = set()
    for state in check.nodes.values():
        if state.broken or state.call is None or not state.uses:
            continue
        ports = [state.call.takes[n] for n in state.uses]
        ports += [p for n, p in state.call.gives.items() if (state.name, n) in used]
        for value in (v for port in ports for v in port.sizes.values() if isinstance(v, Var)):
            root = state.root.raw
            if (root.name, value.name) in noted or _is_known(check, root.name, value.name):
                continue
            noted.add((root.name, value.name))
            text = f"nothing tells the size `{value.name}` of `{root.name}` yet"
            help = "check with `--online`, or set it under `with`"
            check.notes.append(problem("W402", text, mark=root.mark, path=root.path, help=help))


def _is_known(check: Check, owner: str, var: str) -> bool:
    key = ("var", owner, var)
    return check.sizes.has(key) and check.sizes.fixed(check.sizes.named(key)) is not None


def _used_ports(check: Check) -> set[tuple[str, str]]:
    """(node, output port) of every value that something takes."""
    found: set[tuple[str, str]] = set()
    waiting = [u.feed for s in check.nodes.values() for u in s.uses.values()]
    waiting += [s.when for s in check.nodes.values() if s.when is not None]
    waiting += check.outputs.values()
    while waiting:
        feed = waiting.pop()
        if feed.form == "output":
            found.add((feed.name, feed.port))
        waiting += [e.feed for e in (*feed.entries, *feed.fills.values())]
        if feed.source is not None:
            waiting.append(feed.source)
    return found


def warn_unused(check: Check) -> None:
    """W101 and W102: nodes and inputs that no output, and no training, needs."""
    used = _reached(check)
    for name, raw in check.spec.nodes.items():
        if name not in used:
            check.tell(
                "W101",
                f"nothing uses node `{name}`, so it never runs",
                mark=raw.mark,
                path=raw.path,
                help="delete it, or feed it to an output",
            )
    for name, raw_input in check.spec.inputs.items():
        if name not in used:
            check.tell(
                "W102",
                f"nothing uses input `{name}`",
                mark=raw_input.mark,
                path=raw_input.path,
                help="delete it, or feed it to a node",
            )


def _reached(check: Check) -> set[str]:
    waiting = [n for out in check.spec.outputs.values() for n in _names(out.edge)]
    waiting += _words(check.spec.train)
    reached: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        reached.add(name)
        raw = check.spec.nodes.get(name)
        if raw is not None:
            waiting += _needs(raw)
    return reached


def _needs(raw: RawNode) -> Iterator[str]:
    yield from (ref.parts[0] for ref in refs_of_node(raw))
    if raw.of is not None:
        yield raw.of
    for edge in (raw.short, *raw.ports.values()):
        if isinstance(edge, OfRef):
            yield edge.node


def _names(edge: RawEdge) -> Iterable[str]:
    if isinstance(edge, OfRef):
        return [edge.node]
    assert not isinstance(edge, (BracketRef, FillRef)) or edge.path
    return [ref.parts[0] for ref in refs_of(edge)]


def _words(train: Any) -> list[str]:
    """Names that the training section mentions, its keys among them."""
    if isinstance(train, dict):
        return [w for k, v in train.items() for w in (*_words(k), *_words(v))]
    if isinstance(train, list):
        return [w for v in train for w in _words(v)]
    return re.findall(r"[A-Za-z_][\w-]*", train) if isinstance(train, str) else []
