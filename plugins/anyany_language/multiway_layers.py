"""BEiT-3's multiway encoder (Wang et al. 2022, arXiv 2208.10442): all layers and norms twice.

Branch A is for pixels, B for words; attention is shared. Names: torchscale. Suffixes: B rows, N image positions (class
token and patches), L text positions, S = N + L, D width, A heads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

EPS = 1e-5
_UNREAD = 2  # rows of each position table that are never looked up


class Both(nn.Module):
    """Two copies of a layer: positions before `split` go through A, the others through B."""

    def __init__(self, make: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.A, self.B = make(), make()

    def forward(self, x_BSD: torch.Tensor, split: int) -> torch.Tensor:
        if split == 0:
            return self.B(x_BSD)
        if split == x_BSD.shape[1]:
            return self.A(x_BSD)
        return torch.cat([self.A(x_BSD[:, :split]), self.B(x_BSD[:, split:])], 1)


class Feed(nn.Module):
    """Linear, exact GELU in float32, norm on the hidden width, linear."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.ffn_layernorm = nn.LayerNorm(hidden, eps=EPS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.ffn_layernorm(F.gelu(self.fc1(x).float()).type_as(x)))


class Attention(nn.Module):
    """One attention over image and text; its projections and its inner norm are doubled."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            self.add_module(name, Both(lambda: nn.Linear(dim, dim)))
        self.inner_attn_ln = Both(lambda: nn.LayerNorm(dim, eps=EPS))

    def forward(self, x_BSD: torch.Tensor, split: int, seen_BSS: torch.Tensor | None) -> torch.Tensor:
        q, k, v = (
            getattr(self, f"{n}_proj")(x_BSD, split).unflatten(-1, (self.heads, -1)).transpose(1, 2) for n in "qkv"
        )
        score = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        if seen_BSS is not None:
            score = score.masked_fill(~seen_BSS[:, None], float("-inf"))
        joined = (score.float().softmax(-1).type_as(v) @ v).transpose(1, 2).flatten(2)
        return self.out_proj(self.inner_attn_ln(joined, split), split)


class Layer(nn.Module):
    """Norm, attention, norm, feed-forward, each beside a residual."""

    def __init__(self, dim: int, hidden: int, heads: int) -> None:
        super().__init__()
        self.self_attn = Attention(dim, heads)
        self.self_attn_layer_norm = Both(lambda: nn.LayerNorm(dim, eps=EPS))
        self.ffn = Both(lambda: Feed(dim, hidden))
        self.final_layer_norm = Both(lambda: nn.LayerNorm(dim, eps=EPS))

    def forward(self, x_BSD: torch.Tensor, split: int, seen_BSS: torch.Tensor | None) -> torch.Tensor:
        x_BSD = x_BSD + self.self_attn(self.self_attn_layer_norm(x_BSD, split), split, seen_BSS)
        return x_BSD + self.ffn(self.final_layer_norm(x_BSD, split), split)


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Of a trunk. norm: a norm closes the encoder (not so for questions and image classes)."""

    resolution: int
    patch: int
    width: int
    layers: int
    heads: int
    mlp: int
    vocab: int
    positions: int
    norm: bool = True

    @property
    def patches(self) -> int:
        return (self.resolution // self.patch) ** 2


class VisionEmbed(nn.Module):
    """Patches with a class token before them."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, sizes.width, sizes.patch, sizes.patch)
        self.cls_token = nn.Parameter(torch.empty(1, 1, sizes.width))
        self.mask_token = nn.Parameter(torch.empty(1, 1, sizes.width))

    def forward(self, pixels_BCHW: torch.Tensor, masked_BP: torch.Tensor | None) -> torch.Tensor:
        x_BPD = self.proj(pixels_BCHW).flatten(2).transpose(1, 2)
        if masked_BP is not None:
            x_BPD = torch.where(masked_BP.bool()[..., None], self.mask_token.to(x_BPD.dtype), x_BPD)
        return torch.cat([self.cls_token.expand(x_BPD.shape[0], -1, -1), x_BPD], 1)


class Encoder(nn.Module):
    """Positions, layers, closing norm."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.embed_positions = nn.ModuleDict({
            "A": nn.Embedding(sizes.patches + 1 + _UNREAD, sizes.width),
            "B": nn.Embedding(sizes.positions, sizes.width),
        })  # fmt: skip
        self.layers = nn.ModuleList(Layer(sizes.width, sizes.mlp, sizes.heads) for _ in range(sizes.layers))
        if sizes.norm:
            self.layer_norm = Both(lambda: nn.LayerNorm(sizes.width, eps=EPS))
        self.norm = sizes.norm

    def place(self, x_BND: torch.Tensor, branch: str) -> torch.Tensor:
        """Add the positions of one modality; they are read from row 2 on."""
        table = self.embed_positions[branch].weight
        if x_BND.shape[1] + _UNREAD > table.shape[0]:
            raise ValueError(f"a sequence of {x_BND.shape[1]}, but there are {table.shape[0] - _UNREAD} positions")
        return x_BND + table[_UNREAD : _UNREAD + x_BND.shape[1]]

    def forward(self, x_BSD: torch.Tensor, split: int, seen_BSS: torch.Tensor | None) -> torch.Tensor:
        for layer in self.layers:
            x_BSD = layer(x_BSD, split, seen_BSS)
        return self.layer_norm(x_BSD, split) if self.norm else x_BSD


class Trunk(nn.Module):
    """BEiT-3 without a head."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.text_embed = nn.Embedding(sizes.vocab, sizes.width)
        self.vision_embed = VisionEmbed(sizes)
        self.encoder = Encoder(sizes)

    def forward(
        self, pixels_BCHW: torch.Tensor | None = None, ids_BL: torch.Tensor | None = None,
        real_BL: torch.Tensor | None = None, masked_BP: torch.Tensor | None = None, causal: bool = False,
    ) -> torch.Tensor:  # fmt: skip
        """[B,S,D]: image positions, then text. real: true on words. causal: text sees the image and earlier text only,
        the image itself only (captioning)."""
        parts, split = [], 0
        if pixels_BCHW is not None:
            parts.append(self.encoder.place(self.vision_embed(pixels_BCHW, masked_BP), "A"))
            split = parts[0].shape[1]
        if ids_BL is not None:
            words = self.encoder.place(self.text_embed(ids_BL), "B")
            parts.append(words if real_BL is None else words * real_BL[..., None].to(words.dtype))
        x_BSD = torch.cat(parts, 1)
        return self.encoder(x_BSD, split, _seen(x_BSD, split, real_BL, causal))


def _seen(x_BSD: torch.Tensor, split: int, real_BL: torch.Tensor | None, causal: bool) -> torch.Tensor | None:
    """[B,S,S]: which position sees which; None: all see all."""
    if real_BL is None and not causal:
        return None
    rows, length = x_BSD.shape[:2]
    seen = torch.ones(rows, length, length, dtype=torch.bool, device=x_BSD.device)
    if causal:
        seen = seen.tril()
        seen[:, :split, :split] = True
    if real_BL is not None:
        seen[:, :, split:] &= real_BL.bool()[:, None]
    return seen
