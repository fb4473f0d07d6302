"""Aurora: weather fields to those of the next step, on any grid and pressure levels.

Bodnar et al. 2024, arXiv 2405.13063. A Perceiver takes the levels of each patch to a few latent ones, a 3-D Swin
transformer moves them on, and a Perceiver decoder asks for the levels again.
Suffixes: B batch, T times, L levels, H latitudes, W longitudes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import torch

from anyany.api.torch import Build, Component, Context, Field, Rows, load_strict
from anyany_perceiver.aurora_ends import AuroraDecoder, AuroraEncoder, Fields
from anyany_perceiver.aurora_layout import as_named
from anyany_perceiver.aurora_swin import SwinBackbone
from anyany_perceiver.fields_levels import Looks
from anyany_perceiver.fields_statistics import of_levels, of_surface

GROUPS = ("surf", "static", "atmos")
WEIGHTS = (0.25, 1.0)
"""Of surface and pressure-level variables in the loss (section 4 of the supplement); variables weigh alike here."""


class Aurora(Component):
    """Options: `AuroraConfig`. Names are the authors': `encoder.`, `backbone.`, `decoder.`."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        c, names = config, {group: getattr(config, group) for group in GROUPS}
        _check(c)
        take = Looks(heads=c.heads, head=c.width // c.heads, depth=c.depth, ratio=c.ratio, eps=c.eps, norm=c.norm)
        give = Looks(heads=c.heads, head=2 * take.head, depth=c.decoder_depth, ratio=c.decoder_ratio, eps=c.eps)
        self.encoder = AuroraEncoder(
            names, patch=c.patch, width=c.width, levels=c.levels, history=c.history, looks=take
        )
        self.backbone = SwinBackbone(
            width=c.width, depths=(c.encoder_depths, c.decoder_depths), heads=(c.encoder_heads, c.decoder_heads),
            window=tuple(c.window), ratio=c.ratio, lora=(c.lora_steps, c.lora_mode, c.lora_rank) if c.lora else (),
        )  # fmt: skip
        self.decoder = AuroraDecoder(names, patch=c.patch, width=2 * c.width, looks=give)

    def load(self, stores: Sequence[Any], build: Build) -> None:
        """Weights under the released names, those of older files among them, strictly."""
        store = as_named(stores, self.config)
        load_strict(self, store, skip=build.skip, dtype=build.dtype, device=build.device)

    # one step ----------------------------------------------------------------------------------------------------
    def ready(self, field: Field) -> Field:
        """The field with one row of latitudes less, where it has one too many for whole patches.

        Raises ValueError for variables that the model does not know, and grids that are no whole patches.
        """
        for group in GROUPS:
            strange = [n for n in getattr(field, group) if n not in getattr(self.config, group)]
            if strange:
                known = ", ".join(getattr(self.config, group))
                raise ValueError(f"{self.build.node} knows no {group}_{strange[0]}; it knows {known}")
        if not field.surf or not field.atmos:
            raise ValueError("Aurora wants surface variables and variables on pressure levels")
        height, width, patch = len(field.lat), len(field.lon), self.config.patch
        if height % patch == 1 and height > patch:
            crop = {group: {n: x[..., :-1, :] for n, x in getattr(field, group).items()} for group in GROUPS}
            field, height = replace(field, **crop, lat=field.lat[:-1]), height - 1
        if height % patch or width % patch or min(height, width) < 2 * patch:
            told = f"the grid is {len(field.lat)} by {width}; patches of {patch} want multiples of it, two at least"
            raise ValueError(f"{told}, and at most one latitude too many")
        return field

    def normalised(self, field: Field) -> Fields:
        """A field as the encoder takes it, a batch of one, on the model's device and in its dtype."""
        like = self.encoder.surf_level_encoding
        times = next(iter(field.surf.values())).shape[0]

        def plain(name: str, x: torch.Tensor, stats: Any) -> torch.Tensor:
            return ((x - stats[0]) / stats[1]).to(like)[None]

        return Fields(
            surf={n: plain(n, x, of_surface(n)) for n, x in field.surf.items()},
            static={n: plain(n, x, of_surface(n)).expand(times, -1, -1)[None] for n, x in field.static.items()},
            atmos={n: plain(n, x, of_levels(n, field.levels)) for n, x in field.atmos.items()},
            lat=field.lat, lon=field.lon, levels=field.levels,
            hours=[field.time.astimezone(UTC).timestamp() / 3600], lead=self.config.lead,
        )  # fmt: skip

    def predicted(self, field: Field) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """The next step in normalised units: (NAME -> [1,H,W], NAME -> [1,L,H,W])."""
        patch = self.config.patch
        shape = (self.config.levels, len(field.lat) // patch, len(field.lon) // patch)
        tokens = self.encoder(self.normalised(field))
        moved = self.backbone(tokens, shape, self.config.lead, field.step)
        found: tuple[Any, Any] = self.decoder(moved, shape, list(field.surf), list(field.atmos), field.levels)
        return found

    def next(self, field: Field) -> Field:
        """The field one step ahead, with the times of this one but its first as its history."""
        field = self.ready(field)
        surf, atmos = self.predicted(field)
        fresh = {n: _after(field.surf[n], x, of_surface(n)) for n, x in surf.items()}
        aloft = {n: _after(field.atmos[n], x, of_levels(n, field.levels)) for n, x in atmos.items()}
        return replace(field, surf=fresh, atmos=aloft, time=field.time + timedelta(hours=self.config.lead),
                       step=field.step + 1)  # fmt: skip

    def step(self, ctx: Context, field: Rows) -> dict[str, Rows]:
        """field: B fields of T times. The next step of each, or with `steps` that many, one after the other.

        Raises ValueError for unknown variables or levels, grids that are no whole patches, and more than `history`
        times.
        """
        made = []
        for one in field.list():
            steps = []
            for _ in range(self.config.steps or 1):
                ctx.check()
                one = self.next(one)
                steps.append(one)
            made.append(steps)
        return {"field": ctx.lists(made) if self.config.steps else ctx.rows([s[0] for s in made])}

    def learn(self, ctx: Context, field: Rows, target: Rows) -> dict[str, Rows]:
        """The loss of each row: mean absolute error of the next step in normalised units, the surface's by a quarter.

        field: B fields; target: those of the next step, on the same grids. Raises ValueError where they are not, or
        have no variable in common.
        """
        losses = [self.error(one, wanted) for one, wanted in zip(field.list(), target.list())]
        return {"loss": ctx.rows(torch.stack(losses))}

    def error(self, field: Field, target: Field) -> torch.Tensor:
        """The loss of one field."""
        field, target = self.ready(field), self.ready(target)
        if field.shape != target.shape or field.levels != target.levels:
            raise ValueError(
                f"the target is on {list(target.shape)} levels and points, the field on {list(field.shape)}"
            )
        goal, (surf, atmos) = self.normalised(target), self.predicted(field)
        apart = [[(made - want[name][:, -1]).abs().mean() for name, made in found.items() if name in want]
                 for found, want in ((surf, goal.surf), (atmos, goal.atmos))]  # fmt: skip
        if not any(apart):
            raise ValueError("the target has no variable of the field")
        parts = [weight * torch.stack(group).mean() for weight, group in zip(WEIGHTS, apart) if group]
        return torch.stack(parts).sum()

    # for tests and counting --------------------------------------------------------------------------------------
    def example_rows(self, call: str, rows: Sequence[int], making: Any) -> dict[str, Rows]:
        """Rows for tests: fields on several grids and levels, one of them with a latitude too many."""
        given = {"field": Rows([self.example_field(row, (2 + row % 2, 3), row == 2) for row in rows])}
        if call == "learn":
            given["target"] = Rows([self.example_field(row, (2 + row % 2, 3)) for row in rows])
        return given

    def example_field(self, seed: int, patches: tuple[int, int], more: bool = False) -> Field:
        """A field of patches down and across, around each variable's mean."""
        patch, generator = self.config.patch, torch.Generator().manual_seed(seed)
        height, width = patches[0] * patch + int(more), patches[1] * patch
        levels = (50.0, 500.0, 1000.0)[: 2 + seed % 2]

        def drawn(stats: Any, *shape: int) -> torch.Tensor:
            return stats[0] + stats[1] * torch.randn(*shape, height, width, generator=generator)

        times = min(2, self.config.history)
        return Field(
            surf={n: drawn(of_surface(n), times) for n in self.config.surf},
            static={n: drawn(of_surface(n)) for n in self.config.static},
            atmos={n: drawn(of_levels(n, levels), times, len(levels)) for n in self.config.atmos},
            lat=torch.linspace(80, -80, height), lon=torch.arange(width) * (360 / width), levels=levels,
            time=datetime(2023, 1, 1, 6 * (seed % 4), tzinfo=UTC),
        )  # fmt: skip

    def one_pass(self, given: Any) -> Any:
        """For counting: one step on the grid of 0.25 degrees (that of 0.1 for patches of 10), 13 levels."""
        if not self.encoder.surf_level_encoding.is_meta:
            return None

        def run() -> None:
            sizes = (720, 1440) if self.config.patch < 10 else (1800, 3600)
            down, across = (max(2, size // self.config.patch) * self.config.patch for size in sizes)
            self.counted(down, across)

        run.__doc__ = "1 step, 0.25°" if self.config.patch < 10 else "1 step, 0.1°"
        return run

    def counted(self, height: int, width: int) -> None:
        """A step on meta, of 13 levels."""
        shape = (self.config.levels, height // self.config.patch, width // self.config.patch)
        levels = tuple(float(i) for i in range(13))

        def empty(names: Sequence[str], *more: int) -> Mapping[str, torch.Tensor]:
            return {n: torch.empty(1, self.config.history, *more, height, width, device="meta") for n in names}

        fields = Fields(
            surf=empty(self.config.surf), static=empty(self.config.static), atmos=empty(self.config.atmos, 13),
            lat=torch.empty(height, device="meta"), lon=torch.empty(width, device="meta"), levels=levels, hours=[0.0],
            lead=self.config.lead,
        )  # fmt: skip
        moved = self.backbone(self.encoder(fields), shape, self.config.lead, 0)
        self.decoder(moved, shape, self.config.surf, self.config.atmos, levels)


def _after(history: torch.Tensor, found: torch.Tensor, stats: Any) -> torch.Tensor:
    """[T,...] in physical units: the times but the first, and the one found [1,...]."""
    fresh = found.float().cpu() * stats[1] + stats[0]
    return torch.cat([history[1:], fresh])


def _check(c: Any) -> None:
    """Raises ValueError for sizes that do not go together."""
    if len({len(c.encoder_depths), len(c.decoder_depths), len(c.encoder_heads), len(c.decoder_heads)}) > 1:
        raise ValueError("depths and heads of encoder and decoder are as many: one a stage")
    if len(c.window) != 3:
        raise ValueError(f"a window has three sides: levels, latitudes, longitudes; not {list(c.window)}")
    wide = [c.width * 2**i for i in range(len(c.encoder_heads))]
    pairs = [*zip(wide, c.encoder_heads), *zip(reversed(wide), c.decoder_heads), (c.width, c.heads)]
    uneven = [f"{width} by {heads} heads" for width, heads in pairs if width % heads]
    if uneven or c.width % 4:
        raise ValueError(f"widths divide evenly by heads and by four; not {', '.join(uneven) or c.width}")
