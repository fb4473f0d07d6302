"""DALL-E 2's diffusion prior as lucidrains/DALLE2-pytorch has it (Ramesh et al. 2022, arXiv 2204.06125), its names.

Text encodings and embedding -> image embedding, by a causal transformer whose last token is a learned query. Embeddings
have length sqrt(D) inside the process. Suffixes: B rows, N text places, T tokens, D width, H heads, h head size.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

HEAT, BUCKETS, FARTHEST, ROTATED = 16.0, 32, 128, 32
NULL_KEY = 1


class Norm(nn.Module):
    """Layer norm with a gain alone; `stable` divides by the row's maximum first. Half precision has its own eps."""

    def __init__(self, width: int, stable: bool = False) -> None:
        super().__init__()
        self.g, self.stable = nn.Parameter(torch.empty(width)), stable

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.stable:
            x = x / x.amax(-1, keepdim=True).detach()
        return F.layer_norm(x, x.shape[-1:], self.g, eps=1e-5 if x.dtype == torch.float32 else 1e-3)


class Rotary(nn.Module):
    """Rotates the first dimensions of queries and keys in neighbouring pairs; its rates are in the checkpoint."""

    def __init__(self, size: int) -> None:
        super().__init__()
        with torch.device("cpu"):
            rates = 1 / 10000 ** (torch.arange(0, size, 2).float() / size)
        self.freqs = nn.Buffer(rates)

    def forward(self, x_TDh: torch.Tensor) -> torch.Tensor:
        """[...,T,h] rotated by its place."""
        places = torch.arange(x_TDh.shape[-2], device=x_TDh.device)
        angles = (places[:, None].float() * self.freqs.float()).repeat_interleave(2, -1)
        front, rest = x_TDh.split([angles.shape[1], x_TDh.shape[-1] - angles.shape[1]], -1)
        one, two = front.unflatten(-1, (-1, 2)).unbind(-1)
        turned = torch.stack([-two, one], -1).flatten(-2)
        return torch.cat([(front * angles.cos() + turned * angles.sin()).to(x_TDh.dtype), rest], -1)


class Attention(nn.Module):
    """Causal cosine attention of many query heads to one head of keys and values, with a learned null key in front."""

    def __init__(self, width: int, head: int, heads: int, rotary: Rotary | None) -> None:
        super().__init__()
        self.heads, self.head = heads, head
        self.norm = Norm(width)
        self.null_kv = nn.Parameter(torch.empty(2, head))
        self.to_q = nn.Linear(width, head * heads, bias=False)
        self.to_kv = nn.Linear(width, 2 * head, bias=False)
        self.rotary_emb = rotary
        self.to_out = nn.Sequential(nn.Linear(head * heads, width, bias=False), Norm(width))

    def forward(self, x_BTD: torch.Tensor, bias_HTK: torch.Tensor) -> torch.Tensor:
        x_BTD = self.norm(x_BTD)
        q = self.to_q(x_BTD).unflatten(2, (self.heads, -1)).transpose(1, 2) * self.head**-0.5
        k, v = self.to_kv(x_BTD).chunk(2, 2)
        if self.rotary_emb is not None:
            q, k = self.rotary_emb(q), self.rotary_emb(k)
        null_k, null_v = (n.expand(len(x_BTD), 1, -1) for n in self.null_kv)
        k, v = torch.cat([null_k, k], 1), torch.cat([null_v, v], 1)
        q, k = F.normalize(q, dim=-1) * math.sqrt(HEAT), F.normalize(k, dim=-1) * math.sqrt(HEAT)
        every = (-1, self.heads, -1, -1)
        out = F.scaled_dot_product_attention(q, k[:, None].expand(every), v[:, None].expand(every), bias_HTK, scale=1.0)
        return self.to_out(out.transpose(1, 2).flatten(2))


class Gate(nn.Module):
    """The first half times SiLU of the second."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        value, gate = x.chunk(2, -1)
        return value * F.silu(gate)


def feed_forward(width: int, ratio: int, inner_norm: bool) -> nn.Sequential:
    """Norm, SwiGLU, an optional norm inside, back to the width; places 3 and 4 keep the official numbering."""
    inside = int(ratio * width)
    return nn.Sequential(
        Norm(width), nn.Linear(width, 2 * inside, bias=False), Gate(),
        Norm(inside) if inner_norm else nn.Identity(), nn.Identity(), nn.Linear(inside, width, bias=False),
    )  # fmt: skip


class Bias(nn.Module):
    """T5's relative bias, one table for all layers; distances count the null key as a place."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.relative_attention_bias = nn.Embedding(BUCKETS, heads)

    def forward(self, tokens: int) -> torch.Tensor:
        """[H,T,T+1], -inf where a key comes later."""
        device = self.relative_attention_bias.weight.device
        back = torch.arange(tokens, device=device)[:, None] - torch.arange(tokens + NULL_KEY, device=device)
        exact, far = BUCKETS // 2, back.clamp(min=0)
        wide = (
            exact
            + (torch.log(far.clamp(min=1).float() / exact) / math.log(FARTHEST / exact) * (BUCKETS - exact)).long()
        )
        bucket = torch.where(far < exact, far, wide.clamp(max=BUCKETS - 1))
        bias = self.relative_attention_bias(bucket).permute(2, 0, 1)
        return bias.masked_fill(back < -NULL_KEY, -math.inf)


class CausalTransformer(nn.Module):
    """[B,T,D] -> [B,T,D]."""

    def __init__(self, config: Any, head: int) -> None:
        super().__init__()
        width = config.width
        rotary = Rotary(min(ROTATED, head)) if config.rotary else None
        self.init_norm = Norm(width) if config.norm_in else nn.Identity()
        self.rel_pos_bias = Bias(config.heads)
        self.layers = nn.ModuleList(
            nn.ModuleList([Attention(width, head, config.heads, rotary),
                           feed_forward(width, config.ratio, config.normformer)])
            for _ in range(config.layers)
        )  # fmt: skip
        self.norm = Norm(width, stable=True)
        self.project_out = nn.Linear(width, width, bias=False)

    def forward(self, x_BTD: torch.Tensor) -> torch.Tensor:
        x_BTD = self.init_norm(x_BTD)
        bias = self.rel_pos_bias(x_BTD.shape[1]).to(x_BTD.dtype)
        for attention, forward in self.layers:  # type: ignore[misc]
            x_BTD = attention(x_BTD, bias) + x_BTD
            x_BTD = forward(x_BTD) + x_BTD
        return self.project_out(self.norm(x_BTD))


class Waves(nn.Module):
    """Sines then cosines of a time, for models without a table of times."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.half = width // 2

    def forward(self, t_B: torch.Tensor) -> torch.Tensor:
        rates = torch.exp(torch.arange(self.half, device=t_B.device) * -(math.log(10000) / (self.half - 1)))
        angles = t_B.float()[:, None] * rates
        return torch.cat([angles.sin(), angles.cos()], 1)


class TimeMlp(nn.Module):
    """Two hidden layers of twice the width: [B,D] -> [B,D*count]."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        inside = 2 * outputs
        self.net = nn.Sequential(
            nn.Sequential(nn.Linear(width, inside), nn.SiLU()), nn.Sequential(nn.Linear(inside, inside), nn.SiLU()),
            nn.Linear(inside, outputs),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x.to(self.net[2].weight.dtype))


class PriorNetwork(nn.Module):
    """The network: noisy image embedding, time and text -> clean image embedding. Names are those under `net.`."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        width = config.width
        self.text_length, self.self_cond = config.text_length, config.self_cond
        self.learned_query = nn.Parameter(torch.empty(width))
        self.null_text_encodings = nn.Parameter(torch.empty(1, config.text_length, width))
        self.null_text_embeds = nn.Parameter(torch.empty(1, config.text_tokens, width))
        self.null_image_embed = nn.Parameter(torch.empty(1, width))
        self.to_text_embeds = nn.ModuleList([_several(width, config.text_tokens)])
        self.to_image_embeds = nn.ModuleList([_several(width, config.image_tokens)])
        times = config.time_tokens * width
        table: nn.Module = nn.Sequential(Waves(width), TimeMlp(width, times))
        if config.time_table:
            table = nn.Embedding(config.time_table, times)
        self.to_time_embeds = nn.ModuleList([table])
        self.causal_transformer = CausalTransformer(config, config.head_width or width // config.heads)

    def forward(self, x_BD: torch.Tensor, t_B: torch.Tensor, text_BD: torch.Tensor,
                words_BND: torch.Tensor | None = None, before_BD: torch.Tensor | None = None,
                drop_text: torch.Tensor | bool = False, drop_image: torch.Tensor | bool = False,
                ) -> torch.Tensor:  # fmt: skip
        """[B,D]. words: all-zero rows are padding. before: the last estimate, for self-conditioning.

        drop_text, drop_image: rows [B] (or all) whose conditions become learned nulls.
        """
        rows, width = x_BD.shape
        text = self.to_text_embeds[0](text_BD).reshape(rows, -1, width)
        image = self.to_image_embeds[0](x_BD).reshape(rows, -1, width)
        words = self._words(words_BND, rows)
        gone_text, gone_image = (_rows(d, x_BD) for d in (drop_text, drop_image))
        words = torch.where(gone_text, self.null_text_encodings, words)
        text = torch.where(gone_text, self.null_text_embeds, text)
        image = torch.where(gone_image, self.null_image_embed, image)
        time = self.to_time_embeds[0](t_B).reshape(rows, -1, width)
        parts = [words, text, time.to(text.dtype), image]
        if self.self_cond:
            parts.append(torch.zeros_like(x_BD)[:, None] if before_BD is None else before_BD[:, None])
        query = self.learned_query.expand(rows, 1, -1)
        return self.causal_transformer(torch.cat([*parts, query], 1))[:, -1]

    def _words(self, words_BND: torch.Tensor | None, rows: int) -> torch.Tensor:
        """[B,N,D] of the full length, learned nulls where there is none."""
        null = self.null_text_encodings.expand(rows, -1, -1)
        if words_BND is None:
            return null
        words = words_BND[:, : self.text_length]
        words = F.pad(words, (0, 0, 0, self.text_length - words.shape[1]))
        return torch.where((words != 0).any(-1, keepdim=True), words, null)


def _several(width: int, count: int) -> nn.Module:
    return nn.Linear(width, width * count) if count > 1 else nn.Identity()


def _rows(drop: torch.Tensor | bool, like: torch.Tensor) -> torch.Tensor:
    gone = drop if isinstance(drop, torch.Tensor) else torch.full((len(like),), drop, device=like.device)
    return gone[:, None, None]
