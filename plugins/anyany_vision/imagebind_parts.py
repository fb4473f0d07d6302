"""Parts of ImageBind: stems, trunks, heads, scales, under the official names (Girdhar et al. 2023, arXiv 2305.05665).

Written from the paper and published facts. Shape suffixes: B rows, C channels, T tokens, D width.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

EPS = 1e-6
MAX_SCALE = 100.0


class Table(nn.Module):
    """A position table of its own name."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.empty(1, tokens, width))


class Stem(nn.Module):
    """A convolution over pixels, frames or a spectrogram, with a norm where `normed` (epsilon 1e-5)."""

    def __init__(self, proj: nn.Module, width: int, normed: bool) -> None:
        super().__init__()
        self.proj = proj
        self.norm_layer = nn.LayerNorm(width, eps=1e-5) if normed else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B,C,…] -> [B,T,D]."""
        return self.norm_layer(self.proj(x).flatten(2).transpose(1, 2))


class MotionStem(nn.Module):
    """Eight readings of all six channels of a motion sensor make a token."""

    STEP = 8

    def __init__(self, width: int, channels: int = 6) -> None:
        super().__init__()
        self.proj = nn.Linear(channels * self.STEP, width, bias=False)
        self.norm_layer = nn.LayerNorm(width, eps=1e-5)

    def forward(self, x_BCT: torch.Tensor) -> torch.Tensor:
        """[B,6,T] -> [B,T/8,D]."""
        cut = x_BCT.unfold(-1, self.STEP, self.STEP).permute(0, 2, 1, 3).flatten(2)
        return self.norm_layer(self.proj(cut))


class Patches(nn.Module):
    """Stem, class token, positions. `stem` is the stem's official name."""

    def __init__(self, stem: str, part: nn.Module, tokens: int, width: int, table: bool = True) -> None:
        super().__init__()
        self.stem = stem
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.add_module(stem, part)
        if table:
            self.pos_embedding_helper = Table(1 + tokens, width)
        else:
            self.pos_embed = nn.Parameter(torch.empty(1, 1 + tokens, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B,…] -> [B,1+T,D]."""
        tokens_BTD = getattr(self, self.stem)(x)
        table = self.pos_embedding_helper.pos_embed if hasattr(self, "pos_embedding_helper") else self.pos_embed
        return torch.cat([self.cls_token.expand(len(tokens_BTD), -1, -1), tokens_BTD], 1) + table


class Words(nn.Module):
    """Token embeddings and positions; the causal mask is saved with checkpoints."""

    def __init__(self, vocab: int, context: int, width: int) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(vocab, width)
        self.pos_embed = nn.Parameter(torch.empty(1, context, width))
        with torch.device("cpu"):
            self.register_buffer("mask", torch.full((context, context), float("-inf")).triu(1))

    def forward(self, ids_BT: torch.Tensor) -> torch.Tensor:
        """[B,T] -> [B,T,D]."""
        return self.token_embedding(ids_BT) + self.pos_embed[:, : ids_BT.shape[1]]


class Mlp(nn.Module):
    """Two layers with exact GELU, four times as wide inside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Pre-norm attention and feed-forward; `extra` adds one learned key and value that every token sees."""

    def __init__(self, width: int, heads: int, extra: bool) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, add_bias_kv=extra, batch_first=True)
        self.norm_1, self.norm_2 = nn.LayerNorm(width, eps=EPS), nn.LayerNorm(width, eps=EPS)
        self.mlp = Mlp(width)

    def forward(self, x_BTD: torch.Tensor, mask_TT: torch.Tensor | None) -> torch.Tensor:
        """[B,T,D] -> [B,T,D]."""
        normed = self.norm_1(x_BTD)
        x_BTD = x_BTD + self.attn(normed, normed, normed, need_weights=False, attn_mask=mask_TT)[0]
        return x_BTD + self.mlp(self.norm_2(x_BTD))


class Trunk(nn.Module):
    """Blocks of one modality; vision has a norm before them."""

    def __init__(self, sizes: tuple[int, ...], normed: bool, extra: bool) -> None:
        super().__init__()
        width, count, heads = sizes
        self.pre_transformer_layer = nn.Sequential(nn.LayerNorm(width, eps=EPS) if normed else nn.Identity())
        self.blocks = nn.ModuleList(Block(width, heads, extra) for _ in range(count))

    def forward(self, x_BTD: torch.Tensor, mask_TT: torch.Tensor | None = None) -> torch.Tensor:
        """[B,T,D] -> [B,T,D]."""
        x_BTD = self.pre_transformer_layer(x_BTD)
        for block in self.blocks:
            x_BTD = block(x_BTD, mask_TT)
        return x_BTD


class TextHead(nn.Module):
    """The text head, whose layers are called `proj`."""

    def __init__(self, width: int, shared: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(nn.LayerNorm(width, eps=EPS), nn.Linear(width, shared, bias=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.proj(x)


def head(width: int, shared: int, gap: int = 1) -> nn.Sequential:
    """Norm and linear layer; `gap` layers without weights stand between them in the official numbering."""
    between = [nn.Identity() for _ in range(gap)]
    return nn.Sequential(nn.LayerNorm(width, eps=EPS), *between, nn.Linear(width, shared, bias=False))


class Scale(nn.Module):
    """Multiplies by exp(log_logit_scale), at most 100: learned for text, a fixed buffer for the others."""

    def __init__(self, learned: bool, value: float) -> None:
        super().__init__()
        with torch.device("cpu"):
            start = torch.tensor(value).log()
        if learned:
            self.log_logit_scale = nn.Parameter(start)
        else:
            self.register_buffer("log_logit_scale", start)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.log_logit_scale.exp().clamp(max=MAX_SCALE)


def patches(kind: str, config: Any) -> nn.Module:
    """The preprocessor of one modality."""
    width = getattr(config, kind)[0]
    if kind == "vision":
        size = (2, config.patch, config.patch)
        proj: nn.Module = nn.Conv3d(3, width, size, size, bias=False)
        return Patches("rgbt_stem", Stem(nn.Sequential(nn.Identity(), proj), width, False),
                       (config.resolution // config.patch) ** 2, width)  # fmt: skip
    if kind == "text":
        return Words(config.vocab, config.context, width)
    if kind == "audio":
        size, step = config.audio_patch, config.audio_stride
        tokens = ((config.mel - size) // step + 1) * ((config.frames - size) // step + 1)
        return Patches("rgbt_stem", Stem(nn.Conv2d(1, width, size, step, bias=False), width, True), tokens, width)
    if kind == "imu":
        return Patches("imu_stem", MotionStem(width), config.readings // MotionStem.STEP, width, table=False)
    side = config.flat_patch
    proj = nn.Conv2d(1, width, side, side, bias=False)
    name = "depth_stem" if kind == "depth" else "rgbt_stem"
    return Patches(name, Stem(proj, width, True), (config.resolution // side) ** 2, width)
