"""region-sampler: any region of a picture becomes one vector, from points within it and their neighbours.

Ferret's spatial-aware visual sampler (You et al. 2023, arXiv 2310.07704, section 3.2), written from the paper.
Suffixes: R regions, P points, S kept points, K neighbours, C width of the features, E width given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from anyany.api.torch import Build, Component, Context, OnImage, Rows
from anyany_grounding import examples
from anyany_grounding.coordinates import picture_of
from anyany_grounding.regions import Region, regions_of


def looked_up(map_GGC: torch.Tensor, xy_P2: torch.Tensor, transposed: bool) -> torch.Tensor:
    """[P,C] bilinear features at places 0...1, the corners of the map being the centres of its corner patches.

    transposed: x runs down the rows and y along the columns, as the released Ferret was trained.
    """
    places = xy_P2.flip(-1) if transposed else xy_P2
    grid = (2 * places - 1).float()[None, None]  # half precision would move points by a tenth of a patch
    found = F.grid_sample(map_GGC.float().permute(2, 0, 1)[None], grid, mode="bilinear", align_corners=True)
    return found[0, :, 0].T.to(map_GGC.dtype)


def farthest(xy_RP2: torch.Tensor, count: int, start_R: torch.Tensor) -> torch.Tensor:
    """[R,count] numbers of points, each as far as can be from those chosen before it; the first is given."""
    rows = torch.arange(len(xy_RP2), device=xy_RP2.device)
    chosen_RS = torch.empty(len(xy_RP2), count, dtype=torch.int64, device=xy_RP2.device)
    near_RP = torch.full(xy_RP2.shape[:2], float("inf"), device=xy_RP2.device)
    last_R = start_R
    for i in range(count):
        chosen_RS[:, i] = last_R
        near_RP = torch.minimum(near_RP, (xy_RP2 - xy_RP2[rows, last_R][:, None]).square().sum(-1))
        last_R = near_RP.argmax(-1)
    return chosen_RS


def nearest(from_RS2: torch.Tensor, to_RP2: torch.Tensor, count: int) -> torch.Tensor:
    """[R,S,count] numbers of the nearest points; a point that is among them is its own neighbour."""
    apart_RSP = (from_RS2[:, :, None] - to_RP2[:, None]).square().sum(-1)
    return apart_RSP.topk(count, dim=-1, largest=False).indices


def gathered(values_RPC: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """Rows of [R,P,C] at numbers [R,...]: [R,...,C]."""
    flat = at.flatten(1)
    found = values_RPC.gather(1, flat[..., None].expand(-1, -1, values_RPC.shape[-1]))
    return found.unflatten(1, at.shape[1:])


class Gather(nn.Module):
    """What a kept point and its neighbours become: 1x1 convolution, ReLU, layer norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv1d(2 * (width + 2), width, 1), nn.ReLU())
        self.norm = nn.LayerNorm(width)

    def forward(self, x_RSKD: torch.Tensor) -> torch.Tensor:
        flat = self.net(x_RSKD.flatten(0, 2)[..., None])[..., 0]
        normed: torch.Tensor = self.norm(flat)
        return normed.unflatten(0, x_RSKD.shape[:3])


class RegionSampler(Component):
    """Options: `RegionSamplerConfig`."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        width, wide = self._width("inputs"), self._width("outputs")
        self.points, self.keep, self.neighbours = config.points, config.keep, config.neighbours
        _check(config)
        if config.how == "average":
            self.region_fea_adapter = nn.Linear(width, wide)
            return
        self.diff_projector_list = nn.ModuleList(nn.Linear(width + 2, width + 2) for _ in self.keep)
        self.agg_projector_list = nn.ModuleList(Gather(width) for _ in self.keep)
        self.flatten_projector = nn.Linear(self.keep[-1] * width, width)
        self.dim_projector = nn.Linear(width, wide)

    def _width(self, name: str) -> int:
        value = getattr(self.config, name) or self.build.facts.get(name) or self.build.sizes.get(name)
        if value is None:
            raise ValueError(f"nothing fixes the {name} width of {self.build.node}; give `with: {{{name}: …}}`")
        return int(value)

    # a region to a vector ----------------------------------------------------------------------------------------
    def point_features(self, map_GGC: torch.Tensor, xy_RP2: torch.Tensor) -> torch.Tensor:
        """[R,P,C] features at the points of the regions of one picture."""
        flat = looked_up(map_GGC, xy_RP2.flatten(0, 1), self.config.transposed)
        return flat.unflatten(0, xy_RP2.shape[:2])

    def stage(self, number: int, x_RPC: torch.Tensor, xy_RP2: torch.Tensor, start_R: torch.Tensor) -> tuple[Any, ...]:
        """One stage: (features [R,S,C], xy [R,S,2], numbers of the kept points, numbers of their neighbours)."""
        kept_RS = farthest(xy_RP2, self.keep[number], start_R)
        center_xy = gathered(xy_RP2, kept_RS)
        near_RSK = nearest(center_xy, xy_RP2, self.neighbours[number])
        center = torch.cat([gathered(x_RPC, kept_RS), center_xy.to(x_RPC.dtype)], -1)[:, :, None]
        local = torch.cat([gathered(x_RPC, near_RSK), gathered(xy_RP2, near_RSK).to(x_RPC.dtype)], -1)
        apart = self.diff_projector_list[number](local - center)
        x_RSKC = self.agg_projector_list[number](torch.cat([apart, center.expand_as(apart)], -1))
        pooled = x_RSKC.amax(2) if self.config.pool == "max" else x_RSKC.mean(2)
        return pooled, center_xy, kept_RS, near_RSK

    def vectors(self, x_RPC: torch.Tensor, xy_RP2: torch.Tensor, starts: Sequence[torch.Tensor]) -> torch.Tensor:
        """[R,E] from the points of R regions; `starts`: for each stage, the point to begin with."""
        for number, start_R in enumerate(starts):
            x_RPC, xy_RP2, _, _ = self.stage(number, x_RPC, xy_RP2, start_R)
        vectors: torch.Tensor = self.dim_projector(self.flatten_projector(x_RPC.flatten(1)))
        return vectors

    def averaged(self, map_GGC: torch.Tensor, xy_P2: torch.Tensor) -> torch.Tensor:
        """[E] the mean over the points, of the features after the linear layer."""
        return looked_up(self.region_fea_adapter(map_GGC), xy_P2, self.config.transposed).mean(0)

    # the call ----------------------------------------------------------------------------------------------------
    def sample(self, ctx: Context, regions: Rows, features: Rows, images: Rows | None = None) -> dict[str, Rows]:
        """regions: of each row, boxes [n,4], points [n,2] or a mask; features: patches [N,C] of each picture.

        Gives [n,E] for each region, a vector for each of its boxes or points. Raises ValueError for a region without
        a picture, or an empty one, and for features that are no square.
        """
        maps = [[_square(f) for f in group] for group in features.groups()]
        pictures = images.groups() if images is not None else [[] for _ in maps]
        groups = regions.groups()
        draws = [ctx.uniform((self.points + len(self.keep),), step=i) for i in range(_most(groups))]
        out: list[list[torch.Tensor]] = []
        for row, group in enumerate(groups):
            used, found = 0, []
            for value in group:
                alone = pictures[row][0] if len(pictures[row]) == 1 else None
                pieces = regions_of(value, picture_of(value, alone))
                numbers = [draws[used + i][row] for i in range(len(pieces))]
                used += len(pieces)
                found.append(self._one(pieces, _map_of(value, maps[row]), numbers))
            out.append(found)
        return {"features": ctx.lists(out)}

    def example_rows(self, call: str, rows: Sequence[int], making: Any) -> dict[str, Rows]:
        """Rows for tests: regions of each kind in turn, on one or two pictures."""
        regions, maps, held, seen = [], [], [], []
        for row in rows:
            pictures = [examples.picture(row + i) for i in range(1 + row % 2)]
            of = len(pictures) - 1
            found = [examples.boxes(pictures[of], 1 + row % 3, row, of), examples.boxes(pictures[0], 2, row + 7, 0)]
            regions += found[: 1 + row % 2]
            held.append(1 + row % 2)
            seen.append(len(pictures))
            maps += [examples.states((3 + row % 2) ** 2, self._width("inputs"), row * 10 + i) for i in range(seen[-1])]
        return {"regions": Rows(regions, counts=held), "features": Rows(maps, counts=seen)}

    def one_pass(self, given: Any) -> Any:
        """For counting: one region of a picture of 24 x 24 patches."""

        def run() -> None:
            """1 region"""
            map_GGC = torch.empty(24, 24, self._width("inputs"), device="meta")
            xy_RP2 = torch.empty(1, self.points, 2, device="meta")
            if self.config.how == "average":
                self.averaged(map_GGC, xy_RP2[0])
                return
            starts = [torch.empty(1, dtype=torch.int64, device="meta") for _ in self.keep]
            self.vectors(self.point_features(map_GGC, xy_RP2), xy_RP2, starts)

        return run

    def _one(self, pieces: Sequence[Region], map_GGC: torch.Tensor, draws: Sequence[torch.Tensor]) -> torch.Tensor:
        """[n,E] of the pieces of one region. Each is taken by itself, so that no other can change it."""
        if not pieces:
            wide = self.region_fea_adapter if self.config.how == "average" else self.dim_projector
            return map_GGC.new_zeros(0, wide.out_features)
        found = []
        for piece, draw in zip(pieces, draws):
            if self.config.how == "average":
                xy_P2 = piece.some(self.points, draw, fill=False).to(map_GGC.device)
                found.append(self.averaged(map_GGC, xy_P2))
                continue
            xy_RP2 = piece.some(self.points, draw, fill=True).to(map_GGC.device)[None]
            counts = [self.points, *self.keep[:-1]]
            starts = [(u * n).long().clamp_max(n - 1)[None] for u, n in zip(draw[self.points :], counts)]
            found.append(self.vectors(self.point_features(map_GGC, xy_RP2), xy_RP2, starts)[0])
        return torch.stack(found)


def _check(config: Any) -> None:
    """Raises ValueError for stages that keep or gather more points than there are."""
    if len(config.keep) != len(config.neighbours) or not config.keep:
        raise ValueError(f"`keep` names {len(config.keep)} stages, `neighbours` {len(config.neighbours)}")
    for have, keep, near in zip((config.points, *config.keep), config.keep, config.neighbours):
        if not 0 < keep <= have or not 0 < near <= have:
            raise ValueError(f"a stage of {have} points cannot keep {keep} and gather {near} neighbours")


def _most(groups: Sequence[Sequence[Any]]) -> int:
    """The largest number of single regions in a row: a mask is one, boxes and points are as many as they hold."""
    return max((sum(1 if v.dtype == torch.bool else len(v) for v in g) for g in groups), default=0)


def _square(x_NC: torch.Tensor) -> torch.Tensor:
    """Patches [N,C], row by row, as a map [G,G,C]."""
    side = round(x_NC.shape[0] ** 0.5)
    if side * side != x_NC.shape[0]:
        raise ValueError(f"{x_NC.shape[0]} patches are no square; the picture is to be stretched or cropped to one")
    return x_NC.reshape(side, side, -1)


def _map_of(value: Any, maps: Sequence[torch.Tensor]) -> torch.Tensor:
    """The map of the picture that a region lies on."""
    of = value.of if isinstance(value, OnImage) else None
    if of is None and len(maps) == 1:
        return maps[0]
    if of is None or of >= len(maps):
        which = "no known picture" if of is None else f"picture {of}"
        raise ValueError(f"a region lies on {which}, but there are features of {len(maps)} pictures")
    return maps[of]
