"""Word pieces of a small text branch: the checkpoint's tokenizer, or bytes where there is no checkpoint.

text -> ids [B,L] padded on the right, and the mask of real positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from anyany.api.torch import Assets

_FIRST_BYTE = 4  # below it: padding, beginning, end, [DEC]


class Words:
    """vocab: rows of the embedding; longest: positions it has. `begin` starts a caption, `end` closes it."""

    def __init__(self, assets: Assets, vocab: int, longest: int) -> None:
        self.longest = longest
        self._own = _tokenizer(assets)
        if self._own is None and vocab < 256 + _FIRST_BYTE:
            self._bytes = vocab - _FIRST_BYTE
        else:
            self._bytes = 256
        self.pad, self.cls, self.end = (0, 1, 2) if self._own is None else _special(self._own)
        self.begin = 3 if self._own is None else vocab - 1  # `[DEC]` is the last row of BLIP-2's vocabulary

    def ids(self, text: str) -> list[int]:
        """One text, with its first and last mark, cut to the positions there are."""
        if self._own is not None:
            found: list[int] = self._own(text, truncation=True, max_length=self.longest).input_ids
            return found
        inner = [_FIRST_BYTE + b % self._bytes for b in text.encode()][: self.longest - 2]
        return [self.cls, *inner, self.end]

    def batch(self, texts: Sequence[str], device: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """(ids [B,L], mask [B,L] true on real positions)."""
        rows = [self.ids(t) for t in texts]
        longest = max(map(len, rows))
        ids = torch.tensor([r + [self.pad] * (longest - len(r)) for r in rows], device=device)
        real = torch.tensor([[True] * len(r) + [False] * (longest - len(r)) for r in rows], device=device)
        return ids, real

    def begun(self, ids_BL: torch.Tensor) -> torch.Tensor:
        """The ids with the first one replaced by the captioning mark."""
        return torch.cat([torch.full_like(ids_BL[:, :1], self.begin), ids_BL[:, 1:]], 1)

    def text(self, ids: Sequence[int]) -> str:
        """Ids up to the end mark as text."""
        kept = list(ids[: ids.index(self.end)]) if self.end in ids else list(ids)
        if self._own is not None:
            return str(self._own.decode(kept, skip_special_tokens=True))
        return bytes(i - _FIRST_BYTE for i in kept if 0 <= i - _FIRST_BYTE < 256).decode("utf-8", "replace")


def _tokenizer(assets: Assets) -> Any:
    if assets.path("tokenizer_config.json") is None and assets.path("tokenizer.json") is None:
        return None
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(assets.folder), local_files_only=True)


def _special(tokenizer: Any) -> tuple[int, int, int]:
    found = (tokenizer.pad_token_id, tokenizer.cls_token_id, tokenizer.sep_token_id)
    if None in found:
        raise ValueError("the Q-Former's tokenizer lacks [PAD], [CLS] or [SEP]; it is BERT's uncased one")
    return found
