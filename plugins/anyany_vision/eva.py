"""EVA-CLIP's tower as BLIP-2 uses it (ViT-g/14; Sun et al. 2023, arXiv 2303.15389): pre-norm blocks, one fused QKV.

image: B pictures -> tokens [B,1+N,D], the class token first. Names: transformers' Blip2VisionModel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from anyany.api.torch import Build, Component, Context, Rows, load_transformers
from anyany_vision.images import square_batch

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


class Eva(Component):
    """Options: `EvaConfig`."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        from transformers.models.blip_2.modeling_blip_2 import Blip2VisionModel

        self.model = Blip2VisionModel(_settings(config))

    def load(self, stores: Sequence[Any], build: Build) -> None:
        """Weights under transformers' names (`vision_model.` before them in whole BLIP-2 checkpoints), strictly."""
        prefix = "vision_model." if any(n.startswith("vision_model.") for n in stores[0]) else ""
        self.model = load_transformers(type(self.model), self.model.config, stores, build, prefix=prefix)

    def tokens(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        """[B,3,S,S] normalised -> [B,1+N,D] after the last norm."""
        return self.model(pixels_BCHW).last_hidden_state

    def encode(self, ctx: Context, image: Rows) -> dict[str, Rows]:
        """image: B pictures [3,H,W]. tokens: [B,1+N,D]."""
        pixels = square_batch(image.list(), self.config.resolution, MEAN, STD, ctx.device, ctx.dtype)
        return {"tokens": ctx.rows(self.tokens(pixels))}


def _settings(config: Any) -> Any:
    from transformers import Blip2VisionConfig

    return Blip2VisionConfig(
        hidden_size=config.width, intermediate_size=config.mlp, num_hidden_layers=config.layers,
        num_attention_heads=config.heads, image_size=config.resolution, patch_size=config.patch, hidden_act="gelu",
        layer_norm_eps=1e-6, attention_dropout=0.0, qkv_bias=True,
    )  # fmt: skip
