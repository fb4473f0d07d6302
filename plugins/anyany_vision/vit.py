"""ViT: the Vision Transformer of Dosovitskiy et al. 2021 (arXiv 2010.11929), on transformers' ViTModel.

Takes pictures of any size; gives patch tokens [N,D] (main) and the class token [D], both after the final norm.
Shape suffixes: B rows, C channels, S side, N patches, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from anyany.api.torch import Build, Component, Context, Rows, load_transformers
from anyany_vision.images import square_batch


class Vit(Component):
    """Vision Transformer encoder. Options: `VitConfig`; a checkpoint's config.json overrides the sizes."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        card = build.assets.json("config.json") or {}
        sizes = card.get("config", card) or _sizes(config)
        if config.resolution < config.patch:
            raise ValueError(f"resolution {config.resolution} is smaller than a patch of {config.patch} pixels")
        self.stem: Mapping[str, Any] | None = card.get("stem")
        if self.stem is None and not card and config.stem == "conv":
            self.stem = _halving_stem(sizes["patch_size"], sizes["hidden_size"])
        image = card.get("image") or {}
        self.size = int(image.get("size", sizes["image_size"]))
        self.mean: Sequence[float] = image.get("mean", config.mean)
        self.std: Sequence[float] = image.get("std", config.std)
        self.mode = image.get("resample", "bicubic")
        self.sizes = dict(sizes)
        self.model = self._model()

    def _model(self) -> nn.Module:
        from transformers import ViTConfig

        return _model_class(self.stem)(ViTConfig(**self.sizes), add_pooling_layer=False)

    def load(self, stores: Sequence[Any], build: Build) -> None:
        """Weights under transformers' names, strictly."""
        from transformers import ViTConfig

        self.model = load_transformers(_model_class(self.stem), ViTConfig(**self.sizes), stores, build,
                                       ignores=("classifier.*", "pooler.*"), add_pooling_layer=False)  # fmt: skip

    def encode(self, ctx: Context, image: Rows) -> dict[str, Rows]:
        """image: B pictures [C,H,W]. patches: [B,N,D]; cls: [B,D]."""
        pixels_BCSS = square_batch(image.list(), self.size, self.mean, self.std, ctx.device, ctx.dtype,
                                   self.mode)  # fmt: skip
        tokens_BND = self.model(pixels_BCSS).last_hidden_state
        return {"patches": ctx.rows(tokens_BND[:, 1:]), "cls": ctx.rows(tokens_BND[:, 0])}


def _sizes(config: Any) -> dict[str, Any]:
    return {
        "image_size": config.resolution, "patch_size": config.patch, "num_channels": config.channels,
        "hidden_size": config.width, "num_hidden_layers": config.layers, "num_attention_heads": config.heads,
        "intermediate_size": config.mlp or 4 * config.width, "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }  # fmt: skip


def _halving_stem(patch: int, width: int) -> dict[str, Any]:
    """Convolutions of stride 2 down to one position a patch, the width doubling towards the last."""
    steps = patch.bit_length() - 1
    if 2**steps != patch:
        raise ValueError(f"a conv stem wants a patch that is a power of two, not {patch}")
    channels = [max(8, width >> (steps - 1 - i)) for i in range(steps)]
    return {"channels": [*channels[:-1], width], "kernel": 3, "stride": 2, "padding": 1}


def conv_stem(stem: Mapping[str, Any], channels: int) -> nn.Sequential:
    """Early convolutions instead of linear patches (Xiao et al. 2021, arXiv 2106.14881)."""
    layers: list[nn.Module] = []
    for index, width in enumerate(stem["channels"]):
        if index:
            layers.append(nn.GELU())
        layers.append(nn.Conv2d(channels, width, stem["kernel"], stem["stride"], stem["padding"]))
        channels = width
    return ConvStem(*layers)


class ConvStem(nn.Sequential):
    """A stem in the place of ViT's patch projection, which transformers asks for the dtype of its weight."""

    @property
    def weight(self) -> torch.Tensor:
        return self[0].weight


def _model_class(stem: Mapping[str, Any] | None) -> type[nn.Module]:
    from transformers import ViTModel

    if stem is None:
        return ViTModel

    class ConvStemViTModel(ViTModel):
        def __init__(self, config: Any, **kwargs: Any) -> None:
            super().__init__(config, **kwargs)
            self.embeddings.patch_embeddings.projection = conv_stem(stem, config.num_channels)

    return ConvStemViTModel
