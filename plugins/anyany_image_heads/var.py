"""VAR: pictures by next-scale prediction (Tian et al. 2024, arXiv 2404.02905), under the official names.

Takes a class (or features [N,D]); gives image [3,H,W] in 0..1 and its tokens [L]; without the autoencoder, tokens and
the feature map. Suffixes: R rows, N tokens of a scale, L all, C width, Z channels of a code, V codes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from anyany.api.torch import Build, Context
from anyany_image_heads.head import Batch, FeatureCondition, Head, shown
from anyany_image_heads.var_autoencoder import VarAutoencoder
from anyany_image_heads.var_transformer import Cache, Conditions, VarTransformer

COMPUTED = ("lvl_1L", "attn_bias_for_masking", "zero_k_bias")
Pick = Callable[[torch.Tensor, int], torch.Tensor]


class Var(Head):
    """Options: `VarConfig`. Guidance grows over the scales: at scale k of K its weight is guidance k / (K - 1)."""

    neutral, GUIDANCE = 0.0, 1.5
    model: VarTransformer
    vae: VarAutoencoder

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        self.model = VarTransformer(config)
        self.vae = VarAutoencoder(config)
        if self.wide:
            self.features = FeatureCondition(self.wide, self.model.width)
        else:
            self.model.class_emb = nn.Embedding(self.classes + 1, self.model.width)
        self._known: Any = None

    @property
    def STEPS(self) -> int:  # type: ignore[override]
        """Every scale."""
        return len(self.model.scales)

    def rename(self, name: str) -> str | None:
        return None if name.rpartition(".")[2] in COMPUTED else name

    def look_up(self, ids_B: torch.Tensor) -> torch.Tensor:
        return self.model.class_emb(ids_B)  # type: ignore[operator]

    def null_C(self) -> torch.Tensor:
        return self.model.class_emb.weight[-1]  # type: ignore[union-attr,index,return-value]

    # drawing ---------------------------------------------------------------------------------------------------------
    def draw(self, batch: Batch) -> dict[str, torch.Tensor]:
        c = self.config

        def pick(logits_RNV: torch.Tensor, scale: int) -> torch.Tensor:
            if c.top_k == 1:
                return logits_RNV.argmax(-1)
            u = batch.uniform(tuple(logits_RNV.shape[1:]), scale)
            return (filtered(logits_RNV, c.top_k, c.top_p) - torch.log(-torch.log(u))).argmax(-1)

        ids, f_RZSS = self.grow(batch.cond_RC, batch.null_RC, batch.guidance_R, pick, batch.steps, batch.ctx.check)
        tokens = torch.cat(ids, 1)
        if not c.autoencoder:
            return {"tokens": tokens, "latent": f_RZSS}
        return {"image": shown(self.vae.decode(f_RZSS)), "tokens": tokens}

    def grow(self, cond_RC: torch.Tensor, null_RC: torch.Tensor | None, guidance_R: torch.Tensor, pick: Pick,
             scales: int | None = None, check: Callable[[], None] = lambda: None,
             ) -> tuple[list[torch.Tensor], torch.Tensor]:  # fmt: skip
        """(tokens [R,N] of each scale, feature map [R,Z,S,S]). `pick(logits [R,N,V], scale)` chooses the tokens."""
        m, codes, rows = self.model, self.vae.quantize, len(cond_RC)
        given, cache, logits = self._first(cond_RC, null_RC)
        places, ids, last = m.places(), [], len(m.scales) - 1
        f_RZSS = cond_RC.new_zeros(rows, self.config.latents, m.scales[-1], m.scales[-1])
        for scale in range(min(last + 1, scales or last + 1)):
            check()
            if scale:
                x = m.word_embed(codes.smaller(f_RZSS, scale)) + places[:, cache.used : cache.used + m.counts[scale]]
                logits = m(x if null_RC is None else torch.cat([x, x]), given, cache)
                if null_RC is not None:
                    weight = 1 + guidance_R * (scale / last)
                    logits = torch.lerp(logits[rows:], logits[:rows], weight[:, None, None])
            ids.append(pick(logits, scale))
            f_RZSS = f_RZSS + codes.added(ids[-1], scale)
        return ids, f_RZSS

    def _first(self, cond_RC: torch.Tensor, null_RC: torch.Tensor | None) -> tuple[Conditions, Cache, torch.Tensor]:
        """(modulations, cache, logits [R,N,V]) of the first scale, which guidance leaves alone.

        So of the null rows only keys and values are wanted there. Where all keep away from the same (mostly the null
        class), they are one row, and are kept for the next picture.
        """
        m, rows = self.model, len(cond_RC)
        given = m.conditions(cond_RC)
        cache = m.cache(rows if null_RC is None else 2 * rows, cond_RC)
        first = m.places()[:, : m.counts[0]]
        logits = m(m.start(cond_RC) + first, given, cache.first(rows))
        if null_RC is not None:
            alike = null_RC.stride(0) == 0 or rows == 1
            others, kept = self._kept(null_RC[:1]) if alike else self._null_rows(null_RC)
            given = given.beside(others)
            cache.put(rows, kept)
        cache.used = m.counts[0]
        return given, cache, logits

    def _null_rows(self, null_RC: torch.Tensor) -> tuple[Conditions, Cache]:
        """Modulations of null rows, and what the first scale leaves of them."""
        m = self.model
        given = m.conditions(null_RC)
        cache = m.cache(len(null_RC), null_RC, m.counts[0])
        m(m.start(null_RC) + m.places()[:, : m.counts[0]], given, cache)
        return given, cache

    def _kept(self, null_1C: torch.Tensor) -> tuple[Conditions, Cache]:
        """The same of one row, remembered while neither it nor a weight changes."""
        if torch.is_grad_enabled() and self.training:
            return self._null_rows(null_1C)
        state = [(p.data_ptr(), 0 if p.is_inference() else p._version) for p in self.parameters()]
        if self._known is None or self._known[0] != state or not torch.equal(self._known[1], null_1C):
            self._known = (state, null_1C.clone(), self._null_rows(null_1C))
        return self._known[2]

    # training --------------------------------------------------------------------------------------------------------
    def side(self) -> int:
        return self.model.scales[-1] * self.vae.factor

    def teach(self, ctx: Context, cond_BC: torch.Tensor, pixels_B3SS: torch.Tensor) -> torch.Tensor:
        """[B]: cross-entropy of all tokens of all scales, each from the scales before it."""
        if not self.config.autoencoder:
            raise ValueError(f"{self.build.node} has no autoencoder to make tokens of pictures with")
        with torch.no_grad():
            ids = self.vae.quantize.found(self.vae.encode(pixels_B3SS))
            inputs, _ = self.vae.quantize.grown(ids)
        logits = self.model.teacher_forced(cond_BC, inputs)
        return F.cross_entropy(logits.transpose(1, 2), torch.cat(ids, 1), reduction="none").mean(1)

    def probe(self, call: str) -> Callable[[], Any]:
        """All tokens of one picture once, without guidance, on meta."""
        m, meta = self.model, {"device": "meta"}
        cond = torch.empty(1, m.width, **meta)
        inputs = torch.empty(1, m.length - m.counts[0], self.config.latents, **meta)

        def one_picture() -> torch.Tensor:
            return m.teacher_forced(cond, inputs)

        one_picture.__doc__ = f"{m.length} tokens"
        return one_picture


def filtered(logits: torch.Tensor, top_k: int, top_p: float) -> torch.Tensor:
    """-inf outside the k likeliest (0: all), then outside the smallest set whose mass exceeds p (0 or 1: all)."""
    if 0 < top_k < logits.shape[-1]:
        logits = logits.masked_fill(logits < logits.topk(top_k, -1).values[..., -1:], -math.inf)
    if 0 < top_p < 1:
        ordered, order = logits.sort(-1)
        out = ordered.softmax(-1).cumsum(-1) <= 1 - top_p
        out[..., -1] = False
        logits = logits.masked_fill(torch.zeros_like(out).scatter(-1, order, out), -math.inf)
    return logits
