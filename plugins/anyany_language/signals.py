"""Signal tokens: how a language model says that another modality is to be produced (NExT-GPT, arXiv 2309.05519).

A signal for a picture is the run `[IMG0]` … `[IMG3]`; its hidden states go to that modality's decoder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from anyany.api.v1 import Message, Place

NAMES = {"image": "IMG", "audio": "AUD", "video": "VID"}


def signal_tokens(signals: Mapping[str, int]) -> dict[str, list[str]]:
    """The tokens of each kind's signal, in order. Official names for image, audio and video."""
    return {k: [f"[{NAMES.get(k, k.upper())}{i}]" for i in range(n)] for k, n in signals.items()}


def split_reply(
    ids: Sequence[int], spans: Mapping[str, Sequence[int]], decode: Any
) -> tuple[list[Any], list[tuple[str, int]]]:
    """(parts of the reply: text and places in order, (kind, index of its first token) of each signal)."""
    first = {tokens[0]: kind for kind, tokens in spans.items()}
    parts: list[Any] = []
    found: list[tuple[str, int]] = []
    counts: dict[str, int] = {}
    run: list[int] = []
    at = 0
    while at < len(ids):
        kind = first.get(ids[at])
        if kind is None:
            run.append(ids[at])
            at += 1
            continue
        if run:
            parts.append(decode(run))
            run = []
        parts.append(Place(kind=kind, index=counts.get(kind, 0)))
        counts[kind] = counts.get(kind, 0) + 1
        found.append((kind, at))
        at += len(spans[kind])
    if run:
        parts.append(decode(run))
    return [p for p in parts if not isinstance(p, str) or p], found


def reply_message(parts: Sequence[Any]) -> Message:
    """The open reply: outer white space off, places kept."""
    kept = list(parts)
    if kept and isinstance(kept[0], str):
        kept[0] = kept[0].lstrip()
    if kept and isinstance(kept[-1], str):
        kept[-1] = kept[-1].rstrip()
    return Message(tuple(p for p in kept if not isinstance(p, str) or p))
