"""IM2TEXT: a picture becomes one word of a text encoder (Pic2Word, Saito et al. 2023, arXiv 2302.03084).

embedding [D] (CLIP's, not normalised) -> pseudo-word [E]. Names: `layers.N.0.*`, `fc_out.*` (also under `module.`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from anyany.api.torch import Build, Component, Context, Rows
from anyany_adapters.widths import width


class Im2Text(Component):
    """Options: `Im2TextConfig`."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        first, last = width("inputs", config, build), width("outputs", config, build)
        middle = int(build.facts.get("middle") or config.middle)
        self.layers = nn.Sequential()
        for i in range(config.layers):
            block = nn.Sequential(nn.Linear(middle if i else first, middle), nn.Dropout(config.dropout), nn.ReLU())
            self.layers.append(block)
        self.fc_out = nn.Linear(middle if config.layers else first, last)

    def rename(self, name: str) -> str:
        """Names of checkpoints saved from several processes."""
        return name.removeprefix("module.")

    def word(self, embedding: torch.Tensor) -> torch.Tensor:
        """[...,D] -> [...,E]."""
        return self.fc_out(self.layers(embedding))

    def translate(self, ctx: Context, embedding: Rows) -> dict[str, Rows]:
        """embedding: [B,D]. word: [B,E]."""
        return {"word": ctx.rows(self.word(embedding.dense()))}
