"""ImageBind: six modalities in one space (Girdhar et al. 2023, arXiv 2305.05665), written from the paper and its facts.

Each call gives an embedding [E] and, but for text, patch features [N,E] of length one, as NExT-GPT reads them.
Released weights are CC BY-NC-SA 4.0. Shape suffixes: B rows, S clips, T tokens, N patches, D width, E shared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from anyany.api.torch import Audio, Build, Component, Context, Rows, Video
from anyany_vision.clip_text import Words as Tokens
from anyany_vision.imagebind_audio import clips_of, log_mel, network_input
from anyany_vision.imagebind_parts import Scale, TextHead, Trunk, head, patches
from anyany_vision.pictures import prepared

FIXED = {"audio": 20.0, "depth": 5.0, "thermal": 10.0, "imu": 5.0}
"""Scales that are not learned; a checkpoint carries them too."""


class ImageBind(Component):
    """Options: `ImageBindConfig`. Names are the official ones."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        shared, kinds = config.shared, tuple(config.modalities)
        self.modality_preprocessors = nn.ModuleDict({k: patches(k, config) for k in kinds})
        self.modality_trunks = nn.ModuleDict(
            {k: Trunk(getattr(config, k), k == "vision", k not in ("vision", "text")) for k in kinds}
        )
        heads: dict[str, nn.Module] = {}
        scales: dict[str, nn.Module] = {}
        for kind in kinds:
            width = getattr(config, kind)[0]
            heads[kind] = TextHead(width, shared) if kind == "text" else head(width, shared, 2 if kind == "imu" else 1)
            if kind == "text":
                scales[kind] = nn.Sequential(nn.Identity(), Scale(True, 1 / 0.07))
            elif kind in FIXED:
                scales[kind] = nn.Sequential(nn.Identity(), Scale(False, FIXED[kind]))
        self.modality_heads, self.modality_postprocessors = nn.ModuleDict(heads), nn.ModuleDict(scales)
        self.tokens = Tokens(build.assets, config.vocab, config.context)

    # the network -------------------------------------------------------------------------------------------------
    def before(self, kind: str, x: torch.Tensor) -> torch.Tensor:
        """[B,T,D] entering the trunk. A picture [B,3,H,W] is shown as two equal frames."""
        if kind == "vision" and x.dim() == 4:
            x = x[:, :, None].expand(-1, -1, 2, -1, -1)
        return self.modality_preprocessors[kind](x)

    def states(self, kind: str, x: torch.Tensor) -> torch.Tensor:
        """[B,T,D] after the trunk."""
        before_BTD = self.before(kind, x)
        mask = None
        if kind == "text":
            count = before_BTD.shape[1]
            mask = self.modality_preprocessors[kind].mask[:count, :count].to(before_BTD)
        return self.modality_trunks[kind](before_BTD, mask)

    def scaled(self, kind: str, embedding: torch.Tensor) -> torch.Tensor:
        """Times the modality's scale, where the options want it."""
        if not self.config.scaled:
            return embedding
        return self.modality_postprocessors[kind](embedding) if kind in self.modality_postprocessors else embedding

    def out(self, kind: str, states: torch.Tensor) -> torch.Tensor:
        """[…,D] -> […,E] of length one."""
        return F.normalize(self.modality_heads[kind](states), dim=-1)

    def embed(self, kind: str, x: torch.Tensor) -> torch.Tensor:
        """[B,E] of pictures, or of clips [B,S,…]: their mean after scaling, which is not normalised again."""
        clips = x if self._clipped(kind, x) else x[:, None]
        states = self.states(kind, clips.flatten(0, 1))[:, 0]
        return self.scaled(kind, self.out(kind, states)).unflatten(0, clips.shape[:2]).mean(1)

    def each(self, kind: str, x: torch.Tensor) -> torch.Tensor:
        """[B,N,E]: every patch through the head, of length one, without scale; of clips the mean place by place."""
        clips = x if self._clipped(kind, x) else x[:, None]
        states = self.states(kind, clips.flatten(0, 1))[:, 1:]
        return self.out(kind, states).unflatten(0, clips.shape[:2]).mean(1)

    @staticmethod
    def _clipped(kind: str, x: torch.Tensor) -> bool:
        return x.dim() == (6 if kind == "vision" else 5)

    def read(self, ids_BT: torch.Tensor) -> torch.Tensor:
        """[B,E] of token ids; the feature is read at the end token, which is the largest id of its row."""
        states_BTD = self.states("text", ids_BT)
        at_B = torch.arange(len(ids_BT), device=ids_BT.device)
        return self.scaled("text", self.out("text", states_BTD[at_B, ids_BT.argmax(-1)]))

    # calls -------------------------------------------------------------------------------------------------------
    def _both(self, ctx: Context, kind: str, x: torch.Tensor) -> dict[str, Rows]:
        x = x.to(ctx.device, ctx.dtype)
        clips = x if self._clipped(kind, x) else x[:, None]
        states_BTD = self.states(kind, clips.flatten(0, 1))
        out = self.out(kind, states_BTD).unflatten(0, clips.shape[:2])
        pooled_BE = self.scaled(kind, out[:, :, 0]).mean(1)
        return {"embedding": ctx.rows(pooled_BE), "patches": ctx.rows(out[:, :, 1:].mean(1))}

    def _picture(self, image: torch.Tensor) -> torch.Tensor:
        return prepared(image, self.config.resolution, self.config.mean, self.config.std, "crop")

    def image(self, ctx: Context, image: Rows) -> dict[str, Rows]:
        """image: B pictures. embedding: [B,E]; patches: [B,N,E]."""
        return self._both(ctx, "vision", torch.stack([self._picture(i) for i in image.list()]))

    def video(self, ctx: Context, video: Rows) -> dict[str, Rows]:
        """video: B films, each as `clips` pairs of frames spread over it. embedding: [B,E]; patches: [B,N,E]."""
        return self._both(ctx, "vision", torch.stack([self._clips(v) for v in video.list()]))

    def _clips(self, video: Video) -> torch.Tensor:
        """[S,3,2,H,W]: the first and last frame of `clips` stretches of two seconds."""
        count = video.frames.shape[0]
        length = min(count, max(1, round(2 * video.fps)))
        gaps = max(1, self.config.clips - 1)
        starts = [round(i * (count - length) / gaps) for i in range(self.config.clips)]
        pairs = [torch.stack([self._picture(video.frames[i]) for i in (s, s + length - 1)], 1) for s in starts]
        return torch.stack(pairs)

    def audio(self, ctx: Context, audio: Rows) -> dict[str, Rows]:
        """audio: B sounds at 16 kHz, three clips of two seconds each. embedding: [B,E]; patches: [B,N,E]."""
        return self._both(ctx, "audio", torch.stack([self._sound(a) for a in audio.list()]))

    def _sound(self, audio: Audio) -> torch.Tensor:
        """[S,1,mel,frames] of a sound's clips."""
        mel, frames = self.config.mel, self.config.frames
        clips = clips_of(audio.samples.mean(0), audio.rate)
        return torch.stack([network_input(log_mel(c, audio.rate, mel, frames)) for c in clips])

    def text(self, ctx: Context, text: Rows) -> dict[str, Rows]:
        """text: B texts. embedding: [B,E]. Raises ValueError beyond the context."""
        rows = [self._ids(t) for t in text.list()]
        longest = max(len(r) for r in rows)
        ids_BT = torch.tensor([r + [0] * (longest - len(r)) for r in rows], device=ctx.device)
        return {"embedding": ctx.rows(self.read(ids_BT))}

    def _ids(self, text: str) -> list[int]:
        ids = [self.tokens.start, *self.tokens.ids(text), self.tokens.end]
        if len(ids) > self.config.context:
            raise ValueError(f"the text is {len(ids)} tokens long; ImageBind reads at most {self.config.context}")
        return ids

    def depth(self, ctx: Context, image: Rows) -> dict[str, Rows]:
        """image: B depth maps in 0..1. embedding: [B,E]; patches: [B,N,E]."""
        return self._both(ctx, "depth", self._grey(image.list()))

    def thermal(self, ctx: Context, image: Rows) -> dict[str, Rows]:
        """image: B thermal pictures in 0..1. embedding: [B,E]; patches: [B,N,E]."""
        return self._both(ctx, "thermal", self._grey(image.list()))

    def _grey(self, images: Sequence[torch.Tensor]) -> torch.Tensor:
        """[B,1,S,S] in 0..1."""
        plain = [prepared(i, self.config.resolution, (0.0,) * 3, (1.0,) * 3, "crop") for i in images]
        return torch.stack(plain)[:, :1]

    def imu(self, ctx: Context, motion: Rows) -> dict[str, Rows]:
        """motion: B recordings [6,T] of a motion sensor. embedding: [B,E]; patches: [B,N,E]."""
        return self._both(ctx, "imu", motion.dense())
