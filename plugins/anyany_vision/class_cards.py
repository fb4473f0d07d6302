"""Cards of vision/classify and vision/nfnet. Torch-free.

Implementations: classify.py, nfnet.py.
"""

from __future__ import annotations

from typing import Any

from anyany.api.v1 import Batching, Call, Card, Config, Port, card, option
from anyany_vision.encoder_cards import IMAGENET_MEAN, IMAGENET_STD


def _named() -> dict[str, Port]:
    return {"label": Port("label", doc="the likeliest class"), "scores": Port("scores", doc="probabilities")}


class ClassifyConfig(Config):
    """Any image classifier of transformers; a checkpoint's config.json overrides the sizes and names the classes."""

    arch: str = option("vit", doc="transformers' model_type (vit, resnet, convnext, …), without a checkpoint")
    resolution: int = option(224, low=1, doc="side in pixels, where no processor comes with the checkpoint")
    classes: int = option(1000, low=1, doc="classes of a model without a checkpoint, where `names` names none")
    names: tuple[str, ...] = option((), doc="names of the classes, in order; over the checkpoint's")
    settings: dict[str, Any] = option({}, doc="further entries of transformers' config, without a checkpoint")


CLASSIFY = card(
    "vision/classify",
    role="encoder",
    about="A picture's class by any classifier of transformers, with a probability for each.",
    source="transformers' image classifiers (ViT, ResNet, ConvNeXt, Swin, BEiT, …)",
    config=ClassifyConfig,
    calls={
        "classify": Call(takes={"image": Port("image", channels=3)}, gives=_named(), batching=Batching(max_rows=64))
    },
    tiny={
        "resolution": 32, "classes": 3,
        "settings": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
                     "patch_size": 8},
    },
    impl="anyany_vision.classify:Classify",
)  # fmt: skip


class NfNetConfig(Config):
    """NFNet-F; the defaults are F6, at Flamingo's resolution."""

    size: int = option(6, low=0, high=7, doc="0 to 6 for F0 to F6")
    resolution: int = option(320, low=32, doc="side in pixels that every picture is resized to")
    channels: tuple[int, ...] = option((256, 512, 1536, 1536), doc="of the four stages")
    stem: int = option(128, low=8, doc="channels before the first stage")
    group: int = option(128, low=1, doc="channels a group of the 3x3 convolutions")
    classes: int = option(0, low=0, doc="classes of the head (0: no head)")
    names: tuple[str, ...] = option((), doc="names of the classes, in order")
    mean: tuple[float, ...] = option(IMAGENET_MEAN, doc="subtracted from pixels in 0..1")
    std: tuple[float, ...] = option(IMAGENET_STD, doc="divides what is left")

    def __post_init__(self) -> None:
        if len(self.channels) != 4 or any(c % 2 for c in self.channels) or self.stem % 8:
            raise ValueError("an NFNet has four even numbers of channels, and a stem of a multiple of 8")


def nfnet_calls(config: Any, facts: Any) -> dict[str, Call]:
    width = 2 * config.channels[-1]
    takes = {"image": Port("image", channels=3)}
    gives = {
        "patches": Port("features", "N D", D=width, space="self", doc="places of the last map"),
        "pooled": Port("embedding", "D", D=width, space="self", doc="their mean"),
    }
    calls = {"encode": Call(takes=takes, gives=gives, batching=Batching(max_rows=16))}
    return calls | ({"classify": Call(takes=takes, gives=_named())} if config.classes else {})


NFNET = card(
    "vision/nfnet",
    role="encoder",
    about="NFNet-F0 to F6: residual networks without normalisation; F6 is Flamingo's vision encoder.",
    source="Brock et al. 2021, arXiv 2102.06171; names of timm's dm_nfnet_f0 … dm_nfnet_f6",
    config=NfNetConfig,
    calls=nfnet_calls,
    ignores=("head.*",),
    tiny={"size": 0, "resolution": 64, "channels": (16, 16, 32, 32), "stem": 16, "group": 8},
    impl="anyany_vision.nfnet:NfNet",
)

CARDS: list[Card] = [CLASSIFY, NFNET]
