"""Queries at positions: what Perceiver's latents say of any places asked for (Perceiver IO, arXiv 2107.14795).

latents: B x [M,D], at: B x [Q,A] coordinates -> features B x [Q,K]. The answer at a place does not depend on which
others are asked. Suffixes: B rows, Q places, A axes, E query width, K width given, M latents, D their width.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.models.perceiver.modeling_perceiver import PerceiverBasicDecoder

from anyany.api.torch import Build, Component, Context, Rows
from anyany_perceiver.fourier import fourier, grid
from anyany_perceiver.input_widths import fourier_width
from anyany_perceiver.layers import attend, official, padded, settings, width_of
from anyany_perceiver.places import within


class At(Component):
    """Options: `AtConfig`."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        inputs, self.axes = width_of("latents", config, build), len(config.resolution)
        self.outputs = width_of("outputs", config, build)
        query = fourier_width(self.axes, config.bands)
        self.decoder = PerceiverBasicDecoder(
            settings(build, d_latents=inputs, cross_attention_shape_for_attention="kv"), position_encoding_type="none",
            output_num_channels=self.outputs, num_channels=query, num_heads=config.heads,
            use_query_residual=config.residual,
        )  # fmt: skip

    def rename(self, name: str) -> str:
        """transformers' names."""
        return official(name)

    def read(
        self, latents_BMD: torch.Tensor, places_BQA: torch.Tensor, real_BM: torch.Tensor | None = None
    ) -> torch.Tensor:
        """[B,Q,K] at places in -1..1, `chunk` queries at a time: memory does not grow with the places asked."""
        query_BQE = fourier(places_BQA.float(), self.config.bands, self.config.resolution).to(latents_BMD.dtype)
        layer, last = self.decoder.decoding_cross_attention, self.decoder.final_layer
        parts = [last(attend(layer, q, latents_BMD, real_BM)) for q in query_BQE.split(self.config.chunk, 1)]
        return torch.cat(parts, 1)

    def decode(self, ctx: Context, latents: Rows, at: Rows | None = None) -> dict[str, Rows]:
        """features: B x [Q,K] in the order asked; without `at`, of a grid of `resolution`, row by row.

        Raises ValueError for places of other axes than `resolution`, or outside `bounds`.
        """
        latents_BMD, real_BM = padded(latents)
        if at is None:
            whole = grid(self.config.resolution, device=latents_BMD.device)
            return {"features": ctx.rows(self.read(latents_BMD, whole.expand(len(latents), -1, -1), real_BM))}
        places = [within(one, self.config.bounds, self.axes).to(latents_BMD.device) for one in at]
        counts = [len(p) for p in places]
        if not sum(counts):
            return {"features": ctx.rows(latents_BMD.new_zeros(0, self.outputs), counts)}
        asked = torch.nn.utils.rnn.pad_sequence(places, batch_first=True)
        found_BQK = self.read(latents_BMD, asked, real_BM)
        return {"features": ctx.rows(torch.cat([f[:n] for f, n in zip(found_BQK, counts)]), counts)}

    def choose(self, ctx: Context, latents: Rows, at: Rows) -> dict[str, Rows]:
        """One of the places asked: label, its number from 0; scores, the probability of each.

        Raises ValueError without places, or where an answer has more than one value.
        """
        if self.outputs != 1:
            raise ValueError(f"`choose` wants one value a place, not {self.outputs}: give `with: {{outputs: 1}}`")
        values = self.decode(ctx, latents, at)["features"].list()
        if any(not len(v) for v in values):
            raise ValueError("no places to choose from")
        chances = [v[:, 0].float().softmax(0).tolist() if not v.is_meta else [1.0] for v in values]
        scores = [{str(i): p for i, p in enumerate(row)} for row in chances]
        return {"label": ctx.rows([max(s, key=s.__getitem__) for s in scores]), "scores": ctx.rows(scores)}
