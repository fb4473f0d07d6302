"""Learned queries to any width: Perceiver's latents as conditions of any head (Perceiver IO, arXiv 2107.14795).

latents: B x [M,D] -> features [B,Q,K]. Suffixes: B rows, M latents, D their width, Q queries, E their width, K given.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.models.perceiver.modeling_perceiver import PerceiverBasicDecoder

from anyany.api.torch import Build, Component, Context, Rows
from anyany_perceiver.layers import attend, official, padded, settings, width_of


class Queries(Component):
    """Options: `QueriesConfig`."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        inputs, outputs = width_of("latents", config, build), width_of("outputs", config, build)
        query = config.width or inputs
        self.decoder = PerceiverBasicDecoder(
            settings(build, d_latents=inputs, cross_attention_shape_for_attention="q"), output_num_channels=outputs,
            num_channels=query, num_heads=config.heads, use_query_residual=config.residual,
            output_index_dims=config.queries,
            trainable_position_encoding_kwargs={"num_channels": query, "index_dims": config.queries},
        )  # fmt: skip

    def rename(self, name: str) -> str:
        """transformers' names."""
        return official(name)

    def read(self, latents_BMD: torch.Tensor, real_BM: torch.Tensor | None = None) -> torch.Tensor:
        """[B,Q,K]: what each learned query finds."""
        query = self.decoder.output_position_encodings(latents_BMD.shape[0])
        found: torch.Tensor = attend(self.decoder.decoding_cross_attention, query, latents_BMD, real_BM)
        return self.decoder.final_layer(found)

    def decode(self, ctx: Context, latents: Rows) -> dict[str, Rows]:
        """latents: B x [M,D]. features: [B,Q,K]."""
        return {"features": ctx.rows(self.read(*padded(latents)))}
