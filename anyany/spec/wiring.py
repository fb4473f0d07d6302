"""One node wired: what feeds its ports, over which lists it runs, whether it may be absent.

Nodes are wired in topological order, so that the wires of what feeds them are known.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from anyany.api.v1 import Call, Port
from anyany.errors.suggest import did_you_mean
from anyany.kinds.compat import a, fits
from anyany.kinds.compat import show as show_kinds
from anyany.kinds.stacks import is_prefix, longest, show
from anyany.spec import hints
from anyany.spec.brackets import tell_unfilled
from anyany.spec.gives import give
from anyany.spec.places import check_singles, check_taken, is_single, wire_places
from anyany.spec.raw import BadEdge, BracketRef, OfRef, RawEdge
from anyany.spec.resolve import NODE_KIND, Where, port_into, resolve
from anyany.spec.wires import ANY, Check, Feed, NodeState, PortUse


def wire_nodes(check: Check) -> None:
    """Wire every node that is not broken."""
    for name in check.order:
        state = check.nodes[name]
        if state.call is None:
            _only_names(check, state)
        elif state.raw.has_in or state.raw.when is not None:
            _wire(check, state, state.call)


def _only_names(check: Check, state: NodeState) -> None:
    """A node whose ports are unknown: its edges are still looked up, so that misspelt names are told at once."""
    edges = [state.raw.short, *state.raw.ports.values(), state.raw.when]
    for edge in edges:
        if edge is not None:
            resolve(check, edge, Where(node=state.name, list_id="?"))


def _wire(check: Check, state: NodeState, call: Call) -> None:
    good = not state.broken
    seen: set[str] = set()
    for name, edge, mark_path in _port_edges(check, state, call):
        seen.add(name)
        good &= _feed(check, state, name, call.takes[name], edge)
        del mark_path
    good &= _required(check, state, call, seen)
    good &= _when(check, state)
    if not good or (state.raw.short is None and len(seen) < len(state.raw.ports)):
        state.broken = True
        return
    if not (_lists(check, state, call) and _opened(check, state)):
        state.broken = True
        return
    check_taken(check, state)
    state.maybe = state.when is not None or any(
        use.mode == "map" and use.feed.wire.maybe and not call.takes[n].optional and use.feed.form != "bracket"
        for n, use in state.uses.items()
    )
    give(check, state, call)


def _port_edges(check: Check, state: NodeState, call: Call) -> Iterator[tuple[str, RawEdge, str]]:
    """The edges of a node by the port they feed; unknown ports are told."""
    raw = state.raw
    if raw.short is not None:
        main = call.main_in
        if main is not None:
            yield main, raw.short, f"{raw.path}.in"
            return
        check.tell(
            "E211",
            f"call `{state.call_name}` of `{state.name}` takes nothing",
            mark=raw.short.mark,
            path=f"{raw.path}.in",
            help="delete `in`",
        )
        state.broken = True
        return
    for port, edge in raw.ports.items():
        path = f"{raw.path}.in.{port}"
        if port in call.takes:
            yield port, edge, path
            continue
        have = ", ".join(f"`{p}`" for p in call.takes) or "none"
        check.tell(
            "E112",
            f"call `{state.call_name}` of `{state.name}` takes no port `{port}`",
            mark=raw.port_marks.get(port, edge.mark),  # a stage names the port that `in` feeds
            path=path,
            help=did_you_mean(port, call.takes) or f"its ports are {have}",
        )
        resolve(check, edge, Where(node=state.name, list_id="?"))


def _feed(check: Check, state: NodeState, name: str, port: Port, edge: RawEdge) -> bool:
    """Resolve one edge and see that its kind fits the port. False breaks the node."""
    into = port_into(port)
    if isinstance(edge, BracketRef) and into is None:
        check.tell(
            "E313",
            f"port `{name}` of `{state.name}` takes one value ({show_kinds(port.kinds)}), so no bracket may stand here",
            mark=edge.mark,
            path=edge.path,
            help="write one edge; brackets are for list and message ports",
        )
        return False
    if not isinstance(edge, BadEdge) and (NODE_KIND in port.kinds) != isinstance(edge, OfRef):
        wants = "takes a node itself" if NODE_KIND in port.kinds else "takes a value, not a node"
        text = getattr(edge, "text", None) or getattr(edge, "node", "node")
        check.tell(
            "E207",
            f"port `{name}` of `{state.name}` {wants}",
            mark=edge.mark,
            path=edge.path,
            help=f"write `{{of: {text}}}`" if NODE_KIND in port.kinds else f"write `{text}`",
        )
        return False
    feed = resolve(check, edge, Where(node=state.name, list_id=f"{state.name}.{name}", into=into or "list"))
    if feed is None:
        return False
    use = PortUse(feed=feed)
    state.uses[name] = use
    if feed.form == "handle":
        return True
    if feed.wire.open_places and ("message" in port.kinds or port.kinds == ANY):
        tell_unfilled(check, feed)
        return False
    _check_kind(check, state, name, port, use)
    return True


def _check_kind(check: Check, state: NodeState, name: str, port: Port, use: PortUse) -> None:
    """E201, or wrapping of text and media for a message port. After an error the kind counts as unknown."""
    feed = use.feed
    kinds = feed.wire.kinds
    if fits(port.kinds, kinds):
        return
    if "message" in port.kinds and set(kinds) <= check.parts:
        use.wrap = True
        return
    card = state.card.name if state.card else ""
    check.tell(
        "E201",
        f"`{feed.label}` is {a(kinds)}, and port `{name}` of `{state.name}` takes {a(port.kinds)}",
        mark=feed.mark,
        path=feed.path,
        expected=show_kinds(port.kinds),
        found=show_kinds(kinds),
        related=[(state.raw.mark, f"call `{state.call_name}` of `{card}`")],
        help=hints.for_mismatch(check, state, name, port, feed),
    )
    use.feed = replace(feed, wire=replace(feed.wire, kinds=(), axes=(), facets={}, space=None))


def _required(check: Check, state: NodeState, call: Call, seen: set[str]) -> bool:
    """E203 for required ports without an edge. Per-place ports are asked for by their message, not here."""
    missing = [n for n, p in call.takes.items() if n not in seen and not p.optional and p.per is None]
    misspelt = state.raw.short is None and any(p not in call.takes for p in state.raw.ports)
    if not missing or state.broken or misspelt:
        return not missing
    child = state.raw.tree.get("in")
    mark = child.mark if child is not None else state.raw.mark
    ports = " and ".join(f"`{n}` ({show_kinds(call.takes[n].kinds)})" for n in missing)
    fed = "nothing" if not seen else ", ".join(f"`{s}`" for s in seen)
    check.tell(
        "E203",
        f"call `{state.call_name}` of `{state.name}` needs {ports}, and `in` feeds {fed}",
        mark=mark,
        path=f"{state.raw.path}.in",
        help="write `in: {" + ", ".join([*(f"{s}: …" for s in seen), *(f"{m}: …" for m in missing)]) + "}`",
    )
    return False


# lists --------------------------------------------------------------------------------------------------------------
def _lists(check: Check, state: NodeState, call: Call) -> bool:
    """How each port consumes its list, and the stack of the node."""
    good = True
    for name, use in state.uses.items():
        if call.takes[name].per is None:
            _mode(check, state, name, call.takes[name], use)
    for name in state.uses:
        if call.takes[name].per is not None:
            good &= wire_places(check, state, name)
    if not good:
        return False
    table = [(n, u) for n, u in state.uses.items() if not is_single(u) and u.feed.form != "handle"]
    stack, wrong = longest(u.mapped for _, u in table)
    if wrong is not None:
        _tell_unpaired(check, state, table, wrong)
        return False
    state.stack = stack
    return check_singles(check, state, stack)


def _mode(check: Check, state: NodeState, name: str, port: Port, use: PortUse) -> None:
    feed = use.feed
    stack = feed.wire.stack
    use.mapped = stack
    if not port.many:
        return
    short = state.raw.short is not None and feed.form != "bracket"
    if stack and not short:
        use.mode, use.mapped = "gather", stack[:-1]
        return
    use.mode = "one"
    if stack:
        check.tell(
            "W301",
            f"`{feed.label}` carries {show(stack)}, and the short form of `in` never gathers: "
            f"`{state.name}` runs once for each value",
            mark=feed.mark,
            path=feed.path,
            help=f"write `in: {{{name}: {feed.label}}}` to gather the list",
        )


def _tell_unpaired(check: Check, state: NodeState, table: list[tuple[str, PortUse]], wrong: int) -> None:
    long_name, long = max(table, key=lambda entry: len(entry[1].mapped))
    name, use = table[wrong]
    check.tell(
        "E301",
        f"`{state.name}` would run over {show(long.mapped)} (port `{long_name}`) "
        f"and over {show(use.mapped)} (port `{name}`): two lists never pair up or multiply",
        mark=use.feed.mark,
        path=use.feed.path,
        expected=f"{show(long.mapped)}, or one value",
        found=show(use.feed.wire.stack),
        related=[(long.feed.mark, f"`{long.feed.label}` runs over {show(long.mapped)}")],
        help=f"start `{use.feed.label}` from {long.mapped[0]}, or gather one list in a component that takes a list",
    )


# when ---------------------------------------------------------------------------------------------------------------
def _when(check: Check, state: NodeState) -> bool:
    edge = state.raw.when
    if edge is None:
        return True
    if isinstance(edge, OfRef):
        check.tell(
            "E209",
            "`when` wants an edge whose value may be absent, not a node",
            mark=edge.mark,
            path=edge.path,
            help="name a port or an input",
        )
        return False
    state.when = resolve(check, edge, Where(node=state.name, list_id=f"{state.name}.when"))
    return state.when is not None


def _opened(check: Check, state: NodeState) -> bool:
    """Whether the `when` edge can open the node: element by element, or by its innermost list."""
    if state.when is None:
        return True
    stack = state.when.wire.stack
    if is_prefix(stack, state.stack) or is_prefix(stack[:-1], state.stack):
        return True
    check.tell(
        "E301",
        f"`when: {state.when.label}` carries {show(stack)}, and `{state.name}` runs over {show(state.stack)}",
        mark=state.when.mark,
        path=state.when.path,
        help=f"start it from what `{state.name}` runs over, or leave `when` out",
    )
    return False


def when_mode(state: NodeState, feed: Feed) -> PortUse:
    """How a `when` edge is consumed: an element of the node, or a whole list."""
    stack = feed.wire.stack
    if is_prefix(stack, state.stack):
        return PortUse(feed=feed, mode="map", mapped=stack)
    return PortUse(feed=feed, mode="gather", mapped=stack[:-1])
