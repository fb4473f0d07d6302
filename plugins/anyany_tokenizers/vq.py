"""VQ-VAE (van den Oord et al. 2017, 1711.00937) and VQGAN (Esser et al. 2021, 2012.09841): pictures as grids of codes.

image [3,H,W] <-> tokens [N], N = H/f × W/f row by row. Names: taming-transformers or diffusers' VQModel.
Suffixes: B rows, D width of a code, H W sides of the grid, M = B·H·W vectors.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from anyany.api.torch import Build, Component, Context, Rows, load_strict, relayout
from anyany_tokenizers.codebooks import Quantised, make_codebook, perplexity
from anyany_tokenizers.networks import OLD_ATTENTION, attended, coders, is_ldm, ldm_layout
from anyany_tokenizers.pixels import Fit, check_ids, picture, square_side
from anyany_tokenizers.vqvae_net import VqVaeDecoder, VqVaeEncoder


class Vq(Component):
    """Options: `VqConfig`; the checkpoint fixes codes, width of a code and latent channels."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        c = self.sizes = _resolved(config, build)
        self.fit = Fit(size=c.resolution, unit=c.factor, how=c.fit, filter="BILINEAR")
        if c.arch == "vqvae":
            self.encoder = VqVaeEncoder(c.channels, c.blocks, c.hidden)
            self.quant_conv: nn.Module = nn.Conv2d(c.channels, c.dim, 1)
            self.post_quant_conv: nn.Module = nn.Identity()
            self.decoder = VqVaeDecoder(c.dim, c.channels, c.blocks, c.hidden)
        else:
            places = attended(c.nominal, c.multipliers, c.attention)
            self.encoder, self.decoder = coders(c, places, places, c.middle)
            self.quant_conv = nn.Conv2d(c.latent, c.dim, 1)
            self.post_quant_conv = nn.Conv2d(c.dim, c.latent, 1)
        self.quantize = make_codebook(c.codebook, c)

    def load(self, stores: Sequence[Any], build: Build) -> None:
        """Weights under taming's names (its `loss.*` left out) or diffusers', strictly."""
        rules = list(OLD_ATTENTION)
        if any(is_ldm(store) for store in stores):
            rules = ldm_layout([self.sizes.channels * m for m in self.sizes.multipliers])
        store = relayout(stores, rules)
        load_strict(self, store, ignores=("loss.*",), skip=build.skip, dtype=build.dtype, device=build.device)

    # tensors -----------------------------------------------------------------------------------------------------
    def vectors(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """[B,3,f·H,f·W] in -1..1 -> [B,D,H,W] before quantising."""
        return self.quant_conv(self.encoder(x_BCHW))

    def quantised(self, z_BDHW: torch.Tensor, seed: int = 0) -> Quantised:
        """The codes of a grid, flattened over rows, lines and columns."""
        return self.quantize(flat(z_BDHW), seed)

    def looked_up(self, ids_BN: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """[B,H·W] -> [B,D,H,W]."""
        codes_BND = nn.functional.embedding(ids_BN, self.quantize.table)
        return codes_BND.mT.unflatten(2, (height, width))

    def pixels(self, codes_BDHW: torch.Tensor) -> torch.Tensor:
        """[B,D,H,W] -> [B,3,f·H,f·W], about -1..1, not cut."""
        return self.decoder(self.post_quant_conv(codes_BDHW))

    # calls -------------------------------------------------------------------------------------------------------
    def _batch(self, ctx: Context, image: Rows) -> torch.Tensor:
        return self.fit.batch(image.list(), ctx.device, ctx.dtype)

    def encode(self, ctx: Context, image: Rows) -> dict[str, Rows]:
        """image: B pictures. tokens: [B,N]."""
        z_BDHW = self.vectors(self._batch(ctx, image))
        return {"tokens": ctx.rows(self.quantize.search(flat(z_BDHW)).unflatten(0, (len(image), -1)))}

    def decode(self, ctx: Context, tokens: Rows) -> dict[str, Rows]:
        """tokens: B x [N], a square grid each. image: [B,3,H,W] in 0..1."""
        ids_BN = tokens.dense()
        check_ids(ids_BN, self.sizes.codes, self.build.node)
        side = square_side(ids_BN.shape[1], self.build.node)
        return {"image": ctx.rows(picture(self.pixels(self.looked_up(ids_BN, side, side).to(ctx.dtype))))}

    def loss(self, ctx: Context, image: Rows) -> dict[str, Rows]:
        """loss [B]: of the picture (l1 or l2) and of the codes; with the decoded picture, tokens, codes in use."""
        x_BCHW = self._batch(ctx, image)
        z_BDHW = self.vectors(x_BCHW)
        found = self.quantised(z_BDHW, seed_of(ctx))
        codes_BDHW = found.codes_MD.view(z_BDHW.movedim(1, -1).shape).movedim(-1, 1)
        back_BCHW = self.pixels(codes_BDHW.to(ctx.dtype))
        apart = (back_BCHW - x_BCHW).float()
        apart = apart.abs() if self.sizes.reconstruction == "l1" else apart.square()
        rows = len(image)
        ids_BN = found.ids_M.unflatten(0, (rows, -1))
        return {
            "loss": ctx.rows(apart.flatten(1).mean(1) + found.loss_M.view(rows, -1).float().mean(1)),
            "image": ctx.rows(picture(back_BCHW)), "tokens": ctx.rows(ids_BN),
            "perplexity": ctx.rows(perplexity(ids_BN, self.sizes.codes).expand(rows)),
        }  # fmt: skip


def _resolved(config: Any, build: Build) -> Any:
    """The options with what the checkpoint's tensors and its config.json say."""
    found = {k: v for k, v in build.facts.items() if k in ("codes", "dim", "latent") and v is not None}
    card = build.assets.json("config.json") or {}
    if card.get("_class_name") == "VQModel":
        found |= from_diffusers(card)
        if len(found["multipliers"]) != len(config.multipliers):
            raise ValueError(f"the checkpoint of {build.node} has {len(found['multipliers'])} levels; "
                             f"give `with: {{multipliers: {found['multipliers']}}}`")  # fmt: skip
    return dataclasses.replace(config, **found)


def from_diffusers(card: Mapping[str, Any]) -> dict[str, Any]:
    """Options from the config of diffusers' VQModel."""
    widths = card["block_out_channels"]
    levels = len(widths)
    return {
        "channels": widths[0], "multipliers": [w // widths[0] for w in widths], "blocks": card["layers_per_block"],
        "groups": card["norm_num_groups"], "latent": card["latent_channels"], "nominal": 2**levels,
        "dim": card.get("vq_embed_dim") or card["latent_channels"], "codes": card["num_vq_embeddings"],
        "attention": [2 ** (levels - i) for i, name in enumerate(card["down_block_types"]) if "Attn" in name],
        "middle": card.get("mid_block_add_attention", True),
    }  # fmt: skip


def flat(z_BDHW: torch.Tensor) -> torch.Tensor:
    """[B,D,H,W] -> [M,D] over rows, lines and columns."""
    return z_BDHW.movedim(1, -1).flatten(0, -2)


def seed_of(ctx: Context) -> int:
    """A seed that is the rows' own, for what a library draws from a generator."""
    words = ctx.noise_words()
    return 0 if words.is_meta else int(words.sum()) & (2**63 - 1)
