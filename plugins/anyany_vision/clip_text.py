"""Texts for CLIP's text tower: token ids, with pseudo-words at the places of a message.

A row begins with the start token and ends with the end token, where its feature is read. T tokens, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from anyany.api.torch import Assets
from anyany.api.v1 import Media, Message


class Words:
    """The checkpoint's tokenizer, or bytes where there is none (the last two ids are start and end)."""

    def __init__(self, assets: Assets, vocab: int, context: int) -> None:
        self.context, self.start, self.end = context, vocab - 2, vocab - 1
        self.tokenizer = _tokenizer(assets)
        if self.tokenizer is not None:
            self.start, self.end = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id

    def ids(self, text: str) -> list[int]:
        """Token ids without start and end."""
        if self.tokenizer is None:
            return [b % self.start for b in text.encode()]
        return list(self.tokenizer(text, add_special_tokens=False).input_ids)

    def rows(
        self, message: Message | str, words: Sequence[torch.Tensor], embed: Callable[[Sequence[int]], torch.Tensor]
    ) -> torch.Tensor:
        """[T,D]: start, text tokens with pseudo-words at their places, end. Raises ValueError beyond the context."""
        parts = [message] if isinstance(message, str) else [p for _, turn in message.turns() for p in turn]
        rows, at = [embed([self.start])], 0
        for part in parts:
            if isinstance(part, Media):
                if at >= len(words):
                    raise ValueError(f"the message holds {part.kind} {at + 1}, but only {len(words)} words for them")
                rows.append(words[at].reshape(-1, rows[0].shape[-1]))
                at += 1
            elif isinstance(part, str):
                ids = self.ids(part)
                if ids:
                    rows.append(embed(ids))
            else:
                raise ValueError(f"CLIP's text tower cannot read a {type(part).__name__}")
        row_TD = torch.cat([*rows, embed([self.end])])
        if row_TD.shape[0] > self.context:
            raise ValueError(f"the text is {row_TD.shape[0]} tokens long; CLIP reads at most {self.context}")
        return row_TD


def _tokenizer(assets: Assets) -> Any:
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    if assets.path("tokenizer_config.json") is not None:
        return AutoTokenizer.from_pretrained(str(assets.folder), local_files_only=True)
    path = assets.path("tokenizer.json")
    if path is None:
        return None
    return PreTrainedTokenizerFast(tokenizer_file=str(path), bos_token="<|startoftext|>", eos_token="<|endoftext|>")


def causal_mask(length: int, like: torch.Tensor) -> torch.Tensor:
    """[1,1,T,T] added to logits: nothing is seen of later tokens."""
    full = torch.full((length, length), torch.finfo(like.dtype).min, dtype=like.dtype, device=like.device)
    return full.triu(1)[None, None]
