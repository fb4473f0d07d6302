"""Sound from noise: latent diffusion of spectrograms, then a vocoder (AudioLDM, arXiv 2301.12503; AudioLDM2).

Takes cond [N,D] (AudioLDM: N = 1; AudioLDM2 also words [L,E]) and optionally negative; gives audio and its log-mel.
Suffixes: B rows, Z latent channels, T frames, M mel bands.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from anyany.api.torch import (
    Audio,
    Build,
    Captions,
    Component,
    Context,
    Rows,
    Schedule,
    Wish,
    denoise,
    load_parts,
    network_of,
    scheduler_of,
)
from anyany_audio import diffusion_parts
from anyany_audio.hifi_gan import waves
from anyany_audio.mel_wave import MelShape, wave_of
from anyany_audio.prompts import Prompts

Conds = tuple[torch.Tensor, ...]


class AudioDiffusion(Component):
    """Options: `AudioDiffusionConfig`; weights as a diffusers pipeline folder, or random."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        self.plan = diffusion_parts.read(config, build)
        for name, part in self.plan.parts.items():
            self.add_module(name, network_of(part))
        vocoder = self.plan.parts.get("vocoder")
        if vocoder is None:
            self.shape = MelShape(rate=config.rate, mels=config.mels, hop=math.prod(config.upsample))
        else:
            found: Any = self.vocoder
            found.mean, found.scale = found.mean.to(build.dtype), found.scale.to(build.dtype)
            sizes = found.config
            self.shape = MelShape(rate=int(sizes.sampling_rate), mels=int(sizes.model_in_dim),
                                  hop=math.prod(sizes.upsample_rates))  # fmt: skip
        if self.shape.mels % self.plan.factor:
            raise ValueError(f"{self.shape.mels} mel bands are no multiple of {self.plan.factor}, those of one latent")
        self.captions = None if self.plan.text is None else Captions(self.plan.text, build)
        self.prompts = Prompts(self, build, self.plan.way == "pair")

    def load(self, stores: Sequence[Any], build: Build) -> None:
        """Each part under its name, strictly."""
        load_parts(self, self.plan.parts, stores, build)

    # calls -----------------------------------------------------------------------------------------------------------
    def audio(self, ctx: Context, cond: Rows, words: Rows | None = None,
              negative: Rows | None = None) -> dict[str, Rows]:  # fmt: skip
        """cond, negative: B rows [N,D]; words: B rows [L,E]. audio: B sounds, mono; mel: B log-mels [T,M].

        Raises ValueError for conditioning that this model does not take, and for a length that it cannot make.
        """
        mels = [self._mel(ctx, s) for s in self._samples(ctx, self._wishes(ctx, cond, words, negative))]
        cuts = [int(round(self.shape.rate * s, 6)) for s in self._seconds(ctx)]
        sounds = [Audio(w[None, :n], self.shape.rate) for w, n in zip(self._waves(ctx, mels), cuts)]
        return {"audio": ctx.rows(sounds), "mel": ctx.rows(mels)}

    def _samples(self, ctx: Context, wishes: Sequence[Wish]) -> list[torch.Tensor]:
        ask = self._ask(ctx.dtype)
        if "vocoder" in self.plan.parts:
            return denoise(ctx, wishes, ask, lambda steps: self._schedule(steps, ctx))
        # Griffin-Lim makes other phases of what differs by 1e-7, as a batch does: each row runs alone.
        found = []
        for key, wish in zip(ctx.keys, wishes):
            alone = copy.copy(ctx)
            alone.keys = [key]
            found += denoise(alone, [wish], ask, lambda steps: self._schedule(steps, ctx))
        return found

    def embed(self, ctx: Context, text: Rows) -> dict[str, Rows]:
        """text: B captions. features: B rows [N,D], what `audio` takes as cond; of AudioLDM2 also words."""
        found = self._encode(text.list(), ctx)
        names = ("features", "words")
        return {name: ctx.rows(list(values)) for name, values in zip(names, zip(*found))}

    # conditioning ----------------------------------------------------------------------------------------------------
    def _encode(self, captions: Sequence[str], ctx: Context) -> list[Conds]:
        if self.captions is None:
            return self.prompts.encode(captions, ctx.device)
        return [(c,) for c in self.captions.encode(self.text_encoder, captions, ctx.device)]

    def _wishes(self, ctx: Context, cond: Rows, words: Rows | None, negative: Rows | None) -> list[Wish]:
        plan = self.plan
        steps = ctx.option("steps", self.config.steps or plan.steps)
        own = plan.guidance if self.config.guidance is None else self.config.guidance
        scales = [float(g) for g in ctx.option("guidance", own)]
        found, empty = [], None
        for row, (value, scale) in enumerate(zip(cond, scales)):
            self._check(value)
            conds: Conds = (value,) if words is None else (value, words[row])
            nulls: Conds | None = None
            if scale != 1 and negative is not None:
                nulls = (negative[row],)
            elif scale != 1:
                empty = empty or self._encode([""], ctx)[0]
                nulls = empty
            shape = self._shape(self._seconds(ctx)[row])
            found.append(Wish(conds=conds, nulls=nulls, steps=int(steps[row]), guidance=scale, shape=shape))
        return found

    def _check(self, value: torch.Tensor) -> None:
        width = self._widths()[0]
        if value.dim() != 2 or value.shape[1] != width or not len(value):
            raise ValueError(f"{self.build.node} is conditioned on features [N,{width}], not {list(value.shape)}")
        if self.plan.way == "labels" and len(value) != 1:
            raise ValueError(f"{self.build.node} takes one vector, not {len(value)}: pool them first")

    def _widths(self) -> list[int]:
        """The widths attended to: AudioLDM2 has two for each of its blocks, AudioLDM that of its one vector."""
        sizes = self.unet.config
        width = sizes.projection_class_embeddings_input_dim if self.plan.way == "labels" else sizes.cross_attention_dim
        while isinstance(width, (list, tuple)) and isinstance(width[0], (list, tuple)):
            width = width[0]
        return [w for w in width if w] if isinstance(width, (list, tuple)) else [int(width)]

    # sizes -----------------------------------------------------------------------------------------------------------
    def _seconds(self, ctx: Context) -> list[float]:
        frames = int(self.unet.config.sample_size or 128) * self.plan.factor
        own = frames * self.shape.hop / self.shape.rate
        return [float(s) for s in ctx.option("seconds", self.config.seconds or own)]

    def _shape(self, seconds: float) -> tuple[int, int, int]:
        """[Z,T,M] of latents. Raises ValueError for less than one of them."""
        factor, frames = self.plan.factor, int(round(seconds * self.shape.rate / self.shape.hop, 6))
        if frames < factor:
            least = factor * self.shape.hop / self.shape.rate
            raise ValueError(f"{seconds:g} seconds are too short: {self.build.node} makes at least {least:g}")
        return (int(self.unet.config.in_channels), -(-frames // factor), self.shape.mels // factor)

    # the model -------------------------------------------------------------------------------------------------------
    def _ask(self, dtype: torch.dtype) -> Callable[..., torch.Tensor]:
        unet, way = self.unet, self.plan.way

        def ask(x_BZTM: torch.Tensor, t_B: torch.Tensor, *conds: torch.Tensor) -> torch.Tensor:
            x, given = x_BZTM.to(dtype), [c.to(dtype) for c in conds]
            told = {"encoder_hidden_states": None if way == "labels" else given[0]}
            if way == "labels":
                told["class_labels"] = given[0][:, 0]
            elif way == "pair":
                told["encoder_hidden_states_1"] = given[1]
            found: torch.Tensor = unet(x, t_B, return_dict=False, **told)[0]
            return found

        return ask

    def _schedule(self, steps: int, ctx: Context) -> Schedule:
        return Schedule(scheduler=scheduler_of(self.plan.scheduler, steps, ctx.device))

    def _mel(self, ctx: Context, sample_ZTM: torch.Tensor) -> torch.Tensor:
        """[T,M] log-mel, through the autoencoder where there is one."""
        if "vae" not in self.plan.parts:
            return sample_ZTM[0]
        latents = sample_ZTM[None] / self.vae.config.scaling_factor
        return self.vae.decode(latents.to(ctx.dtype), return_dict=False)[0][0, 0].float()

    def _waves(self, ctx: Context, mels: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        if "vocoder" in self.plan.parts:
            return waves(self.vocoder, mels, ctx.dtype)
        return [wave_of(mel, self.shape).cpu() for mel in mels]

    def probe(self, call: str) -> Callable[[], Any]:
        """One pass of a call on the meta device, for counting its cost; its docstring names the input."""
        if call == "embed" and self.captions is not None:
            encoder, ids = self.text_encoder.to("meta"), torch.zeros(1, 32, dtype=torch.int64, device="meta")
            run: Callable[[], Any] = lambda: encoder(input_ids=ids)  # noqa: E731
            run.__doc__ = "a caption of 32 tokens"
            return run
        shape, n = self._shape(self.config.seconds or 10.24), 1 if self.plan.way == "labels" else 8
        conds = [torch.empty(1, n, width, device="meta") for width in self._widths()]
        ask, x, t = self._ask(torch.float32), torch.empty(1, *shape, device="meta"), torch.zeros(1, device="meta")
        self.unet.to("meta")
        run = lambda: ask(x, t, *conds)  # noqa: E731
        run.__doc__ = f"one step, {'×'.join(map(str, shape))}"
        return run
