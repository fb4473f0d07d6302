"""Messages as prompts: turns through the chat template, media as marks that features replace.

A prompt is a list of pieces in order: strings to be tokenised, and (kind, index) pairs for media.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

from anyany.api.v1 import Media, Message, Place, Region

_OPEN, _SHUT = "\ue000", "\ue001"
_MARK = re.compile(f"{_OPEN}([a-z_]+):([0-9]+){_SHUT}")
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
HUMAN = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}\n{% else %}"
    "### {{ 'Assistant' if m.role == 'assistant' else 'Human' }}: {{ m.content }}\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}### Assistant:{% endif %}"
)
TEMPLATES = {"chatml": CHATML, "human": HUMAN}
"""Qwen's and others'; Vicuna's first, which NExT-GPT was trained with."""
Piece = str | tuple[str, int]


def pieces(message: Message, tokenizer: Any, template: str, system: str = "",
           signals: dict[str, list[str]] | None = None, answer: bool = True,
           seen: Collection[str] = (), order: Sequence[str] = ()) -> list[Piece]:  # fmt: skip
    """The prompt of a message. Media that the model itself produced in earlier turns (kinds in `signals`, in an
    assistant's turn) are written as the signal tokens they came from, and those of kinds in `seen` stand behind them
    as any medium does. order: kinds, `text` among them, in which the parts of a user's turn are put; as written where
    empty. Raises ValueError for an empty message and for a reply with open places.
    """
    if not message.turns():
        raise ValueError("the message is empty; give it some text or a medium")
    counts: dict[str, int] = {}
    turns: list[dict[str, str]] = [{"role": "system", "content": system}] if system else []
    for role, parts in message.turns():
        own = signals if role == "assistant" and signals else {}
        if order and role != "assistant":
            parts = sorted(parts, key=lambda p: _rank(p, order))
        turns.append({"role": role, "content": "".join(_written(p, counts, own, seen) for p in parts)})
    return _split(render(turns, tokenizer, template, answer))


def _rank(part: Any, order: Sequence[str]) -> int:
    kind = "text" if isinstance(part, str) else part.kind
    return order.index(kind) if kind in order else len(order)


def _written(part: Any, counts: dict[str, int], signals: dict[str, list[str]], seen: Collection[str]) -> str:
    if isinstance(part, str):
        return part.replace(_OPEN, "").replace(_SHUT, "")
    if isinstance(part, Place):
        raise ValueError(f"the message has an unfilled place for {part.kind}; fill it before it is read")
    if isinstance(part, (Media, Region)):
        index = counts.get(part.kind, 0)
        counts[part.kind] = index + 1
        mark = f"{_OPEN}{part.kind}:{index}{_SHUT}"
        if part.kind not in signals:
            return mark
        return "".join(signals[part.kind]) + (mark if part.kind in seen else "")
    raise ValueError(f"a message cannot hold a {type(part).__name__}")


def render(turns: Sequence[dict[str, str]], tokenizer: Any, template: str, answer: bool) -> str:
    """The text of a conversation, ready for the reply when `answer`."""
    own = getattr(tokenizer, "chat_template", None)
    if template == "plain" or (template == "auto" and not own):
        return "\n".join(t["content"] for t in turns)
    return str(tokenizer.apply_chat_template(
        list(turns), tokenize=False, add_generation_prompt=answer,
        chat_template=TEMPLATES.get(template),
    ))  # fmt: skip


def _split(text: str) -> list[Piece]:
    out: list[Piece] = []
    at = 0
    for match in _MARK.finditer(text):
        if match.start() > at:
            out.append(text[at : match.start()])
        out.append((match.group(1), int(match.group(2))))
        at = match.end()
    if at < len(text):
        out.append(text[at:])
    return out
