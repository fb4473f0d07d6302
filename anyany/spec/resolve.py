"""Edges resolved: from names to feeds with their kinds and stacks of lists.

Every function gives None after telling the problem, or silently when what it names is broken already.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from anyany.api.v1 import Port
from anyany.errors.suggest import did_you_mean
from anyany.kinds.compat import a
from anyany.spec import brackets
from anyany.spec.order import refs_of_node
from anyany.spec.raw import BadEdge, BracketRef, FillRef, OfRef, RawEdge, Ref
from anyany.spec.wires import Check, Feed, NodeState, Wire

NODE_KIND = "node"


@dataclass(kw_only=True, eq=False)
class Where:
    """Who asks for an edge: the node (None for outputs), the identity of a bracket there, and what it becomes."""

    node: str | None
    list_id: str
    into: Literal["list", "message"] = "list"


def collect_taken(check: Check) -> None:
    """Which kinds nodes select from which messages, over the whole spec, before anything is wired."""
    for name, raw in check.spec.nodes.items():
        for ref in refs_of_node(raw):
            found = _selection(check, ref)
            if found is not None:
                check.take(found, ref.parts[-1], name, ref.mark)


def _selection(check: Check, ref: Ref) -> str | None:
    """The identity of the message that a ref selects from, if it does."""
    first, *rest = ref.parts
    if not rest or ref.parts[-1] == "text":
        return None
    if first in check.inputs:
        return first if len(rest) == 1 and check.inputs[first].is_message else None
    state = check.nodes.get(first)
    if state is None or state.call is None or (len(rest) == 1 and rest[0] in state.call.gives):
        return None
    return first if len(rest) == 1 else message_id(state, rest[0])


def message_id(state: NodeState, port: str) -> str:
    """The identity of the message a port gives: the node's name for its main output."""
    return state.name if state.call is not None and port == state.call.main_out else f"{state.name}.{port}"


def resolve(check: Check, edge: RawEdge, where: Where) -> Feed | None:
    """The feed of an edge."""
    if isinstance(edge, BadEdge):
        return None
    if isinstance(edge, Ref):
        return _ref(check, edge)
    if isinstance(edge, BracketRef):
        return brackets.bracket(check, edge, where)
    if isinstance(edge, FillRef):
        return brackets.fill(check, edge, where)
    return _handle(check, edge)


# names --------------------------------------------------------------------------------------------------------------
def _ref(check: Check, ref: Ref) -> Feed | None:
    name = ref.parts[0]
    if name in check.inputs:
        return _from_input(check, ref, check.inputs[name])
    if name in check.nodes:
        return _from_node(check, ref, check.nodes[name])
    if name not in check.spec.lost and name not in check.spec.inputs:
        scope = [*check.spec.inputs, *check.spec.nodes]
        check.tell(
            "E110",
            f"`{name}` is neither an input nor a node",
            mark=ref.mark,
            path=ref.path,
            help=did_you_mean(name, scope) or _owner_of_port(check, name) or f"names here are {names_of(scope)}",
        )
    return None


def _owner_of_port(check: Check, name: str) -> str | None:
    """A node whose output has this name, as help."""
    for state in check.nodes.values():
        if state.call is not None and name in state.call.gives:
            return f"write `{state.name}.{name}`"
    return None


def names_of(names: Mapping[str, object] | list[str]) -> str:
    table = [f"`{n}`" for n in names]
    return ", ".join(table[:12]) + (", …" if len(table) > 12 else "") if table else "none"


def _from_input(check: Check, ref: Ref, wire: Wire) -> Feed | None:
    name = ref.parts[0]
    feed = Feed(
        form="input",
        wire=replace(wire, label=name),
        mark=ref.mark,
        path=ref.path,
        name=name,
        message=name if wire.is_message else None,
    )
    if len(ref.parts) == 1:
        return feed
    if not wire.is_message or len(ref.parts) > 2:
        kind = wire.kinds[0] if wire.kinds else "value"
        message = (
            f"`{name}` is {a((kind,))} input and has no `{ref.parts[1]}`"
            if not wire.is_message
            else f"`{ref.text}`: an input has no ports"
        )
        check.tell(
            "E111",
            message,
            mark=ref.mark,
            path=ref.path,
            help=f"write `{name}`" if not wire.is_message else f"write `{name}.{ref.parts[2]}`",
        )
        return None
    return _select(check, ref, feed, ref.parts[1])


def _from_node(check: Check, ref: Ref, state: NodeState) -> Feed | None:
    call = state.call
    if call is None or (state.broken and not state.gives):
        _check_port_name(check, ref, state)
        return None
    if not state.raw.has_in:
        users = [s.name for s in check.nodes.values() if s.raw.of == state.name]
        check.tell(
            "E206",
            f"`{state.name}` has no `in`, so it only holds weights and gives no values",
            mark=ref.mark,
            path=ref.path,
            related=[(state.raw.mark, "the node")],
            help=f"give it an `in`, or take {names_of(users)}" if users else "give it an `in`",
        )
        return None
    main = call.main_out
    if main is not None and not state.gives:
        return None  # behind a cycle, which is told: the node comes later than its taker
    if main is None:
        check.tell(
            "E205",
            f"call `{state.call_name}` of `{state.name}` gives nothing",
            mark=ref.mark,
            path=ref.path,
            help="name another call or node",
        )
        return None
    if len(ref.parts) == 1:
        return _output(state, main, ref)
    if ref.parts[1] in state.gives:
        feed = _output(state, ref.parts[1], ref)
        return feed if len(ref.parts) == 2 else _select(check, ref, feed, ref.parts[2])
    base = _output(state, main, ref)
    if (
        len(ref.parts) == 2
        and (not base.wire.kinds or ref.parts[1] in check.parts)
        and (base.wire.is_message or not base.wire.kinds)
    ):
        return _select(check, ref, base, ref.parts[1])
    _check_port_name(check, ref, state)
    return None


def _check_port_name(check: Check, ref: Ref, state: NodeState) -> None:
    """E111 where the call is known and has no such output (also for broken nodes)."""
    if len(ref.parts) == 1 or state.call is None or ref.parts[1] in state.call.gives:
        return
    gives = state.call.gives
    main = gives[state.call.main_out] if state.call.main_out else None
    if (
        main is not None
        and len(ref.parts) == 2
        and {"message", "any"} & set(main.kinds)
        and ref.parts[1] in check.parts
    ):
        return
    card = state.card.name if state.card else ""
    scope = [*gives, *check.parts] if main is not None and "message" in main.kinds else list(gives)
    check.tell(
        "E111",
        f"`{state.name}` has no output `{ref.parts[1]}`",
        mark=ref.mark,
        path=ref.path,
        related=[(state.raw.mark, f"call `{state.call_name}` of `{card}`")],
        help=did_you_mean(ref.parts[1], scope) or f"its outputs are {names_of(list(gives))}",
    )


def _output(state: NodeState, port: str, ref: Ref) -> Feed:
    wire = state.gives[port]
    label = state.name if len(ref.parts) == 1 or ref.parts[1] != port else f"{state.name}.{port}"
    return Feed(
        form="output",
        wire=replace(wire, label=label),
        mark=ref.mark,
        path=ref.path,
        name=state.name,
        port=port,
        message=message_id(state, port) if wire.is_message else None,
    )


def _select(check: Check, ref: Ref, base: Feed, kind: str) -> Feed | None:
    """`M.K`: the parts of a kind as a list, or the last turn's text."""
    if not base.wire.kinds:
        return None
    known = check.parts
    if not base.wire.is_message:
        check.tell(
            "E311",
            f"`{base.label}` is {a(base.wire.kinds)}, and only a message has parts",
            mark=ref.mark,
            path=ref.path,
            help=f"write `{base.label}`",
        )
        return None
    if kind not in known:
        check.tell(
            "E311",
            f"a message has no parts of kind `{kind}`",
            mark=ref.mark,
            path=ref.path,
            help=did_you_mean(kind, known) or f"parts are {names_of(sorted(known))}",
        )
        return None
    wire = Wire(
        kinds=(kind,),
        stack=base.wire.stack,
        maybe=base.wire.maybe,
        label=ref.text,
        loaded=base.wire.loaded,
        mark=base.wire.mark,
    )
    if kind == "text":
        return Feed(form="select", wire=wire, mark=ref.mark, path=ref.path, source=base, kind=kind)
    if kind in base.wire.open_places:
        check.tell(
            "E306",
            f"the {kind} places of `{base.label}` are not filled, so there is nothing to select",
            mark=ref.mark,
            path=ref.path,
            help=f"take `{base.name}.{kind}`, what stands for them",
        )
        return None
    list_id = places_id(check, base, kind)
    wire = replace(wire, stack=(*base.wire.stack, list_id), maybe=False)
    return Feed(form="select", wire=wire, mark=ref.mark, path=ref.path, source=base, kind=kind, list_id=list_id)


def places_id(check: Check, message: Feed, kind: str) -> str:
    """The identity of the list of a message's parts of a kind. An output port of the same name keeps its own."""
    state = check.nodes.get(message.name) if message.form == "output" else None
    if (
        state is not None
        and state.call is not None
        and message.port == state.call.main_out
        and kind in state.call.gives
    ):
        return f"{message.name}.{message.port}.{kind}"
    return f"{message.message}.{kind}"


def _handle(check: Check, ref: OfRef) -> Feed | None:
    state = check.nodes.get(ref.node)
    if state is None or state.raw.of is not None:
        if ref.node not in check.spec.lost:
            owners = [n for n, r in check.spec.nodes.items() if r.of is None]
            what = (
                "is no node with `use`"
                if state is not None or ref.node in check.spec.inputs
                else "is no node of this spec"
            )
            check.tell(
                "E114",
                f"`of: {ref.node}` {what}",
                mark=ref.mark,
                path=ref.path,
                help=did_you_mean(ref.node, owners) or f"nodes with `use` are {names_of(owners)}",
            )
        return None
    return Feed(
        form="handle",
        wire=Wire(kinds=(NODE_KIND,), label=f"of: {ref.node}"),
        mark=ref.mark,
        path=ref.path,
        name=ref.node,
    )


def port_into(port: Port) -> Literal["list", "message"] | None:
    """What a bracket becomes at a port; None where none may stand."""
    if port.many or port.per is not None:
        return "list"
    return "message" if "message" in port.kinds else None
