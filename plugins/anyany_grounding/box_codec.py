"""box-codec: a trigger token's hidden state becomes a box, and a box becomes the embedding of a token.

NExT-Chat (Zhang et al. 2023, arXiv 2311.04498); NExT-ChatV/NExT-Chat. Boxes are x1 y1 x2 y2, inside 0...1 of the
picture padded to a square. Suffixes: N boxes, D width of the language model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from anyany.api.torch import Build, Component, Context, Rows, init_random
from anyany_grounding import examples
from anyany_grounding.coordinates import picture_of, size_of, to_fractions, to_pixels

MIDDLE = (0.25, 0.25, 0.75, 0.75)


class BoxCodec(Component):
    """Options: `BoxCodecConfig`. Names: `loc_encoder.{0,2}`, `loc_decoder.{0,2}`."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        width = config.width or build.facts.get("width") or build.sizes.get("width")
        if width is None:
            raise ValueError(f"nothing fixes the width of {build.node}; give `with: {{width: …}}`")
        half = int(width) // 2
        self.loc_encoder = nn.Sequential(nn.Linear(4, half), nn.ReLU(), nn.Linear(half, int(width)))
        self.loc_decoder = nn.Sequential(nn.Linear(int(width), half), nn.ReLU(), nn.Linear(half, 4))

    def init_random(self, seed: int) -> None:
        """Weights at random; the decoder's last layer begins near a box in the middle, so that it has an area."""
        init_random(self, seed, dtype=self.build.dtype, device=self.build.device)
        with torch.no_grad():
            self.loc_decoder[2].weight.mul_(0.1)
            self.loc_decoder[2].bias.copy_(torch.tensor(MIDDLE))

    def decode(self, ctx: Context, features: Rows, image: Rows) -> dict[str, Rows]:
        """features: hidden states [N,D] of a signal; image: the picture it speaks of. boxes [N,4] in its pixels.

        What the model puts beyond the picture, or in the wrong order, is put right and remarked; nothing fails here.
        """
        boxes = []
        for i, (states, picture) in enumerate(zip(features.list(), image.list())):
            found = self.loc_decoder(states.reshape(-1, states.shape[-1])).float()
            if not bool(torch.isfinite(found).all()):
                ctx.note(i, "the model's box holds values that are no numbers: taken as 0")
                found = found.nan_to_num(0.0, 0.0, 0.0)
            inside = found.clamp(0, 1)
            low, high = torch.minimum(inside[:, :2], inside[:, 2:]), torch.maximum(inside[:, :2], inside[:, 2:])
            fixed = torch.cat([low, high], 1)
            if not torch.equal(fixed, found):
                ctx.note(i, "a box reached beyond the picture or named its corners in the wrong order: put right")
            boxes.append(to_pixels(fixed, picture, self.config.pad))
        return {"boxes": ctx.rows(boxes)}

    def encode(self, ctx: Context, boxes: Rows, image: Rows | None = None) -> dict[str, Rows]:
        """boxes [N,4] in pixels, on their own picture or on `image` -> features [N,D].

        Raises ValueError for boxes without a picture.
        """
        pictures: list[Any] = image.list() if image is not None else [None] * len(boxes)
        found = []
        for value, picture in zip(boxes.list(), pictures):
            own = picture_of(value, picture)
            fractions = to_fractions(value.to(ctx.device), size_of(own), self.config.pad)
            found.append(self.loc_encoder(fractions.to(ctx.dtype)))
        return {"features": ctx.rows(found)}

    def learn(self, ctx: Context, features: Rows, image: Rows, target: Rows) -> dict[str, Rows]:
        """The loss of each row: boxes against the target's, and both cycles through the codec.

        features [N,D] and target [N,4] in pixels belong together, box by box. Raises ValueError where they do not.
        """
        losses = []
        for states, picture, wanted in zip(features.list(), image.list(), target.list()):
            states = states.reshape(-1, states.shape[-1])
            if len(states) != len(wanted):
                raise ValueError(f"{len(states)} boxes were asked for, but the target holds {len(wanted)}")
            goal = to_fractions(wanted.to(states.device), size_of(picture), self.config.pad).to(states.dtype)
            losses.append(self.loss(states, goal) + self.round_trip(goal))
        return {"loss": ctx.rows(torch.stack(losses))}

    def example_rows(self, call: str, rows: Sequence[int], making: Any) -> dict[str, Rows]:
        """Rows for tests: pictures of unlike shapes, as many boxes as states."""
        pictures, counts = [examples.picture(row) for row in rows], [1 + row % 3 for row in rows]
        boxes = Rows([examples.boxes(p, n, row) for p, n, row in zip(pictures, counts, rows)])
        if call == "encode":
            return examples.fed({"boxes": boxes, "image": Rows(pictures)}, making, ("image",))
        width = self.loc_decoder[0].in_features
        states = Rows([examples.states(n, width, row) for n, row in zip(counts, rows)])
        given = {"features": states, "image": Rows(pictures)}
        return {**given, "target": boxes} if call == "learn" else given

    def probe(self, call: str) -> Any:
        """For counting: one box."""

        def run() -> None:
            """1 box"""
            if call == "encode":
                self.loc_encoder(torch.empty(1, 4, device="meta"))
            else:
                self.loc_decoder(torch.empty(1, self.loc_decoder[0].in_features, device="meta"))

        return run

    # losses ------------------------------------------------------------------------------------------------------
    def loss(self, states_ND: torch.Tensor, goal_N4: torch.Tensor, weight_N: torch.Tensor | None = None) -> Any:
        """2 L1 + GIoU / 5 of the boxes in the states, and how far their encoding lies from the states."""
        found_N4 = self.loc_decoder(states_ND)
        again_ND = self.loc_encoder(found_N4)
        cycle = weighted(F.mse_loss(again_ND, states_ND, reduction="none"), weight_N)
        return box_loss(found_N4, goal_N4, weight_N) + cycle

    def round_trip(self, boxes_N4: torch.Tensor, weight_N: torch.Tensor | None = None) -> torch.Tensor:
        """How far boxes lie from their decoded encoding."""
        again_N4 = self.loc_decoder(self.loc_encoder(boxes_N4))
        return weighted(F.l1_loss(again_N4, boxes_N4, reduction="none"), weight_N)


def box_loss(found_N4: torch.Tensor, goal_N4: torch.Tensor, weight_N: torch.Tensor | None = None) -> torch.Tensor:
    """2 L1 + (1 - GIoU) / 5; boxes with corners in the wrong order have no GIoU."""
    from torchvision.ops import generalized_box_iou_loss

    fine = (found_N4[:, 2:] >= found_N4[:, :2]).all(-1)
    far = weighted(F.l1_loss(found_N4, goal_N4, reduction="none"), weight_N)
    apart = generalized_box_iou_loss(found_N4[fine], goal_N4[fine], eps=0.0)
    kept = None if weight_N is None else weight_N[-len(apart) :] if len(apart) else weight_N[:0]
    return 2 * far + weighted(apart, kept) / 5


def weighted(loss: torch.Tensor, weight_N: torch.Tensor | None) -> torch.Tensor:
    """The mean over rows [N,...], each with its weight; 0 of no rows."""
    if not len(loss):
        return loss.sum()
    if weight_N is None:
        return loss.mean()
    weights = weight_N.reshape(-1, *[1] * (loss.dim() - 1)).expand_as(loss)
    return (loss * weights).sum() / weights.sum()
