"""Stage 1: the caption encoder of the image head, 8 conditioning vectors a caption, one for each attribute.

Slot 4 o + a stands for attribute a (size, colour, shape, place) of object o and carries that object's place beside it,
so that a patch of the picture finds its words by place. Text only: unseen pairs are allowed. Shapes: B batch, C width.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor, nn

from anyany_mini import models, world
from anyany_mini.train.common import Run, caption_batch, optimizer, rate, rng_of

CLASSES = (2, 6, 6, 9)
NONE = 9


def targets(captions: list[str]) -> tuple[Tensor, Tensor]:
    """Attribute class [B, 8] and place class [B, 8] of every slot; an object that is not there is `NONE`."""
    attributes, places = [], []
    for caption in captions:
        things = world.parse_caption(caption)
        assert things is not None
        row = [value for thing in things for value in thing] + [NONE] * (8 - 4 * len(things))
        attributes.append(row)
        places.append([row[3]] * 4 + [row[7]] * 4)
    return torch.tensor(attributes), torch.tensor(places)


class Readout(nn.Module):
    """Linear probes that the training needs and the product does not."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attribute = nn.ModuleList(nn.Linear(width, NONE + 1) for _ in range(4))
        self.place = nn.Linear(width, NONE + 1)

    def forward(self, slots_B8C: Tensor) -> tuple[Tensor, Tensor]:
        attributes = torch.stack([self.attribute[slot % 4](slots_B8C[:, slot]) for slot in range(8)], 1)
        return attributes, self.place(slots_B8C)


def train(steps: int, batch: int, seed: int) -> None:
    """Train and write the caption encoder into the `draw` weights' checkpoint."""
    torch.manual_seed(seed)
    draw = models.Draw(models.DRAW)
    readout = Readout(models.DRAW["conditioning"][1])
    run = Run("captions")
    optim = optimizer([draw.text_encoder, readout], decay=0.01)
    for step in range(steps):
        rng = rng_of(seed, "captions", step)
        captions = [world.caption(world.sample_scene(rng, "any")) for _ in range(batch)]
        wanted, where = targets(captions)
        slots = draw.embed(*caption_batch(captions))
        # Noise on the slots forces the classes apart, so that a drawing forgives small errors of `to_image`.
        attributes, places = readout(slots + 0.3 * torch.randn_like(slots))
        loss = nn.functional.cross_entropy(attributes.flatten(0, 1), wanted.flatten())
        loss = loss + nn.functional.cross_entropy(places.flatten(0, 1), where.flatten())
        for group in optim.param_groups:
            group["lr"] = rate(step, steps, 2e-3)
        optim.zero_grad()
        loss.backward()
        optim.step()
        if step % 100 == 0 or step == steps - 1:
            right = (attributes.argmax(-1) == wanted).all(1).float().mean().item()
            run.log(step, loss=loss.item(), all_slots_right=right)
    run.save({"text_encoder": draw.text_encoder.state_dict()})


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="anyany_mini.train captions")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    train(options.steps, options.batch, options.seed)
