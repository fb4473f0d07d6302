"""What image heads have in common, for their cards: conditioning in, a picture out, their options. Torch-free.

A head conditions on classes (`label`), or on features [N,D] or an embedding [D]; its checkpoint says which, or
`classes` or `cond` under `with`, or for random weights whatever feeds it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from anyany.api.v1 import Batching, Call, Config, Port, option, var


class HeadConfig(Config):
    """Options that every image head has, so that one takes the place of another."""

    steps: int | None = option(None, per_item=True, low=1, high=1000, doc="steps of the sampler (the model's own)")
    guidance: float | None = option(None, per_item=True, low=0, doc="classifier-free guidance (the model's own)")
    cond: int | None = option(None, low=1, doc="width of the features conditioned on (checkpoint's or neighbour's)")
    classes: int | None = option(None, low=1, doc="condition on so many classes instead of features")


class LatentConfig(HeadConfig):
    """Options of heads whose pictures come out of an autoencoder: `vae_width` and `vae_levels` are its channels."""

    autoencoder: bool = option(True, doc="with its autoencoder; without: it gives what a tokenizer decodes")

    def __post_init__(self) -> None:
        whole_levels(self.vae_width, self.vae_levels, "vae_")


def whole_levels(width: int, levels: Sequence[int], of: str = "") -> None:
    """Raises ValueError for a network of no levels, and for channels that its norms' groups do not part."""
    if not levels or min(levels) < 1:
        raise ValueError(f"{of}levels {list(levels)} wants one number or more, each from 1")
    if any(width * m % min(32, width) for m in levels):
        raise ValueError(f"{of}width {width} times {of}levels {list(levels)} does not divide into 32 groups")


def parted(width: int, heads: int, of: str = "") -> None:
    """Raises ValueError for heads of unlike widths."""
    if width % heads:
        raise ValueError(f"{of}width {width} wants {of}heads that divide it, not {heads}")


def cond_ports(config: Any, facts: Any) -> dict[str, Port]:
    """Classes where a class table is known of, features where their width is, else either."""
    if config.classes or (facts.known("table") and not config.cond):
        return {"cond": Port("label", classes=config.classes, doc="the class: its number")}
    known = facts.known("cond") or config.cond
    size = {"D": known or var("cond")}
    return {
        "cond": Port(
            "features|embedding" if known else "features|embedding|label", "... D", doc="what to draw", **size
        ),
        "negative": Port("features|embedding?", "... D", doc="what to keep away from, instead of nothing", **size),
    }


def head_calls(config: Any, facts: Any, gives: Mapping[str, Port], max_rows: int = 16) -> dict[str, Call]:
    """`image`: what is drawn for each conditioning. `loss`: how far the model is from drawing a given picture."""
    takes, batching = cond_ports(config, facts), Batching(max_rows=max_rows)
    wanted = {"cond": takes["cond"], "image": Port("image", channels=3, doc="what should be drawn, at any size")}
    return {
        "image": Call(takes=takes, gives=gives, batching=batching, teach="loss"),
        "loss": Call(takes=wanted, gives={"loss": Port("loss", doc="to minimise")}, batching=batching),
    }


def begun() -> dict[str, Port]:
    """What a denoising head may begin from instead of noise."""
    return {
        "start": Port("image|latent?", doc="a picture to begin from, or its latent"),
        "mask": Port("mask?", doc="where `start` may change"),
    }


def picture() -> dict[str, Port]:
    """What a head gives."""
    return {"image": Port("image", channels=3, doc="[3,H,W] in 0..1")}
