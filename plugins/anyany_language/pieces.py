"""Word pieces of encoders: the checkpoint's tokenizer, or bytes where there is no checkpoint.

text -> ids [B,L] padded on the right, and the mask of real positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from anyany.api.torch import Assets

_FIRST = 4  # of the byte vocabulary: padding, beginning, end, mask


class WordPieces:
    """vocab: rows of the embedding; longest: positions there are."""

    def __init__(self, assets: Assets, vocab: int, longest: int) -> None:
        self.longest, self._own = longest, _tokenizer(assets)
        self._bytes = min(256, vocab - _FIRST)
        marks = (0, 1, 2, 3) if self._own is None else _marks(self._own)
        self.pad, self.begin, self.end, self.mask = marks

    def ids(self, text: str) -> list[int]:
        """One text with its marks, and `[MASK]` where it is written. Raises ValueError beyond the positions."""
        if self._own is not None:
            found: list[int] = self._own(text).input_ids
        else:
            found = [self.begin]
            for i, piece in enumerate(text.split("[MASK]")):
                found += ([self.mask] if i else []) + [_FIRST + b % self._bytes for b in piece.encode()]
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
        if self._own is not None:
            return str(self._own.decode(kept, skip_special_tokens=True))
        return bytes(i - _FIRST for i in kept if 0 <= i - _FIRST < 256).decode("utf-8", "replace")


def _tokenizer(assets: Assets) -> Any:
    names = ("tokenizer_config.json", "tokenizer.json", "vocab.txt", "beit3.spm", "sentencepiece.bpe.model")
    found = next((n for n in names if assets.path(n) is not None), None)
    if found is None:
        return None
    from transformers import AutoTokenizer, XLMRobertaTokenizer

    if found == "beit3.spm":
        return XLMRobertaTokenizer(str(assets.path(found)))
    return AutoTokenizer.from_pretrained(str(assets.folder), local_files_only=True)


def _marks(tokenizer: Any) -> tuple[int, int, int, int]:
    begin = tokenizer.cls_token_id if tokenizer.cls_token_id is not None else tokenizer.bos_token_id
    end = tokenizer.sep_token_id if tokenizer.sep_token_id is not None else tokenizer.eos_token_id
    found = (tokenizer.pad_token_id, begin, end, tokenizer.mask_token_id)
    if None in found:
        raise ValueError("the tokenizer lacks a padding, first, last or mask token; it is not an encoder's")
    return found
