"""Quadrangle transformer: a windowed pyramid with quadrangle attention (Zhang et al. 2023, arXiv 2303.15105; QFormer).

Names are the official ones (`layers.S.blocks.N.…`). A picture gives the patches [N,D] of its last stage.
Shape suffixes: B rows, S side, H x W map, C channels of a stage, N patches, D width of the last stage.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from anyany.api.torch import Build, Component, Context, Rows
from anyany_vision.pictures import chances, prepared
from anyany_vision.quadrangle_attention import QuadrangleAttention, swin_index


class Mlp(nn.Module):
    """Two layers with GELU."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(nn.functional.gelu(self.fc1(x)))


class QuadrangleBlock(nn.Module):
    """Depth-wise convolution for position, attention, feed-forward; each is added to what came in."""

    def __init__(self, width: int, heads: int, window: int, rpe: str, hidden: int) -> None:
        super().__init__()
        kernel = 2 * (window // 2) + 1
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.pos = nn.Conv2d(width, width, kernel, padding=window // 2, groups=width)
        self.attn = QuadrangleAttention(width, heads, window, rpe)
        self.mlp = Mlp(width, hidden)

    def forward(self, x_BHWC: torch.Tensor) -> torch.Tensor:
        """[B,H,W,C] -> [B,H,W,C]."""
        x_BHWC = x_BHWC + self.pos(x_BHWC.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        x_BHWC = x_BHWC + self.attn(self.norm1(x_BHWC))
        return x_BHWC + self.mlp(self.norm2(x_BHWC))


class Merging(nn.Module):
    """Four neighbours become one place of twice the channels (Swin)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduction, self.norm = nn.Linear(4 * width, 2 * width, bias=False), nn.LayerNorm(4 * width)

    def forward(self, x_BHWC: torch.Tensor) -> torch.Tensor:
        """[B,H,W,C] -> [B,H/2,W/2,2C]; odd maps are padded with zeros."""
        x_BHWC = nn.functional.pad(x_BHWC, (0, 0, 0, x_BHWC.shape[2] % 2, 0, x_BHWC.shape[1] % 2))
        corners = [x_BHWC[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]
        return self.reduction(self.norm(torch.cat(corners, -1)))


class Stage(nn.Module):
    """Blocks of one resolution, and the merging after them in all but the last."""

    def __init__(self, config: Any, number: int) -> None:
        super().__init__()
        width = config.width << number
        self.blocks = nn.ModuleList(
            QuadrangleBlock(width, config.heads[number], config.window, config.rpe, int(config.mlp_ratio * width))
            for _ in range(config.depths[number])
        )
        self.downsample = Merging(width) if number < len(config.depths) - 1 else None


class PatchEmbed(nn.Module):
    """Patches through one convolution, normed."""

    def __init__(self, patch: int, width: int) -> None:
        super().__init__()
        self.proj, self.norm = nn.Conv2d(3, width, patch, patch), nn.LayerNorm(width)

    def forward(self, pixels_BCSS: torch.Tensor) -> torch.Tensor:
        """[B,3,S,S] -> [B,H,W,C]."""
        return self.norm(self.proj(pixels_BCSS).permute(0, 2, 3, 1))


class Quadrangle(Component):
    """Options: `QuadrangleConfig`."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        if len(config.depths) != len(config.heads):
            raise ValueError(f"{len(config.depths)} stages of depths, but {len(config.heads)} of heads")
        last = config.width << (len(config.depths) - 1)
        self.patch_embed = PatchEmbed(config.patch, config.width)
        self.layers = nn.ModuleList(Stage(config, i) for i in range(len(config.depths)))
        self.norm = nn.LayerNorm(last)
        self.head = nn.Linear(last, config.classes) if config.classes else None
        self._fill_indices()

    def _fill_indices(self) -> None:
        """Swin's index is saved with checkpoints, and always the same."""
        for module in self.modules():
            if isinstance(module, QuadrangleAttention) and module.rpe == "v1":
                with torch.device("cpu"):
                    module.relative_position_index = swin_index(module.window)

    def features(self, pixels_BCSS: torch.Tensor) -> torch.Tensor:
        """[B,N,D] after the final norm."""
        x_BHWC = self.patch_embed(pixels_BCSS)
        for stage in self.layers:
            for block in stage.blocks:
                x_BHWC = block(x_BHWC)
            x_BHWC = x_BHWC if stage.downsample is None else stage.downsample(x_BHWC)
        return self.norm(x_BHWC).flatten(1, 2)

    def _seen(self, ctx: Context, image: Rows) -> torch.Tensor:
        ready = [prepared(i, self.config.resolution, self.config.mean, self.config.std, "crop", self.config.short)
                 for i in image.list()]  # fmt: skip
        return self.features(torch.stack(ready).to(ctx.device, ctx.dtype))

    def encode(self, ctx: Context, image: Rows) -> dict[str, Rows]:
        """image: B pictures. patches: [B,N,D]; pooled: [B,D], their mean."""
        patches_BND = self._seen(ctx, image)
        return {"patches": ctx.rows(patches_BND), "pooled": ctx.rows(patches_BND.mean(1))}

    def classify(self, ctx: Context, image: Rows) -> dict[str, Rows]:
        """image: B pictures. label: the likeliest class; scores: probabilities."""
        if self.head is None:
            raise ValueError("this encoder has no head; give `with: {classes: …}`")
        label, scores = chances(self.head(self._seen(ctx, image).mean(1)), self.config.names)
        return {"label": ctx.rows(label), "scores": ctx.rows(scores)}
