"""DALL-E 2's decoder: a picture of an image embedding (Ramesh et al. 2022, arXiv 2204.06125), on diffusers' UNet.

Takes cond [D], the embedding, and optionally words [N,W] of the caption; gives image [3,H,W] in 0..1. The embedding is
added to the time's and becomes four tokens beside the words. Suffixes: B rows, D embedding, N words, W their width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from anyany.api.torch import Build, Context, Part, Rows, load_network, load_strict, relayout
from anyany_image_heads.blueprint import Blueprint, from_folder
from anyany_image_heads.diffusion import Conds, Diffusion

TOKENS = 4
SCHEDULE = {"class": "DDIMScheduler", "num_train_timesteps": 1000, "beta_schedule": "squaredcos_cap_v2",
            "clip_sample": False}  # fmt: skip


class Unclip(Diffusion):
    """Options: `UnclipConfig`; Kandinsky 2.2's decoder as a pipeline folder, or a UNet of the sizes given."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        settings: Any = self.network.config
        self.own = settings.addition_embed_type != "image"
        self.embed_width = int(settings.encoder_hid_dim or settings.projection_class_embeddings_input_dim)
        if self.own:
            wide = int(settings.cross_attention_dim)
            self.tokens = nn.Linear(self.embed_width, TOKENS * wide)
            self.word_tokens = nn.Linear(self._word_width(), wide)

    def _word_width(self) -> int:
        return int(self.build.facts.get("words") or self.config.words or self.build.sizes.get("words") or 1)

    def read(self) -> Blueprint:
        """A pipeline's folders, or the sizes given."""
        if self.build.assets.json("unet/config.json") is not None:
            return from_folder(self.build)
        c, build = self.config, self.build
        wide = build.facts.get("cond") or c.cond or build.sizes.get("cond")
        if wide is None:
            raise ValueError(f"nothing fixes the width of {build.node}'s embedding; give `with: {{cond: …}}`")
        deep = len(c.levels) - 1
        unet = {
            "sample_size": c.size or 64, "in_channels": 3, "out_channels": 3, "layers_per_block": c.blocks,
            "block_out_channels": [c.width * m for m in c.levels], "norm_num_groups": min(32, c.width),
            "down_block_types": ["DownBlock2D"] + ["CrossAttnDownBlock2D"] * deep,
            "up_block_types": ["CrossAttnUpBlock2D"] * deep + ["UpBlock2D"], "cross_attention_dim": c.inside,
            "attention_head_dim": c.heads, "class_embed_type": "projection",
            "projection_class_embeddings_input_dim": wide,
        }  # fmt: skip
        return Blueprint(denoiser=Part(name="UNet2DConditionModel", config=unet), scheduler=SCHEDULE, attribute="unet",
                         steps=50, guidance=4.0)  # fmt: skip

    def load(self, stores: Any, build: Build) -> None:
        """One file strictly; Kandinsky's folders, whose autoencoder is called `movq`."""
        store = relayout(stores, ())
        if not self.blueprint.folders:
            load_strict(self, store, skip=build.skip, dtype=build.dtype, device=build.device)
            return
        self.unet = load_network(self.blueprint.denoiser, store, build, prefix="unet.")
        if self.blueprint.vae is not None:
            self.vae = load_network(self.blueprint.vae, store, build, prefix="movq.")

    # conditioning ----------------------------------------------------------------------------------------------------
    def image(self, ctx: Context, cond: Rows, negative: Rows | None = None, words: Rows | None = None,
              start: Rows | None = None, mask: Rows | None = None) -> dict[str, Rows]:  # fmt: skip
        """cond, negative: B embeddings [D] (of features [N,D] the mean); words: B x [N,W]. image: [B,3,H,W] in 0..1."""
        values, nulls = self._conds(cond, words), None
        if negative is not None:
            nulls = [(self._vector(n), *(torch.zeros_like(w) for w in v[1:])) for n, v in zip(negative, values)]
        return self.drawn(ctx, values, nulls, self._starts(ctx, start, mask))

    def loss(self, ctx: Context, cond: Rows, image: Rows, words: Rows | None = None) -> dict[str, Rows]:
        """cond and words as in `image`; image: B pictures. loss: [B], of one random step."""
        return self.lost(ctx, self._conds(cond, words), image)

    def _conds(self, cond: Rows, words: Rows | None) -> list[Conds]:
        if words is None or not self.own:
            return [(self._vector(v),) for v in cond]
        return [(self._vector(v), w) for v, w in zip(cond, words)]

    def _vector(self, value: torch.Tensor) -> torch.Tensor:
        """[D]. Raises ValueError for an embedding of another width, and for features without length."""
        if value.shape[-1] != self.embed_width or 0 in value.shape:
            raise ValueError(f"{self.build.node} draws embeddings of {self.embed_width}, not {list(value.shape)}")
        return value.mean(0) if value.dim() > 1 else value

    def null(self, conds: Conds, ctx: Context) -> Conds:
        """Zeros, as both were dropped in training."""
        return tuple(torch.zeros_like(c) for c in conds)

    def ask(self, ctx: Context) -> Callable[..., torch.Tensor]:
        """One pass of the UNet: `ask(x, t, embedding, words)`."""

        def one(x: torch.Tensor, t_B: torch.Tensor, embed_BD: torch.Tensor,
                words_BNW: torch.Tensor | None = None) -> torch.Tensor:  # fmt: skip
            told: dict[str, Any] = {"encoder_hidden_states": None, "added_cond_kwargs": {"image_embeds": embed_BD}}
            if self.own:
                tokens = self.tokens(embed_BD).unflatten(1, (TOKENS, -1))
                if words_BNW is not None:
                    tokens = torch.cat([tokens, self.word_tokens(words_BNW)], 1)
                told = {"encoder_hidden_states": tokens, "class_labels": embed_BD}
            return self.unet(x.to(ctx.dtype), t_B, return_dict=False, **told)[0][:, : self.answers]

        return one

    def _decode(self, sample_BCHW: torch.Tensor, ctx: Context) -> torch.Tensor:
        if self.vae is None:
            return sample_BCHW
        return self.vae.decode(sample_BCHW.to(ctx.dtype), force_not_quantize=True, return_dict=False)[0].float()

    def _encode(self, pixels_B3HW: torch.Tensor, ctx: Context) -> torch.Tensor:
        if self.vae is None:
            return pixels_B3HW.float()
        return self.vae.encode(pixels_B3HW.to(ctx.dtype)).latents.float()

    def probe(self, call: str) -> Callable[[], Any]:
        """One step of one picture, on meta."""
        from types import SimpleNamespace

        ask = self.ask(SimpleNamespace(dtype=torch.float32))
        network = self._on_meta(self.unet)
        assert network is self.unet
        x = torch.empty(1, self.channels, self.side, self.side, device="meta")
        t, embed = torch.zeros(1, device="meta"), torch.empty(1, self.embed_width, device="meta")

        def one_step() -> torch.Tensor:
            return ask(x, t, embed)

        one_step.__doc__ = f"one step, {self.channels}×{self.side}×{self.side}"
        return one_step
