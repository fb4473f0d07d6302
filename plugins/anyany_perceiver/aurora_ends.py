"""Aurora's two ends: fields on any levels to a few latent levels of patches, and back to fields.

Suffixes: B batch, T times, V variables, L levels, C latent levels, P patches, D width, H and W the grid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from anyany_perceiver.fields_fourier import ABSOLUTE, LEAD, LEVELS, expanded, places
from anyany_perceiver.fields_levels import LevelResampler, Looks, Mlp


@dataclass(frozen=True, kw_only=True)
class Fields:
    """Normalised fields of one grid. surf, static: NAME -> [B,T,H,W]; atmos: NAME -> [B,T,L,H,W].

    lat [H], lon [W] degrees, on the CPU; levels hPa; hours: since 1970 UTC, one a row; lead: hours to the next step.
    """

    surf: Mapping[str, torch.Tensor]
    static: Mapping[str, torch.Tensor]
    atmos: Mapping[str, torch.Tensor]
    lat: torch.Tensor
    lon: torch.Tensor
    levels: Sequence[float]
    hours: Sequence[float]
    lead: float


class PatchEmbed(nn.Module):
    """A kernel for each variable; those present are summed in one convolution. Names: `weights.VARIABLE`, `bias`."""

    def __init__(self, names: Sequence[str], patch: int, width: int, history: int) -> None:
        super().__init__()
        self.weights = nn.ParameterDict(
            {name: nn.Parameter(torch.empty(width, 1, history, patch, patch)) for name in names}
        )
        self.bias = nn.Parameter(torch.empty(width))

    def forward(self, fields: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """NAME -> [B,T,H,W] of fields -> [B,P,D]. Raises ValueError for more times than kernels have."""
        x_BVTHW = torch.stack(list(fields.values()), 1)
        times = x_BVTHW.shape[2]
        kernels = [self.weights[name] for name in fields]
        if times > kernels[0].shape[2]:
            raise ValueError(f"the field has {times} times; the model takes at most {kernels[0].shape[2]}")
        weight = torch.cat([k[:, :, :times] for k in kernels], 1)
        found = F.conv3d(x_BVTHW, weight, self.bias, stride=(times, *weight.shape[-2:]))
        return found.flatten(2).transpose(1, 2)


class AuroraEncoder(nn.Module):
    """Normalised fields to [B,C*P,D], level by level, the surface first."""

    def __init__(
        self, names: Mapping[str, Sequence[str]], *, patch: int, width: int, levels: int, history: int, looks: Looks
    ) -> None:
        super().__init__()
        self.patch, self.width = patch, width
        self.atmos_latents = nn.Parameter(torch.empty(levels - 1, width))
        self.surf_level_encoding = nn.Parameter(torch.empty(width))
        self.surf_mlp, self.surf_norm = Mlp(width, int(width * looks.ratio)), nn.LayerNorm(width)
        self.pos_embed, self.scale_embed = nn.Linear(width, width), nn.Linear(width, width)
        self.lead_time_embed, self.absolute_time_embed = nn.Linear(width, width), nn.Linear(width, width)
        self.atmos_levels_embed = nn.Linear(width, width)
        self.surf_token_embeds = PatchEmbed((*names["surf"], *names["static"]), patch, width, history)
        self.atmos_token_embeds = PatchEmbed(names["atmos"], patch, width, history)
        self.level_agg = LevelResampler(width, width, looks)

    def forward(self, fields: Fields) -> torch.Tensor:
        surf_BPD = self.surf_token_embeds({**fields.surf, **fields.static}) + self.surf_level_encoding
        surf_BPD = surf_BPD + self.surf_norm(self.surf_mlp(surf_BPD))
        x_BCPD = torch.cat([surf_BPD[:, None], self.aggregated(fields)], 1)
        where_PD, scale_PD = places(fields.lat, fields.lon, self.patch, self.width, x_BCPD.device)
        x_BCPD = x_BCPD + self.pos_embed(where_PD.to(x_BCPD)) + self.scale_embed(scale_PD.to(x_BCPD))
        return x_BCPD.flatten(1, 2) + self.moments(fields, x_BCPD)[:, None]

    def aggregated(self, fields: Fields) -> torch.Tensor:
        """[B,C-1,P,D]: for each patch, latents that looked at its pressure levels."""
        first = next(iter(fields.atmos.values()))
        batch, levels = first.shape[0], first.shape[2]
        slabs = {n: x.transpose(1, 2).flatten(0, 1) for n, x in fields.atmos.items()}
        x_BLPD = self.atmos_token_embeds(slabs).unflatten(0, (batch, levels))
        heights = expanded(torch.tensor(list(fields.levels), device=first.device), self.width, LEVELS)
        x_BLPD = x_BLPD + self.atmos_levels_embed(heights.to(x_BLPD.dtype))[None, :, None]
        context = x_BLPD.transpose(1, 2).flatten(0, 1)
        latents = self.atmos_latents.expand(len(context), -1, -1)
        return self.level_agg(latents, context).unflatten(0, (batch, -1)).transpose(1, 2)

    def moments(self, fields: Fields, like: torch.Tensor) -> torch.Tensor:
        """[B,D]: how far ahead, and when."""
        lead = torch.full((len(fields.hours),), fields.lead, device=like.device)
        hours = torch.tensor(list(fields.hours), dtype=torch.float32, device=like.device)
        ahead = self.lead_time_embed(expanded(lead, self.width, LEAD).to(like.dtype))
        when: torch.Tensor = self.absolute_time_embed(expanded(hours, self.width, ABSOLUTE).to(like.dtype))
        return ahead + when


class AuroraDecoder(nn.Module):
    """[B,C*P,D] to normalised fields: the first level to the surface, the others asked by pressure levels."""

    def __init__(self, names: Mapping[str, Sequence[str]], *, patch: int, width: int, looks: Looks) -> None:
        super().__init__()
        self.patch, self.width = patch, width
        self.level_decoder = LevelResampler(width, width, looks)
        self.surf_heads = nn.ModuleDict({name: nn.Linear(width, patch**2) for name in names["surf"]})
        self.atmos_heads = nn.ModuleDict({name: nn.Linear(width, patch**2) for name in names["atmos"]})
        self.atmos_levels_embed = nn.Linear(width, width)

    def forward(
        self, x_BND: torch.Tensor, shape: tuple[int, int, int], surf: Sequence[str], atmos: Sequence[str],
        levels: Sequence[float],
    ) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:  # fmt: skip
        """shape: latent levels, patches down, patches across. (NAME -> [B,H,W], NAME -> [B,L,H,W])."""
        x_BPCD = x_BND.unflatten(1, (shape[0], -1)).transpose(1, 2)
        ground = {name: self.fields(self.surf_heads[name](x_BPCD[:, :, :1]), shape)[:, 0] for name in surf}
        if not atmos:
            return ground, {}
        heights = expanded(torch.tensor(list(levels), device=x_BND.device), self.width, LEVELS)
        asked = self.atmos_levels_embed(heights.to(x_BND.dtype))
        batch, patches = x_BPCD.shape[:2]
        context = x_BPCD[:, :, 1:].flatten(0, 1)
        found = self.level_decoder(asked.expand(batch * patches, -1, -1), context).unflatten(0, (batch, patches))
        return ground, {name: self.fields(self.atmos_heads[name](found), shape) for name in atmos}

    def fields(self, x_BPLX: torch.Tensor, shape: tuple[int, int, int]) -> torch.Tensor:
        """Patches of patch*patch values -> [B,L,H,W]."""
        down, across = shape[1:]
        tiles = x_BPLX.reshape(x_BPLX.shape[0], down, across, x_BPLX.shape[2], self.patch, self.patch)
        return tiles.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
