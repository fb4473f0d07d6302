"""Stage 2: the image head, a small diffusion transformer on pixels that predicts the clean picture (JiT, Li & He 2025).

Flow matching: x_sigma = (1 - sigma) picture + sigma noise. The captions' encoder is frozen. Seen pairs only;
a colour or shape outside the palette is drawn without its slot of the conditioning, so that the others learn to stand
alone. Shapes: B batch, H W picture sides, C conditioning width.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from anyany_mini import drawings, marker, models, world
from anyany_mini.train.common import (
    CHECKPOINTS,
    OUT,
    Average,
    Run,
    Team,
    caption_batch,
    optimizer,
    rate,
    rng_of,
    tokenizer,
)

MIXED, STRANGE, DROP_ALL, DROP_SLOT = 0.4, 0.2, 0.1, 0.02
OBJECT_WEIGHT = 6.0


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Pictures [B, 3, H, W] in -1..1, their conditioning [B, 8, C], slots taken away [B, 8] and pixel weights."""

    pictures: Tensor
    conditioning: Tensor
    dropped: Tensor
    weights: Tensor


def sample_batch(draw: models.Draw, rng: np.random.Generator, size: int, jitter: float) -> Batch:
    """Fresh scenes of the seen split, some with shades between colours, a colour or a shape outside the palette."""
    lessons = [drawings.lesson(rng, jitter=jitter, mixed=MIXED, strange=STRANGE, blank=DROP_SLOT) for _ in range(size)]
    shares = torch.tensor([found.share for found in lessons])[:, None, None]
    captions, others = [found.caption for found in lessons], [found.other for found in lessons]
    pictures = [world.render(found.scene) for found in lessons]
    dropped = np.stack([found.blank for found in lessons])
    dropped[rng.random(size) < DROP_ALL] = True
    clean = models.pixels(np.stack(pictures))
    grounds = torch.tensor([world.BACKGROUNDS[found.scene.background] for found in lessons]).float().div(127.5).sub(1)
    off = (clean - grounds[:, :, None, None]).abs().amax(1, keepdim=True) > 0.03
    near = nn.functional.max_pool2d(off.float(), 5, 1, 2)
    with torch.no_grad():
        conditioning = draw.embed(*caption_batch(captions))
        conditioning = torch.lerp(conditioning, draw.embed(*caption_batch(others)), shares)
    return Batch(
        pictures=clean, conditioning=conditioning, dropped=torch.from_numpy(dropped), weights=1 + OBJECT_WEIGHT * near
    )


def loss_of(draw: models.Draw, batch: Batch) -> Tensor:
    """Weighted squared error of the clean picture, heavier where the noise is low."""
    size = len(batch.pictures)
    sigma = torch.sigmoid(0.5 + 1.2 * torch.randn(size))
    sigma = torch.where(torch.rand(size) < 0.15, torch.ones(size) - 1e-3, sigma)
    noise = torch.randn_like(batch.pictures)
    level = sigma[:, None, None, None]
    noisy = (1 - level) * batch.pictures + level * noise
    conditioning = batch.conditioning + 0.1 * torch.randn_like(batch.conditioning)
    conditioning = torch.where(batch.dropped[:, :, None], draw.null_conditioning, conditioning)
    found = draw.clean(noisy, sigma, conditioning)
    error = (batch.weights * (found - batch.pictures) ** 2).mean((1, 2, 3))
    return (error / sigma.clamp(min=0.2)).mean()


def start(draw: models.Draw) -> None:
    """Begin near the identity: no modulation, open gates, small residual branches, a black guess."""
    transformer = draw.transformer
    depth = len(transformer.transformer_blocks)
    with torch.no_grad():
        for name, value in transformer.named_parameters():
            if value.ndim > 1 and "scale_shift" not in name:
                nn.init.xavier_uniform_(value.flatten(1))
            elif name.endswith("bias"):
                value.zero_()
            if name.endswith(("to_out.0.weight", "ff.net.2.weight")):
                value.mul_((3 * depth) ** -0.5)
        for block in transformer.transformer_blocks:
            block.scale_shift_table.zero_()
            block.scale_shift_table[[2, 5]] = 1.0
        transformer.scale_shift_table.zero_()
        transformer.adaln_single.linear.weight.zero_()
        transformer.proj_out.weight.zero_()
        draw.null_conditioning.normal_(std=0.02)


@torch.no_grad()
def mark(draw: models.Draw, split: str, count: int, steps: int, guidance: float, seed: int = 0) -> dict[str, float]:
    """Marks of drawings of evaluation captions, from the caption encoder's own conditioning."""
    rng = np.random.default_rng(world.EVAL_SEED + seed)
    captions = [world.caption(world.sample_scene(rng, split)) for _ in range(count)]
    noise = torch.randn(count, 3, world.SIDE, world.SIDE, generator=torch.Generator().manual_seed(seed))
    found = draw.sample(draw.embed(*caption_batch(captions)), noise, steps=steps, guidance=guidance)
    drawn = found.add(1).mul(127.5).round().byte().permute(0, 2, 3, 1).numpy()
    marks = [marker.mark_picture(picture, caption) for picture, caption in zip(drawn, captions, strict=True)]
    return {name: float(np.mean([m[name] for m in marks])) for name in marks[0]}


def averaged(average: Average) -> models.Draw:
    """The head with its averaged weights, for evaluation and for shipping."""
    draw = models.Draw(models.DRAW)
    draw.load_state_dict(average.shadow)
    return draw.eval()


def finish(average: Average) -> None:
    """Write the averaged weights, and the tokenizer that the caption encoder reads, into the package."""
    models.save("draw", averaged(average), models.DRAW, OUT)
    tokenizer().save(str(OUT / "draw" / "tokenizer.json"))


def train(options: argparse.Namespace) -> None:
    torch.manual_seed(options.seed)
    draw = models.Draw(models.DRAW)
    start(draw)
    if options.start == "bundle":
        draw.load_state_dict(models.load("draw")[0].state_dict())
    else:
        captions = torch.load(CHECKPOINTS / "captions.pt", weights_only=True)
        draw.text_encoder.load_state_dict(captions["text_encoder"])
    draw.text_encoder.requires_grad_(False)
    team = Team.join()
    run, optim, average = Run(options.name), optimizer([draw], decay=0.01), Average(draw, 0.998)
    first = 0
    if state := run.resume():
        draw.load_state_dict(state["model"])
        optim.load_state_dict(state["optim"])
        average.shadow, first = state["average"], state["step"]
    total, seen = 0.0, 0
    for step in range(first, options.steps):
        torch.manual_seed(options.seed * 10_000_000 + step * team.size + team.rank)
        for group in optim.param_groups:
            group["lr"] = rate(step, options.steps, options.lr, warmup=200)
        rng = rng_of(options.seed, f"head {team.rank}", step)
        loss = loss_of(draw, sample_batch(draw, rng, options.batch, options.jitter))
        optim.zero_grad()
        loss.backward()
        team.share(draw)
        nn.utils.clip_grad_norm_(draw.parameters(), 1.0)
        optim.step()
        average.update(draw, step)
        total, seen = total + loss.item(), seen + 1
        if team.rank:
            continue
        if step % 100 == 99:
            run.log(step + 1, loss=total / seen)
            total, seen = 0.0, 0
        if step % options.mark_every == options.mark_every - 1:
            for split in ("seen", "unseen"):
                marks = mark(averaged(average), split, 32, 10, 2.0)
                run.log(step + 1, **{f"{split}_{name}": value for name, value in marks.items()})
        if run.due() or step == options.steps - 1:
            state = {"model": draw.state_dict(), "optim": optim.state_dict(), "average": average.shadow}
            run.save(state | {"step": step + 1})
            finish(average)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="anyany_mini.train head")
    parser.add_argument("--name", default="head")
    parser.add_argument("--steps", type=int, default=7_000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--start", choices=("captions", "bundle"), default="captions", help="bundle: go on with draw")
    parser.add_argument("--jitter", type=float, default=0.25, help="spread of positions, sizes, colours")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mark-every", type=int, default=1000)
    train(parser.parse_args(arguments))
