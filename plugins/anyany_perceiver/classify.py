"""A class from Perceiver's latents: one learned query (Perceiver IO, arXiv 2107.14795), or their mean (Perceiver).

latents: B x [M,D] -> label, scores. On transformers. Suffixes: B rows, M latents, D their width, K classes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers.models.perceiver.modeling_perceiver import PerceiverClassificationDecoder

from anyany.api.torch import Build, Component, Context, Rows
from anyany_perceiver.layers import attend, official, padded, settings, width_of
from anyany_perceiver.naming import Names


class Classify(Component):
    """Options: `ClassifyConfig`; a checkpoint's config.json overrides the number of classes and their names."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        inputs = width_of("latents", config, build)
        classes = build.facts.get("classes") or config.classes or len(config.names) or 1000
        sizes = settings(build, d_latents=inputs, cross_attention_shape_for_attention=config.attention)
        sizes.num_labels = classes
        query = config.width or build.facts.get("query") or inputs
        if config.pooled:
            self.decoder: Any = nn.ModuleDict({"classifier": nn.Linear(inputs, classes)})
        else:
            self.decoder = PerceiverClassificationDecoder(
                sizes, num_channels=query, num_heads=config.heads, use_query_residual=config.residual,
                trainable_position_encoding_kwargs={"num_channels": query, "index_dims": 1},
            )  # fmt: skip
        self.names = Names(config.names, build.assets.json("config.json") or {}, classes)

    def rename(self, name: str) -> str:
        """transformers' or krasserm's names."""
        return official(name)

    def logits(self, latents_BMD: torch.Tensor, real_BM: torch.Tensor | None = None) -> tuple[Any, Any]:
        """(logits [B,K], probabilities [B,heads,1,M] of the query over the latents; None where they are pooled)."""
        if self.config.pooled:
            real_BM = torch.ones_like(latents_BMD[..., 0]) if real_BM is None else real_BM.to(latents_BMD.dtype)
            mean_BD = (latents_BMD * real_BM[..., None]).sum(1) / real_BM.sum(1, keepdim=True)
            return self.decoder["classifier"](mean_BD), None
        inside = self.decoder.decoder
        query = inside.output_position_encodings(latents_BMD.shape[0])
        found, weights = attend(inside.decoding_cross_attention, query, latents_BMD, real_BM, weights=True)
        return inside.final_layer(found)[:, 0], weights

    def classify(self, ctx: Context, latents: Rows) -> dict[str, Rows]:
        """latents: B x [M,D]. label: the likeliest class; scores: probabilities of the first `top`."""
        return self.names.told(ctx, self.logits(*padded(latents))[0].float(), self.config.top)

    def learn(self, ctx: Context, latents: Rows, target: Rows) -> dict[str, Rows]:
        """loss [B]: cross-entropy of the right class. Raises ValueError for a class that there is not."""
        logits_BK = self.logits(*padded(latents))[0].float()
        right_B = torch.tensor([self.names.index(one) for one in target], device=logits_BK.device)
        return {"loss": ctx.rows(nn.functional.cross_entropy(logits_BK, right_B, reduction="none"))}
