"""Signal tokens: how a language model says that another modality is to be produced (NExT-GPT, arXiv 2309.05519).

A signal for a picture is the run `[IMG0]` … `[IMG3]`; its hidden states go to that modality's decoder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from anyany.api.torch import Span
from anyany.api.v1 import Message, Place

NAMES = {"image": "IMG", "audio": "AUD", "video": "VID"}


def signal_tokens(
    signals: Mapping[str, int], names: Mapping[str, str] | None = None, separator: str = ""
) -> dict[str, list[str]]:
    """The tokens of each kind's signal, in order, by default under NExT-GPT's first names.

    names: patterns such as "<image_{:02d}>"; separator: stands between two tokens of a signal.
    """
    patterns = {k: "[" + NAMES.get(k, k.upper()) + "{}]" for k in signals} | dict(names or {})
    found = {}
    for kind, count in signals.items():
        tokens = [patterns[kind].format(i) for i in range(count)]
        found[kind] = [t for token in tokens for t in (separator, token)][1:] if separator else tokens
    return found


def split_reply(
    ids: Sequence[int], spans: Mapping[str, Span], decode: Callable[[Sequence[int]], str]
) -> tuple[list[str | Place], list[tuple[str, int, int]]]:
    """(parts of the reply: text and places in order, (kind, start, stop) of each span). The last span may be
    unfinished, in a reply that is still being written."""
    first = {span.begin[0]: kind for kind, span in spans.items()}
    parts: list[str | Place] = []
    found: list[tuple[str, int, int]] = []
    counts: dict[str, int] = {}
    at = start = 0
    while at < len(ids):
        kind = first.get(ids[at])
        if kind is None:
            at += 1
            continue
        parts.append(decode(ids[start:at]))
        parts.append(Place(kind=kind, index=counts.get(kind, 0)))
        counts[kind] = counts.get(kind, 0) + 1
        start = _behind(ids, at, spans[kind])
        found.append((kind, at, start))
        at = start
    parts.append(decode(ids[start:]))
    return [p for p in parts if not isinstance(p, str) or p], found


def _behind(ids: Sequence[int], at: int, span: Span) -> int:
    """Where the span that begins at `at` is over, or the ids are."""
    if span.least == span.most:
        return min(len(ids), at + span.shortest)
    codes = at + len(span.begin)
    closing = next((i for i in range(codes, len(ids)) if ids[i] == span.end[0]), len(ids))
    return min(len(ids), closing + len(span.end))


def reply_message(parts: Sequence[Any]) -> Message:
    """The open reply: outer white space off, places kept."""
    kept = list(parts)
    if kept and isinstance(kept[0], str):
        kept[0] = kept[0].lstrip()
    if kept and isinstance(kept[-1], str):
        kept[-1] = kept[-1].rstrip()
    return Message(tuple(p for p in kept if not isinstance(p, str) or p))
