"""ViT: the Vision Transformer of Dosovitskiy et al. 2021 (arXiv 2010.11929), on transformers' ViTModel.

Takes pictures of any size; gives patch tokens [N,D] (main) and the class token [D], both after the final norm; its
attention maps; with `classes`, a label. Suffixes: A layers, B rows, C channels, S side, N patches, T tokens, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from anyany.api.torch import Build, Component, Context, Layout, Rows, load_strict, load_transformers, relayout
from anyany_vision.attention import exposed, mean_distance
from anyany_vision.images import fitted_pixels, square_batch
from anyany_vision.pictures import chances
from anyany_vision.vit_packed import APART, packed_tokens
from anyany_vision.vit_parts import halving_stem, model_class

TIMM = (
    Layout(r"cls_token", "embeddings.cls_token"),
    Layout(r"pos_embed", "embeddings.position_embeddings"),
    Layout(r"patch_embed\.proj\.(\w+)", r"embeddings.patch_embeddings.projection.\1"),
    Layout(r"blocks\.(\d+)\.norm1\.(\w+)", r"layers.\1.layernorm_before.\2"),
    Layout(r"blocks\.(\d+)\.attn\.qkv\.(\w+)", tuple(rf"layers.\1.attention.{p}_proj.\2" for p in "qkv")),
    Layout(r"blocks\.(\d+)\.attn\.proj\.(\w+)", r"layers.\1.attention.o_proj.\2"),
    Layout(r"blocks\.(\d+)\.norm2\.(\w+)", r"layers.\1.layernorm_after.\2"),
    Layout(r"blocks\.(\d+)\.mlp\.(fc[12])\.(\w+)", r"layers.\1.mlp.\2.\3"),
    Layout(r"norm\.(\w+)", r"layernorm.\1"),
    Layout(r"head\.(\w+)", r"classifier.\1"),
)
"""timm's names (also those of the first DINO), as transformers calls them."""


class Vit(Component):
    """Vision Transformer encoder. Options: `VitConfig`; a checkpoint's config.json overrides the sizes."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        card = build.assets.json("config.json") or {}
        card = card if "hidden_size" in card.get("config", card) else {}  # timm's says nothing of sizes
        sizes = card.get("config", card) or _sizes(config)
        if config.resolution < config.patch:
            raise ValueError(f"resolution {config.resolution} is smaller than a patch of {config.patch} pixels")
        self.stem: Mapping[str, Any] | None = card.get("stem")
        if self.stem is None and not card and config.stem == "conv":
            self.stem = halving_stem(sizes["patch_size"], sizes["hidden_size"])
        image = card.get("image") or {}
        self.size = int(image.get("size", sizes["image_size"]))
        self.mean: Sequence[float] = image.get("mean", config.mean)
        self.std: Sequence[float] = image.get("std", config.std)
        self.mode = image.get("resample", "bicubic")
        self.sizes = dict(sizes)
        self.model = self._model()
        self.head = nn.Linear(sizes["hidden_size"], config.classes) if config.classes else None
        self._attend_apart()

    def _attend_apart(self) -> None:
        if self.config.fit == "keep":
            self.model.config._attn_implementation = APART

    def _model(self) -> nn.Module:
        from transformers import ViTConfig

        return model_class(self.stem, self.config.positions)(ViTConfig(**self.sizes), add_pooling_layer=False)

    def load(self, stores: Sequence[Any], build: Build) -> None:
        """Weights under transformers' names or timm's, strictly; the head only where `classes` asks for it."""
        from transformers import ViTConfig

        store = relayout(stores, TIMM)
        kind = model_class(self.stem, self.config.positions)
        self.model = load_transformers(kind, ViTConfig(**self.sizes), store, build,
                                       ignores=("classifier.*", "pooler.*"), add_pooling_layer=False)  # fmt: skip
        self._attend_apart()
        if self.head is not None:
            load_strict(self.head, store.under("classifier."), dtype=build.dtype, device=build.device)

    def checkpoint(self) -> dict[str, torch.Tensor]:
        """All weights, under the names that `load` takes."""
        head = {} if self.head is None else {f"classifier.{k}": v for k, v in self.head.state_dict().items()}
        return {**self.model.state_dict(), **head}

    def pixels(self, ctx: Context, image: Rows) -> torch.Tensor:
        """[B,C,S,S]: pictures as the network wants them."""
        return square_batch(image.list(), self.size, self.mean, self.std, ctx.device, ctx.dtype, self.mode)

    def tokens(self, pixels_BCSS: torch.Tensor) -> torch.Tensor:
        """[B,1+N,D] after the final norm, the class token first."""
        return self.model(pixels_BCSS).last_hidden_state

    def attention(self, pixels_BCSS: torch.Tensor) -> torch.Tensor:
        """[B,A,H,T,T]: softmax weights of every layer and head."""
        with exposed(self.model):
            keep = self.config.fit == "keep"
            seen = self.model(pixels_BCSS, output_attentions=True, interpolate_pos_encoding=keep).attentions
            return torch.stack(seen, 1)

    def distance(self, maps_BAHTT: torch.Tensor, renormalise: bool = False) -> torch.Tensor:
        """[B,A,H] mean attention distance in pixels of the network's input."""
        patch = int(self.sizes["patch_size"])
        side = self.size // patch
        return mean_distance(maps_BAHTT, (side, side), patch, renormalise=renormalise)

    def fitted(self, ctx: Context, image: Rows) -> list[torch.Tensor]:
        """[C,H,W] of each picture at its own aspect ratio, for `fit: keep`."""
        patch = int(self.sizes["patch_size"])
        return fitted_pixels(image.list(), self.config.resolution, patch, self.mean, self.std, ctx.device, ctx.dtype,
                             self.mode)  # fmt: skip

    def rows(self, ctx: Context, image: Rows) -> torch.Tensor | list[torch.Tensor]:
        """[1+N,D] of each picture after the final norm: one tensor where all are of one size."""
        if self.config.fit == "keep":
            return packed_tokens(self.model, self.fitted(ctx, image))
        return self.tokens(self.pixels(ctx, image))

    def encode(self, ctx: Context, image: Rows) -> dict[str, Rows]:
        """image: B pictures [C,H,W]. patches: B x [N,D]; cls: [B,D]."""
        found = self.rows(ctx, image)
        if isinstance(found, torch.Tensor):
            return {"patches": ctx.rows(found[:, 1:]), "cls": ctx.rows(found[:, 0])}
        patches, lengths = torch.cat([t[1:] for t in found]), [t.shape[0] - 1 for t in found]
        return {"patches": ctx.rows(patches, lengths), "cls": ctx.rows(torch.stack([t[0] for t in found]))}

    def look(self, ctx: Context, image: Rows) -> dict[str, Rows]:
        """image: B pictures. maps: [B,A,H,T,T]; distance, distance_renormalised: [B,A,H] in pixels."""
        if self.config.fit == "keep":
            return self._look_apart(ctx, image)
        maps_BAHTT = self.attention(self.pixels(ctx, image))
        return {
            "maps": ctx.rows(maps_BAHTT),
            "distance": ctx.rows(self.distance(maps_BAHTT)),
            "distance_renormalised": ctx.rows(self.distance(maps_BAHTT, renormalise=True)),
        }

    def _look_apart(self, ctx: Context, image: Rows) -> dict[str, Rows]:
        """`look` where every picture has a grid of its own."""
        patch, found = int(self.sizes["patch_size"]), []
        for one in self.fitted(ctx, image):
            grid = (one.shape[-2] // patch, one.shape[-1] // patch)
            maps_1AHTT = self.attention(one[None])
            far = [mean_distance(maps_1AHTT, grid, patch, renormalise=r)[0] for r in (False, True)]
            found.append((maps_1AHTT[0], *far))
        names = ("maps", "distance", "distance_renormalised")
        return {name: ctx.rows(list(column)) for name, column in zip(names, zip(*found))}

    def logits(self, tokens_BTD: torch.Tensor) -> torch.Tensor:
        """[B,classes] of the class token. Raises ValueError for an encoder without a head."""
        if self.head is None:
            raise ValueError("this encoder has no head; give `with: {classes: …}`")
        return self.head(tokens_BTD[:, 0])

    def classify(self, ctx: Context, image: Rows) -> dict[str, Rows]:
        """image: B pictures. label: the likeliest class, by name where `names` gives one; scores: probabilities."""
        found = self.rows(ctx, image)
        tokens = found if isinstance(found, torch.Tensor) else torch.stack([t[:1] for t in found])
        label, scores = chances(self.logits(tokens), self.config.names)
        return {"label": ctx.rows(label), "scores": ctx.rows(scores)}


def _sizes(config: Any) -> dict[str, Any]:
    return {
        "image_size": config.resolution, "patch_size": config.patch, "num_channels": config.channels,
        "hidden_size": config.width, "num_hidden_layers": config.layers, "num_attention_heads": config.heads,
        "intermediate_size": config.mlp or 4 * config.width, "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0, "layer_norm_eps": config.eps,
    }  # fmt: skip
