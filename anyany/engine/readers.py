"""Readers: the compiled sources of edges. Each gives the Rows of its edge and keeps them in the state's slots.

Selections, brackets, fills, wrapping and decoding are done here, once for all consumers. Source: DESIGN section 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from anyany.engine.failures import Failure, failure_of
from anyany.engine.rows import Key, Rows
from anyany.engine.state import Stack, State, group_by_parent
from anyany.kinds.message import REGION_KINDS, FilePath, Media, Message, Part, Place, Region


class Reader:
    """Base of all readers: `get` computes at most once for a chunk (slots are keyed by the reader itself)."""

    __slots__ = ()

    def get(self, state: State) -> Rows:
        """The rows of the edge, present values only, with keys."""
        rows = state.slots.get(self)
        if rows is None:
            rows = self.read(state)
            if state.stale:
                state.slots[self] = rows
                state.purge()
                return state.slots[self]
            state.slots[self] = rows
        return rows

    def read(self, state: State) -> Rows:
        """Compute the rows (implemented by each kind of reader)."""
        raise NotImplementedError


class Slot(Reader):
    """An input of the spec, or an output port of a node: filled by the run."""

    __slots__ = ("name",)

    def __init__(self, name: tuple[str, str]) -> None:
        self.name = name

    def get(self, state: State) -> Rows:
        return state.slots[self.name]


class SelectList(Reader):
    """`M.K`: the values of kind K of each message, as a list. Regions come decoded, on their picture."""

    __slots__ = ("inner", "kind", "list_id", "stack")

    def __init__(self, inner: Reader, kind: str, list_id: str, stack: Stack) -> None:
        self.inner, self.kind, self.list_id, self.stack = inner, kind, list_id, stack

    def read(self, state: State) -> Rows:
        messages = self.inner.get(state)
        values: list[Any] = []
        keys: list[Key] = []
        lengths: dict[Key, int] = {}
        for key, message in zip(_keys(messages), messages):
            found = _regions(state, key, message, self.kind) if self.kind in REGION_KINDS else message.select(self.kind)
            lengths[key] = len(found)
            keys += [(*key, i) for i in range(len(found))]
            values += found
        state.set_lengths(self.list_id, lengths)
        return Rows(values, keys=state.share(self.stack, keys))


def _regions(state: State, key: Key, message: Message, kind: str) -> list[Any]:
    """The regions of a message as tensors that know their picture; what cannot be decoded fails its item."""
    from anyany.media.regions import image_of, on_image

    images = message.images()
    found: list[Any] = []
    for value, of in message.regions(kind):
        try:
            image = images[of] if of is not None and of < len(images) else image_of(value)
            if type(image) is FilePath:
                image = state.loader("image", image, {})
            found.append(on_image(state.loader(kind, value, {}), image, of))
        except Exception as error:
            state.fail(key[0], failure_of(error, ""))
            found.append(None)
    return found


class SelectText(Reader):
    """`M.text`: the text of the last turn."""

    __slots__ = ("inner",)

    def __init__(self, inner: Reader) -> None:
        self.inner = inner

    def read(self, state: State) -> Rows:
        messages = self.inner.get(state)
        return Rows([m.text for m in messages], keys=messages.keys)


@dataclass(frozen=True, eq=False)
class EntryPlan:
    """One entry of a bracket: its reader, whether its innermost list is spliced, its kind, and its mapped depth."""

    reader: Reader
    star: bool
    kind: str
    depth: int

    def finder(self, state: State) -> Any:
        """A function from an element's key to the row numbers that the entry contributes there."""
        keys = _keys(self.reader.get(state))
        if self.star:
            runs = group_by_parent(keys, self.depth)
            return lambda key: range(*runs.get(key[: self.depth], (0, 0)))
        index = {k: i for i, k in enumerate(keys)}
        return lambda key: (index[key[: self.depth]],) if key[: self.depth] in index else ()


class BracketList(Reader):
    """`[a, b*]` into a list: plain entries give one value, starred ones their innermost list; holes are dropped."""

    __slots__ = ("entries", "list_id", "stack")

    def __init__(self, entries: Sequence[EntryPlan], list_id: str, stack: Stack) -> None:
        self.entries, self.list_id, self.stack = tuple(entries), list_id, stack

    def read(self, state: State) -> Rows:
        sources = [(e.reader.get(state), e.finder(state)) for e in self.entries]
        values: list[Any] = []
        keys: list[Key] = []
        lengths: dict[Key, int] = {}
        for key in state.universe(self.stack[:-1]):
            found = [rows[i] for rows, find in sources for i in find(key)]
            lengths[key] = len(found)
            keys += [(*key, i) for i in range(len(found))]
            values += found
        state.set_lengths(self.list_id, lengths)
        return Rows(values, keys=state.share(self.stack, keys))


class BracketMessage(Reader):
    """`[photo, ask]` into a message: text, media, regions and messages joined in order."""

    __slots__ = ("entries", "stack")

    def __init__(self, entries: Sequence[EntryPlan], stack: Stack) -> None:
        self.entries, self.stack = tuple(entries), stack

    def read(self, state: State) -> Rows:
        sources = [(e.reader.get(state), e.finder(state), e.kind) for e in self.entries]
        keys = state.universe(self.stack)
        messages = []
        for key in keys:
            parts = [as_part(kind, rows[i]) for rows, find, kind in sources for i in find(key)]
            messages.append(Message.join(parts))
        return Rows(messages, keys=keys)


class FillReply(Reader):
    """`{fill: reply, K: edge}`: each open place takes its value; an absent value removes its place."""

    __slots__ = ("fills", "keep", "reply")

    def __init__(self, reply: Reader, fills: Mapping[str, tuple[Reader, str]], keep: frozenset[str] | None) -> None:
        self.reply, self.fills, self.keep = reply, dict(fills), keep

    def read(self, state: State) -> Rows:
        replies = self.reply.get(state)
        tables = {}
        for kind, (reader, list_id) in self.fills.items():
            rows = reader.get(state)
            tables[kind] = (rows, {k: i for i, k in enumerate(_keys(rows))}, state.extents.get(list_id, {}))
        replies = self.reply.get(state)
        out = []
        for key, message in zip(_keys(replies), replies):
            for kind, (rows, index, lengths) in tables.items():
                places = sum(p.kind == kind for p in message.unfilled())
                if places != lengths.get(key, 0):
                    text = f"the reply has {places} {kind} places, but {lengths.get(key, 0)} values came for them"
                    state.fail(key[0], Failure(code="E606", message=text))
                    break
                found = [index.get((*key, i)) for i in range(places)]
                self._note_removed(state, kind, found.count(None))
                message = message.fill(kind, [None if i is None else rows[i] for i in found])
            out.append(_drop(message, self.keep))
        return Rows(out, keys=replies.keys)

    def _note_removed(self, state: State, kind: str, count: int) -> None:
        if count and isinstance(self.reply, Slot):
            note = (self.reply.name[0], f"an unfilled {kind} place of the reply was removed")
            state.notes[note] = state.notes.get(note, 0) + count


class Wrap(Reader):
    """A text or a medium as a message of one part."""

    __slots__ = ("inner", "kind")

    def __init__(self, inner: Reader, kind: str) -> None:
        self.inner, self.kind = inner, kind

    def read(self, state: State) -> Rows:
        rows = self.inner.get(state)
        return Rows([Message((as_part(self.kind, v),)) for v in rows], keys=rows.keys)


class Decode(Reader):
    """Files become values, and values meet the facets of the port (rate, channels). What cannot fails its item."""

    __slots__ = ("facets", "inner", "kind")

    def __init__(self, inner: Reader, kind: str, facets: Mapping[str, Any]) -> None:
        self.inner, self.kind, self.facets = inner, kind, dict(facets)

    def read(self, state: State) -> Rows:
        rows = self.inner.get(state)
        plain = not self.facets and self.kind not in REGION_KINDS
        if plain and not (isinstance(rows.data, list) and any(type(v) is FilePath for v in rows.data)):
            return rows
        values: list[Any] = []
        for key, value in zip(_keys(rows), rows):
            try:
                values.append(state.loader(self.kind, value, self.facets))
            except Exception as error:
                state.fail(key[0], failure_of(error, ""))
                values.append(None)
        return Rows(values, keys=rows.keys)


class DecodeParts(Reader):
    """Messages whose media of the given kinds are decoded, for a port that takes them natively."""

    __slots__ = ("inner", "kinds")

    def __init__(self, inner: Reader, kinds: frozenset[str]) -> None:
        self.inner, self.kinds = inner, kinds

    def read(self, state: State) -> Rows:
        rows = self.inner.get(state)
        out = []
        for key, message in zip(_keys(rows), rows):
            try:
                out.append(message.map(lambda part: self._decoded(part, state)))
            except Exception as error:
                state.fail(key[0], failure_of(error, ""))
                out.append(message)
        return Rows(out, keys=rows.keys)

    def _decoded(self, part: Part, state: State) -> Part:
        if not isinstance(part, (Media, Region)) or part.kind not in self.kinds or type(part.content) is not FilePath:
            return part
        value = state.loader(part.kind, part.content, {})
        if isinstance(part, Media):
            return replace(part, value=value)
        return Region(kind=part.kind, value=value, of=part.of, path=part.path)


class PartsOf(Reader):
    """Parts of a finished message that `--want OUTPUT.KIND` asked for: its text, or the list of one kind."""

    __slots__ = ("inner", "kind")

    def __init__(self, inner: Reader, kind: str) -> None:
        self.inner, self.kind = inner, kind

    def read(self, state: State) -> Rows:
        rows = self.inner.get(state)
        if self.kind == "text":
            return Rows([m.text for m in rows], keys=rows.keys)
        return Rows([m.select(self.kind) for m in rows], keys=rows.keys)


def as_part(kind: str, value: Any) -> Any:
    """A value of an edge as a part of a message."""
    if kind == "message" or isinstance(value, (Message, Media, Region)):
        return value
    if kind == "text":
        return str(value)
    path = value.path if type(value) is FilePath else None
    made = Region if kind in REGION_KINDS else Media
    return made(kind=kind, value=None if path else value, path=path)


def _drop(message: Message, keep: frozenset[str] | None) -> Message:
    """The message without the unfilled places and media of kinds that nobody wants."""
    if keep is None:
        return message
    for kind in {p.kind for p in message.unfilled()}:
        count = sum(p.kind == kind for p in message.unfilled())
        message = message.fill(kind, [None] * count)
    kept = [p for p in message.parts if not isinstance(p, (Media, Region, Place)) or p.kind in keep]
    return Message(tuple(p for p in kept if "text" in keep or not isinstance(p, str)))


def _keys(rows: Rows) -> Sequence[Key]:
    assert rows.keys is not None, "rows on an edge carry keys"
    return rows.keys
