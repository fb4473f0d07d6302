"""Perceiver resampler of Flamingo (Alayrac et al. 2022, arXiv 2204.14198): a medium of any length becomes M latents.

features: B x [N,D] (a picture), or frames: B lists of [N,D] (a film) -> [B,M,E]. Names: OpenFlamingo's, without
`perceiver.`. Suffixes: B rows, K media of a sequence, F frames, N tokens of a frame, M latents, D width, A heads.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from anyany.api.torch import Build, Component, Context, Rows
from anyany_adapters.ragged import padded
from anyany_adapters.widths import width


class Attention(nn.Module):
    """Queries from the latents, keys and values from [medium ; latents]; both are normed first."""

    def __init__(self, dim: int, head: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_media, self.norm_latents = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.to_q = nn.Linear(dim, head * heads, bias=False)
        self.to_kv = nn.Linear(dim, 2 * head * heads, bias=False)
        self.to_out = nn.Linear(head * heads, dim, bias=False)

    def forward(self, x_BND: torch.Tensor, latents_BMD: torch.Tensor, real_BN: torch.Tensor | None) -> torch.Tensor:
        x_BND, latents_BMD = self.norm_media(x_BND), self.norm_latents(latents_BMD)
        k, v = self.to_kv(torch.cat([x_BND, latents_BMD], 1)).chunk(2, -1)
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (self.to_q(latents_BMD), k, v))
        score = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        if real_BN is not None:
            seen = nn.functional.pad(real_BN, (0, latents_BMD.shape[1]), value=True)
            score = score.masked_fill(~seen[:, None, None], float("-inf"))
        return self.to_out((score.softmax(-1) @ v).transpose(1, 2).flatten(2))


def feed_forward(dim: int, factor: int) -> nn.Sequential:
    """Norm, linear, exact GELU, linear; no biases."""
    inner = dim * factor
    return nn.Sequential(
        nn.LayerNorm(dim), nn.Linear(dim, inner, bias=False), nn.GELU(), nn.Linear(inner, dim, bias=False)
    )


class PerceiverResampler(Component):
    """Options: `ResamplerConfig`."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        dim = width("inputs", config, build)
        self.latents = nn.Parameter(torch.empty(config.latents, dim))
        if config.max_frames:
            self.frame_embs = nn.Parameter(torch.empty(config.max_frames, dim))
        if config.max_media:
            self.media_time_embs = nn.Parameter(torch.empty(config.max_media, 1, dim))
        self.layers = nn.ModuleList(
            nn.ModuleList([Attention(dim, config.dim_head, config.heads), feed_forward(dim, config.factor)])
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(dim)
        if config.project:
            self.projection = nn.Linear(dim, width("outputs", config, build))

    def rename(self, name: str) -> str:
        """OpenFlamingo's; an older package calls the media embedding otherwise."""
        return {"media_pos_emb": "media_time_embs"}.get(name, name)

    def resample(self, x_BND: torch.Tensor, real_BN: torch.Tensor | None = None) -> torch.Tensor:
        """[B,N,D] with frame and media times already added -> [B,M,D]."""
        latents = self.latents.expand(x_BND.shape[0], -1, -1)
        for attention, forward in self.layers:
            latents = latents + attention(x_BND, latents, real_BN)
            latents = latents + forward(latents)
        return self.norm(latents)

    def with_times(self, frames: list[torch.Tensor], medium: int) -> torch.Tensor:
        """The frames [N,D] of one medium, end to end, with the times of frames and of the medium added."""
        if self.config.max_frames:
            if len(frames) > self.config.max_frames:
                raise ValueError(f"{len(frames)} frames, but the resampler knows {self.config.max_frames}")
            frames = [f + self.frame_embs[i] for i, f in enumerate(frames)]
        x_ND = torch.cat(frames)
        if self.config.max_media:
            if medium >= self.config.max_media:
                raise ValueError(f"medium {medium + 1} of a sequence, but the resampler knows {self.config.max_media}")
            x_ND = x_ND + self.media_time_embs[medium]
        return x_ND

    def media(self, x_BKFND: torch.Tensor) -> torch.Tensor:
        """Sequences of media, as the paper has them: [B,K,F,N,D] -> [B,K,M,D]."""
        rows = [self.with_times(list(x_FND), k) for x_KFND in x_BKFND for k, x_FND in enumerate(x_KFND)]
        return self.resample(torch.stack(rows)).unflatten(0, tuple(x_BKFND.shape[:2]))

    def encode(self, ctx: Context, features: Rows | None = None, frames: Rows | None = None) -> dict[str, Rows]:
        """features: B pictures [N,D]; frames: B lists of [N,D]; with both, the picture comes first. latents: [B,M,E].

        Raises ValueError without either, or for a film without frames.
        """
        if features is None and frames is None:
            raise ValueError("the resampler takes `features` or `frames`; neither was given")
        given = [list(g) for g in frames.groups()] if frames is not None else [[] for _ in ctx.keys]
        if features is not None:
            given = [[first, *rest] for first, rest in zip(features, given)]
        if not all(given):
            raise ValueError("a film without frames")
        places = [key[-1] if len(key) > 1 else 0 for key in ctx.keys]
        latents = self.resample(*padded(Rows([self.with_times(list(g), at) for g, at in zip(given, places)])))
        return {"latents": ctx.rows(self.projection(latents) if self.config.project else latents)}
