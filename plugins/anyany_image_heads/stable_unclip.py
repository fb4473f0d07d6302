"""Stable Diffusion's unCLIP (Rombach et al. 2022, arXiv 2112.10752): a picture of a CLIP embedding, as in SEED-LLaMA.

Takes cond [D], the embedding, and optionally words [N,W] of a caption; gives image [3,H,W] in 0..1. The embedding, with
some noise, stands beside that noise's level as the UNet's class [2D]. Suffixes: B rows, D embedding, N words, W width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from diffusers.models.embeddings import get_timestep_embedding
from torch import nn

from anyany.api.torch import (
    Build,
    Context,
    Part,
    Rows,
    init_random,
    load_network,
    load_strict,
    random_text,
    relayout,
    scheduler_of,
)
from anyany_image_heads.blueprint import Blueprint, from_folder
from anyany_image_heads.diffusion import Conds, Diffusion

NOISING = {"class": "DDPMScheduler", "num_train_timesteps": 1000, "beta_schedule": "squaredcos_cap_v2"}
SCHEDULE = {"class": "DDIMScheduler", "num_train_timesteps": 1000, "beta_schedule": "scaled_linear",
            "clip_sample": False, "prediction_type": "v_prediction"}  # fmt: skip


class Normalizer(nn.Module):
    """Mean and deviation of CLIP's embeddings, between which they are noised."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mean, self.std = nn.Parameter(torch.zeros(1, width)), nn.Parameter(torch.ones(1, width))


class StableUnclip(Diffusion):
    """Options: `StableUnclipConfig`; Stable Diffusion 2.1 unCLIP's pipeline folder, or a UNet of the sizes given."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        self.embed_width = int(self.network.config.projection_class_embeddings_input_dim) // 2
        self.image_normalizer = Normalizer(self.embed_width)
        self.noising = dict(build.assets.json("image_noising_scheduler/scheduler_config.json") or NOISING)

    def read(self) -> Blueprint:
        """A pipeline's folders, or the sizes given."""
        c, build = self.config, self.build
        if build.assets.json("unet/config.json") is not None:
            found = from_folder(build)
            if "projection_class_embeddings_input_dim" not in found.denoiser.config:
                raise ValueError(f"the UNet of {build.node} takes no embedding of a picture; use image_heads/diffusion")
            return replace(found, steps=20, guidance=10.0)
        wide = c.cond or build.sizes.get("cond")
        if wide is None:
            raise ValueError(f"nothing fixes the width of {build.node}'s embedding; give `with: {{cond: …}}`")
        unet = {
            "sample_size": c.size or 64, "in_channels": 3, "out_channels": 3, "layers_per_block": 1,
            "block_out_channels": [c.width, 2 * c.width], "norm_num_groups": min(32, c.width),
            "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
            "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"], "cross_attention_dim": c.words or 32,
            "attention_head_dim": c.heads, "class_embed_type": "projection",
            "projection_class_embeddings_input_dim": 2 * wide,
        }  # fmt: skip
        return Blueprint(denoiser=Part(name="UNet2DConditionModel", config=unet), scheduler=SCHEDULE, attribute="unet",
                         steps=20, guidance=10.0, text=random_text(4, c.words or 32))  # fmt: skip

    def load(self, stores: Any, build: Build) -> None:
        """One file strictly, or the pipeline's folders, each strictly; its image encoder is left."""
        store, plan = relayout(stores, ()), self.blueprint
        if not plan.folders:
            load_strict(self, store, skip=build.skip, dtype=build.dtype, device=build.device)
            return
        parts = {"unet": plan.denoiser, "vae": plan.vae, "text_encoder": plan.text and plan.text.part}
        for name, part in parts.items():
            if part is not None:
                setattr(self, name, load_network(part, store, build, prefix=f"{name}."))
        load_strict(self.image_normalizer, store.under("image_normalizer."), dtype=build.dtype, device=build.device)

    def init_random(self, seed: int) -> None:
        """Drawn, but embeddings are noised as they come."""
        init_random(self, seed, dtype=self.build.dtype, device=self.build.device)
        nn.init.zeros_(self.image_normalizer.mean)
        nn.init.ones_(self.image_normalizer.std)

    # conditioning ----------------------------------------------------------------------------------------------------
    def image(self, ctx: Context, cond: Rows, negative: Rows | None = None, words: Rows | None = None,
              start: Rows | None = None, mask: Rows | None = None) -> dict[str, Rows]:  # fmt: skip
        """cond: B embeddings [D] (of features [N,D] the mean); words, negative: B x [N,W] of captions, what to draw and
        what to keep away from. image: [B,3,H,W] in 0..1."""
        values, nulls = self._conds(ctx, cond, words), None
        if negative is not None:
            nulls = [(torch.zeros_like(v[0]), n.to(v[1])) for v, n in zip(values, negative)]
        return self.drawn(ctx, values, nulls, self._starts(ctx, start, mask))

    def loss(self, ctx: Context, cond: Rows, image: Rows, words: Rows | None = None) -> dict[str, Rows]:
        """cond and words as in `image`; image: B pictures. loss: [B], of one random step."""
        return self.lost(ctx, self._conds(ctx, cond, words), image)

    def _conds(self, ctx: Context, cond: Rows, words: Rows | None) -> list[Conds]:
        """Of each row the noised embedding with its level [2D], and words [N,W]: the caption's, or no caption's."""
        vectors_BD = torch.stack([self._vector(v) for v in cond]).float()
        levels = ctx.option("noise_level", self.config.noise_level)
        level_B = torch.tensor([int(n) for n in levels], device=vectors_BD.device)
        noise_BD = ctx.within("embedding", ctx.device, ctx.dtype).normal((self.embed_width,))
        mean, std = self.image_normalizer.mean.float(), self.image_normalizer.std.float()
        noised_BD = scheduler_of(self.noising).add_noise((vectors_BD - mean) / std, noise_BD, level_B) * std + mean
        told_BD = get_timestep_embedding(level_B, self.embed_width, flip_sin_to_cos=True, downscale_freq_shift=0)
        both = torch.cat([noised_BD, told_BD], 1).to(ctx.dtype)
        said = [self._silence(ctx)] * len(both) if words is None else [w.to(ctx.device, ctx.dtype) for w in words]
        return list(zip(both, said))

    def _vector(self, value: torch.Tensor) -> torch.Tensor:
        """[D]. Raises ValueError for an embedding of another width, and for features without length."""
        if value.shape[-1] != self.embed_width or 0 in value.shape:
            raise ValueError(f"{self.build.node} draws embeddings of {self.embed_width}, not {list(value.shape)}")
        return value.mean(0) if value.dim() > 1 else value

    def _silence(self, ctx: Context) -> torch.Tensor:
        """[N,W] of the empty caption."""
        assert self.captions is not None
        return self.captions.encode(self.text_encoder, [""], ctx.device)[0].to(ctx.dtype)

    def null(self, conds: Conds, ctx: Context) -> Conds:
        """No embedding and no caption."""
        return torch.zeros_like(conds[0]), self._silence(ctx)

    def ask(self, ctx: Context) -> Callable[..., torch.Tensor]:
        """One pass of the UNet: `ask(x, t, embedding and level, words)`."""

        def one(x: torch.Tensor, t_B: torch.Tensor, both_BE: torch.Tensor, words_BNW: torch.Tensor) -> torch.Tensor:
            told = {"encoder_hidden_states": words_BNW, "class_labels": both_BE}
            return self.network(x.to(ctx.dtype), t_B, return_dict=False, **told)[0]

        return one

    def probe(self, call: str) -> Callable[[], Any]:
        """One step of one picture, on meta."""
        network, side = self._on_meta(self.network), self.side
        x, t = torch.empty(1, self.channels, side, side, device="meta"), torch.zeros(1, device="meta")
        both = torch.empty(1, 2 * self.embed_width, device="meta")
        words = torch.empty(1, 77, int(network.config.cross_attention_dim), device="meta")

        def one_step() -> torch.Tensor:
            return network(x, t, encoder_hidden_states=words, class_labels=both, return_dict=False)[0]

        one_step.__doc__ = f"one step, {self.channels}×{side}×{side}"
        return one_step
