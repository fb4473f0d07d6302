"""DALL-E 2's prior (Ramesh et al. 2022, arXiv 2204.06125): a caption's embedding becomes a picture's.

Takes text [D] of CLIP and optionally words [N,W]; gives embedding [D]. By diffusion (diffusers' PriorTransformer, or
lucidrains' network) or autoregression. Suffixes: B rows, N text places, D embedding, W width of the words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import PriorTransformer, UnCLIPScheduler
from torch import nn

from anyany.api.torch import Build, Component, Context, DrawnNoise, Part, Rows, load_strict, network_of, relayout
from anyany_image_heads import gaussian
from anyany_image_heads.prior_ar import AutoregressivePrior
from anyany_image_heads.prior_lucidrains import PriorNetwork

EMBED = 768
CLIPPED = 5.0
"""PriorTransformer's estimates are cut here, in its own normalised unit."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """Rows that run together. words are padded, `real` is true on their own; noise(step) gives [B,D] draws."""

    text_BD: torch.Tensor
    words_BNW: torch.Tensor
    real_BN: torch.Tensor
    guidance_B: torch.Tensor
    guided: bool
    steps: int
    noise: Callable[[int], torch.Tensor]
    noise_words: torch.Tensor
    check: Callable[[], None]


def walked(steps: gaussian.Steps, x_BD: torch.Tensor, estimate: Callable[[torch.Tensor, int], torch.Tensor],
           noise: Callable[[int], torch.Tensor], check: Callable[[], None] = lambda: None,
           watch: Callable[[torch.Tensor], None] | None = None) -> torch.Tensor:  # fmt: skip
    """[B,D] after all steps, whose `take` multiplies estimates of the clean value. noise(i + 1) is of step i."""
    for index, t in enumerate(steps.timesteps):
        check()
        x_BD = steps(index, x_BD, estimate(x_BD, t), None, noise(index + 1) if steps.draws(index) else None)
        if watch is not None:
            watch(x_BD)
    return x_BD


class DiffusersPrior(nn.Module):
    """PriorTransformer with the unCLIP schedule: squared cosine, the clean value is estimated."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.net = network_of(Part(name="PriorTransformer", config={
            "num_attention_heads": config.heads, "num_layers": config.layers,
            "attention_head_dim": config.head_width or config.width // config.heads,
             "embedding_dim": config.embed, "num_embeddings": config.text_length,
            "additional_embeddings": 4, **dict(config.extra),
        }))  # fmt: skip
        assert isinstance(self.net, PriorTransformer)
        self.process = gaussian.process("cosine")

    def ask(self, x_BD: torch.Tensor, t: torch.Tensor | int, text_BD: torch.Tensor, words_BNW: torch.Tensor,
            mask_BN: torch.Tensor | None) -> torch.Tensor:  # fmt: skip
        """[B,D] estimates. Attention is causal only where a mask is given, as diffusers has it."""
        return self.net(
            x_BD, t, proj_embedding=text_BD, encoder_hidden_states=words_BNW, attention_mask=mask_BN, return_dict=False,
        )[0]  # fmt: skip

    def draw(self, wish: Wish) -> torch.Tensor:
        """[B,D] embeddings, their mean and spread put back."""
        return self.net.post_process_latents(self.latents(wish))

    def latents(self, wish: Wish, watch: Callable[[torch.Tensor], None] | None = None) -> torch.Tensor:
        """[B,D] in the network's own unit. Without text: zeros, and a mask that is true everywhere."""
        rows, dtype = len(wish.text_BD), wish.text_BD.dtype
        text, words, mask = wish.text_BD, wish.words_BNW, wish.real_BN
        if wish.guided:
            text, words = (torch.cat([v, torch.zeros_like(v)]) for v in (text, words))
            mask = torch.cat([mask, torch.ones_like(mask)])

        def estimate(x_BD: torch.Tensor, t: int) -> torch.Tensor:
            x = x_BD.to(dtype).repeat(len(text) // rows, 1)
            out = self.ask(x, t, text, words, mask).float()
            if wish.guided:
                out = torch.lerp(out[rows:], out[:rows], wish.guidance_B[:, None])
            return out.clamp(-CLIPPED, CLIPPED)

        return walked(unclip_steps(wish.steps), wish.noise(0), estimate, wish.noise, wish.check, watch)

    def losses(self, image_BD: torch.Tensor, text_BD: torch.Tensor, words_BNW: torch.Tensor, real_BN: torch.Tensor,
               drop_B: torch.Tensor, t_B: torch.Tensor, noise_BD: torch.Tensor) -> torch.Tensor:  # fmt: skip
        """[B] squared error of the estimate."""
        clean = ((image_BD - self.net.clip_mean) / self.net.clip_std).float()
        x = gaussian.noised(self.process, clean, t_B, noise_BD).to(text_BD.dtype)
        text, words = (v * ~drop_B.view(-1, *(1,) * (v.dim() - 1)) for v in (text_BD, words_BNW))
        found = self.ask(x, t_B, text, words, real_BN | drop_B[:, None]).float()
        return (found - clean).square().mean(1)


@lru_cache(maxsize=64)
def unclip_steps(count: int) -> gaussian.Steps:
    """The numbers of the library's own scheduler, read off by stepping it over unit vectors (inside its clipping).

    Its tables are float32, which the first step shows: made in float64 they would differ by 2e-4.
    """
    scheduler = UnCLIPScheduler(prediction_type="sample", clip_sample_range=CLIPPED)
    with torch.device("cpu"), torch.inference_mode(False):
        scheduler.set_timesteps(count)
        x, f, n = torch.eye(3)[:, None]
        times = scheduler.timesteps.tolist()
        with DrawnNoise(lambda shape, draw: n):
            rows = [scheduler.step(f, t, x, before, return_dict=False)[0][0].tolist()
                    for t, before in zip(times, [*times[1:], None])]  # fmt: skip
    keep, take, width = zip(*rows)
    return gaussian.Steps(timesteps=tuple(times), keep=keep, take=take, width=width)


def towards_clean(p: gaussian.Process) -> gaussian.Steps:
    """Ancestral steps in terms of the clean value; the variance is the posterior's."""
    widths = (p.low / 2).exp()
    widths[0] = 0
    return gaussian.Steps(timesteps=p.timesteps[::-1], keep=p.x_now.flip(0).tolist(), take=p.x_start.flip(0).tolist(),
                          width=widths.flip(0).tolist())  # fmt: skip


class LucidrainsPrior(nn.Module):
    """lucidrains' network and process; embeddings are of length sqrt(D) inside."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.net = PriorNetwork(config)
        self.scale, self.options = config.width**0.5, config
        self.process = gaussian.process("cosine", "", config.timesteps)

    def ask(self, x: torch.Tensor, t_B: torch.Tensor, wish: Wish, before: torch.Tensor | None = None) -> torch.Tensor:
        """[B,D] guided estimates."""
        words = torch.where(wish.real_BN[:, :, None], wish.words_BNW, 0)
        if not wish.guided:
            return self.net(x, t_B, wish.text_BD, words, before)
        twice = [v if v is None else torch.cat([v, v]) for v in (x, t_B, wish.text_BD, words, before)]
        gone = torch.arange(len(twice[0]), device=x.device) >= len(x)
        cond, null = self.net(*twice, drop_text=gone, drop_image=gone).chunk(2)
        return torch.lerp(null, cond, wish.guidance_B[:, None].to(cond.dtype))

    def unit(self, x_BD: torch.Tensor) -> torch.Tensor:
        """At the length of an embedding inside the process."""
        return F.normalize(x_BD, dim=1) * self.scale

    def steps(self, count: int) -> gaussian.Steps:
        """All steps ancestral; fewer by DDIM at eta 1."""
        return towards_clean(self.process) if count == len(self.process) else fewer(self.process, count)

    def draw(self, wish: Wish) -> torch.Tensor:
        """[B,D]."""
        x, before = wish.noise(0), None
        x = self.unit(x) if self.options.unit_start else x
        keeps = self.options.self_cond

        def estimate(x_BD: torch.Tensor, t: int) -> torch.Tensor:
            nonlocal before
            t_B = torch.full((len(x_BD),), t, device=x_BD.device)
            found = self.ask(x_BD.to(wish.text_BD.dtype), t_B, wish, before).float()
            found = self.unit(found) if self.options.unit_estimates else found
            before = found.to(wish.text_BD.dtype) if keeps else None
            return found

        x = walked(self.steps(wish.steps), x, estimate, wish.noise, wish.check)
        return (self.unit(x) if self.options.unit_result else x) / self.scale

    def losses(self, image_BD: torch.Tensor, text_BD: torch.Tensor, words_BNW: torch.Tensor, real_BN: torch.Tensor,
               drop_B: torch.Tensor, t_B: torch.Tensor, noise_BD: torch.Tensor) -> torch.Tensor:  # fmt: skip
        """[B] squared error of the estimate; a dropped row loses its text and its picture."""
        clean = image_BD.float() * self.scale
        x = gaussian.noised(self.process, clean, t_B, noise_BD).to(text_BD.dtype)
        words = torch.where(real_BN[:, :, None], words_BNW, 0)
        found = self.net(x, t_B, text_BD, words, None, drop_B, drop_B).float()
        return (found - clean).square().mean(1)


def fewer(p: gaussian.Process, count: int) -> gaussian.Steps:
    """lucidrains' DDIM at eta 1 in terms of the clean value: as it has it, with the products of the step before."""
    times = [int(v) for v in torch.linspace(-1.0, len(p), count + 1, device="cpu")[:-1]][::-1]
    rows = []
    for t, after in pairwise(times):
        if after < 0:
            rows.append((0.0, 1.0, 0.0))
            continue
        now, then = float(p.ab_before[t]), float(p.ab_before[after])
        spread = ((1 - now / then) * (1 - then) / (1 - now)) ** 0.5
        rest = max(0.0, 1 - then - spread**2) ** 0.5
        keep = rest * float(p.recip[t] / p.recip_minus[t])
        rows.append((keep, then**0.5 - rest / float(p.recip_minus[t]), spread if after > 0 else 0.0))
    keep, take, width = zip(*rows) if rows else ((), (), ())
    return gaussian.Steps(timesteps=tuple(times[:-1]), keep=keep, take=take, width=width)


class UnclipPrior(Component):
    """Options: `UnclipPriorConfig`."""

    def __init__(self, config: Any, build: Build) -> None:
        embed = int(build.facts.get("embed") or config.embed or build.sizes.get("embed") or EMBED)
        free = config.kind == "autoregressive" and (
            build.facts.get("words") or config.words or build.sizes.get("words")
        )
        config = replace(config, embed=embed, words=int(free or embed))
        super().__init__(config, build)
        kinds = {"diffusers": DiffusersPrior, "lucidrains": LucidrainsPrior, "autoregressive": AutoregressivePrior}
        if config.kind == "lucidrains" and config.width != embed:
            raise ValueError(f"lucidrains' prior is as wide inside as its embeddings: {embed}, not {config.width}")
        self.model: Any = kinds[config.kind](config)

    def load(self, stores: Sequence[Any], build: Build) -> None:
        """Weights under the library's names, strictly; lucidrains' tables of the schedule are made here."""
        store = relayout(stores, ())
        inner = self.model if self.config.kind == "autoregressive" else self.model.net

        def rename(name: str) -> str | None:
            if self.config.kind == "lucidrains":
                return None if name.startswith("noise_scheduler.") else name.removeprefix("net.")
            return name

        load_strict(inner, store, rename=rename, skip=build.skip, dtype=build.dtype, device=build.device)

    def checkpoint(self) -> dict[str, torch.Tensor]:
        """All weights under the names that `load` takes."""
        inner = self.model if self.config.kind == "autoregressive" else self.model.net
        head = "net." if self.config.kind == "lucidrains" else ""
        return {f"{head}{name}": value for name, value in inner.state_dict().items()}

    # calls -----------------------------------------------------------------------------------------------------------
    def padded_words(self, words: Rows | None, rows: int, ctx: Context) -> tuple[torch.Tensor, torch.Tensor]:
        """([B,N,W] zero-padded to the text length, [B,N] true on words). Raises ValueError for a longer text."""
        length, width = self.config.text_length, self.config.words
        out = torch.zeros(rows, length, width, device=ctx.device, dtype=ctx.dtype)
        real = torch.zeros(rows, length, dtype=torch.bool, device=ctx.device)
        for row, value in enumerate(words or ()):
            if len(value) > length:
                raise ValueError(f"{self.build.node} reads at most {length} words, not {len(value)}")
            out[row, : len(value)], real[row, : len(value)] = value, True
        return out, real

    def embed(self, ctx: Context, text: Rows, words: Rows | None = None) -> dict[str, Rows]:
        """text: B embeddings [D]; words: B x [N,W]. embedding: [B,D]."""
        text_BD = text.dense()
        words_BNW, real_BN = self.padded_words(words, len(text_BD), ctx)
        steps = [int(s) for s in ctx.option("steps", self.config.steps)]
        scales = [float(g) for g in ctx.option("guidance", self.config.guidance)]
        groups: dict[tuple[int, bool], list[int]] = {}
        for row, key in enumerate(zip(steps, (s != 1 for s in scales))):
            groups.setdefault(key, []).append(row)
        found = torch.empty_like(text_BD, dtype=torch.float32)
        for (count, guided), rows in groups.items():
            keys, where = [ctx.keys[r] for r in rows], f"{ctx.node}.{ctx.call}"
            found[rows] = self._draw(Wish(
                text_BD=text_BD[rows], words_BNW=words_BNW[rows], real_BN=real_BN[rows], guided=guided, steps=count,
                guidance_B=torch.tensor([scales[r] for r in rows], device=ctx.device), check=ctx.check,
                noise=lambda i, k=keys, w=where: ctx.noise.normal(k, (self.config.embed,), w, i, ctx.device),
                noise_words=ctx.noise.words(keys, where, ctx.device),
            )).float()  # fmt: skip
        return {"embedding": ctx.rows(found.to(ctx.dtype))}

    def _draw(self, wish: Wish) -> torch.Tensor:
        c = self.config
        if c.kind == "autoregressive":
            return self.model.draw(wish, (c.temperature, c.top_k, c.top_p), int(c.agreements * (c.agreement + 1) / 2))
        return self.model.draw(wish)

    def loss(self, ctx: Context, text: Rows, image: Rows, words: Rows | None = None) -> dict[str, Rows]:
        """text, image: B embeddings [D] of captions and their pictures. loss: [B]; some texts are dropped."""
        text_BD, image_BD = text.dense(), image.dense()
        words_BNW, real_BN = self.padded_words(words, len(text_BD), ctx)
        given = (image_BD, text_BD, words_BNW, real_BN, ctx.uniform((), 0) < self.config.drop)
        if self.config.kind == "autoregressive":
            return {"loss": ctx.rows(self.model.losses(*given))}
        t_B = (ctx.uniform((), 1) * len(self.model.process)).long()
        return {"loss": ctx.rows(self.model.losses(*given, t_B, ctx.normal((self.config.embed,), 2)))}
