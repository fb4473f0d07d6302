"""Perceiver IO over film, sound and class at once, each encoded, decoded or left out (arXiv 2107.14795, section 4.3).

video, audio, label -> latents [B,M,D] -> the same again, at all places or at chosen ones. On transformers.
Suffixes: B rows, N inputs, C their width, M latents, D their width, Q queries, E their width, K values an answer has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from anyany.api.torch import Audio, Build, Component, Context, Rows, Video
from anyany_perceiver.audio import mono
from anyany_perceiver.encoder import LatentTransformer
from anyany_perceiver.layers import official, padded
from anyany_perceiver.modalities import NAMES, Asked, Inputs, sizes_of
from anyany_perceiver.naming import Names
from anyany_perceiver.video import frames_of


class PerceiverIO(Component):
    """Options: `IoConfig`; a checkpoint's config.json overrides the sizes."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        card = build.assets.json("config.json") or {}
        self.sizes = sizes_of(config, card)
        self.names = Names(config.names, card, self.sizes.classes)
        self.input_preprocessor = Inputs(self.sizes, config.inputs)
        self.core = LatentTransformer(config, build, self.input_preprocessor.width)
        self.decoder = Asked(self.sizes, self.core.sizes, config.queries)
        heads = {n: nn.Linear(self.sizes.outputs, self.sizes.output_width(n)) for n in self.decoder.names}
        named = {NAMES[n]: nn.ModuleDict({"classifier": head}) for n, head in heads.items()}
        self.output_postprocessor = nn.ModuleDict({"modalities": nn.ModuleDict(named)})

    def rename(self, name: str) -> str:
        """transformers' names."""
        return official(name)

    # the network -------------------------------------------------------------------------------------------------
    def answers(
        self, name: str, index_BQ: torch.Tensor, latents_BMD: torch.Tensor, real_BM: torch.Tensor | None = None
    ) -> torch.Tensor:
        """[B,Q,K] of a modality at places by their flat index, `chunk` queries at a time."""
        heads: Any = self.output_postprocessor["modalities"]
        head, found = heads[NAMES[name]]["classifier"], []
        for part in index_BQ.split(self.config.chunk, 1):
            found.append(head(self.decoder(self.decoder.query(name, part), latents_BMD, real_BM)))
        return torch.cat(found, 1)

    def everywhere(self, name: str, latents_BMD: torch.Tensor, real_BM: torch.Tensor | None = None) -> torch.Tensor:
        """[B,Q,K] of a modality at all its places."""
        count = int(torch.tensor(self.sizes.places(name), device="cpu").prod())
        index = torch.arange(count, device=latents_BMD.device).expand(len(latents_BMD), -1)
        return self.answers(name, index, latents_BMD, real_BM)

    def probe(self, call: str) -> Callable[[], dict[str, Rows]] | None:
        """For counting: one clip, asked for everywhere."""
        if call != "autoencode":
            return None

        def clip() -> dict[str, Rows]:
            s = self.sizes
            shapes = {"video": (s.frames, 3, s.side, s.side), "audio": (s.wave,), "label": (s.classes,)}
            given = {n: torch.empty(1, *shapes[n], device="meta") for n in self.input_preprocessor.names}
            latents_BMD = self.core(self.input_preprocessor(given, self.config.masked))
            return {n: Rows(self.everywhere(n, latents_BMD)) for n in self.decoder.names}

        clip.__doc__ = f"{self.sizes.frames} frames of {self.sizes.side}×{self.sizes.side}, {self.sizes.wave} samples"
        return clip

    # media -------------------------------------------------------------------------------------------------------
    def _clip(self, name: str, value: Any, at: int = 0) -> torch.Tensor:
        """The clip numbered `at` of a medium: frames [T,3,S,S], the last one repeated; samples [S], silence after."""
        s = self.sizes
        if name == "label":
            return nn.functional.one_hot(torch.tensor(self.names.index(value)), s.classes).float()
        if name == "audio":
            wave = mono(value, self.config.fps * s.samples_per_frame)[at * s.wave : (at + 1) * s.wave]
            return nn.functional.pad(wave, (0, s.wave - len(wave)))
        frames = value.frames[at * s.frames : (at + 1) * s.frames]
        frames = frames if len(frames) else value.frames[-1:]
        ready = frames_of(frames, (s.side, s.side), s.frames)
        return torch.cat([ready, ready[-1:].expand(s.frames - len(ready), -1, -1, -1)])

    def _seconds(self, given: Mapping[str, Any]) -> float:
        """How long the media of one row last."""
        found = [given[n].seconds for n in ("audio", "video") if n in given]
        return float(max(found, default=self.sizes.frames / self.config.fps))

    def _latents(self, ctx: Context, clips: Mapping[str, list[torch.Tensor]]) -> torch.Tensor:
        made = {n: torch.stack(values).to(ctx.device, ctx.dtype) for n, values in clips.items()}
        found: torch.Tensor = self.core(self.input_preprocessor(made, self.config.masked))
        return found

    # calls -------------------------------------------------------------------------------------------------------
    def encode(self, ctx: Context, **given: Rows | None) -> dict[str, Rows]:
        """Ports: those of `inputs`, of which all but the first may be absent. latents: [B,M,D] of the first clip."""
        clips = {n: [self._clip(n, value) for value in rows] for n, rows in given.items() if rows is not None}
        return {"latents": ctx.rows(self._latents(ctx, clips))}

    def decode(self, ctx: Context, latents: Rows) -> dict[str, Rows]:
        """latents: B x [M,D] of any encoder. Of `queries`: video and audio of one clip; label, and its scores."""
        return self._media(ctx, *padded(latents))

    def _media(self, ctx: Context, latents_BMD: torch.Tensor, real_BM: torch.Tensor | None = None) -> dict[str, Rows]:
        out, s, fps = {}, self.sizes, self.config.fps
        if "video" in self.decoder.names:
            pixels_BQK = self.everywhere("video", latents_BMD, real_BM).float().clamp(0, 1)
            frames = pixels_BQK.unflatten(1, s.extent).permute(0, 1, 4, 2, 3).contiguous()
            out["video"] = ctx.rows([Video(one, float(fps)) for one in frames])
        if "audio" in self.decoder.names:
            waves = self.everywhere("audio", latents_BMD, real_BM).float().flatten(1).clamp(-1, 1)
            out["audio"] = ctx.rows([Audio(one[None].cpu(), fps * s.samples_per_frame) for one in waves])
        if "label" in self.decoder.names:
            logits_BK = self.everywhere("label", latents_BMD, real_BM)[:, 0]
            out |= self.names.told(ctx, logits_BK.float(), self.config.top)
        return out

    def autoencode(self, ctx: Context, **given: Rows | None) -> dict[str, Rows]:
        """Media of any length, clip after clip; what comes out has the length of the longest that came in.

        The class is that of all clips together (their mean logits).
        """
        there = {n: rows.list() for n, rows in given.items() if rows is not None}
        results = [self._whole(ctx, {n: values[i] for n, values in there.items()}) for i in range(len(ctx.keys))]
        out = {n: ctx.rows([r[n] for r in results]) for n in ("video", "audio") if n in self.decoder.names}
        if "label" in self.decoder.names:
            out |= self.names.told(ctx, torch.stack([r["label"] for r in results]), self.config.top)
        return out

    def _whole(self, ctx: Context, given: Mapping[str, Any]) -> dict[str, Any]:
        """One row: its film, its sound, its logits [K]."""
        s, fps, seconds = self.sizes, self.config.fps, self._seconds(given)
        count = max(1, -(-round(seconds * fps) // s.frames))
        frames, waves, logits = [], [], []
        for at in range(count):
            ctx.check()
            latents = self._latents(ctx, {n: [self._clip(n, value, at)] for n, value in given.items()})
            made = self._media(ctx, latents)
            frames += [made["video"][0].frames] if "video" in made else []
            waves += [made["audio"][0].samples] if "audio" in made else []
            logits += [self.everywhere("label", latents)[0, 0].float()] if "label" in made else []
        out: dict[str, Any] = {}
        if frames:
            out["video"] = Video(torch.cat(frames)[: max(1, round(seconds * fps))], float(fps))
        if waves:
            rate = fps * s.samples_per_frame
            out["audio"] = Audio(torch.cat(waves, 1)[:, : max(1, round(seconds * rate))], rate)
        return out | ({"label": torch.stack(logits).mean(0)} if logits else {})

    def ask(
        self, ctx: Context, latents: Rows, video_at: Rows | None = None, audio_at: Rows | None = None
    ) -> dict[str, Rows]:
        """Chosen places only: pixels B x [Q,3] and patches of samples B x [Q,P] by their flat index, in that order.

        Raises ValueError for an index outside the clip.
        """
        latents_BMD, real_BM = padded(latents)
        out = {}
        for port, name, rows in (("pixels", "video", video_at), ("samples", "audio", audio_at)):
            if rows is None or name not in self.decoder.names:
                continue
            lists = [torch.as_tensor(one, dtype=torch.long, device=latents_BMD.device).flatten() for one in rows]
            asked = nn.utils.rnn.pad_sequence(lists, batch_first=True)
            if not asked.numel():
                found = latents_BMD.new_zeros(len(lists), 0, self.sizes.output_width(name))
            else:
                found = self.answers(name, asked, latents_BMD, real_BM)
            counts = [len(one) for one in lists]
            out[port] = ctx.rows(torch.cat([f[:n] for f, n in zip(found, counts)]), counts)
        if "label" in self.decoder.names:
            out |= self.names.told(ctx, self.everywhere("label", latents_BMD, real_BM)[:, 0].float(), self.config.top)
        return out
