"""MAR's transformer (Li et al. 2024, arXiv 2406.11838): an encoder of the tokens there are, a decoder to all places.

Class vectors stand in a buffer before the tokens. Suffixes: R rows, L tokens of a picture, V of them seen, M wanted,
K buffer, D numbers a token, E encoder width, C decoder width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from anyany_image_heads.diffusion_head import DiffusionHead
from anyany_image_heads.transformer_parts import Attention, Mlp

EPS = 1e-6


class Block(nn.Module):
    """A pre-norm block of a vision transformer: [R,T,C] -> [R,T,C]."""

    def __init__(self, width: int, heads: int, ratio: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPS)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=EPS)
        self.mlp = Mlp(width, int(width * ratio))

    def forward(self, x_RTC: torch.Tensor) -> torch.Tensor:
        x_RTC = x_RTC + self.attn(self.norm1(x_RTC))
        return x_RTC + self.mlp(self.norm2(x_RTC))


class MarTransformer(nn.Module):
    """`config` gives side (of the token map), token (numbers each), buffer, width, layers, heads, decoder_width,
    decoder_layers, decoder_heads, ratio, head_width, head_layers."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        wide, narrow = config.width, config.decoder_width or config.width
        length, self.buffer = config.side**2, config.buffer
        self.length, self.token = length, config.channels * config.patch**2
        self.z_proj = nn.Linear(self.token, wide)
        self.z_proj_ln = nn.LayerNorm(wide, eps=EPS)
        self.encoder_pos_embed_learned = nn.Parameter(torch.empty(1, length + self.buffer, wide))
        self.encoder_blocks = _blocks(config.layers, wide, config.heads, config.ratio)
        self.encoder_norm = nn.LayerNorm(wide, eps=EPS)
        self.decoder_embed = nn.Linear(wide, narrow)
        self.mask_token = nn.Parameter(torch.empty(1, 1, narrow))
        self.decoder_pos_embed_learned = nn.Parameter(torch.empty(1, length + self.buffer, narrow))
        self.decoder_blocks = _blocks(config.decoder_layers or config.layers, narrow,
                                      config.decoder_heads or config.heads, config.ratio)  # fmt: skip
        self.decoder_norm = nn.LayerNorm(narrow, eps=EPS)
        self.diffusion_pos_embed_learned = nn.Parameter(torch.empty(1, length, narrow))
        self.diffloss = DiffusionHead(self.token, narrow, config.head_width, config.head_layers)

    def encode(self, tokens_RLD: torch.Tensor, seen_RV: torch.Tensor, class_RE: torch.Tensor) -> torch.Tensor:
        """[R,K+V,E]: the buffer, then the tokens at the places seen."""
        places = self.encoder_pos_embed_learned
        x_RVE = self.z_proj(picked(tokens_RLD, seen_RV)) + places[0, self.buffer :][seen_RV]
        front_RKE = class_RE[:, None] + places[:, : self.buffer]
        x_RTE = self.z_proj_ln(torch.cat([front_RKE, x_RVE], 1))
        for block in self.encoder_blocks:
            x_RTE = block(x_RTE)
        return self.encoder_norm(x_RTE)

    def decode(self, seen_RTE: torch.Tensor, seen_RV: torch.Tensor, wanted_RM: torch.Tensor) -> torch.Tensor:
        """[R,M,C]: conditions of the diffusion head at the places wanted."""
        x_RTC = self.decoder_embed(seen_RTE)
        known_RVC = x_RTC[:, self.buffer :]
        full_RLC = self.mask_token.to(x_RTC.dtype).expand(len(x_RTC), self.length, -1)
        full_RLC = full_RLC.scatter(1, _wide(seen_RV, known_RVC), known_RVC)
        x_RTC = torch.cat([x_RTC[:, : self.buffer], full_RLC], 1) + self.decoder_pos_embed_learned
        for block in self.decoder_blocks:
            x_RTC = block(x_RTC)
        wanted_RMC = self.decoder_norm(picked(x_RTC[:, self.buffer :], wanted_RM))
        return wanted_RMC + self.diffusion_pos_embed_learned[0][wanted_RM]


def _blocks(count: int, width: int, heads: int, ratio: float) -> nn.ModuleList:
    return nn.ModuleList(Block(width, heads, ratio) for _ in range(count))


def _wide(places_RV: torch.Tensor, like_RVC: torch.Tensor) -> torch.Tensor:
    return places_RV[:, :, None].expand(-1, -1, like_RVC.shape[2])


def picked(x_RLC: torch.Tensor, places_RV: torch.Tensor) -> torch.Tensor:
    """[R,V,C]: the rows' own places."""
    return x_RLC.gather(1, _wide(places_RV, x_RLC))


def patches(latents_RZhw: torch.Tensor, patch: int) -> torch.Tensor:
    """[R,L,D]: tokens by row and column; inside a token channel, row, column."""
    rows, channels, height, width = latents_RZhw.shape
    x = latents_RZhw.reshape(rows, channels, height // patch, patch, width // patch, patch)
    return x.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def unpatched(tokens_RLD: torch.Tensor, side: int, patch: int) -> torch.Tensor:
    """[R,Z,h,w]: the latents of tokens."""
    x = tokens_RLD.unflatten(2, (-1, patch, patch)).unflatten(1, (side, side))
    return x.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
