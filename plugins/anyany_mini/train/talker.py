"""Stage 3: encoder, adapters and language model together, on conversations about pictures and about text alone.

The loss is next-token cross-entropy on replies, plus the distance of `to_image` from the caption encoder's conditioning
at the signals (NExT-GPT's alignment). In the input, attribute words of the reply are often replaced by others of their
class, so that a shape is read from the picture, not guessed from the colour. Shapes: B batch, L length, C width.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from anyany_mini import marker, models, talk, world
from anyany_mini.train import splice
from anyany_mini.train.common import (
    CHECKPOINTS,
    OUT,
    Average,
    Run,
    caption_batch,
    optimizer,
    rate,
    rng_of,
    token,
    tokenizer,
)

CORRUPT = 0.4
IGNORE = -100


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Input ids and labels [B, L] (labels not shifted), pictures [P, 3, H, W], their cells [P, 9, 3], drawings."""

    ids: Tensor
    labels: Tensor
    pictures: Tensor
    cells: Tensor
    drawn: list[str]


def classes() -> dict[int, list[int]]:
    """Every attribute word's id and the ids of its class."""
    found = {}
    for group in (world.SIZES, world.COLOURS, world.SHAPES):
        ids = [token(f" {word}") for word in group]
        found.update(dict.fromkeys(ids, ids))
    return found


def row_of(one: talk.Talk, rng: np.random.Generator, groups: dict[int, list[int]]) -> tuple[list[int], list[int]]:
    """Ids and labels of a conversation."""
    ids: list[int] = []
    labels: list[int] = []
    for turn in one.turns:
        asked = splice.prompt_ids(turn.asked, models.LOOK["patches"])
        ids += asked
        labels += [IGNORE] * len(asked)
        looks = None in turn.asked
        for piece in (*turn.reply, talk.Piece(text=talk.EOS)):
            for found in tokenizer().encode(piece.text, add_special_tokens=False).ids:
                labels.append(found if piece.learn else IGNORE)
                if looks and found in groups and rng.random() < CORRUPT:
                    found = groups[found][int(rng.integers(len(groups[found])))]
                ids.append(found)
    return ids, labels


class Readout(nn.Module):
    """Linear probes on what the language model sees: size, colour and shape in every cell; training only.

    Without them colours stayed at chance for 1,700 steps, long after sizes and places were right.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.probes = nn.ModuleList(nn.Linear(width, count + 1) for count in (2, 6, 6))

    def forward(self, features_PND: Tensor, cells_PN3: Tensor) -> Tensor:
        """Cross-entropy, summed over the three attributes."""
        total = torch.zeros(())
        for probe, wanted_PN in zip(self.probes, cells_PN3.unbind(-1), strict=True):
            found = probe(features_PND).flatten(0, 1)
            total = total + nn.functional.cross_entropy(found, wanted_PN.flatten(), ignore_index=IGNORE)
        return total


def cells_of(scenes: list[world.Scene]) -> Tensor:
    """(size, colour, shape) of every cell [P, 9, 3]; the last class is "nothing", what is strange is ignored."""
    cells = torch.tensor([2, 6, 6]).repeat(len(scenes), 9, 1)
    for row, scene in enumerate(scenes):
        for thing in scene.things:
            size = IGNORE if thing.shape == world.OTHER else thing.size
            found = [size, *(IGNORE if value == world.OTHER else value for value in (thing.colour, thing.shape))]
            cells[row, thing.cell] = torch.tensor(found)
    return cells


def roughen(pictures: Tensor, rng: np.random.Generator) -> Tensor:
    """Pixel noise, and blur on a fifth, so that drawings can be read as well as renderings."""
    blurred = nn.functional.avg_pool2d(nn.functional.pad(pictures, (1, 1, 1, 1), mode="replicate"), 3, 1)
    soft = torch.from_numpy(rng.random(len(pictures)) < 0.2)[:, None, None, None]
    level = torch.from_numpy(rng.uniform(0, 0.12, (len(pictures), 1, 1, 1))).float()
    return torch.where(soft, blurred, pictures) + level * torch.randn_like(pictures)


def sample_batches(rng: np.random.Generator, size: int, groups: dict[int, list[int]]) -> list[Batch]:
    """Conversations in two batches, the longest eighth apart, so that little is spent on padding."""
    pairs = [(one, row_of(one, rng, groups)) for one in (talk.sample_talk(rng) for _ in range(size))]
    pairs.sort(key=lambda pair: len(pair[1][0]))
    cut = size - size // 8
    return [collate(pairs[:cut], rng), collate(pairs[cut:], rng)]


def collate(pairs: list[tuple[talk.Talk, tuple[list[int], list[int]]]], rng: np.random.Generator) -> Batch:
    talks, rows = [one for one, _ in pairs], [row for _, row in pairs]
    longest = max(len(ids) for ids, _ in rows)
    pad = token(talk.PAD)
    scenes = [one.scene for one in talks if one.scene is not None]
    shown = [world.render(scene) for scene in scenes]
    pictures = models.pixels(np.stack(shown)) if shown else torch.zeros(0, 3, world.SIDE, world.SIDE)
    return Batch(
        ids=torch.tensor([ids + [pad] * (longest - len(ids)) for ids, _ in rows]),
        labels=torch.tensor([labels + [IGNORE] * (longest - len(labels)) for _, labels in rows]),
        pictures=roughen(pictures, rng),
        cells=cells_of(scenes),
        drawn=[turn.drawn for one in talks for turn in one.turns if turn.drawn],
    )


def losses(talker: splice.Talker, readout: Readout, draw: models.Draw, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Text's cross-entropy (sum over tokens), conditioning's error (over drawings), probes' (over pictures)."""
    seen, cells = None, torch.zeros(())
    if len(batch.pictures):
        seen = nn.functional.dropout(splice.features(talker, batch.pictures), 0.1)
        cells = readout(seen, batch.cells) * len(batch.pictures)
    hidden = splice.hidden(talker, batch.ids, seen)
    shifted = batch.labels[:, 1:]
    learnt = shifted != IGNORE
    logits = talker.think.lm_head(hidden[:, :-1][learnt])
    text = nn.functional.cross_entropy(logits, shifted[learnt], reduction="sum")
    if not batch.drawn:
        return text, text.new_zeros(()), cells
    signals = torch.isin(batch.ids, torch.tensor([token(s) for s in talk.SIGNALS]))
    with torch.no_grad():
        wanted = draw.embed(*caption_batch(batch.drawn))
    found = talker.to_image(hidden[signals]).view_as(wanted)
    return text, nn.functional.mse_loss(found, wanted) * len(wanted), cells


def step_of(talker: splice.Talker, readout: Readout, draw: models.Draw, batches: list[Batch]) -> np.ndarray:
    """Gradients of one step; returns the three mean losses."""
    tokens = sum(int((batch.labels[:, 1:] != IGNORE).sum()) for batch in batches)
    drawings = max(sum(len(batch.drawn) for batch in batches), 1)
    pictures = max(sum(len(batch.pictures) for batch in batches), 1)
    means = np.zeros(3)
    for batch in batches:
        text, match, cells = losses(talker, readout, draw, batch)
        (text / tokens + match / drawings + cells / pictures).backward()
        means += (text.item() / tokens, match.item() / drawings, cells.item() / pictures)
    return means


@torch.no_grad()
def gate(talker: splice.Talker, split: str, count: int, seed: int = 0) -> dict[str, float]:
    """Caption marks on evaluation scenes."""
    rng = np.random.default_rng(world.EVAL_SEED + seed)
    scenes = [world.sample_scene(rng, split) for _ in range(count)]
    prompts = [splice.prompt_ids(("describe it", None), talker.patches)] * count
    replies = splice.generate(talker, prompts, models.pixels(np.stack([world.render(s) for s in scenes])))
    marks = [marker.mark_caption(splice.words(r), world.caption(s)) for r, s in zip(replies, scenes, strict=True)]
    return {name: float(np.mean([m[name] for m in marks])) for name in marks[0]}


def averaged(average: Average) -> splice.Talker:
    """The talker with its averaged weights."""
    talker = splice.fresh()
    nn.ModuleDict(talker.parts()).load_state_dict(average.shadow)
    nn.ModuleDict(talker.parts()).eval()
    return talker


def finish(average: Average) -> splice.Talker:
    """Write the averaged weights into the package and mark them."""
    talker = averaged(average)
    for name, module in talker.parts().items():
        models.save(name, module, splice.CONFIGS[name], OUT)
    return talker


def train(options: argparse.Namespace) -> None:
    torch.manual_seed(options.seed)
    draw = models.Draw(models.DRAW).eval().requires_grad_(False)
    draw.text_encoder.load_state_dict(torch.load(CHECKPOINTS / "captions.pt", weights_only=True)["text_encoder"])
    talker, groups = splice.fresh(), classes()
    module, readout = nn.ModuleDict(talker.parts()), Readout(models.SEE["out"])
    run, optim, average = Run(options.name), optimizer([module, readout]), Average(module, 0.998)
    first = 0
    if state := run.resume():
        module.load_state_dict(state["model"])
        readout.load_state_dict(state["readout"])
        optim.load_state_dict(state["optim"])
        average.shadow, first = state["average"], state["step"]
    totals, since = np.zeros(3), 0
    for step in range(first, options.steps):
        torch.manual_seed(options.seed * 10_000_000 + step)
        for group in optim.param_groups:
            group["lr"] = rate(step, options.steps, options.lr, warmup=200)
        rng = rng_of(options.seed, "talker", step)
        optim.zero_grad()
        found = step_of(talker, readout, draw, sample_batches(rng, options.batch, groups))
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optim.step()
        average.update(module, step)
        totals, since = totals + found, since + 1
        if step % 100 == 99:
            run.log(step + 1, text=totals[0] / since, match=totals[1] / since, cells=totals[2] / since)
            totals, since = np.zeros(3), 0
        if step % options.mark_every == options.mark_every - 1:
            for split in ("seen", "unseen"):
                marks = gate(averaged(average), split, 64)
                run.log(step + 1, **{f"{split}_{name}": value for name, value in marks.items()})
        if run.due() or step == options.steps - 1:
            state = {"model": module.state_dict(), "optim": optim.state_dict(), "average": average.shadow}
            run.save(state | {"step": step + 1, "readout": readout.state_dict()})
            finish(average)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="anyany_mini.train talker")
    parser.add_argument("--name", default="talker")
    parser.add_argument("--steps", type=int, default=5_000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mark-every", type=int, default=500)
    train(parser.parse_args(arguments))
