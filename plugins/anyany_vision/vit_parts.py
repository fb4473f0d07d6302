"""Variants of the Vision Transformer that transformers' ViTModel lacks: position embeddings of the paper, a conv stem.

Dosovitskiy et al. 2021 (arXiv 2010.11929), appendix D.4; Xiao et al. 2021 (arXiv 2106.14881). B rows, T tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn


class GridEmbeddings(nn.Module):
    """Patches plus learned row and column vectors of half the width each, put end to end ("2-D"); or no positions.

    The class token has no position: it is learned itself.
    """

    def __init__(self, embeddings: Any, positions: bool) -> None:
        super().__init__()
        self.cls_token = embeddings.cls_token
        self.patch_embeddings = embeddings.patch_embeddings
        height, width = embeddings.image_size
        self.grid = (height // embeddings.patch_size, width // embeddings.patch_size)
        size = self.cls_token.shape[-1]
        if positions and size % 2:
            raise ValueError(f"positions: grid halves the width, which is {size}; make it even")
        self.rows = nn.Parameter(torch.empty(self.grid[0], size // 2)) if positions else None
        self.columns = nn.Parameter(torch.empty(self.grid[1], size // 2)) if positions else None

    def forward(self, pixel_values: torch.Tensor, **_: Any) -> torch.Tensor:
        """[B,C,S,S] -> [B,1+N,D]."""
        tokens_BND = self.patch_embeddings(pixel_values)
        if self.rows is not None and self.columns is not None:
            rows = self.rows[:, None].expand(-1, self.grid[1], -1)
            columns = self.columns[None].expand(self.grid[0], -1, -1)
            tokens_BND = tokens_BND + torch.cat([rows, columns], -1).flatten(0, 1)
        return torch.cat([self.cls_token.expand(tokens_BND.shape[0], -1, -1), tokens_BND], 1)


def relative_attention(config: Any, tokens: int) -> nn.Module:
    """transformers' ViTAttention with a learned vector for each distance between two tokens in reading order.

    The query meets these vectors as it meets keys; the products are added to its logits (appendix D.4, "relative").
    """
    from transformers.models.vit.modeling_vit import ViTAttention

    class RelativeAttention(ViTAttention):
        def __init__(self) -> None:
            super().__init__(config)
            self.relative = nn.Parameter(torch.empty(2 * tokens - 1, self.head_dim))

        def forward(self, hidden_states: torch.Tensor, attention_mask: Any = None, **kwargs: Any) -> Any:
            shape = (*hidden_states.shape[:-1], -1, self.head_dim)
            query_BHTd = self.q_proj(hidden_states).view(shape).transpose(1, 2)
            at_T = torch.arange(hidden_states.shape[1], device=hidden_states.device)
            vectors_TTd = self.relative[at_T[:, None] - at_T[None] + tokens - 1]
            bias_BHTT = torch.einsum("bhqd,qkd->bhqk", query_BHTd, vectors_TTd) * self.scaling
            return super().forward(hidden_states, bias_BHTT, **kwargs)

    return RelativeAttention()


def halving_stem(patch: int, width: int) -> dict[str, Any]:
    """Convolutions of stride 2 down to one position a patch, the width doubling towards the last."""
    steps = patch.bit_length() - 1
    if 2**steps != patch:
        raise ValueError(f"a conv stem wants a patch that is a power of two, not {patch}")
    channels = [max(8, width >> (steps - 1 - i)) for i in range(steps)]
    return {"channels": [*channels[:-1], width], "kernel": 3, "stride": 2, "padding": 1}


class ConvStem(nn.Sequential):
    """Early convolutions in the place of the patch projection, which transformers asks for the dtype of its weight."""

    def __init__(self, stem: Mapping[str, Any], channels: int) -> None:
        layers: list[nn.Module] = []
        for index, width in enumerate(stem["channels"]):
            if index:
                layers.append(nn.GELU())
            layers.append(nn.Conv2d(channels, width, stem["kernel"], stem["stride"], stem["padding"]))
            channels = width
        super().__init__(*layers)

    @property
    def weight(self) -> torch.Tensor:
        return self[0].weight  # type: ignore[return-value]


def model_class(stem: Mapping[str, Any] | None, positions: str) -> type[nn.Module]:
    """ViTModel with these parts."""
    from transformers import ViTModel

    if stem is None and positions == "learned":
        return ViTModel

    class VariantViTModel(ViTModel):
        def __init__(self, config: Any, **kwargs: Any) -> None:
            super().__init__(config, **kwargs)
            if stem is not None:
                self.embeddings.patch_embeddings.projection = ConvStem(stem, config.num_channels)
            tokens = self.embeddings.patch_embeddings.num_patches + 1
            if positions != "learned":
                self.embeddings = GridEmbeddings(self.embeddings, positions == "grid")
            if positions == "relative":
                for layer in self.layers:
                    layer.attention = relative_attention(config, tokens)

    return VariantViTModel
