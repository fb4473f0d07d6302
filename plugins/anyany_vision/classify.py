"""Image classifiers: any of transformers' (ViT, ResNet, ConvNeXt, Swin, BEiT, DINOv2 with a head, …).

image: B pictures -> the likeliest label, a probability for each, and the embedding that the head reads where there is
one. Suffixes: B rows, S side, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from anyany.api.torch import Build, Component, Context, Rows, load_transformers
from anyany_vision.images import square_batch
from anyany_vision.pictures import chances, to_pil


class Classify(Component):
    """Options: `ClassifyConfig`; a checkpoint's config.json overrides the sizes and names the classes."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        from transformers import AutoModelForImageClassification

        card = build.assets.json("config.json")
        self.settings = _settings(config, card)
        self.model = AutoModelForImageClassification.from_config(self.settings)
        known = self.settings.id2label
        own = [str(known[i]) for i in sorted(known)] if card is not None else []
        self.names = list(config.names) or own
        if self.names and len(self.names) != self.settings.num_labels:
            raise ValueError(f"{len(self.names)} names, but {self.settings.num_labels} classes")
        self.processor = _processor(build)

    def load(self, stores: Sequence[Any], build: Build) -> None:
        """Weights under transformers' names, strictly."""
        self.model = load_transformers(type(self.model), self.settings, stores, build)

    def pixels(self, ctx: Context, image: Rows) -> torch.Tensor:
        """[B,3,S,S] by the checkpoint's own processor; without one, squares of `resolution` in -1..1."""
        if self.processor is None or any(i.is_meta for i in image.list()):
            half = (0.5,) * 3
            return square_batch(image.list(), self.config.resolution, half, half, ctx.device, ctx.dtype)
        ready = [self.processor(to_pil(one), return_tensors="pt").pixel_values for one in image.list()]
        return torch.cat(ready).to(ctx.device, ctx.dtype)

    def classify(self, ctx: Context, image: Rows) -> dict[str, Rows]:
        """label: B names (numbers where nothing names them); scores: probabilities of all classes."""
        label, scores = chances(self.model(self.pixels(ctx, image)).logits, self.names)
        return {"label": ctx.rows(label), "scores": ctx.rows(scores)}


def _settings(config: Any, card: dict[str, Any] | None) -> Any:
    from transformers import AutoConfig

    if card is not None:
        sizes = dict(card)
        return AutoConfig.for_model(sizes.pop("model_type", config.arch), **sizes)
    classes = len(config.names) or config.classes
    sizes = {"image_size": config.resolution, "num_labels": classes, **config.settings}
    try:
        return AutoConfig.for_model(config.arch, **sizes)
    except ValueError as error:
        raise ValueError(f"transformers has no architecture {config.arch!r}") from error


def _processor(build: Build) -> Any:
    if build.assets.path("preprocessor_config.json") is None:
        return None
    from transformers import AutoImageProcessor

    return AutoImageProcessor.from_pretrained(str(build.assets.folder), local_files_only=True)
