"""Word pieces of the Q-Former's text branch: BERT's, cut to its positions, with a mark that begins a caption."""

from __future__ import annotations

from typing import Any

import torch

from anyany.api.torch import Assets, WordPieces


class Words(WordPieces):
    """vocab: rows of the embedding; longest: positions it has. `dec` starts a caption, `end` closes it."""

    def __init__(self, assets: Assets, vocab: int, longest: int) -> None:
        super().__init__(_tokenizer(assets), vocab, longest)
        self.dec = self.mask if self.own is None else vocab - 1  # `[DEC]` is the last row of BLIP-2's vocabulary

    def ids(self, text: str) -> list[int]:
        """One text, with its first and last mark, cut to the positions there are."""
        if self.own is not None:
            found: list[int] = self.own(text, truncation=True, max_length=self.longest).input_ids
            return found
        return super().ids(text.encode()[: self.longest - 2].decode("utf-8", "ignore").replace("[MASK]", ""))

    def begun(self, ids_BL: torch.Tensor) -> torch.Tensor:
        """The ids with the first one replaced by the captioning mark."""
        return torch.cat([torch.full_like(ids_BL[:, :1], self.dec), ids_BL[:, 1:]], 1)


def _tokenizer(assets: Assets) -> Any:
    if assets.path("tokenizer_config.json") is None and assets.path("tokenizer.json") is None:
        return None
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(assets.folder), local_files_only=True)
