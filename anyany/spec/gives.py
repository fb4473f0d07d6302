"""What a wired node gives: kind, lists, axes, facets, space and places of each output.

Unions and `any` take the kind of the input they stand for. Source: DESIGN section 3.
"""

from __future__ import annotations

from anyany.api.v1 import Call, Port
from anyany.spec.axes import DOTS, port_axes, port_facets, space_of, unify_any, unify_port
from anyany.spec.wires import ANY, AxisTerm, Check, NodeState, PortUse, Wire


def give(check: Check, state: NodeState, call: Call) -> None:
    """Unify the node's ports and set `state.gives`."""
    leading: tuple[AxisTerm, ...] | None = None
    for name in state.uses:
        found = unify_port(check, state, name, call.takes[name])
        leading = found if leading is None else leading
    shared = unify_any(check, state, [n for n in state.uses if call.takes[n].kinds == ANY])
    for name, port in call.gives.items():
        state.gives[name] = _wire(check, state, name, port, shared, leading)
    for name, port in call.gives.items():
        if port.open:
            places = {n: state.given_lists[n] for n, p in call.gives.items() if p.per == name}
            old = state.gives[name]
            state.gives[name] = Wire(
                kinds=old.kinds, stack=old.stack, maybe=old.maybe, open_places=places, label=old.label, mark=old.mark
            )


def _wire(
    check: Check, state: NodeState, name: str, port: Port, shared: Wire | None, leading: tuple[AxisTerm, ...] | None
) -> Wire:
    stack, maybe = state.stack, state.maybe or port.optional
    if port.many or port.per is not None:
        list_id, tied = _list_id(state, name, port)
        state.given_lists[name] = list_id
        stack = (*stack, list_id)
        # A list is never absent, only empty; one tied to an input's has a hole where the node or the value is absent.
        maybe = tied is not None and (state.maybe or tied.feed.wire.maybe)
    label, mark = f"{state.name}.{name}", state.raw.mark
    if port.kinds == ANY:
        carried = shared if shared is not None else Wire(kinds=())
        return Wire(
            kinds=carried.kinds,
            stack=stack,
            maybe=maybe,
            axes=carried.axes,
            facets=carried.facets,
            space=space_of(state, port) or carried.space,
            label=label,
            mark=mark,
        )
    return Wire(
        kinds=_kinds(state, port),
        stack=stack,
        maybe=maybe,
        axes=_axes(check, state, name, port, leading),
        facets=port_facets(check, state, name, port, "gives"),
        space=space_of(state, port),
        label=label,
        mark=mark,
    )


def _list_id(state: NodeState, name: str, port: Port) -> tuple[str, PortUse | None]:
    """The identity of an output list: its own, or that of the list it is tied to."""
    tied = state.uses.get(port.ties) if port.ties else None
    if tied is not None and len(tied.feed.wire.stack) > len(tied.mapped):
        return tied.feed.wire.stack[-1], tied
    return f"{state.name}.{name}", None


def _kinds(state: NodeState, port: Port) -> tuple[str, ...]:
    """A union takes the kind of the input port with the same union."""
    if len(port.kinds) == 1 or state.call is None:
        return port.kinds
    for name, use in state.uses.items():
        if state.call.takes[name].kinds == port.kinds:
            return ("message",) if use.wrap else use.feed.wire.kinds
    return port.kinds


def _axes(
    check: Check, state: NodeState, name: str, port: Port, leading: tuple[AxisTerm, ...] | None
) -> tuple[AxisTerm, ...]:
    axes = port_axes(check, state, name, port, "gives")
    if axes and axes[0].name == DOTS and leading is not None:
        return (*leading, *axes[1:])
    return axes
