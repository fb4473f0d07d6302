"""Sizes, facets and spaces on edges: port declarations become size variables, and edges unify them in both directions.

Axes align from the right where one side begins with "...", else their number must agree. Source: DESIGN section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anyany.api.v1 import Port, Var
from anyany.errors.problems import Mark
from anyany.kinds.compat import LENGTHS, STRICT_SPACES, a, show
from anyany.kinds.sizes import Conflict, Fixed
from anyany.spec.settings import source_of
from anyany.spec.wires import ANY, AxisTerm, Check, Feed, NodeState, PortUse, Wire

DOTS = "..."


def port_axes(check: Check, state: NodeState, name: str, port: Port, side: str) -> tuple[AxisTerm, ...]:
    """The axes of a port with their variables. Unstated ones vary from member to member in a list."""
    return tuple(_axis(check, state, name, port, axis, side) for axis in port.axes)


def _axis(check: Check, state: NodeState, name: str, port: Port, axis: str, side: str) -> AxisTerm:
    if axis == DOTS:
        return AxisTerm(name=DOTS, term=-1)
    size = port.sizes.get(axis)
    if size is not None:
        return AxisTerm(name=axis, term=_term(check, state, size, f"`{state.name}` {side} {axis} = {{}} at `{name}`"))
    term = check.sizes.new() if port.many else check.sizes.named(("axis", state.name, axis))
    return AxisTerm(name=axis, term=term)


def _term(check: Check, state: NodeState, size: Any, why: str) -> int:
    if isinstance(size, Var):
        default = None
        if size.default is not None:
            default = Fixed(
                value=size.default, why=f"`{state.root.name}` takes {size.default} by default", mark=state.root.raw.mark
            )
        return check.sizes.named(("var", state.root.name, size.name), default)
    if isinstance(size, int) and not isinstance(size, bool) and size < 1 and "=" in why:
        check.tell(
            "E404",
            why.format(size) + ": a size is at least 1",
            mark=_option_mark(check, state, size),
            path=state.raw.path,
            help="change the option that sets it",
        )
    return check.sizes.constant(Fixed(value=size, why=why.format(size), mark=_option_mark(check, state, size)))


def _option_mark(check: Check, state: NodeState, value: Any) -> Mark:
    """The option under `with` that set a size, where one alone has that value; else the node."""
    root = state.root
    same = [k for k, v in (root.settings.options or {}).items() if v == value and not isinstance(v, bool)]
    if len(same) == 1:
        mark = source_of(check, root, "with", same[0]).mark_of("with", same[0])
        if mark is not None:
            return mark
    return root.raw.mark


def port_facets(check: Check, state: NodeState, name: str, port: Port, side: str) -> dict[str, int]:
    """Facets of a port as variables."""
    return {k: _term(check, state, v, f"`{state.name}` {side} {k} = {{}} at `{name}`") for k, v in port.facets.items()}


def members(use: PortUse) -> Sequence[Feed]:
    """The feeds behind a port: the entries of a list bracket one by one."""
    if use.feed.form == "bracket" and use.feed.into == "list":
        return [e.feed for e in use.feed.entries]
    return [use.feed]


def unify_port(check: Check, state: NodeState, name: str, port: Port) -> tuple[AxisTerm, ...] | None:
    """Unify what feeds a port with what it declares. Returns the axes that "..." stood for, if it has that."""
    use = state.uses[name]
    if use.wrap or port.kinds == ANY or (not port.axes and not port.facets and port.space is None):
        return None
    axes = port_axes(check, state, name, port, "takes")
    facets = port_facets(check, state, name, port, "takes")
    leading: tuple[AxisTerm, ...] | None = None
    for feed in members(use):
        wire = feed.wire
        if not wire.kinds:
            continue
        if axes and wire.axes:
            found = _align(check, state, name, axes, feed)
            leading = found if leading is None else leading
        if wire.loaded:
            _check_class(check, state, port, feed)
        else:
            for facet, term in facets.items():
                if facet in wire.facets:
                    _tell(check, state, name, feed, facet, check.sizes.unify(wire.facets[facet], term), "E410")
        _check_space(check, state, name, port, feed)
    return leading


def _check_class(check: Check, state: NodeState, port: Port, feed: Feed) -> None:
    """E210 for the default of an input of classes, where the port that it feeds has fewer of them."""
    count, raw = port.facets.get("classes"), check.spec.inputs.get(feed.name)
    if not isinstance(count, int) or feed.form != "input" or raw is None or not raw.has_default:
        return
    for value in raw.default if isinstance(raw.default, list) else [raw.default]:
        if value is not None and not (str(value).isdecimal() and int(value) < count):
            check.tell(
                "E210",
                f"the default of `{raw.name}` is {value!r}, and `{state.name}` has classes 0 to {count - 1}",
                mark=raw.default_mark,
                path=f"{raw.path}.default",
                expected=f"a number from 0 to {count - 1}",
                related=[(state.raw.mark, f"`{state.name}`")],
                help="write such a number",
            )


def _align(
    check: Check, state: NodeState, name: str, axes: tuple[AxisTerm, ...], feed: Feed
) -> tuple[AxisTerm, ...] | None:
    given = feed.wire.axes
    own, theirs = _named(axes), _named(given)
    dots = axes[0].name == DOTS, given[0].name == DOTS
    short = (len(theirs) < len(own) and not dots[1]) or (len(own) < len(theirs) and not dots[0])
    if short:
        check.tell(
            "E402",
            f"`{feed.label}` has the axes {_show(given)}, and port `{name}` of `{state.name}` takes {_show(axes)}",
            mark=feed.mark,
            path=feed.path,
            expected=_show(axes),
            found=_show(given),
            related=[(state.raw.mark, f"`{state.name}`")],
            help="insert a component that adds or removes the axis, such as a pooling or an adapter",
        )
        return None
    for mine, other in zip(reversed(own), reversed(theirs)):
        _tell(check, state, name, feed, mine.name, check.sizes.unify(other.term, mine.term), "E401")
    if not dots[0]:
        return None
    return given[: len(given) - len(own)] if len(theirs) >= len(own) else given[:1]


def _named(axes: tuple[AxisTerm, ...]) -> tuple[AxisTerm, ...]:
    return axes[1:] if axes[0].name == DOTS else axes


def _show(axes: tuple[AxisTerm, ...]) -> str:
    return "[" + ", ".join(a.name for a in axes) + "]"


def _tell(
    check: Check, state: NodeState, port: str, feed: Feed, what: str, conflict: Conflict | None, code: str
) -> None:
    if conflict is not None:
        tell_conflict(
            check, conflict, what, feed.mark, feed.path, code, f"`{feed.label}`", f"port `{port}` of `{state.name}`"
        )


def tell_conflict(
    check: Check, conflict: Conflict, what: str, mark: Mark, path: str, code: str, left: str, right: str
) -> None:
    """E401 or E410 with both ends."""
    related = [(f.mark, f.why) for f in (conflict.left, conflict.right) if f.mark is not None and f.mark != mark]
    message = f"{left} has {what} = {conflict.left.value}, and {right} has {what} = {conflict.right.value}"
    if code == "E401":
        help = "insert an adapter between them (`adapters/mlp` needs no width), or change the option that sets a size"
    else:
        help = "insert a component that converts it, or choose components that agree"
    check.tell(
        code,
        message,
        mark=mark,
        path=path,
        expected=f"{what} = {conflict.right.value}",
        found=f"{what} = {conflict.left.value}",
        related=related,
        help=help,
    )


def space_of(state: NodeState, port: Port) -> str | None:
    """The space a port declares, resolved; None when it declares none or nothing tells."""
    if port.space is None:
        return None
    if port.space == "self":
        return state.space
    if port.space.startswith("of:"):
        use = state.uses.get(port.space[3:])
        return use.feed.wire.space if use is not None else None
    return port.space


def _check_space(check: Check, state: NodeState, name: str, port: Port, feed: Feed) -> None:
    wanted, found = space_of(state, port), feed.wire.space
    if wanted is None or found is None or wanted == found:
        return
    strict = bool(STRICT_SPACES & set(feed.wire.kinds))
    check.tell(
        "E411" if strict else "W401",
        f"`{feed.label}` is of the space {found}, and port `{name}` of `{state.name}` is of {wanted}",
        mark=feed.mark,
        path=feed.path,
        related=[(state.raw.mark, f"`{state.name}`")],
        help="decode with the node that encoded (`of:`), or give both the same component and weights",
    )


def unify_any(check: Check, state: NodeState, names: Sequence[str]) -> Wire | None:
    """One kind for all `any` ports of a node, with the axes they share: widths must agree, lengths may vary."""
    feeds = [f for name in names for f in members(state.uses[name]) if f.wire.kinds]
    if not feeds:
        return None
    first = feeds[0]
    for other in feeds[1:]:
        if other.wire.kinds != first.wire.kinds:
            check.tell(
                "E208",
                f"`{first.label}` is {a(first.wire.kinds)} and `{other.label}` is {a(other.wire.kinds)}; "
                f"`{state.name}` takes one kind",
                mark=other.mark,
                path=other.path,
                related=[(first.mark, show(first.wire.kinds))],
                help="feed all of its `any` ports with the same kind",
            )
            return Wire(kinds=())
    return Wire(
        kinds=first.wire.kinds,
        axes=_shared_axes(check, state, feeds),
        facets=first.wire.facets
        if len(feeds) == 1
        else {k: v for k, v in first.wire.facets.items() if all(f.wire.facets.get(k) == v for f in feeds)},
        space=first.wire.space if len({f.wire.space for f in feeds}) == 1 else None,
    )


def _shared_axes(check: Check, state: NodeState, feeds: list[Feed]) -> tuple[AxisTerm, ...]:
    known = [f for f in feeds if f.wire.axes]
    if not known or any(a.name == DOTS for f in known for a in f.wire.axes):
        return ()
    first = known[0]
    shared: list[AxisTerm] = []
    for other in known[1:]:
        if len(other.wire.axes) != len(first.wire.axes):
            check.tell(
                "E402",
                f"`{first.label}` has the axes {_show(first.wire.axes)} and `{other.label}` {_show(other.wire.axes)}; "
                f"`{state.name}` takes them as one kind",
                mark=other.mark,
                path=other.path,
                related=[(first.mark, _show(first.wire.axes))],
                help="give all of them the same axes",
            )
            return ()
    for i, axis in enumerate(first.wire.axes):
        terms = [f.wire.axes[i].term for f in known]
        if axis.name in LENGTHS:
            shared.append(AxisTerm(name=axis.name, term=check.sizes.meet(terms)))
            continue
        for other, term in zip(known[1:], terms[1:]):
            conflict = check.sizes.unify(terms[0], term)
            if conflict is not None:
                tell_conflict(
                    check, conflict, axis.name, other.mark, other.path, "E401", f"`{first.label}`", f"`{other.label}`"
                )
        shared.append(AxisTerm(name=axis.name, term=terms[0]))
    return tuple(shared)
