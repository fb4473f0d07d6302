"""Optical flow by Perceiver IO (Jaegle et al. 2021, arXiv 2107.14795, section 4.2), on transformers.

Two pictures -> flow [2,H,W]: how far each pixel of the first moves, right and down, in pixels. Every pixel's input is
also its query. Suffixes: B rows, H height, W width, N pixels, C channels, M latents, D their width, P tiles.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional as F
from transformers import PerceiverConfig
from transformers.models.perceiver.modeling_perceiver import PerceiverBasicDecoder, PerceiverImagePreprocessor

from anyany.api.torch import Build, Component, Context, Rows, to_float
from anyany_perceiver.encoder import LatentTransformer
from anyany_perceiver.layers import attend, official, padded
from anyany_perceiver.tiles import blended, corners

NEIGHBOURS = 27  # 3 x 3 pixels in RGB
SCALE = 100.0


class Flow(Component):
    """Options: `FlowConfig`; a checkpoint's config.json overrides the sizes."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        found = build.assets.json("config.json") or {}
        self.size = tuple(found.get("train_size") or config.size)
        bands = {"num_bands": config.bands, "max_resolution": self.size}
        self.input_preprocessor = PerceiverImagePreprocessor(
            PerceiverConfig(), prep_type="patches", spatial_downsample=1, temporal_downsample=2,
            conv_after_patching=True, conv_after_patching_in_channels=2 * NEIGHBOURS, out_channels=config.channels,
            position_encoding_type="fourier", fourier_position_encoding_kwargs=bands,
        )  # fmt: skip
        self.width = int(self.input_preprocessor.num_channels)
        self.core = LatentTransformer(config, build, self.width)
        inside = PerceiverBasicDecoder(
            self.core.sizes, output_num_channels=2, num_channels=self.width, position_encoding_type="none",
            use_query_residual=False,
        )  # fmt: skip
        self.decoder = torch.nn.ModuleDict({"decoder": inside})

    def rename(self, name: str) -> str:
        """transformers' names."""
        return official(name)

    # the network -------------------------------------------------------------------------------------------------
    def array(self, frames_B2CHW: torch.Tensor) -> torch.Tensor:
        """[B,2,27,H,W] -> [B,N,C], N = H W."""
        found: torch.Tensor = self.input_preprocessor(frames_B2CHW)[0]
        return found

    def read(
        self, latents_BMD: torch.Tensor, query_BNC: torch.Tensor, real_BM: torch.Tensor | None = None
    ) -> torch.Tensor:
        """[B,N,2] in pixels, `chunk` queries at a time; each is the same whichever others are asked."""
        inside: Any = self.decoder["decoder"]
        layer, last = inside.decoding_cross_attention, inside.final_layer
        parts = [last(attend(layer, q, latents_BMD, real_BM)) for q in query_BNC.split(self.config.chunk, 1)]
        return torch.cat(parts, 1) / SCALE

    def of_size(self, frames_B2CHW: torch.Tensor) -> torch.Tensor:
        """[B,2,H,W] for pictures of the size trained on."""
        array_BNC = self.array(frames_B2CHW)
        flow_BN2 = self.read(self.core(array_BNC), array_BNC)
        return flow_BN2.unflatten(1, tuple(frames_B2CHW.shape[-2:])).permute(0, 3, 1, 2)

    # calls -------------------------------------------------------------------------------------------------------
    def flow(self, ctx: Context, images: Rows) -> dict[str, Rows]:
        """images: B lists of two pictures of one size. flow: B x [2,H,W], of their own size.

        Larger pictures go through tile by tile, the tiles overlapping; smaller ones are enlarged for it.
        Raises ValueError for other counts than two, or two pictures of unlike sizes.
        """
        return {"flow": ctx.rows([self._tiled(ctx, pair).float() for pair in _pairs(images)])}

    def _tiled(self, ctx: Context, pair_23HW: torch.Tensor) -> torch.Tensor:
        """[2,H,W] of one pair."""
        height, width = pair_23HW.shape[-2:]
        factor = max(self.size[0] / height, self.size[1] / width, 1.0)
        large = (max(self.size[0], round(height * factor)), max(self.size[1], round(width * factor)))
        ready = _resized(pair_23HW, large).to(ctx.device, ctx.dtype)
        tiles, places = [], corners(large, self.size, self.config.overlap)
        for top, left in places:
            ctx.check()
            part = ready[None, :, :, top : top + self.size[0], left : left + self.size[1]]
            tiles.append(self.of_size(neighbourhoods(part))[0])
        flow_2HW = blended(tiles, places, large)
        if large == (height, width):
            return flow_2HW
        back = F.interpolate(flow_2HW[None], (height, width), mode="bilinear", align_corners=False)[0]
        return back * torch.tensor([width / large[1], height / large[0]], device=back.device).view(2, 1, 1)

    def pair(self, ctx: Context, images: Rows) -> dict[str, Rows]:
        """images: B lists of two pictures. features: [B,N,C] of the pair at the size trained on; also the queries."""
        frames = torch.stack([_resized(pair, self.size) for pair in _pairs(images)])
        return {"features": ctx.rows(self.array(neighbourhoods(frames.to(ctx.device, ctx.dtype))))}

    def decode(self, ctx: Context, latents: Rows, queries: Rows) -> dict[str, Rows]:
        """latents: B x [M,D] of any encoder; queries: [B,N,C] as `pair` gives them. flow: [B,2,H,W]."""
        latents_BMD, real_BM = padded(latents)
        flow_BN2 = self.read(latents_BMD, queries.dense(), real_BM)
        return {"flow": ctx.rows(flow_BN2.unflatten(1, self.size).permute(0, 3, 1, 2).float())}

    def probe(self, call: str) -> Callable[[], dict[str, Rows]] | None:
        """For counting: two pictures of the size trained on."""
        if call == "decode":
            return None

        def pair() -> dict[str, Rows]:
            frames = torch.empty(1, 2, NEIGHBOURS, *self.size, device="meta")
            if call == "pair":
                return {"features": Rows(self.array(frames))}
            return {"flow": Rows(self.of_size(frames))}

        pair.__doc__ = "two pictures of " + "×".join(map(str, self.size))
        return pair

    def example_rows(self, call: str, rows: Sequence[int], making: Any) -> dict[str, Rows]:
        """Pairs of pictures of unlike sizes, smaller and larger than trained on."""
        if call == "decode":
            places, seeds = self.size[0] * self.size[1], [making.generator("flow", row) for row in rows]
            return {"latents": Rows([torch.randn(3, self.core.sizes.d_latents, generator=g) for g in seeds]),
                    "queries": Rows([torch.randn(places, self.width, generator=g) for g in seeds])}  # fmt: skip
        pictures = []
        for row in rows:
            size = ((16, 20), (9, 7), (8, 8), (24, 10))[row % 4]
            for i in range(2):
                made = making.generator("flow", row, i)
                pictures.append(torch.randint(0, 256, (3, *size), generator=made, dtype=torch.uint8))
        return {"images": Rows(pictures, counts=[2] * len(rows))}


def neighbourhoods(frames_B23HW: torch.Tensor) -> torch.Tensor:
    """[B,2,27,H,W]: the 3 x 3 pixels around each one, black outside; kernel row, kernel column, then RGB."""
    height, width = frames_B23HW.shape[-2:]
    around = F.pad(frames_B23HW, (1, 1, 1, 1))
    return torch.cat([around[..., y : y + height, x : x + width] for y in range(3) for x in range(3)], 2)


def _pairs(images: Rows) -> list[torch.Tensor]:
    """[2,3,H,W] in -1..1 of each row."""
    found = []
    for pair in images.groups():
        if len(pair) != 2:
            raise ValueError(f"flow is between two pictures, not {len(pair)}")
        if pair[0].shape[-2:] != pair[1].shape[-2:]:
            sizes = " and ".join("x".join(map(str, p.shape[:0:-1])) for p in pair)
            raise ValueError(f"the two pictures differ in size: {sizes}")
        colours = [to_float(p).float() for p in pair]
        colours = [c.expand(3, -1, -1) if c.shape[0] == 1 else c[:3] for c in colours]
        found.append(2 * torch.stack(colours) - 1)
    return found


def _resized(pair_23HW: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    if tuple(pair_23HW.shape[-2:]) == tuple(size):
        return pair_23HW
    return F.interpolate(pair_23HW, tuple(size), mode="bilinear", align_corners=False, antialias=not pair_23HW.is_meta)
