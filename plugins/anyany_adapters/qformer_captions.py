"""Captions of a Q-Former word by word (ITG): queries are read once, each word meets the keys and values kept of them.

Queries never see the text, so theirs do not change. Suffixes: B rows, S positions so far, H width, A heads, V words.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

Kept = tuple[torch.Tensor, torch.Tensor]


class Captioner:
    """model: a `QFormer` with `text`; image_BND, image_BN: features that have passed `see`, and their mask."""

    def __init__(self, model: Any, image_BND: torch.Tensor, image_BN: torch.Tensor | None) -> None:
        seen = model.run(True, image_BND=image_BND, image_BN=image_BN, output_hidden_states=True)
        self.model, self.at = model, 0
        self.layers = list(model.qformer.encoder.layer)
        self.kept = [self._keys(layer, x_BQH) for layer, x_BQH in zip(self.layers, seen.hidden_states)]

    def _keys(self, layer: Any, x_BLH: torch.Tensor) -> Kept:
        inner = layer.attention.attention
        return self._heads(inner.key(x_BLH)), self._heads(inner.value(x_BLH))

    def _heads(self, x_BLH: torch.Tensor) -> torch.Tensor:
        return x_BLH.unflatten(-1, (self.model.config.heads, -1)).transpose(1, 2)

    def next(self, ids_B: torch.Tensor) -> torch.Tensor:
        """[B,V]: the scores of the word after these, which stand behind those of earlier calls (positions from 0)."""
        place = torch.full((1, 1), self.at, dtype=torch.int64, device=ids_B.device)
        x_B1H = self.model.qformer.layernorm(self.model.embeddings(input_ids=ids_B[:, None], position_ids=place))
        for index, layer in enumerate(self.layers):
            self.kept[index] = tuple(torch.cat(pair, 2) for pair in zip(self.kept[index], self._keys(layer, x_B1H)))  # type: ignore[assignment]
            asked = self._heads(layer.attention.attention.query(x_B1H))
            found = F.scaled_dot_product_attention(asked, *self.kept[index]).transpose(1, 2).flatten(2)
            x_B1H = layer.feed_forward_chunk(layer.attention.output(found, x_B1H))
        self.at += 1
        return self.model.predictions(x_B1H[:, 0])
