"""DINO's self-distillation (Caron et al. 2021, arXiv 2104.14294): heads, loss with centring, and multi-crop.

student: B x V embeddings [D] of all crops, large ones first; teacher: of the large ones -> loss [B]. The teacher's
head follows the student's here; the backbones are other nodes. Suffixes: B rows, V views, D width, K prototypes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from anyany.api.torch import Build, Component, Context, Rows, to_float


class DinoHead(nn.Module):
    """Three linear layers, a unit vector, and its inner products with unit prototypes. Official names."""

    def __init__(self, inputs: int, hidden: int, bottleneck: int, prototypes: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, bottleneck)
        )
        self.last_layer = nn.Linear(bottleneck, prototypes, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(F.normalize(self.mlp(x), dim=-1), F.normalize(self.last_layer.weight, dim=-1))


class SelfDistillation(Component):
    """Options: `SelfDistillationConfig`."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        inputs = build.facts.get("inputs") or config.inputs or build.sizes.get("inputs")
        if inputs is None:
            raise ValueError(f"nothing fixes the width of {build.node}'s embeddings; give `with: {{inputs: …}}`")
        self.student = DinoHead(inputs, config.hidden, config.bottleneck, config.prototypes)
        self.teacher = _held(DinoHead(inputs, config.hidden, config.bottleneck, config.prototypes))
        self.register_buffer("center", torch.zeros(1, config.prototypes))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    # loss --------------------------------------------------------------------------------------------------------
    def loss(self, ctx: Context, student: Rows, teacher: Rows) -> dict[str, Rows]:
        """loss [B]: the mean cross-entropy over all pairs of a large crop and another crop."""
        seen, taught = student.groups(), teacher.groups()
        views, large = {len(g) for g in seen}, {len(g) for g in taught}
        if len(views) != 1 or len(large) != 1 or min(large) < 1 or max(views) < 2 or max(large) > max(views):
            raise ValueError(f"{self.build.node} wants as many crops of every picture, two or more for the student "
                             f"and no more for the teacher; not {sorted(views)} and {sorted(large)}")  # fmt: skip
        if self.training:
            self._follow()
        told_BVK = self.student(torch.stack([torch.stack(g) for g in seen])).float() / self.config.student
        with torch.no_grad():
            raw_BGK = self._teacher(torch.stack([torch.stack(g) for g in taught])).float()
            right_BGK = ((raw_BGK - self.center.float()) / self.config.teacher).softmax(-1)
        cross_BGV = -torch.einsum("bgk,bvk->bgv", right_BGK, told_BVK.log_softmax(-1))
        other_GV = ~torch.eye(max(large), max(views), dtype=torch.bool, device=cross_BGV.device)
        if self.training:
            self._centre(raw_BGK)
        entropy_B = -(right_BGK * right_BGK.clamp(min=1e-12).log()).sum(-1).mean(1)
        return {"loss": ctx.rows(cross_BGV[:, other_GV].mean(1)), "entropy": ctx.rows(entropy_B)}

    def _teacher(self, x: torch.Tensor) -> torch.Tensor:
        """The teacher's answers. Before any step of training it is the student."""
        if not self._begun():
            return self.student(x)
        return torch.func.functional_call(self.student, dict(self.teacher.named_buffers()), (x,))

    def _begun(self) -> bool:
        return int(self.steps) > 0

    @torch.no_grad()
    def _follow(self) -> None:
        """The teacher's head takes a small step towards the student's, at first the whole way."""
        momentum = self.config.momentum if self._begun() else 0.0
        held = dict(self.teacher.named_buffers())
        for name, value in self.student.named_parameters():
            held[name].lerp_(value.to(held[name]), 1 - momentum)
        self.steps += 1

    @torch.no_grad()
    def _centre(self, raw_BGK: torch.Tensor) -> None:
        self.center.lerp_(raw_BGK.flatten(0, 1).mean(0, keepdim=True).to(self.center), 1 - self.config.centre)

    def example_rows(self, call: str, rows: Sequence[int], making: Any) -> dict[str, Rows]:
        """Values that belong together, for trying the component: embeddings of four crops, or pictures."""
        if call == "crops":
            return {"image": Rows([torch.rand(3, 20 + r, 24, generator=making.generator(r)) for r in rows])}
        width = self.student.mlp[0].in_features
        views = [torch.randn(4, width, generator=making.generator(r)) for r in rows]
        count = len(views)
        return {"student": Rows(torch.cat(views), counts=[4] * count),
                "teacher": Rows(torch.cat([v[:2] for v in views]), counts=[2] * count)}  # fmt: skip

    # crops -------------------------------------------------------------------------------------------------------
    def crops(self, ctx: Context, image: Rows) -> dict[str, Rows]:
        """image: B pictures. large: two crops each; all: these, then the small ones. Half of them are mirrored."""
        c, count = self.config, 2 + self.config.locals
        draws_BVn = ctx.uniform((count, 5)).cpu()
        views = []
        for picture, draws in zip(image, draws_BVn.tolist()):
            pixels = to_float(picture).float()
            spans = [(c.scale, 1.0, c.global_size)] * 2 + [(0.05, c.scale, c.local_size)] * c.locals
            views.append([_crop(pixels, span, draw) for span, draw in zip(spans, draws)])
        return {"large": ctx.lists([v[:2] for v in views]), "all": ctx.lists(views)}


def _held(head: DinoHead) -> nn.Module:
    """The head's parameters as buffers: no optimiser may touch them."""
    for module in head.modules():
        for name in list(module._parameters):
            value = module._parameters[name]
            if value is not None:
                del module._parameters[name]
                module.register_buffer(name, torch.zeros_like(value, requires_grad=False))
    return head


def _crop(pixels_CHW: torch.Tensor, span: tuple[float, float, int], draw: list[float]) -> torch.Tensor:
    """A random part of a picture as a square: its share of the area, its shape (3:4 to 4:3), its place, mirrored."""
    low, high, side = span
    share, shape, across, down, mirror = draw
    height, width = pixels_CHW.shape[1:]
    area = (low + (high - low) * share) * height * width
    ratio = (4 / 3) ** (2 * shape - 1)
    wide = min(width, max(1, round((area * ratio) ** 0.5)))
    high_ = min(height, max(1, round((area / ratio) ** 0.5)))
    left, top = int(across * (width - wide + 1)), int(down * (height - high_ + 1))
    part = pixels_CHW[None, :, top : top + high_, left : left + wide]
    found = F.interpolate(part, (side, side), mode="bicubic", align_corners=False, antialias=True)[0].clamp(0, 1)
    return found.flip(-1) if mirror < 0.5 else found
