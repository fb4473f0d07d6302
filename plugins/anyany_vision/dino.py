"""DINO and DINOv2: features learned without labels (Caron et al. 2021, 2104.14294; Oquab et al. 2023, 2304.07193).

On transformers' ViT, Dinov2 and Dinov2WithRegisters, with the original's interpolation of positions, from which theirs
differs. Pictures of unlike sizes go together unpadded (`fit: keep`). B rows, C channels, N patches, T tokens, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from anyany.api.torch import Build, Component, Context, Layout, Rows, load_transformers, relayout
from anyany_vision.attention import exposed
from anyany_vision.pictures import fitted, prepared
from anyany_vision.vit import TIMM

_BLOCK, _LAYER = r"blocks\.(?:\d+\.)?(\d+)", r"encoder.layer.\1"
OFFICIAL = (
    Layout(r"(cls_token|mask_token|register_tokens)", r"embeddings.\1"),
    Layout(r"pos_embed", "embeddings.position_embeddings"),
    Layout(r"patch_embed\.proj\.(\w+)", r"embeddings.patch_embeddings.projection.\1"),
    Layout(rf"{_BLOCK}\.(norm[12])\.(\w+)", rf"{_LAYER}.\2.\3"),
    Layout(rf"{_BLOCK}\.attn\.qkv\.(\w+)", tuple(rf"{_LAYER}.attention.{p}_proj.\2" for p in "qkv")),
    Layout(rf"{_BLOCK}\.attn\.proj\.(\w+)", rf"{_LAYER}.attention.o_proj.\2"),
    Layout(rf"{_BLOCK}\.ls([12])\.gamma", rf"{_LAYER}.layer_scale\2.lambda1"),
    Layout(rf"{_BLOCK}\.mlp\.(fc[12])\.(\w+)", rf"{_LAYER}.mlp.\2.\3"),
    Layout(rf"{_BLOCK}\.mlp\.w12\.(\w+)", (rf"{_LAYER}.mlp.gate_proj.\2", rf"{_LAYER}.mlp.up_proj.\2")),
    Layout(rf"{_BLOCK}\.mlp\.w3\.(\w+)", rf"{_LAYER}.mlp.down_proj.\2"),
    Layout(r"norm\.(\w+)", r"layernorm.\1"),
)
"""The original's names of DINOv2 (blocks may be chunked, as in training checkpoints), as transformers calls them."""


class Dino(Component):
    """Self-supervised encoder. Options: `DinoConfig`; a checkpoint's config.json overrides the sizes."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        card = build.assets.json("config.json") or {}
        card = card if "hidden_size" in card else {}  # timm's says nothing of sizes
        seen = build.assets.json("preprocessor_config.json") or {}
        self.mean, self.std = seen.get("image_mean", config.mean), seen.get("image_std", config.std)
        self.sizes = dict(card) or _sizes(config)
        self.patch = int(self.sizes["patch_size"])
        if config.resolution % self.patch:
            raise ValueError(f"resolution {config.resolution} is no multiple of the patch, {self.patch} pixels")
        self.registers = int(self.sizes.get("num_register_tokens", 0))
        self.first = 1 + self.registers
        self.model = self._class()(self._settings(), **self._more())

    def _class(self) -> Any:
        import transformers

        if self.config.version == "dino":
            return transformers.ViTModel
        return transformers.Dinov2WithRegistersModel if self.registers else transformers.Dinov2Model

    def _settings(self) -> Any:
        sizes = dict(self.sizes)
        if not self.registers:
            sizes.pop("num_register_tokens", None)
        return self._class().config_class(**sizes)

    def _more(self) -> dict[str, Any]:
        return {"add_pooling_layer": False} if self.config.version == "dino" else {}

    def load(self, stores: Sequence[Any], build: Build) -> None:
        """Weights under the original's names or transformers', strictly."""
        rules = TIMM if self.config.version == "dino" else OFFICIAL
        self.model = load_transformers(self._class(), self._settings(), relayout(stores, rules), build,
                                       ignores=("pooler.*", "head.*", "classifier.*"), **self._more())  # fmt: skip

    # the network -------------------------------------------------------------------------------------------------
    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer's blocks, first to last."""
        return self.model.layers if self.config.version == "dino" else self.model.encoder.layer

    def positions(self, height: int, width: int) -> torch.Tensor:
        """[1,1+N,D]: the position table for pictures of this size, the class token's first.

        Bicubic. Without registers by the factor (target + 0.1) / source; with registers by target size and antialiased,
        as the released models were made. At the native square size the table is used as it is.
        """
        table_1TD = self.model.embeddings.position_embeddings
        side = round((table_1TD.shape[1] - 1) ** 0.5)
        rows, columns = height // self.patch, width // self.patch
        if rows * columns == side * side and height == width:
            return table_1TD
        grid = table_1TD[:, 1:].float().unflatten(1, (side, side)).permute(0, 3, 1, 2)
        offset, smooth = self.config.offset, self.config.antialias
        offset = (0.0 if self.registers else 0.1) if offset is None else offset
        smooth = self.registers > 0 if smooth is None else smooth
        if offset:
            scale = ((rows + offset) / side, (columns + offset) / side)
            grid = F.interpolate(grid, scale_factor=scale, mode="bicubic", antialias=smooth)
        else:
            grid = F.interpolate(grid, (rows, columns), mode="bicubic", antialias=smooth)
        return torch.cat([table_1TD[:, :1], grid.flatten(2).transpose(1, 2).to(table_1TD.dtype)], 1)

    def embed(self, pixels_BCHW: torch.Tensor, masked_BN: torch.Tensor | None = None) -> torch.Tensor:
        """[B,T,D] before the first block: class token, registers, patches; masked patches become the mask token."""
        parts = self.model.embeddings
        tokens_BND = parts.patch_embeddings(pixels_BCHW)
        if masked_BN is not None:
            tokens_BND = torch.where(masked_BN.bool()[..., None], parts.mask_token.to(tokens_BND.dtype), tokens_BND)
        rows = tokens_BND.shape[0]
        tokens_BTD = torch.cat([parts.cls_token.expand(rows, -1, -1), tokens_BND], 1)
        tokens_BTD = tokens_BTD + self.positions(pixels_BCHW.shape[-2], pixels_BCHW.shape[-1])
        if self.registers:
            extra = parts.register_tokens.expand(rows, -1, -1)
            tokens_BTD = torch.cat([tokens_BTD[:, :1], extra, tokens_BTD[:, 1:]], 1)
        return tokens_BTD

    def states(self, pixels_BCHW: torch.Tensor, masked_BN: torch.Tensor | None = None) -> list[torch.Tensor]:
        """[B,T,D] before the first block and after each one, none of them normed."""
        found = [self.embed(pixels_BCHW, masked_BN)]
        for block in self.blocks:
            found.append(block(found[-1]))
        return found

    def norm(self, state_BTD: torch.Tensor) -> torch.Tensor:
        """[B,T,D] after the final norm."""
        return self.model.layernorm(state_BTD)

    # calls -------------------------------------------------------------------------------------------------------
    def pixels(self, image: torch.Tensor, ctx: Context) -> torch.Tensor:
        """[3,H,W] of one picture as the network wants it."""
        if self.config.fit == "keep":
            ready = fitted(image, self.config.resolution, self.patch, self.mean, self.std)
        else:
            ready = prepared(image, self.config.resolution, self.mean, self.std, self.config.fit, self.config.short)
        return ready.to(ctx.device, ctx.dtype)

    def _grouped(self, ctx: Context, images: Sequence[torch.Tensor]) -> list[tuple[list[int], torch.Tensor]]:
        """Pictures of one size together: (their rows, [b,3,H,W]); nothing is padded."""
        ready = [self.pixels(image, ctx) for image in images]
        groups: dict[tuple[int, ...], list[int]] = {}
        for i, one in enumerate(ready):
            groups.setdefault(tuple(one.shape), []).append(i)
        return [(rows, torch.stack([ready[i] for i in rows])) for rows in groups.values()]

    def encode(self, ctx: Context, image: Rows) -> dict[str, Rows]:
        """image: B pictures. patches: [N,D] of layer `layer`, normed if `normed`; cls: [D]; registers: [R,D]."""
        tokens: list[Any] = [None] * len(image)
        for rows, pixels_BCHW in self._grouped(ctx, image.list()):
            state_BTD = self.states(pixels_BCHW)[self.config.layer]
            state_BTD = self.norm(state_BTD) if self.config.normed else state_BTD
            for row, state in zip(rows, state_BTD):
                tokens[row] = state
        out = {"patches": _joined(ctx, [t[self.first :] for t in tokens]), "cls": ctx.rows([t[0] for t in tokens])}
        if self.registers:
            out["registers"] = ctx.rows([t[1 : self.first] for t in tokens])
        return out

    def segment(self, ctx: Context, image: Rows) -> dict[str, Rows]:
        """What the class token looks at in the last block, as the paper's figure 1 draws it.

        attention: [H,N], weights of each head on the patches; mask: [H,W] of the picture, the patches that hold
        `mass` of the weight averaged over heads.
        """
        maps: list[Any] = [None] * len(image)
        masks: list[Any] = [None] * len(image)
        for rows, pixels_BCHW in self._grouped(ctx, image.list()):
            last = self.blocks[-1]
            before = self.states(pixels_BCHW)[-2]
            normed = last.layernorm_before(before) if self.config.version == "dino" else last.norm1(before)
            with exposed(self.model):
                weights_BHN = last.attention(normed)[1][:, :, 0, self.first :]
            grid = (pixels_BCHW.shape[-2] // self.patch, pixels_BCHW.shape[-1] // self.patch)
            for row, weights_HN in zip(rows, weights_BHN):
                maps[row] = weights_HN
                kept = heaviest(weights_HN.float().mean(0), self.config.mass).view(1, 1, *grid).float()
                masks[row] = F.interpolate(kept, tuple(image[row].shape[-2:]))[0, 0] > 0.5
        return {"attention": ctx.rows(maps), "mask": ctx.rows(masks)}


def heaviest(weights_N: torch.Tensor, mass: float) -> torch.Tensor:
    """[N] bool: the fewest entries that hold the share `mass` of the whole weight."""
    ordered, order = weights_N.sort(descending=True)
    before = ordered.cumsum(0) - ordered
    return torch.zeros_like(weights_N, dtype=torch.bool).scatter(0, order, before < mass * weights_N.sum())


def _joined(ctx: Context, values: Sequence[torch.Tensor]) -> Rows:
    """Rows of one length dense, others packed."""
    if len({v.shape[0] for v in values}) == 1:
        return ctx.rows(torch.stack(list(values)))
    return ctx.rows(torch.cat(list(values)), [v.shape[0] for v in values])


def _sizes(config: Any) -> dict[str, Any]:
    if config.version == "dino":
        return {
            "image_size": config.native, "patch_size": config.patch, "hidden_size": config.width,
            "layer_norm_eps": 1e-6, "num_hidden_layers": config.layers, "num_attention_heads": config.heads,
            "intermediate_size": config.mlp_ratio * config.width, "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
        }  # fmt: skip
    return {
        "image_size": config.native, "patch_size": config.patch, "hidden_size": config.width, "layer_norm_eps": 1e-6,
        "num_hidden_layers": config.layers, "num_attention_heads": config.heads, "mlp_ratio": config.mlp_ratio,
        "use_swiglu_ffn": config.ffn == "swiglu", "num_register_tokens": config.registers,
    }  # fmt: skip
