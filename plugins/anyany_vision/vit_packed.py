"""Pictures of unlike sizes through one Vision Transformer as one row, end to end, without padding (NaViT's packing).

Dehghani et al. 2023 (arXiv 2307.06304): linear layers see all tokens at once, attention each picture by itself.
Suffixes: B pictures, H heads, T tokens of all pictures, N patches of one, D width, d head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from transformers import AttentionInterface

APART = "anyany_apart"


def apart(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: Any = None,
    scaling: float | None = None, lengths: Sequence[int] | None = None, **_: Any,
) -> tuple[torch.Tensor, None]:  # fmt: skip
    """transformers' attention over [1,H,T,d], where tokens of one picture see that picture alone; [1,T,H,d]."""
    pieces = [[t] if lengths is None else t.split(list(lengths), 2) for t in (query, key, value)]
    found = [F.scaled_dot_product_attention(q, k, v, scale=scaling) for q, k, v in zip(*pieces)]
    return torch.cat(found, 2).transpose(1, 2), None


AttentionInterface.register(APART, apart)


def packed_tokens(model: Any, pixels: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """[1+N,D] after the final norm of each picture [C,H,W], sides multiples of a patch; `model` attends by `APART`."""
    embedded = [model.embeddings(one[None], interpolate_pos_encoding=True)[0] for one in pixels]
    lengths = [e.shape[0] for e in embedded]
    x_1TD = torch.cat(embedded)[None]
    for layer in model.layers:
        x_1TD = layer(x_1TD, lengths=lengths)
    return list(model.layernorm(x_1TD)[0].split(lengths))
