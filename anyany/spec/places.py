"""Places: what stands in a message must reach every port that takes the whole message, value by value.

Works on one node after its edges are resolved. Source: DESIGN section 3 (places), the rules E304, E305 and E309.
"""

from __future__ import annotations

from dataclasses import dataclass

from anyany.kinds.stacks import is_prefix, show
from anyany.spec.graph import Stack
from anyany.spec.resolve import places_id
from anyany.spec.wires import Check, Feed, FeedEntry, NodeState, PortUse


@dataclass(kw_only=True, eq=False)
class Segment:
    """A run of places in a message: one place (`list_id` None), or a place for each element of a list."""

    list_id: str | None
    label: str
    nested: bool = False
    maybe: bool = False


def segments(check: Check, use: PortUse, kind: str, fed: bool) -> list[Segment]:
    """The places of a kind in the message that feeds a port. `fed` says that a port beside it wants them."""
    feed = use.feed
    if use.wrap:
        return [Segment(list_id=None, label=feed.label, maybe=feed.wire.maybe)] if feed.wire.kinds == (kind,) else []
    if feed.form == "bracket":
        return [s for entry in feed.entries for s in _of_entry(check, entry, kind)]
    return _of_message(check, feed, kind, fed)


def _of_entry(check: Check, entry: FeedEntry, kind: str) -> list[Segment]:
    feed = entry.feed
    if feed.wire.is_message:
        found = _of_message(check, feed, kind, False)
        return [Segment(list_id=s.list_id, label=s.label, nested=True) for s in found] if entry.star else found
    if feed.wire.kinds != (kind,):
        return []
    return [Segment(list_id=feed.wire.stack[-1] if entry.star else None, label=feed.label, maybe=feed.wire.maybe)]


def _of_message(check: Check, feed: Feed, kind: str, fed: bool) -> list[Segment]:
    if feed.form == "fill":
        assert feed.source is not None
        filling = feed.fills.get(kind)
        if filling is None:
            return []
        return [
            Segment(list_id=feed.source.wire.open_places[kind], label=filling.feed.label, maybe=filling.feed.wire.maybe)
        ]
    if fed or kind in check.taken.get(feed.message or "", {}):
        list_id = places_id(check, feed, kind)
        return [Segment(list_id=list_id, label=list_id)]
    return []


def kinds_present(check: Check, use: PortUse) -> dict[str, str]:
    """Kinds that the message surely holds or that some node takes from it, each with the reason in words."""
    feed = use.feed
    if use.wrap:
        return {k: f"`{feed.label}` is one" for k in feed.wire.kinds if k != "text"}
    present: dict[str, str] = {}
    for inner in [e.feed for e in feed.entries] if feed.form == "bracket" else [feed]:
        if inner.form == "fill":
            present.update(dict.fromkeys(inner.fills, f"`{inner.label}` holds them"))
        elif inner.wire.is_message:
            for kind, (by, _) in check.taken.get(inner.message or "", {}).items():
                present.setdefault(kind, f"`{by}` takes `{places_id(check, inner, kind)}`")
        else:
            present.update({k: f"`{inner.label}` is one" for k in inner.wire.kinds if k != "text"})
    return present


def check_taken(check: Check, state: NodeState) -> None:
    """E305: every kind in a whole message reaches the port natively or through a port beside it."""
    assert state.call is not None
    for name, use in state.uses.items():
        port = state.call.takes[name]
        if "message" not in port.kinds or not (use.wrap or use.feed.wire.is_message):
            continue
        beside = {n for n, p in state.call.takes.items() if p.per == name}
        for kind, why in kinds_present(check, use).items():
            if kind in port.native or (kind in state.uses and kind in beside):
                continue
            if kind in beside and kind in (state.raw.ports if state.raw.short is None else ()):
                continue  # fed, but by a broken edge
            start = _start_of(check, use, kind)
            if kind in beside:
                help = f"feed port `{kind}` of `{state.name}` with what is made of `{start}`"
            else:
                have = sorted((port.native | beside) - {"text"})
                takes = ", ".join(have) or "text alone"
                help = f"`{state.name}` takes {takes} from a message; give it another message, or use another component"
            check.tell(
                "E305",
                f"`{state.name}` takes the whole message `{use.feed.label}`, and its {kind} would be lost: {why}",
                mark=use.feed.mark,
                path=use.feed.path,
                help=help,
            )


def _start_of(check: Check, use: PortUse, kind: str) -> str:
    found = segments(check, use, kind, True)
    return found[0].label if found else kind


def wire_places(check: Check, state: NodeState, kind: str) -> bool:
    """Match a per-place port with the places of its message; sets how the port consumes its edge."""
    assert state.call is not None
    port = state.call.takes[kind]
    use = state.uses[kind]
    use.mode = "places"
    message = state.uses.get(port.per or "")
    if message is None:
        return False
    wanted = segments(check, message, kind, True)
    if any(s.nested for s in wanted):
        check.tell(
            "E304",
            f"the {kind} places of `{message.feed.label}` are lists of lists, which one port cannot carry",
            mark=use.feed.mark,
            path=use.feed.path,
            help="join the messages first: `{use: transforms/message, in: [messages*, message]}`",
        )
        return False
    if any(f.wire.maybe for f in _given_feeds(use.feed)):
        bad = next(f for f in _given_feeds(use.feed) if f.wire.maybe)
        check.tell(
            "E309",
            f"`{bad.label}` may be absent, and a place of `{message.feed.label}` needs its value",
            mark=bad.mark,
            path=bad.path,
            help="take the list before anything can be absent, or put `transforms/first` behind it with a fallback",
        )
        return False
    return _match(check, kind, use, message, wanted)


def _given_feeds(feed: Feed) -> list[Feed]:
    return [e.feed for e in feed.entries] if feed.form == "bracket" else [feed]


def _match(check: Check, kind: str, use: PortUse, message: PortUse, wanted: list[Segment]) -> bool:
    feed = use.feed
    ids = [s.list_id for s in wanted]
    if feed.form == "bracket":
        given = [e.feed.wire.stack[-1] if e.star else None for e in feed.entries]
        use.mapped = feed.wire.stack[:-1]
        fits = given == ids
    elif len(ids) == 1 and ids[0] is not None:
        use.mapped = feed.wire.stack[:-1]
        fits = feed.wire.stack[-1:] == (ids[0],)
    else:
        use.mapped = feed.wire.stack
        fits = ids == [None]
    if fits:
        return True
    if not wanted:
        text = f"the message `{message.feed.label}` has no {kind} places, and `{feed.label}` feeds port `{kind}`"
        help = f"leave port `{kind}` out, or put the {kind} into the message"
    else:
        carries = f"carries {show(feed.wire.stack)}" if feed.form != "bracket" else "does not follow the places"
        what = f"the {kind} places of `{message.feed.label}` are {_starts(wanted)}"
        if ids == [None]:
            what = f"`{message.feed.label}` has one {kind} place, {_starts(wanted)}"
        text = f"`{feed.label}` {carries}, and {what}"
        help = f"start it from {_starts(wanted)}"
        if len(wanted) > 1:
            help = f"write a bracket of values made of {_starts(wanted)}, in this order"
    check.tell("E304", text, mark=feed.mark, path=feed.path, related=[(message.feed.mark, "the message")], help=help)
    return False


def is_single(use: PortUse) -> bool:
    """Whether a per-place port gets one value a message, and no list: it must not make the node run more often."""
    if use.mode != "places":
        return False
    feed = use.feed
    return not any(e.star for e in feed.entries) if feed.form == "bracket" else use.mapped == feed.wire.stack


def check_singles(check: Check, state: NodeState, stack: Stack) -> bool:
    """E304 for a value at one place that carries a list over which the node does not run."""
    assert state.call is not None
    good = True
    for kind, use in state.uses.items():
        if not is_single(use) or is_prefix(use.mapped, stack):
            continue
        message = state.uses[state.call.takes[kind].per or ""]
        wanted = segments(check, message, kind, True)
        check.tell(
            "E304",
            f"`{use.feed.label}` carries {show(use.mapped)}, "
            f"and each message `{message.feed.label}` has one {kind} place",
            mark=use.feed.mark,
            path=use.feed.path,
            related=[(message.feed.mark, f"runs over {show(stack)}")],
            help=f"start it from {_starts(wanted)}, or gather its list first",
        )
        good = False
    return good


def _starts(wanted: list[Segment]) -> str:
    return ", ".join(f"`{s.label}`" + ("*" if s.list_id and len(wanted) > 1 else "") for s in wanted)
