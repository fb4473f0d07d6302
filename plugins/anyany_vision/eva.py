"""EVA-CLIP's tower as BLIP-2 uses it (ViT-g/14; Sun et al. 2023, arXiv 2303.15389): pre-norm blocks, one fused QKV.

image: B pictures -> tokens [B,1+N,D], the class token first. Names: transformers' Blip2VisionModel, or LAVIS's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from anyany.api.torch import Build, Component, Context, Rows, load_strict, load_transformers, relayout
from anyany_vision.images import square_batch

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


_LAVIS = {
    "cls_token": "embeddings.class_embedding",
    "pos_embed": "embeddings.position_embedding",
    "patch_embed.proj": "embeddings.patch_embedding",
    "blocks": "encoder.layers",
    "norm1": "layer_norm1",
    "norm2": "layer_norm2",
    "attn.qkv": "self_attn.qkv",
    "attn.q_bias": "self_attn.qkv.q_bias",
    "attn.v_bias": "self_attn.qkv.v_bias",
    "attn.proj": "self_attn.projection",
}


class KeylessQkv(nn.Module):
    """Queries, keys and values in one matrix; keys have no bias. [.,D] -> [.,3D]."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.q_bias, self.v_bias = nn.Parameter(torch.empty(dim)), nn.Parameter(torch.empty(dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.weight, torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias]))


class Eva(Component):
    """Options: `EvaConfig`."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        from transformers.models.blip_2.modeling_blip_2 import Blip2VisionModel

        self.model = Blip2VisionModel(_settings(config))
        if config.layout == "lavis":
            self.model.post_layernorm = nn.Identity()
            for layer in self.model.encoder.layers:
                layer.self_attn.qkv = KeylessQkv(config.width)

    def load(self, stores: Sequence[Any], build: Build) -> None:
        """Weights under transformers' names (`vision_model.` before them in whole BLIP-2 checkpoints) or LAVIS's
        (`visual_encoder.` before them), strictly."""
        if self.config.layout == "lavis":
            store = relayout(stores, ())
            prefix = "visual_encoder." if any(n.startswith("visual_encoder.") for n in store) else ""
            load_strict(self.model, store, prefix=prefix, rename=from_lavis, skip=build.skip, dtype=build.dtype,
                        device=build.device)  # fmt: skip
            return
        prefix = "vision_model." if any(n.startswith("vision_model.") for n in stores[0]) else ""
        self.model = load_transformers(type(self.model), self.model.config, stores, build, prefix=prefix)

    def tokens(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        """[B,3,S,S] normalised -> [B,1+N,D], after the last norm where there is one."""
        return self.model(pixels_BCHW).last_hidden_state

    def encode(self, ctx: Context, image: Rows) -> dict[str, Rows]:
        """image: B pictures [3,H,W]. tokens: [B,1+N,D]."""
        pixels = square_batch(image.list(), self.config.resolution, MEAN, STD, ctx.device, ctx.dtype)
        return {"tokens": ctx.rows(self.tokens(pixels))}


def from_lavis(name: str) -> str:
    """LAVIS's name of a tensor as transformers calls it; such names stay."""
    return re.sub(r"\b(?:cls_token|pos_embed|patch_embed\.proj|blocks|norm[12]|attn\.(?:qkv|[qv]_bias|proj))",
                  lambda found: _LAVIS[found[0]], name)  # fmt: skip


def _settings(config: Any) -> Any:
    from transformers import Blip2VisionConfig

    return Blip2VisionConfig(
        hidden_size=config.width, intermediate_size=config.mlp, num_hidden_layers=config.layers,
        num_attention_heads=config.heads, image_size=config.resolution, patch_size=config.patch, hidden_act="gelu",
        layer_norm_eps=1e-6, attention_dropout=0.0, qkv_bias=True,
    )  # fmt: skip
