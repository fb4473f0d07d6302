"""Perceiver's encoder (Jaegle et al. 2021, arXiv 2103.03206 and 2107.14795): inputs of any length become M latents.

A learned array looks at the inputs once or repeatedly, between blocks of self-attention whose weights are shared.
features: B x [N,C] -> latents [B,M,D]. Suffixes as in `layers.py`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers.models.perceiver.modeling_perceiver import PerceiverEmbeddings, PerceiverEncoder

from anyany.api.torch import Build, Component, Context, Rows
from anyany_perceiver.layers import attend, official, padded, settings, width_of


class LatentTransformer(nn.Module):
    """The latents, the layers of the first block, and those of later blocks where they have weights of their own."""

    def __init__(self, config: Any, build: Build, inputs: int) -> None:
        super().__init__()
        self.sizes = settings(
            build, num_latents=build.facts.get("latents") or config.latents,
            d_latents=build.facts.get("width") or config.width, num_blocks=config.blocks,
            num_self_attends_per_block=config.layers, num_self_attention_heads=config.heads,
            num_cross_attention_heads=config.cross_heads, qk_channels=config.qk, v_channels=config.values,
            cross_attention_shape_for_attention=config.attention, self_attention_widening_factor=config.widening,
            cross_attention_widening_factor=config.cross_widening, use_query_residual=config.residual,
        )  # fmt: skip
        self.blocks, self.looks = self.sizes.num_blocks, min(config.looks, self.sizes.num_blocks)
        self.embeddings = PerceiverEmbeddings(self.sizes)
        self.encoder = PerceiverEncoder(self.sizes, kv_dim=inputs)
        again, beyond = self.looks > 1 and not config.share_looks, self.blocks > 1 and not config.share_blocks
        if again or beyond:
            self.later = PerceiverEncoder(self.sizes, kv_dim=inputs)
            if not again:
                del self.later.cross_attention
            if not beyond:
                del self.later.self_attends

    def forward(
        self, inputs_BNC: torch.Tensor, real_BN: torch.Tensor | None = None, weights: list[torch.Tensor] | None = None
    ) -> torch.Tensor:
        """[B,M,D]. weights: a list that gets the probabilities [B,heads,M,N] of each look at the inputs."""
        z_BMD = self.embeddings(batch_size=inputs_BNC.shape[0])
        first, later = self.encoder, getattr(self, "later", None)
        for block in range(self.blocks):
            if block < self.looks:
                look = first.cross_attention if block == 0 else getattr(later, "cross_attention", first.cross_attention)
                z_BMD, seen = attend(look, z_BMD, inputs_BNC, real_BN, weights=True)
                if weights is not None:
                    weights.append(seen)
            for layer in first.self_attends if block == 0 else getattr(later, "self_attends", first.self_attends):
                z_BMD = layer(z_BMD)[0]
        return z_BMD


class Encoder(Component):
    """Options: `EncoderConfig`; a checkpoint's config.json overrides the sizes."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        self.core = LatentTransformer(config, build, width_of("inputs", config, build))

    def rename(self, name: str) -> str:
        """transformers' or krasserm's names."""
        return official(name)

    def encode(self, ctx: Context, features: Rows) -> dict[str, Rows]:
        """features: B x [N,C], N from 1 on and unlike in each row. latents: [B,M,D].

        Raises ValueError for a row without inputs.
        """
        if min(features.lengths, default=1) == 0:
            raise ValueError("there is nothing to look at: the array of inputs is empty")
        return {"latents": ctx.rows(self.core(*padded(features)))}
