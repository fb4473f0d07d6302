"""Pix2Struct: patches at the picture's own aspect ratio, and their encoder (Lee et al. 2023, arXiv 2210.03347).

On transformers' Pix2StructVisionModel; ScreenAI reads screens so too. B rows, N patches, D width, P numbers a patch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from anyany.api.torch import Build, Component, Context, Rows, load_transformers


class Pix2Struct(Component):
    """Vision encoder. Options: `Pix2StructConfig`; a checkpoint's config.json overrides the sizes."""

    def __init__(self, config: Any, build: Build) -> None:
        from transformers import Pix2StructVisionModel

        super().__init__(config, build)
        card = build.assets.json("config.json") or {}
        self.sizes = dict(card.get("vision_config") or card) or _sizes(config)
        self.model = Pix2StructVisionModel(self._settings())

    def _settings(self) -> Any:
        from transformers import Pix2StructVisionConfig

        return Pix2StructVisionConfig(**self.sizes)

    def load(self, stores: Sequence[Any], build: Build) -> None:
        """Weights under transformers' names of the vision model (whole checkpoints: `…#encoder.`), strictly."""
        self.model = load_transformers(type(self.model), self._settings(), stores, build)

    def run(self, flat_BNP: torch.Tensor, mask_BN: torch.Tensor) -> torch.Tensor:
        """[B,N,D] after the final norm. flat: row id, column id, the patch's numbers; padding is masked as keys."""
        return self.model(flattened_patches=flat_BNP, attention_mask=mask_BN).last_hidden_state

    def probe(self, call: str) -> Callable[[], Any]:
        """A pass over a full set of patches, on the meta device."""
        count = self.config.max_patches
        flat_BNP = torch.empty(1, count, 2 + self.sizes["patch_embed_hidden_size"], device=self.model.device)
        mask_B11N = torch.empty(1, 1, 1, count, dtype=torch.bool, device=self.model.device)

        def one_pass() -> dict[str, Rows]:
            return {"patches": Rows(self.run(flat_BNP, mask_B11N))}

        one_pass.__doc__ = f"{count} patches"
        return one_pass

    def patches(self, image: torch.Tensor) -> torch.Tensor:
        """[N,2+P*P*3] of one picture: no padding."""
        return flat_patches(image, self.config.patch, self.config.max_patches, self.config.deviation)

    def encode(self, ctx: Context, image: Rows) -> dict[str, Rows]:
        """image: B pictures. patches: [N,D] each, row by row; places: [N,2] row and column, from 1.

        Pictures with as many patches go together, others apart: nothing is padded.
        """
        flat = [self.patches(one).to(ctx.device, ctx.dtype) for one in image.list()]
        found: list[Any] = [None] * len(flat)
        for count in sorted({f.shape[0] for f in flat}):
            rows = [i for i, f in enumerate(flat) if f.shape[0] == count]
            batch_BNP = torch.stack([flat[i] for i in rows])
            states_BND = self.run(batch_BNP, batch_BNP.new_ones(batch_BNP.shape[:2]))
            for row, state in zip(rows, states_BND):
                found[row] = state
        lengths = [f.shape[0] for f in found]
        places = [f[:, :2].float() for f in flat]
        return {"patches": ctx.rows(torch.cat(found), lengths), "places": ctx.rows(places)}


def grid_of(height: int, width: int, patch: int, most: int) -> tuple[int, int]:
    """(rows, columns) of the largest grid of at most `most` patches at this aspect ratio; at least one of each."""
    scale = math.sqrt(most * (patch / height) * (patch / width))
    rows = max(min(math.floor(scale * height / patch), most), 1)
    columns = max(min(math.floor(scale * width / patch), most), 1)
    return rows, columns


def flat_patches(image: torch.Tensor, patch: int, most: int, deviation: str = "population") -> torch.Tensor:
    """[N,2+P*P*3] float32: 1-based row and column, then the standardised patch as (row, column, channel).

    deviation: `population` is the original's; `sample` (n - 1) is what transformers' torchvision back end does.
    """
    if image.is_meta:  # counting FLOPs: shapes alone
        rows, columns = grid_of(image.shape[1], image.shape[2], patch, most)
        return torch.empty(rows * columns, 2 + 3 * patch * patch, device="meta")
    pixels_CHW = image.float() if image.dtype == torch.uint8 else image.float() * 255
    if pixels_CHW.shape[0] == 1:
        pixels_CHW = pixels_CHW.expand(3, -1, -1)
    spread = pixels_CHW.std(correction=int(deviation == "sample"))
    floor = 1 / math.sqrt(pixels_CHW.numel())
    pixels_CHW = (pixels_CHW - pixels_CHW.mean()) / max(float(spread), floor)
    rows, columns = grid_of(pixels_CHW.shape[1], pixels_CHW.shape[2], patch, most)
    pixels_CHW = F.interpolate(pixels_CHW[None], (rows * patch, columns * patch), mode="bilinear", align_corners=False,
                               antialias=True)[0]  # fmt: skip
    cut_NP = pixels_CHW.unflatten(1, (rows, patch)).unflatten(3, (columns, patch)).permute(1, 3, 2, 4, 0)
    ids = torch.cartesian_prod(torch.arange(1, rows + 1), torch.arange(1, columns + 1)).view(-1, 2)
    return torch.cat([ids.to(cut_NP), cut_NP.flatten(0, 1).flatten(1)], 1)


def _sizes(config: Any) -> dict[str, Any]:
    return {
        "hidden_size": config.width, "patch_embed_hidden_size": config.patch * config.patch * 3, "d_ff": config.mlp,
        "d_kv": config.head_width, "num_hidden_layers": config.layers, "num_attention_heads": config.heads,
        "seq_len": config.table, "dropout_rate": 0.0, "attention_dropout": 0.0,
    }  # fmt: skip
