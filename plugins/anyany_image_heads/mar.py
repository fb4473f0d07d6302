"""MAR: pictures from continuous tokens in random order, no codebook (Li et al. 2024, arXiv 2406.11838), official names.

Takes a class (or features [N,D]); gives image [3,H,W] in 0..1, or without its autoencoder the latent [Z,h,w].
Suffixes: R rows, L tokens, V seen, M wanted now, D numbers a token, C width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from anyany.api.torch import Build, Context
from anyany_image_heads import gaussian
from anyany_image_heads.autoencoder import KlAutoencoder, kl_sizes
from anyany_image_heads.head import Batch, FeatureCondition, Head, shown
from anyany_image_heads.mar_transformer import MarTransformer, patches, picked, unpatched

LEAST_MASKED, MEAN_MASKED, SPREAD = 0.7, 1.0, 0.25
"""Share of the tokens masked in training: a normal distribution cut to 0.7..1."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One iteration: how many tokens are masked before and after it; the guidance of each row."""

    before: int
    after: int
    guidance_R: torch.Tensor


class Mar(Head):
    """Options: `MarConfig`."""

    STEPS, GUIDANCE = 256, 2.9
    model: MarTransformer

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        self.model = MarTransformer(config)
        if self.wide:
            self.features = FeatureCondition(self.wide, config.width)
        else:
            self.model.class_emb = torch.nn.Embedding(self.classes, config.width)
            self.model.fake_latent = torch.nn.Parameter(torch.empty(1, config.width))
        if config.autoencoder:
            sizes = kl_sizes(config.vae_width, config.vae_levels, config.vae_blocks, config.channels, True)
            self.vae = KlAutoencoder(sizes, config.vae_scale)

    # conditioning ----------------------------------------------------------------------------------------------------
    @staticmethod
    def classes_of(table: int | None) -> int:
        """No class has a vector of its own beside the table."""
        return table or 0

    def look_up(self, ids_B: torch.Tensor) -> torch.Tensor:
        return self.model.class_emb(ids_B)  # type: ignore[operator]

    def null_C(self) -> torch.Tensor:
        return self.model.fake_latent[0]  # type: ignore[index,return-value]

    # drawing ---------------------------------------------------------------------------------------------------------
    def draw(self, batch: Batch) -> dict[str, torch.Tensor]:
        c, m = self.config, self.model
        order_RL = batch.uniform((m.length,), 0).argsort(1)
        steps = gaussian.ancestral(gaussian.process("cosine", str(c.diffusion_steps)), c.temperature)

        def noise(turn: int, count: int) -> Callable[[int], torch.Tensor]:
            drawn = batch.normal((len(steps) + 1, count, m.token), turn + 1).transpose(0, 1).flatten(1, 2)
            return lambda step: drawn[step]

        tokens = self.fill(order_RL, batch.twice_C, batch, steps, noise)
        latents = unpatched(tokens, c.side, c.patch)
        if self.vae is None:
            return {"latent": latents}
        return {"image": shown(self.vae.decode(latents.to(batch.ctx.dtype)))}

    def turns(self, count: int, guidance_R: torch.Tensor) -> Iterator[Turn]:
        """The iterations: masked tokens fall by a cosine, at least one is left until the last, which takes all."""
        length, left = self.model.length, self.model.length
        for turn in range(count):
            kept = math.floor(length * math.cos(math.pi / 2 * (turn + 1) / count))
            kept = max(1, min(left - 1, kept))
            share = (length - kept) / length if self.config.cfg_schedule == "linear" else 1.0
            after = 0 if turn == count - 1 else kept
            yield Turn(before=left, after=after, guidance_R=1 + (guidance_R - 1) * share)
            left = after

    def fill(self, order_RL: torch.Tensor, twice_C: torch.Tensor, batch: Any, steps: gaussian.Steps,
             noise: Callable[[int, int], Callable[[int], torch.Tensor]],
             watch: Callable[[Turn, torch.Tensor], None] | None = None) -> torch.Tensor:  # fmt: skip
        """[R,L,D] float32: tokens drawn from the end of each row's order to its start.

        twice_C: [R,C], or [2R,C] for guidance. noise(turn, count) gives the draws [R*count, D] of each diffusion step.
        watch: is told each turn and its conditions.
        """
        rows, length = order_RL.shape
        tokens_RLD = torch.zeros(rows, length, self.model.token, device=order_RL.device)
        times = len(twice_C) // rows
        for number, turn in enumerate(self.turns(batch.steps, batch.guidance_R)):
            batch.ctx.check()
            wanted_RM = order_RL[:, turn.after : turn.before].sort(1).values
            if not wanted_RM.shape[1]:
                continue
            seen_RV = order_RL[:, turn.before :].sort(1).values.repeat(times, 1)
            x = self.model.encode(tokens_RLD.repeat(times, 1, 1).to(twice_C.dtype), seen_RV, twice_C)
            z_NC = self.model.decode(x, seen_RV, wanted_RM.repeat(times, 1)).flatten(0, 1)
            if watch is not None:
                watch(turn, z_NC)
            count = wanted_RM.shape[1]
            guidance_N = turn.guidance_R.repeat_interleave(count) if times == 2 else None
            found = self.model.diffloss.sample(z_NC, steps, noise(number, count), guidance_N)
            places = wanted_RM[:, :, None].expand(-1, -1, tokens_RLD.shape[2])
            tokens_RLD.scatter_(1, places, found.unflatten(0, (rows, count)))
        return tokens_RLD

    # training --------------------------------------------------------------------------------------------------------
    def side(self) -> int:
        return self.config.side * self.config.patch * (1 if self.vae is None else self.vae.factor)

    def teach(self, ctx: Context, cond_BC: torch.Tensor, pixels_B3SS: torch.Tensor) -> torch.Tensor:
        """[B]: the diffusion loss of the masked tokens; one share of them for the batch, as its rows are dense."""
        if self.vae is None:
            raise ValueError(f"{self.build.node} has no autoencoder to make latents of pictures with")
        m, many = self.model, self.config.diffusion_repeat
        with torch.no_grad():  # else the autoencoder would learn latents that are easy to draw
            clean_BLD = patches(self.vae.encode(pixels_B3SS).float(), self.config.patch)
        low, high = (torch.special.ndtr(torch.tensor((x - MEAN_MASKED) / SPREAD)) for x in (LEAST_MASKED, 1.0))
        u = ctx.uniform((), 1)[0].cpu()
        rate = float(MEAN_MASKED + SPREAD * torch.special.ndtri(low + u * (high - low)))
        order_BL = ctx.uniform((m.length,), 2).argsort(1)
        masked = min(m.length, math.ceil(m.length * rate))
        t_BKM = (ctx.uniform((many, masked), 3) * len(m.diffloss.process)).long()
        noise_BKMD = ctx.normal((many, masked, m.token), 4)
        return self.masked_loss(clean_BLD, cond_BC, order_BL[:, :masked], t_BKM, noise_BKMD)

    def masked_loss(self, clean_BLD: torch.Tensor, cond_BC: torch.Tensor, masked_BM: torch.Tensor,
                    t_BKM: torch.Tensor, noise_BKMD: torch.Tensor) -> torch.Tensor:  # fmt: skip
        """[B]: mean over the masked places M, each at K random steps."""
        hidden = torch.zeros(clean_BLD.shape[:2], dtype=torch.int8, device=clean_BLD.device).scatter(1, masked_BM, 1)
        seen_BV = hidden.argsort(dim=1, stable=True)[:, : clean_BLD.shape[1] - masked_BM.shape[1]]
        x = self.model.encode(clean_BLD.to(cond_BC.dtype), seen_BV, cond_BC)
        z_BMC = self.model.decode(x, seen_BV, masked_BM)
        many = t_BKM.shape[1]
        target = picked(clean_BLD, masked_BM)[:, None].expand(-1, many, -1, -1)
        z = z_BMC[:, None].expand(-1, many, -1, -1)
        flat = [v.flatten(0, 2) for v in (target, z, t_BKM, noise_BKMD)]
        error, bound = self.model.diffloss.losses(*flat)
        return (error + bound).unflatten(0, (len(clean_BLD), -1)).mean(1)

    def probe(self, call: str) -> Callable[[], Any]:
        """The transformer over all tokens of one picture, and one diffusion step of each, on meta."""
        m, meta = self.model, {"device": "meta"}
        tokens, places = torch.empty(1, m.length, m.token, **meta), torch.zeros(1, m.length, dtype=torch.long, **meta)
        cond, t = torch.empty(1, self.config.width, **meta), torch.zeros(m.length, dtype=torch.long, **meta)

        def one_turn() -> torch.Tensor:
            z = m.decode(m.encode(tokens, places, cond), places, places)
            return m.diffloss.net(tokens[0], t, z[0])

        one_turn.__doc__ = f"{m.length} tokens, one diffusion step each"
        return one_turn
