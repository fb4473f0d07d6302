"""VAR's tokenizer (Tian et al. 2024, arXiv 2404.02905): a picture as token maps of growing sides, each the residual's.

image [3,H,W] <-> tokens [N], N = the sum of n² over the scales n, from coarse to fine. Names: FoundationVision/VAR.
Suffixes: B rows, C width of a code, H W sides of the feature map, n side of a scale, L all tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy
import torch
import torch.nn.functional as F
from torch import nn

from anyany.api.torch import Build, Component, Context, Rows, load_strict, relayout
from anyany_tokenizers.codebooks import perplexity
from anyany_tokenizers.nearest import nearest
from anyany_tokenizers.networks import coders, is_ldm, ldm_layout
from anyany_tokenizers.pixels import Fit, check_ids, picture
from anyany_tokenizers.vq import flat


class ResidualPhis(nn.Module):
    """The 3×3 convolutions that smooth what a scale adds. One for all (`qresi`), or some, shared by nearby scales."""

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        if count == 1:
            self.qresi = nn.Conv2d(width, width, 3, padding=1)
        else:
            self.qresi_ls = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(count))
        self.count = count

    def index(self, scale: int, scales: int) -> int:
        """Which convolution serves a scale: the one whose tick is nearest to where the scale stands."""
        edge = 1 / (3 if self.count == 4 else 2) / self.count
        ticks = numpy.linspace(edge, 1 - edge, self.count)
        return int(numpy.abs(ticks - scale / max(1, scales - 1)).argmin())

    def at(self, scale: int, scales: int) -> nn.Module:
        """The convolution of a scale."""
        return self.qresi if self.count == 1 else self.qresi_ls[self.index(scale, scales)]


class MultiscaleQuantiser(nn.Module):
    """VAR's `VectorQuantizer2`. sides: the scales; `f` is a feature map [B,C,H,W], H = W = the last side."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.sides, self.beta = tuple(config.scales), config.beta
        self.ratio, self.cosine = config.residual, config.cosine
        self.embedding = nn.Embedding(config.codes, config.dim)
        self.quant_resi = ResidualPhis(config.dim, config.phis)
        self.register_buffer("ema_vocab_hit_SV", torch.zeros(len(self.sides), config.codes))

    def search(self, z_BCnn: torch.Tensor) -> torch.Tensor:
        """[B,n²]: the codes of a map."""
        z_MC, table = flat(z_BCnn), self.embedding.weight
        if self.cosine:
            z_MC, table = F.normalize(z_MC.float(), dim=-1), F.normalize(table.float(), dim=-1)
        return nearest(z_MC, table, cosine=self.cosine).view(len(z_BCnn), -1)

    def added(self, ids_BN: torch.Tensor, scale: int) -> torch.Tensor:
        """[B,C,H,W]: what the tokens of a scale add to the feature map."""
        side = self.sides[scale]
        h_BCHW = self.embedding(ids_BN).mT.unflatten(2, (side, side))
        if scale < len(self.sides) - 1:
            full = (self.sides[-1], self.sides[-1])
            h_BCHW = F.interpolate(h_BCHW, full, mode="bicubic").contiguous()
        phi = self.quant_resi.at(scale, len(self.sides))
        return h_BCHW * (1 - self.ratio) + phi(h_BCHW) * self.ratio

    def walk(self, f_BCHW: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """(tokens [B,n²], feature map so far [B,C,H,W]) scale by scale."""
        rest, so_far = f_BCHW.detach().clone(), torch.zeros_like(f_BCHW)
        for scale, side in enumerate(self.sides):
            last = scale == len(self.sides) - 1
            ids_BN = self.search(rest if last else F.interpolate(rest, (side, side), mode="area"))
            added = self.added(ids_BN, scale)
            so_far = so_far + added
            rest = rest - added.detach()
            yield ids_BN, so_far

    def grown(self, ids: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """[B,C,H,W] after each of the scales whose tokens [B,n²] are given."""
        maps: list[torch.Tensor] = []
        for scale, ids_BN in enumerate(ids):
            added = self.added(ids_BN, scale)
            maps.append(maps[-1] + added if maps else added)
        return maps

    def next_input(self, so_far: torch.Tensor, scale: int) -> torch.Tensor:
        """[B,C,n,n]: what predicts the scale after `scale`; the whole map after the last."""
        if scale == len(self.sides) - 1:
            return so_far
        side = self.sides[scale + 1]
        return F.interpolate(so_far, (side, side), mode="area")

    def inputs(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """[B,L-n0²,C]: a transformer's inputs for all scales but the first, from `grown` (teacher forcing)."""
        return torch.cat([self.next_input(m, k).flatten(2).mT for k, m in enumerate(maps[:-1])], 1)

    def forward(self, f_BCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
        """(feature map with gradients straight through, loss [B], tokens of each scale)."""
        loss_B, ids = f_BCHW.new_zeros(len(f_BCHW)), []
        so_far = f_BCHW
        for ids_BN, so_far in self.walk(f_BCHW):
            ids.append(ids_BN)
            commit, own = so_far.detach() - f_BCHW, so_far - f_BCHW.detach()
            loss_B = loss_B + self.beta * commit.square().flatten(1).mean(1) + own.square().flatten(1).mean(1)
        return f_BCHW + (so_far - f_BCHW).detach(), loss_B / len(self.sides), ids


class MultiscaleVq(Component):
    """Options: `MultiscaleVqConfig`. The lowest level has attention, in encoder and decoder."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        c = self.config
        self.fit = Fit(size=c.resolution, unit=c.factor, how=c.fit, filter="LANCZOS", over=c.over)
        places = [level == len(c.multipliers) - 1 for level in range(len(c.multipliers))]
        self.encoder, self.decoder = coders(c, places, places)
        self.quantize = MultiscaleQuantiser(c)
        self.quant_conv = nn.Conv2d(c.latent, c.dim, c.kernel, padding=c.kernel // 2)
        self.post_quant_conv = nn.Conv2d(c.dim, c.latent, c.kernel, padding=c.kernel // 2)
        self.counts = [side * side for side in c.scales]

    def load(self, stores: Sequence[Any], build: Build) -> None:
        """Weights under VAR's names, strictly; usage counts of another number of scales are left, as VAR does."""
        rules = []
        if any(is_ldm(store) for store in stores):
            rules = ldm_layout([self.config.channels * m for m in self.config.multipliers])
        store = relayout(stores, rules)
        hits = "quantize.ema_vocab_hit_SV"
        other = hits in store and store.shape(hits)[0] != len(self.config.scales)
        kept = self.quantize.ema_vocab_hit_SV
        if other:
            self.quantize.ema_vocab_hit_SV = None
        load_strict(self, store, skip=(*build.skip, *([hits] if other else [])), dtype=build.dtype, device=build.device)
        if other:
            self.quantize.ema_vocab_hit_SV = torch.zeros(kept.shape, device=build.device, dtype=build.dtype)

    # tensors -----------------------------------------------------------------------------------------------------
    def features(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """[B,3,·,·] in -1..1 -> the feature map [B,C,H,W]."""
        return self.quant_conv(self.encoder(x_BCHW))

    def pixels(self, f_BCHW: torch.Tensor) -> torch.Tensor:
        """[B,C,H,W] -> [B,3,·,·], about -1..1, not cut."""
        return self.decoder(self.post_quant_conv(f_BCHW))

    # calls -------------------------------------------------------------------------------------------------------
    def _batch(self, ctx: Context, image: Rows) -> torch.Tensor:
        return self.fit.batch(image.list(), ctx.device, ctx.dtype)

    def encode(self, ctx: Context, image: Rows) -> dict[str, Rows]:
        """image: B pictures. tokens: [B,L], coarse to fine."""
        found = self.quantize.walk(self.features(self._batch(ctx, image)))
        return {"tokens": ctx.rows(torch.cat([ids for ids, _ in found], 1))}

    def decode(self, ctx: Context, tokens: Rows) -> dict[str, Rows]:
        """tokens: B x [L]. image: [B,3,H,W] in 0..1."""
        ids_BL = tokens.dense()
        check_ids(ids_BL, self.config.codes, self.build.node)
        if ids_BL.shape[1] != sum(self.counts):
            raise ValueError(f"{self.build.node} decodes {sum(self.counts)} tokens, those of its scales, "
                             f"not {ids_BL.shape[1]}")  # fmt: skip
        maps = self.quantize.grown(ids_BL.split(self.counts, 1))
        return {"image": ctx.rows(picture(self.pixels(maps[-1])))}

    def loss(self, ctx: Context, image: Rows) -> dict[str, Rows]:
        """loss [B]: l1 or l2 of the picture, and the codes' over all scales; with the decoded picture and tokens."""
        x_BCHW = self._batch(ctx, image)
        f_BCHW, loss_B, ids = self.quantize(self.features(x_BCHW))
        back_BCHW = self.pixels(f_BCHW)
        apart = (back_BCHW - x_BCHW).float()
        apart = apart.abs() if self.config.reconstruction == "l1" else apart.square()
        ids_BL = torch.cat(ids, 1)
        return {
            "loss": ctx.rows(apart.flatten(1).mean(1) + loss_B.float()), "image": ctx.rows(picture(back_BCHW)),
            "tokens": ctx.rows(ids_BL),
            "perplexity": ctx.rows(perplexity(ids_BL, self.config.codes).expand(len(image))),
        }  # fmt: skip
