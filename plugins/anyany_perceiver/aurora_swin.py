"""Aurora's backbone: a 3-D Swin transformer with a U shape, norms behind the layers, modulated by the lead time.

Liu et al. 2021, arXiv 2111.09883 (Swin v2); microsoft/aurora. Longitudes are a ring: windows that wrap there attend
across. Suffixes: B batch, C levels, H and W patches, N tokens of a window, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from anyany_perceiver.fields_fourier import LEAD, expanded

Shape = tuple[int, int, int]
MASKED = -100.0


class LoraSteps(nn.Module):
    """A low-rank addition to a linear layer: one for all steps, one from the second on, or one for each."""

    def __init__(self, inputs: int, outputs: int, steps: int, mode: str, rank: int) -> None:
        super().__init__()
        self.mode, self.steps = mode, steps
        self.loras = nn.ModuleList(Lora(inputs, outputs, rank) for _ in range(steps if mode == "all" else 1))

    def forward(self, x: torch.Tensor, step: int) -> torch.Tensor | float:
        if step >= self.steps or (self.mode == "from_second" and step == 0):
            return 0.0
        added: torch.Tensor = self.loras[step if self.mode == "all" else 0](x)
        return added


class Lora(nn.Module):
    """x A^T B^T; its scale is 1, alpha being the rank."""

    def __init__(self, inputs: int, outputs: int, rank: int) -> None:
        super().__init__()
        self.lora_A, self.lora_B = nn.Parameter(torch.empty(rank, inputs)), nn.Parameter(torch.empty(outputs, rank))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.lora_A.T @ self.lora_B.T


class AdaptiveNorm(nn.Module):
    """Layer norm whose scale and shift come from a condition [B,D]; the scale is not added to one."""

    def __init__(self, width: int, condition: int) -> None:
        super().__init__()
        self.ln = nn.LayerNorm(width, elementwise_affine=False)
        self.ln_modulation = nn.Sequential(nn.SiLU(), nn.Linear(condition, 2 * width))

    def forward(self, x_BLD: torch.Tensor, condition_BD: torch.Tensor) -> torch.Tensor:
        shift, scale = self.ln_modulation(condition_BD)[:, None].chunk(2, -1)
        normed: torch.Tensor = self.ln(x_BLD) * scale + shift
        return normed


class WindowAttention(nn.Module):
    """Self-attention within windows [B,N,D]."""

    def __init__(self, width: int, heads: int, lora: Sequence[Any]) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        if lora:
            self.lora_qkv, self.lora_proj = LoraSteps(width, 3 * width, *lora), LoraSteps(width, width, *lora)
        self.adapted = bool(lora)

    def forward(self, x_BND: torch.Tensor, mask: torch.Tensor | None, step: int) -> torch.Tensor:
        """mask: [windows of a picture, N, N], added to the scores."""
        qkv = self.qkv(x_BND) + (self.lora_qkv(x_BND, step) if self.adapted else 0.0)
        query, key, value = qkv.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if mask is not None and len(x_BND) > len(mask):
            mask = mask.repeat(len(x_BND) // len(mask), 1, 1)
        mask = None if mask is None else mask[:, None]
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2).flatten(2)
        out: torch.Tensor = self.proj(seen) + (self.lora_proj(seen, step) if self.adapted else 0.0)
        return out


class FeedForward(nn.Module):
    """Linear, GELU, linear. Names: `fc1`, `fc2`."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.fc2(F.gelu(self.fc1(x)))
        return made


class SwinBlock(nn.Module):
    """Attention in windows, shifted by half a window where `shifted`, and a feed-forward layer."""

    def __init__(
        self, width: int, heads: int, window: Shape, shifted: bool, condition: int, ratio: float, lora: Sequence[Any]
    ) -> None:
        super().__init__()
        self.window = window
        self.shift: Shape = (window[0] // 2, window[1] // 2, window[2] // 2) if shifted else (0, 0, 0)
        self.norm1, self.norm2 = AdaptiveNorm(width, condition), AdaptiveNorm(width, condition)
        self.attn = WindowAttention(width, heads, lora)
        self.mlp = FeedForward(width, int(width * ratio))

    def forward(self, x_BLD: torch.Tensor, condition_BD: torch.Tensor, shape: Shape, step: int) -> torch.Tensor:
        x_BLD = x_BLD + self.norm1(self.attended(x_BLD.unflatten(1, shape), step).flatten(1, 3), condition_BD)
        return x_BLD + self.norm2(self.mlp(x_BLD), condition_BD)

    def attended(self, x_BCHWD: torch.Tensor, step: int) -> torch.Tensor:
        shape: Shape = x_BCHWD.shape[1:4]  # type: ignore[assignment]
        window, shift = fitted(self.window, self.shift, shape)
        back, mask = None, None
        if any(shift):
            back = tuple(shift)
            x_BCHWD = x_BCHWD.roll([-s for s in shift], (1, 2, 3))
            mask = shifted_mask(tuple(shape), window, shift, x_BCHWD.device, x_BCHWD.dtype)
        extra = [-size % win for size, win in zip(shape, window)]
        sides = [side for pad in reversed(extra) for side in (pad // 2, pad - pad // 2)]
        x_BCHWD = F.pad(x_BCHWD, (0, 0, *sides))
        windows = cut(x_BCHWD, window)
        x_BCHWD = joined(self.attn(windows, mask, step), window, x_BCHWD.shape)
        for axis, (pad, size) in enumerate(zip(extra, shape), 1):
            x_BCHWD = x_BCHWD.narrow(axis, pad // 2, size)
        return x_BCHWD if back is None else x_BCHWD.roll(back, (1, 2, 3))


def fitted(window: Shape, shift: Shape, shape: Shape) -> tuple[Shape, Shape]:
    """The window and shift for a grid: where the grid is no larger than a window, the whole axis, unshifted."""
    small = [size <= win for size, win in zip(shape, window)]
    sizes = tuple(size if s else win for s, size, win in zip(small, shape, window))
    return sizes, tuple(0 if s else by for s, by in zip(small, shift))  # type: ignore[return-value]


def cut(x_BCHWD: torch.Tensor, window: Shape) -> torch.Tensor:
    """[B*windows, N, D]."""
    batch, *shape, width = x_BCHWD.shape
    split = [part for size, win in zip(shape, window) for part in (size // win, win)]
    return x_BCHWD.reshape(batch, *split, width).permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(-1, _volume(window), width)


def joined(windows: torch.Tensor, window: Shape, shape: Sequence[int]) -> torch.Tensor:
    """The reverse of `cut`, into [B,C,H,W,D] of a shape."""
    batch, *sizes, width = shape
    counts = [size // win for size, win in zip(sizes, window)]
    return windows.reshape(batch, *counts, *window, width).permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(*shape)


def _volume(window: Shape) -> int:
    return window[0] * window[1] * window[2]


@lru_cache(maxsize=8)
@torch.inference_mode(False)  # it is kept, and may be used in training next
def shifted_mask(
    shape: Shape, window: Shape, shift: Shape, device: torch.device | None = None, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """[windows, N, N], 0 where two tokens may see each other, else -100: not over the edges of the rolled
    grid, except from the last longitude to the first; never to padding.
    """
    groups = torch.zeros(1, 1, 1, dtype=torch.int64)
    for axis, (size, win, by) in enumerate(zip(shape, window, shift)):
        at = torch.arange(size)
        edge = (at >= size - win).long() + ((at >= size - by).long() if axis < 2 else 0)
        along = edge if by else torch.zeros(size, dtype=torch.int64)
        groups = groups * 3 + along.reshape([-1 if a == axis else 1 for a in range(3)])
    extra = [-size % win for size, win in zip(shape, window)]
    sides = [side for pad in reversed(extra) for side in (pad // 2, pad - pad // 2)]
    windows = cut(F.pad(groups, sides, value=-1)[None, ..., None], window)[..., 0]
    windows = windows.to(device)
    return (windows[:, None] != windows[:, :, None]).to(dtype) * MASKED


class PatchMerging(nn.Module):
    """Four neighbours become one of twice the width; an odd row or column gets zeros beside it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduction, self.norm = nn.Linear(4 * width, 2 * width, bias=False), nn.LayerNorm(4 * width)

    def forward(self, x_BLD: torch.Tensor, shape: Shape) -> torch.Tensor:
        x = F.pad(x_BLD.unflatten(1, shape), (0, 0, 0, shape[2] % 2, 0, shape[1] % 2))
        x = x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).permute(0, 1, 2, 4, 3, 5, 6)
        merged: torch.Tensor = self.reduction(self.norm(x.flatten(4).flatten(1, 3)))
        return merged


class PatchSplitting(nn.Module):
    """One becomes four of half the width; rows and columns that merging had added are cut off again."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lin1, self.lin2 = nn.Linear(width, 2 * width, bias=False), nn.Linear(width // 2, width // 2, bias=False)
        self.norm = nn.LayerNorm(width // 2)

    def forward(self, x_BLD: torch.Tensor, shape: Shape, wanted: Shape) -> torch.Tensor:
        x = self.lin1(x_BLD).unflatten(1, shape).unflatten(-1, (2, 2, -1))
        x = x.permute(0, 1, 2, 4, 3, 5, 6).flatten(4, 5).flatten(2, 3)[:, :, : wanted[1], : wanted[2]]
        split: torch.Tensor = self.lin2(self.norm(x.flatten(1, 3)))
        return split


class Stage(nn.Module):
    """Blocks of one resolution, and the way to the next one down or up."""

    def __init__(self, blocks: Sequence[SwinBlock], way: nn.Module | None, name: str) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        if way is not None:
            self.add_module(name, way)
        self.way = name if way is not None else ""

    def forward(self, x: torch.Tensor, condition: torch.Tensor, shape: Shape, step: int) -> torch.Tensor:
        for block in self.blocks:
            x = block(x, condition, shape, step)
        return x

    def onwards(self, x: torch.Tensor, *shapes: Shape) -> torch.Tensor:
        """To the next resolution; itself where there is none."""
        return getattr(self, self.way)(x, *shapes) if self.way else x


class SwinBackbone(nn.Module):
    """[B,C*H*W,D] -> [B,C*H*W,2D]: down, up, and what the first stage gave beside the last."""

    def __init__(self, *, width: int, depths: tuple[Sequence[int], Sequence[int]], window: Shape, ratio: float,
                 heads: tuple[Sequence[int], Sequence[int]], lora: Sequence[Any] = ()) -> None:  # fmt: skip
        super().__init__()
        self.width, self.window, last = width, window, len(depths[0]) - 1
        self.time_mlp = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

        def blocks(level: int, side: int, i: int) -> list[SwinBlock]:
            wide = width * 2**level
            return [SwinBlock(wide, heads[side][i], window, bool(n % 2), width, ratio, lora)
                    for n in range(depths[side][i])]  # fmt: skip

        self.encoder_layers = nn.ModuleList(
            Stage(blocks(i, 0, i), PatchMerging(width * 2**i) if i < last else None, "downsample")
            for i in range(last + 1)
        )
        self.decoder_layers = nn.ModuleList(
            Stage(blocks(last - i, 1, i), PatchSplitting(width * 2 ** (last - i)) if i < last else None, "upsample")
            for i in range(last + 1)
        )

    def forward(self, x_BLD: torch.Tensor, shape: Shape, lead: float, step: int) -> torch.Tensor:
        """shape: levels, patches down and across. lead: hours. Raises ValueError for levels that no window holds."""
        if shape[0] % self.window[0]:
            raise ValueError(f"{shape[0]} latent levels do not split into windows of {self.window[0]}")
        hours = torch.full((len(x_BLD),), lead, device=x_BLD.device)
        condition = self.time_mlp(expanded(hours, self.width, LEAD).to(x_BLD.dtype))
        shapes, kept = [shape], []
        stage: Any
        for stage in self.encoder_layers:
            x_BLD = stage(x_BLD, condition, shapes[-1], step)
            kept.append(x_BLD)
            x_BLD = stage.onwards(x_BLD, shapes[-1])
            shapes.append((shape[0], -(-shapes[-1][1] // 2), -(-shapes[-1][2] // 2)))
        last = len(self.decoder_layers) - 1
        for i, stage in enumerate(self.decoder_layers):
            at = last - i
            x_BLD = stage.onwards(stage(x_BLD, condition, shapes[at], step), shapes[at], shapes[max(at - 1, 0)])
            if 0 < i < last:  # the first way up has no skip, as in the reference
                x_BLD = x_BLD + kept[at - 1]
        return torch.cat([x_BLD, kept[0]], -1)
