"""Messages as rows of embeddings: words and features in order, padded on the right.

Suffixes: B rows, L positions, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from anyany.api.torch import Context, Rows
from anyany.api.v1 import Message
from anyany_language.chat import pieces

Embed = Callable[[Sequence[int]], torch.Tensor]


def embedded(message: Message, given: Mapping[str, Sequence[torch.Tensor]], tokenizer: Any, embed: Embed, *,
             template: str = "plain", system: str = "", begin: Sequence[int] = (),
             end: Sequence[int] = ()) -> torch.Tensor:  # fmt: skip
    """[L,D]: `begin`, the words and media of a message in order, `end`; `embed` makes ids [n] vectors [n,D].

    Raises ValueError where a place has no features.
    """
    parts: list[torch.Tensor] = []
    for piece in ([*begin], *pieces(message, tokenizer, template, system), [*end]):
        if isinstance(piece, tuple):
            kind, index = piece
            if index >= len(given.get(kind, ())):
                raise ValueError(f"the message holds {kind} {index + 1}, but port `{kind}` has none for it")
            value = given[kind][index]
            parts.append(value[None] if value.dim() == 1 else value)
            continue
        ids = tokenizer(piece, add_special_tokens=False).input_ids if isinstance(piece, str) else piece
        if ids:
            parts.append(embed(ids))
    if not parts:
        raise ValueError("the prompt is empty; give it some text")
    return torch.cat(parts)


def places(ctx: Context, features: Mapping[str, Rows | None]) -> list[dict[str, list[torch.Tensor]]]:
    """The features at the places of each row's message, by kind."""
    groups = {kind: rows.groups() for kind, rows in features.items() if rows is not None}
    return [{k: [v.to(ctx.device, ctx.dtype) for v in g[i]] for k, g in groups.items()} for i in range(len(ctx.keys))]
