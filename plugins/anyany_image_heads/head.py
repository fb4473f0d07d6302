"""The base of the image heads: who asks for what, rows that run together, conditions as vectors, noise.

Suffixes: B rows of a call, R rows of a group, N conditioning length, D its width, C width inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from anyany.api.torch import Build, Component, Context, Rows, load_strict, to_float
from anyany_image_heads.autoencoder import Autoencoder, parts_of

CLASSES = 1000


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Rows that run together. rows: their places in the call; null_RC: None where guidance changes nothing."""

    ctx: Context
    rows: Sequence[int]
    cond_RC: torch.Tensor
    null_RC: torch.Tensor | None
    guidance_R: torch.Tensor
    steps: int

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def twice_C(self) -> torch.Tensor:
        """[R,C], or [2R,C] with the null conditions behind."""
        return self.cond_RC if self.null_RC is None else torch.cat([self.cond_RC, self.null_RC])

    def overshot(self) -> torch.Tensor:
        """[R,C]: null + guidance (cond - null), for models of one pass."""
        if self.null_RC is None:
            return self.cond_RC
        return torch.lerp(self.null_RC, self.cond_RC, self.guidance_R[:, None].to(self.cond_RC.dtype))

    def normal(self, shape: tuple[int, ...], step: int) -> torch.Tensor:
        """[R,*shape] float32, each row's own noise."""
        return self.ctx.noise.normal(self._keys, shape, self._where, step, self.ctx.device)

    def uniform(self, shape: tuple[int, ...], step: int) -> torch.Tensor:
        """[R,*shape] float32 in (0, 1), each row's own."""
        return self.ctx.noise.uniform(self._keys, shape, self._where, step, self.ctx.device)

    @property
    def words(self) -> torch.Tensor:
        """[R,2] the rows' noise words, for the decode loop."""
        return self.ctx.noise.words(self._keys, self._where, self.ctx.device)

    @property
    def _keys(self) -> list[tuple[int, ...]]:
        return [self.ctx.keys[row] for row in self.rows]

    @property
    def _where(self) -> str:
        return f"{self.ctx.node}.{self.ctx.call}"


class FeatureCondition(nn.Module):
    """Features [N,D] of any length (or an embedding [D]) as one vector [C]: their mean, projected. `null`: none."""

    def __init__(self, width: int, inside: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, inside)
        self.null = nn.Parameter(torch.empty(width))

    def forward(self, values: Sequence[torch.Tensor]) -> torch.Tensor:
        return self.proj(torch.stack([v.mean(0) if v.dim() > 1 else v for v in values]))


class Head(Component):
    """A head's `model` holds its network under official names. Subclasses give `draw`, `teach`, `look_up`, `null_C`.

    neutral: the guidance that changes nothing. STEPS, GUIDANCE: what is done where nobody says.
    """

    neutral, STEPS, GUIDANCE = 1.0, 20, 1.0
    model: nn.Module

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        table, wide = build.facts.get("table"), build.facts.get("cond") or config.cond
        if wide is None and not config.classes and table is None:
            wide = build.sizes.get("cond")
        self.classes = 0 if wide else int(config.classes or self.classes_of(table) or CLASSES)
        self.wide = wide
        self.features: FeatureCondition | None = None
        self.vae: Autoencoder | None = None

    @staticmethod
    def classes_of(table: int | None) -> int:
        """How many classes a table of so many rows has: its last row stands for none."""
        return (table or 1) - 1

    # weights ---------------------------------------------------------------------------------------------------------
    def load(self, stores: Sequence[Any], build: Build) -> None:
        """The network, the autoencoder (a source of its own, or under `vae.`) and what features pass, strictly."""
        found = parts_of(stores)
        if self.vae is not None:
            self.vae.load(found.vae, build, self.build.node)
        if self.features is not None:
            load_strict(self.features, found.features, dtype=build.dtype, device=build.device)
        load_strict(self.model, found.model, rename=self._own, skip=build.skip, dtype=build.dtype, device=build.device)

    def _own(self, name: str) -> str | None:
        return None if name.startswith(("vae.", "features.")) else self.rename(name)

    def rename(self, name: str) -> str | None:
        """A checkpoint's name as the network's; None for tables that it computes itself."""
        return name

    def checkpoint(self) -> dict[str, torch.Tensor]:
        """All weights under the names that `load` takes, in one file."""
        parts = {"": self.model, "vae.": self.vae.body if self.vae is not None else None, "features.": self.features}
        return {f"{p}{n}": t for p, part in parts.items() if part is not None for n, t in part.state_dict().items()}

    # conditioning ----------------------------------------------------------------------------------------------------
    def look_up(self, ids_B: torch.Tensor) -> torch.Tensor:
        """[B,C] of class numbers."""
        raise NotImplementedError

    def null_C(self) -> torch.Tensor:
        """[C]: no class at all. Raises ValueError for a network that knows no such thing."""
        raise NotImplementedError

    def vectors(self, values: Sequence[Any], ctx: Context) -> torch.Tensor:
        """[B,C] of classes or features. Raises ValueError for a class that there is not, and for features without
        length or width."""
        if self.features is not None:
            for value in values:
                shape = list(value.shape) if isinstance(value, torch.Tensor) else None
                if not shape or len(shape) > 2 or 0 in shape or shape[-1] != self.wide:
                    said = repr(value) if shape is None else f"numbers of shape {shape}"
                    raise ValueError(f"{self.build.node} is conditioned on features [N,{self.wide}], not on {said}")
            return self.features([v.to(ctx.dtype) for v in values])
        return self.look_up(torch.tensor([self._class(v) for v in values], device=ctx.device))

    def _class(self, value: Any) -> int:
        if isinstance(value, torch.Tensor) and value.dim() == 0:
            value = value.item()
        if isinstance(value, bool) or not str(value).isdecimal() or int(value) >= self.classes:
            said = f"features {list(value.shape)}" if isinstance(value, torch.Tensor) else repr(value)
            raise ValueError(f"{self.build.node} draws classes 0 to {self.classes - 1}, not {said}; give such a number")
        return int(value)

    def nulls(self, rows: Sequence[int], negative: Rows | None, ctx: Context) -> torch.Tensor:
        """[R,C]: what these rows keep away from."""
        if self.features is None:
            return self.null_C().expand(len(rows), -1)
        if negative is not None:
            return self.vectors([negative[r] for r in rows], ctx)
        return self.features([self.features.null]).expand(len(rows), -1)

    # calls -----------------------------------------------------------------------------------------------------------
    def image(self, ctx: Context, cond: Rows, negative: Rows | None = None) -> dict[str, Rows]:
        """cond: B classes, or B rows [N,D]; negative: B rows [N,D]. image: [B,3,H,W] in 0..1."""
        cond_BC = self.vectors(list(cond), ctx)
        steps = [int(s) for s in ctx.option("steps", self.config.steps or self.STEPS)]
        own = self.GUIDANCE if self.config.guidance is None else self.config.guidance
        scales = [float(g) for g in ctx.option("guidance", own)]
        groups: dict[tuple[int, bool], list[int]] = {}
        for row, key in enumerate(zip(steps, (s != self.neutral for s in scales))):
            groups.setdefault(key, []).append(row)
        found: dict[str, list[Any]] = {}
        for (count, guided), rows in groups.items():
            batch = Batch(
                ctx=ctx, rows=rows, cond_RC=cond_BC[rows], steps=count,
                null_RC=self.nulls(rows, negative, ctx) if guided else None,
                guidance_R=torch.tensor([scales[r] for r in rows], device=ctx.device),
            )  # fmt: skip
            for name, values in self.draw(batch).items():
                for row, value in zip(rows, values):
                    found.setdefault(name, [None] * len(steps))[row] = value
        alike = {name: len({v.shape for v in values}) == 1 for name, values in found.items()}
        return {name: ctx.rows(torch.stack(v) if alike[name] else v) for name, v in found.items()}

    def draw(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Outputs by name, [R,...] each."""
        raise NotImplementedError

    def loss(self, ctx: Context, cond: Rows, image: Rows) -> dict[str, Rows]:
        """cond as in `image`; image: B pictures [3,H,W]. loss: [B]. Some conditions are dropped, as in training."""
        return {"loss": ctx.rows(self.teach(ctx, self.dropped(ctx, cond), self.squares(ctx, image)))}

    def dropped(self, ctx: Context, cond: Rows) -> torch.Tensor:
        """[B,C]: the conditions, some of them replaced by none."""
        cond_BC = self.vectors(list(cond), ctx)
        drop_B = ctx.uniform((), 0) < self.config.drop
        if not bool(drop_B.any()):
            return cond_BC
        return torch.where(drop_B[:, None], self.nulls(range(len(cond_BC)), None, ctx), cond_BC)

    def teach(self, ctx: Context, cond_BC: torch.Tensor, pixels_B3SS: torch.Tensor) -> torch.Tensor:
        """[B] losses of pictures in -1..1."""
        raise NotImplementedError

    def side(self) -> int:
        """The side of the pictures in pixels."""
        raise NotImplementedError

    def squares(self, ctx: Context, image: Rows) -> torch.Tensor:
        """[B,3,S,S] in -1..1: the square in the middle of each picture, resized."""
        return torch.stack([square(v.to(ctx.device), self.side()) for v in image]).to(ctx.dtype)


def square(image: torch.Tensor, side: int) -> torch.Tensor:
    """[3,side,side] in -1..1 of a picture [C,H,W]: short side to `side`, antialiased, then the middle."""
    pixels = to_float(image)
    pixels = pixels[:3] if len(pixels) > 2 else pixels[:1].expand(3, -1, -1)
    height, width = pixels.shape[-2:]
    if (height, width) != (side, side):
        short = min(height, width)
        size = (max(side, round(height * side / short)), max(side, round(width * side / short)))
        pixels = F.interpolate(pixels[None], size=size, mode="bicubic", antialias=True)[0].clamp(0, 1)
        top, left = (size[0] - side) // 2, (size[1] - side) // 2
        pixels = pixels[:, top : top + side, left : left + side]
    return pixels * 2 - 1


def shown(pixels: torch.Tensor) -> torch.Tensor:
    """Pixels in -1..1 as a picture in 0..1."""
    return (pixels.float().clamp(-1, 1) + 1) / 2
