"""Brackets `[a, b*]` and fillings `{fill: reply, K: edge}` resolved: entries checked, their lists and kinds joined.

Source: DESIGN section 3 (brackets, places). None is given after a problem was told, or when a part is broken.
"""

from __future__ import annotations

from collections.abc import Mapping

from anyany.errors.suggest import did_you_mean
from anyany.kinds.compat import a
from anyany.kinds.stacks import longest, show
from anyany.spec import resolve as edges
from anyany.spec.raw import BracketRef, FillRef
from anyany.spec.wires import AxisTerm, Check, Feed, FeedEntry, Wire


def bracket(check: Check, edge: BracketRef, where: edges.Where) -> Feed | None:
    entries: list[FeedEntry] = []
    good = True
    for raw, star in edge.entries:
        feed = edges.resolve(check, raw, edges.Where(node=where.node, list_id=where.list_id, into=where.into))
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
        kinds=_all_kinds(wires),
        stack=(*stack, where.list_id),
        axes=_common_axes(check, wires),
        label=label,
        space=wires[0].space if len({w.space for w in wires}) == 1 else None,
        loaded=all(w.loaded for w in wires),
        facets=_common_facets(wires),
    )
    return Feed(
        form="bracket", wire=wire, mark=edge.mark, path=edge.path, entries=tuple(entries), list_id=where.list_id
    )


def _entry_fits(check: Check, feed: Feed, star: bool, where: edges.Where) -> bool:
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
            "E312",
            f"`{feed.label}` is {a((wire.kinds[0],))}, which cannot be part of a message",
            mark=feed.mark,
            path=feed.path,
            expected="text, media, regions or messages",
            found=" or ".join(wire.kinds),
            help="leave the entry out; features go to the port beside the message",
        )
        return False
    return True


def tell_unfilled(check: Check, feed: Feed) -> None:
    """E306 for an open reply that is used as a message."""
    kinds = list(feed.wire.open_places)
    fills = ", ".join(f"{k}: …" for k in kinds)
    check.tell(
        "E306",
        f"`{feed.label}` has places for {' and '.join(kinds)} that are not filled",
        mark=feed.mark,
        path=feed.path,
        help=f"write `{{fill: {feed.label}, {fills}}}`, or take `{feed.name}.text`",
    )


def _tell_unpaired(check: Check, entries: list[FeedEntry], wrong: int) -> None:
    long = max(entries, key=lambda e: len(e.mapped))
    other = entries[wrong]
    check.tell(
        "E301",
        f"`{long.feed.label}` runs over {show(long.mapped)} and `{other.feed.label}` over {show(other.mapped)}: "
        "two lists never pair up or multiply",
        mark=other.feed.mark,
        path=other.feed.path,
        related=[(long.feed.mark, f"over {show(long.mapped)}")],
        help=f"splice one of them (`{other.feed.label}*`), or start both from one list",
    )


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
def fill(check: Check, edge: FillRef, where: edges.Where) -> Feed | None:
    reply = edges.resolve(check, edge.reply, where)
    fills = {kind: edges.resolve(check, inner, where) for kind, inner in edge.fills.items()}
    if reply is None:
        return None
    places = reply.wire.open_places
    if not places:
        what = (
            "has no places to fill"
            if reply.wire.is_message
            else f"is {a((reply.wire.kinds[0],))}, no open message"
            if reply.wire.kinds
            else "is no open message"
        )
        check.tell(
            "E307",
            f"`{reply.label}` {what}",
            mark=reply.mark,
            path=reply.path,
            help="name the reply of a backbone that emits other kinds (`with: {signals: …}`)"
            if not reply.wire.is_message
            else f"write `{reply.label}` alone",
        )
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
            "E306",
            f"`{reply.label}` has {kind} places, and nothing fills them",
            mark=edge.mark,
            path=edge.path,
            help=f"add `{kind}: node` with a node that makes {kind} from `{reply.name}.{kind}`",
        )
    extra = [k for k in edge.fills if k not in places]
    for kind in extra:
        raw = edge.fills[kind]
        check.tell(
            "E307",
            f"`{reply.label}` has no {kind} places",
            mark=raw.mark,
            path=raw.path,
            help=did_you_mean(kind, places) or f"its places are {edges.names_of(list(places))}",
        )
    return not missing and not extra


def _filling_fits(check: Check, reply: Feed, kind: str, feed: Feed) -> bool:
    wanted = (*reply.wire.stack, reply.wire.open_places[kind])
    if feed.form == "handle":
        check.tell("E207", "a node cannot fill a place", mark=feed.mark, path=feed.path, help="name an edge")
        return False
    if feed.wire.stack != wanted:
        check.tell(
            "E308",
            f"`{feed.label}` carries {show(feed.wire.stack)}, "
            f"and the {kind} places of `{reply.label}` are {show(wanted)}",
            mark=feed.mark,
            path=feed.path,
            help=f"start it from `{reply.wire.open_places[kind]}`",
        )
        return False
    if kind in check.kinds and feed.wire.kinds and feed.wire.kinds != (kind,):
        check.tell(
            "E201",
            f"`{feed.label}` is {a(feed.wire.kinds)}, and the place wants {a((kind,))}",
            mark=feed.mark,
            path=feed.path,
            expected=kind,
            found=" or ".join(feed.wire.kinds),
            help=f"name the node that makes {kind} of it",
        )
        return False
    return True
