"""Word pieces of text encoders: the checkpoint's tokenizer, or bytes where there is no checkpoint.

text -> ids [B,L] padded on the right, and the mask of real positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

MARKS = 4
"""The first ids of the byte vocabulary: padding, beginning, end, mask."""


class WordPieces:
    """tokenizer: the checkpoint's (with padding, first, last and mask tokens), or None for bytes; vocab: rows of the
    embedding; longest: positions there are. `pad`, `begin`, `end` and `mask` are the ids of the marks."""

    def __init__(self, tokenizer: Any, vocab: int, longest: int) -> None:
        self.longest, self.own = longest, tokenizer
        self._bytes = min(256, vocab - MARKS)
        self.pad, self.begin, self.end, self.mask = range(MARKS) if tokenizer is None else _marks(tokenizer)

    def ids(self, text: str) -> list[int]:
        """One text with its marks, and `[MASK]` where it is written. Raises ValueError beyond the positions."""
        if self.own is not None:
            found: list[int] = self.own(text).input_ids
        else:
            found = [self.begin]
            for i, piece in enumerate(text.split("[MASK]")):
                found += ([self.mask] if i else []) + [MARKS + b % self._bytes for b in piece.encode()]
            found.append(self.end)
        if len(found) > self.longest:
            raise ValueError(f"the text is {len(found)} tokens long; there are {self.longest} positions")
        return found

    def batch(self, texts: Sequence[str], device: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """(ids [B,L], mask [B,L] true on real positions)."""
        rows = [self.ids(t) for t in texts]
        longest = max(map(len, rows))
        ids = torch.tensor([r + [self.pad] * (longest - len(r)) for r in rows], device=device)
        real = torch.tensor([[True] * len(r) + [False] * (longest - len(r)) for r in rows], device=device)
        return ids, real

    def text(self, ids: Sequence[int]) -> str:
        """Ids up to the end mark as text."""
        kept = list(ids[: ids.index(self.end)]) if self.end in ids else list(ids)
        if self.own is not None:
            return str(self.own.decode(kept, skip_special_tokens=True))
        return bytes(i - MARKS for i in kept if 0 <= i - MARKS < 256).decode("utf-8", "replace")


def _marks(tokenizer: Any) -> tuple[int, int, int, int]:
    begin = tokenizer.cls_token_id if tokenizer.cls_token_id is not None else tokenizer.bos_token_id
    end = tokenizer.sep_token_id if tokenizer.sep_token_id is not None else tokenizer.eos_token_id
    found = (tokenizer.pad_token_id, begin, end, tokenizer.mask_token_id)
    if None in found:
        raise ValueError("the tokenizer lacks a padding, first, last or mask token; it is not an encoder's")
    return found
