"""Edges resolved: from names to feeds with their kinds and stacks of lists.

Every function gives None after telling the problem, or silently when what it names is broken already.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from anyany.api.v1 import Port
from anyany.errors.suggest import did_you_mean
from anyany.kinds.stacks import longest, show
from anyany.spec.order import refs_of_node
from anyany.spec.raw import BadEdge, BracketRef, FillRef, OfRef, RawEdge, Ref
from anyany.spec.wires import AxisTerm, Check, Feed, FeedEntry, NodeState, Wire

NODE_KIND = "node"


@dataclass(frozen=True, kw_only=True)
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
        return _bracket(check, edge, where)
    if isinstance(edge, FillRef):
        return _fill(check, edge, where)
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
            "E110", f"`{name}` is neither an input nor a node", mark=ref.mark, path=ref.path,
            help=did_you_mean(name, scope) or _owner_of_port(check, name) or f"names here are {_names(scope)}",
        )  # fmt: skip
    return None


def _owner_of_port(check: Check, name: str) -> str | None:
    """A node whose output has this name, as help."""
    for state in check.nodes.values():
        if state.call is not None and name in state.call.gives:
            return f"write `{state.name}.{name}`"
    return None


def _names(names: Mapping[str, object] | list[str]) -> str:
    table = [f"`{n}`" for n in names]
    return ", ".join(table[:12]) + (", …" if len(table) > 12 else "") if table else "none"


def _from_input(check: Check, ref: Ref, wire: Wire) -> Feed | None:
    name = ref.parts[0]
    feed = Feed(
        form="input", wire=replace(wire, label=name), mark=ref.mark, path=ref.path, name=name,
        message=name if wire.is_message else None,
    )  # fmt: skip
    if len(ref.parts) == 1:
        return feed
    if not wire.is_message or len(ref.parts) > 2:
        kind = wire.kinds[0] if wire.kinds else "value"
        message = (
            f"`{name}` is {_a(kind)} input and has no `{ref.parts[1]}`"
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
            "E206", f"`{state.name}` has no `in`, so it only holds weights and gives no values", mark=ref.mark, path=ref.path,
            related=[(state.raw.mark, "the node")], help=f"give it an `in`, or take {_names(users)}" if users else "give it an `in`",
        )  # fmt: skip
        return None
    main = call.main_out
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
    check.tell(
        "E111", f"`{state.name}` has no output `{ref.parts[1]}`", mark=ref.mark, path=ref.path,
        related=[(state.raw.mark, f"call `{state.call_name}` of `{card}`")],
        help=did_you_mean(ref.parts[1], gives) or f"its outputs are {_names(list(gives))}",
    )  # fmt: skip


def _output(state: NodeState, port: str, ref: Ref) -> Feed:
    wire = state.gives[port]
    label = state.name if len(ref.parts) == 1 or ref.parts[1] != port else f"{state.name}.{port}"
    return Feed(
        form="output", wire=replace(wire, label=label), mark=ref.mark, path=ref.path, name=state.name, port=port,
        message=message_id(state, port) if wire.is_message else None,
    )  # fmt: skip


def _select(check: Check, ref: Ref, base: Feed, kind: str) -> Feed | None:
    """`M.K`: the parts of a kind as a list, or the last turn's text."""
    if not base.wire.kinds:
        return None
    known = check.parts
    if not base.wire.is_message:
        check.tell(
            "E311", f"`{base.label}` is {_a(base.wire.kinds[0])}, and only a message has parts", mark=ref.mark, path=ref.path,
            help=f"write `{base.label}`",
        )  # fmt: skip
        return None
    if kind not in known:
        check.tell(
            "E311", f"a message has no parts of kind `{kind}`", mark=ref.mark, path=ref.path,
            help=did_you_mean(kind, known) or f"parts are {_names(sorted(known))}",
        )  # fmt: skip
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
            "E306", f"the {kind} places of `{base.label}` are not filled, so there is nothing to select", mark=ref.mark, path=ref.path,
            help=f"take `{base.name}.{kind}`, what stands for them",
        )  # fmt: skip
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
                help=did_you_mean(ref.node, owners) or f"nodes with `use` are {_names(owners)}",
            )
        return None
    return Feed(
        form="handle",
        wire=Wire(kinds=(NODE_KIND,), label=f"of: {ref.node}"),
        mark=ref.mark,
        path=ref.path,
        name=ref.node,
    )


def _a(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else kind if kind.endswith("s") or kind == "text" else f"a {kind}"


# brackets -----------------------------------------------------------------------------------------------------------
def _bracket(check: Check, edge: BracketRef, where: Where) -> Feed | None:
    entries: list[FeedEntry] = []
    good = True
    for raw, star in edge.entries:
        feed = resolve(check, raw, Where(node=where.node, list_id=where.list_id, into=where.into))
        if feed is None or not _entry_fits(check, feed, star, where):
            good = False
        else:
            entries.append(FeedEntry(feed=feed, star=star))
    if not good:
        return None
    stack, wrong = longest(e.mapped for e in entries)
    if wrong is not None:
        _tell_unpaired(check, entries, wrong)
        return None
    label = "[" + ", ".join(e.feed.label + ("*" if e.star else "") for e in entries) + "]"
    if where.into == "message":
        wire = Wire(kinds=("message",), stack=stack, label=label)
        return Feed(form="bracket", wire=wire, mark=edge.mark, path=edge.path, entries=tuple(entries), into="message")
    wires = [e.feed.wire for e in entries]
    wire = Wire(
        kinds=_all_kinds(wires), stack=(*stack, where.list_id), axes=_common_axes(check, wires), label=label,
        space=wires[0].space if len({w.space for w in wires}) == 1 else None, loaded=all(w.loaded for w in wires),
        facets=_common_facets(wires),
    )  # fmt: skip
    return Feed(
        form="bracket", wire=wire, mark=edge.mark, path=edge.path, entries=tuple(entries), list_id=where.list_id
    )


def _entry_fits(check: Check, feed: Feed, star: bool, where: Where) -> bool:
    wire = feed.wire
    if feed.form == "handle":
        check.tell(
            "E207",
            "a node cannot stand in a bracket",
            mark=feed.mark,
            path=feed.path,
            help="write `{of: node}` alone, into a port of kind `node`",
        )
        return False
    if star and not wire.stack:
        check.tell(
            "E302",
            f"`{feed.label}` is one value, not a list, so a star has nothing to splice",
            mark=feed.mark,
            path=feed.path,
            help=f"write `{feed.label}`",
        )
        return False
    if wire.open_places:
        tell_unfilled(check, feed)
        return False
    if where.into == "message" and not set(wire.kinds) <= {"message", *check.parts}:
        check.tell(
            "E312", f"`{feed.label}` is {_a(wire.kinds[0])}, which cannot be part of a message", mark=feed.mark, path=feed.path,
            expected="text, media, regions or messages", found=" or ".join(wire.kinds),
            help="leave the entry out; features go to the port beside the message",
        )  # fmt: skip
        return False
    return True


def tell_unfilled(check: Check, feed: Feed) -> None:
    """E306 for an open reply that is used as a message."""
    kinds = list(feed.wire.open_places)
    fills = ", ".join(f"{k}: …" for k in kinds)
    check.tell(
        "E306", f"`{feed.label}` has places for {' and '.join(kinds)} that are not filled", mark=feed.mark, path=feed.path,
        help=f"write `{{fill: {feed.label}, {fills}}}`, or take `{feed.name}.text`",
    )  # fmt: skip


def _tell_unpaired(check: Check, entries: list[FeedEntry], wrong: int) -> None:
    long = max(entries, key=lambda e: len(e.mapped))
    other = entries[wrong]
    check.tell(
        "E301", f"`{long.feed.label}` runs over {show(long.mapped)} and `{other.feed.label}` over {show(other.mapped)}: two lists never pair up or multiply",
        mark=other.feed.mark, path=other.feed.path, related=[(long.feed.mark, f"over {show(long.mapped)}")],
        help=f"splice one of them (`{other.feed.label}*`), or start both from one list",
    )  # fmt: skip


def _all_kinds(wires: list[Wire]) -> tuple[str, ...]:
    if any(not w.kinds for w in wires):
        return ()
    return tuple(dict.fromkeys(k for w in wires for k in w.kinds))


def _common_axes(check: Check, wires: list[Wire]) -> tuple[AxisTerm, ...]:
    """Axes of the members of a list: sizes that agree are known, others vary."""
    first = wires[0].axes
    if any(len(w.axes) != len(first) for w in wires) or any(a.name == "..." for w in wires for a in w.axes):
        return ()
    return tuple(
        AxisTerm(name=a.name, term=check.sizes.meet([w.axes[i].term for w in wires])) for i, a in enumerate(first)
    )


def _common_facets(wires: list[Wire]) -> dict[str, int]:
    return {k: v for k, v in wires[0].facets.items() if all(w.facets.get(k) == v for w in wires)}


# fill ---------------------------------------------------------------------------------------------------------------
def _fill(check: Check, edge: FillRef, where: Where) -> Feed | None:
    reply = resolve(check, edge.reply, where)
    fills = {kind: resolve(check, inner, where) for kind, inner in edge.fills.items()}
    if reply is None:
        return None
    places = reply.wire.open_places
    if not places:
        what = (
            "has no places to fill"
            if reply.wire.is_message
            else f"is {_a(reply.wire.kinds[0])}, no open message"
            if reply.wire.kinds
            else "is no open message"
        )
        check.tell(
            "E307", f"`{reply.label}` {what}", mark=reply.mark, path=reply.path,
            help="name the reply of a backbone that emits other kinds (`with: {signals: …}`)" if not reply.wire.is_message else f"write `{reply.label}` alone",
        )  # fmt: skip
        return None
    good = _places_named(check, edge, reply, places)
    entries: dict[str, FeedEntry] = {}
    for kind, feed in fills.items():
        if feed is None or kind not in places or not _filling_fits(check, reply, kind, feed):
            good = False
        else:
            entries[kind] = FeedEntry(feed=feed, star=False)
    if not good:
        return None
    wire = Wire(kinds=("message",), stack=reply.wire.stack, maybe=reply.wire.maybe, label=f"{{fill: {reply.label}}}")
    return Feed(form="fill", wire=wire, mark=edge.mark, path=edge.path, source=reply, fills=entries)


def _places_named(check: Check, edge: FillRef, reply: Feed, places: Mapping[str, str]) -> bool:
    missing = [k for k in places if k not in edge.fills]
    for kind in missing:
        check.tell(
            "E306", f"`{reply.label}` has {kind} places, and nothing fills them", mark=edge.mark, path=edge.path,
            help=f"add `{kind}: node` with a node that makes {kind} from `{reply.name}.{kind}`",
        )  # fmt: skip
    extra = [k for k in edge.fills if k not in places]
    for kind in extra:
        raw = edge.fills[kind]
        check.tell(
            "E307", f"`{reply.label}` has no {kind} places", mark=raw.mark, path=raw.path,
            help=did_you_mean(kind, places) or f"its places are {_names(list(places))}",
        )  # fmt: skip
    return not missing and not extra


def _filling_fits(check: Check, reply: Feed, kind: str, feed: Feed) -> bool:
    wanted = (*reply.wire.stack, reply.wire.open_places[kind])
    if feed.form == "handle":
        check.tell("E207", "a node cannot fill a place", mark=feed.mark, path=feed.path, help="name an edge")
        return False
    if feed.wire.stack != wanted:
        check.tell(
            "E308", f"`{feed.label}` carries {show(feed.wire.stack)}, and the {kind} places of `{reply.label}` are {show(wanted)}",
            mark=feed.mark, path=feed.path, help=f"start it from `{reply.wire.open_places[kind]}`",
        )  # fmt: skip
        return False
    if kind in check.kinds and feed.wire.kinds and feed.wire.kinds != (kind,):
        check.tell(
            "E201", f"`{feed.label}` is {_a(feed.wire.kinds[0])}, and the place wants {_a(kind)}", mark=feed.mark, path=feed.path,
            expected=kind, found=" or ".join(feed.wire.kinds), help=f"name the node that makes {kind} of it",
        )  # fmt: skip
        return False
    return True


def iter_feeds(feed: Feed | None) -> Iterator[Feed]:
    """A feed and all feeds inside it."""
    if feed is None:
        return
    yield feed
    yield from iter_feeds(feed.source)
    for entry in (*feed.entries, *feed.fills.values()):
        yield from iter_feeds(entry.feed)


def port_into(port: Port) -> Literal["list", "message"] | None:
    """What a bracket becomes at a port; None where none may stand."""
    if port.many or port.per is not None:
        return "list"
    return "message" if "message" in port.kinds else None
