"""Cards of namespace `image_heads`: what turns conditioning into pictures. Torch-free.

Implementations are in the files beside this one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anyany.api.v1 import Batching, Call, Card, Config, Facts, Port, card, hookimpl, json, option, tensor, var
from anyany_image_heads import simple_cards, stable_unclip_card, unclip_cards
from anyany_image_heads.contract import begun, parted
from anyany_image_heads.dit_cards import DIT
from anyany_image_heads.mar_cards import MAR
from anyany_image_heads.var_cards import VAR

CLASS_CONDITIONAL = ("DiTTransformer2DModel",)
LEVELS = ("mean", "std", "full", "floor")
FILES = ("config.json", "transformer/config.json", "unet/config.json")


class DiffusionConfig(Config):
    """A diffusion model. A checkpoint's own files fix what it is; the sizes here are for `random:` weights."""

    steps: int | None = option(None, per_item=True, low=1, high=1000, doc="denoising steps (the checkpoint's own)")
    guidance: float | None = option(None, per_item=True, low=0, doc="classifier-free guidance (1: none)")
    strength: float = option(0.8, per_item=True, low=0, high=1, doc="how much of a `start` is made anew")
    eta: float = option(0.0, low=0, high=1, doc="noise of DDIM's steps")
    drop: float = option(0.1, low=0, high=1, doc="conditions dropped in training")
    focus: float = option(1.0, low=0, doc="training: how much more errors count where port `focus` says so")
    levels: dict[str, float] = option(
        {}, doc="training by flow matching: mean and std of the logits of noise levels (else uniform), full: share at "
        "pure noise, floor: errors are divided by their level, or by this"
    )  # fmt: skip
    size: int | None = option(None, low=1, doc="side of the picture in pixels (the checkpoint's own, else 64)")
    n: int | None = option(None, low=1, doc="length of the conditioning (any, where the checkpoint allows it)")
    cond: int | None = option(None, low=1, doc="width of the conditioning (from the checkpoint or the neighbour)")
    classes: int | None = option(None, low=1, doc="random weights: condition on so many classes instead of features")
    width: int = option(320, low=2, doc="random weights: width of the transformer")
    layers: int = option(6, low=1, doc="random weights: transformer blocks")
    heads: int = option(5, low=1, doc="random weights: attention heads")
    patch: int = option(8, low=1, doc="random weights: side of a patch in pixels")

    def __post_init__(self) -> None:
        parted(self.width, self.heads)
        for name, value in self.levels.items():
            if name not in LEVELS or isinstance(value, bool) or not isinstance(value, (int, float)):
                raise ValueError(f"`levels` has numbers for {', '.join(LEVELS)}, not `{name}: {value}`")
            if (name != "mean" and value < 0) or (name == "full" and value > 1):
                raise ValueError(f"`{name}` of `levels` is {'0 to 1' if name == 'full' else '0 or more'}, not {value}")


def diffusion_calls(config: Any, facts: Any) -> dict[str, Call]:
    """`image`: a picture for each conditioning. `embed`: captions to conditioning, by the checkpoint's text encoder."""
    denoiser = str(facts.known("denoiser", "")).rpartition(".")[2]
    gives = {"image": Port("image", channels=3, doc="[3,H,W] in 0..1")}
    batching = Batching(max_rows=16)
    begin = begun()
    loss = Port("loss", doc="to minimise")
    if config.classes or denoiser in CLASS_CONDITIONAL:
        takes = {"cond": Port("label", classes=config.classes, doc="the class: its number")}
        return _calls(takes, begin, gives, batching, loss)
    stored = facts.known("n")  # a null of one row stands beside any length
    n = (stored if stored != 1 else None) or config.n or var("n")
    cond = facts.known("cond") or config.cond or var("cond")
    features = {"N": n, "D": cond}
    takes = {
        "cond": Port("features", "N D", doc="what to draw", **features),
        "negative": Port("features?", "N D", doc="what to keep away from, instead of nothing", **features),
    }
    embed = Call(
        takes={"text": Port("text")},
        gives={"features": Port("features", "N D", **features)},
        parts=("text_encoder",),
        batching=Batching(max_rows=64, cost="length"),
    )
    return {**_calls(takes, begin, gives, batching, loss), "embed": embed}


def _calls(takes: dict[str, Port], begin: dict[str, Port], gives: dict[str, Port], batching: Batching,
           loss: Port) -> dict[str, Call]:  # fmt: skip
    wanted = {
        "cond": takes["cond"],
        "image": Port("image", channels=3, doc="what should be drawn, at any size"),
        "focus": Port("mask?", "H W", doc="of the picture: where its error counts more"),
    }
    if "N" in takes["cond"].sizes:
        blank = Port(
            "features?", "N", N=takes["cond"].sizes["N"], doc="1 at positions of cond that say nothing, else 0"
        )
        wanted["blank"] = blank
    return {
        "image": Call(takes={**takes, **begin}, gives=gives, batching=batching, teach="loss"),
        "loss": Call(takes=wanted, gives={"loss": loss}, batching=batching),
    }


DIFFUSION = card(
    "image_heads/diffusion",
    role="decoder",
    about="A diffusion model of diffusers: a denoiser, its scheduler and, where there is one, its autoencoder.",
    source="Ho et al. 2020, arXiv 2006.11239; Lipman et al. 2022, arXiv 2210.02747; huggingface/diffusers",
    config=DiffusionConfig,
    calls=diffusion_calls,
    facts=Facts(
        denoiser=[json("class"), *(json("_class_name", f) for f in FILES)],
        n=[tensor("null_conditioning", axis=0)],
        cond=[
            tensor("null_conditioning", axis=1),
            json("config.caption_channels"),
            *(json(key, f) for key in ("caption_channels", "cross_attention_dim") for f in FILES),
        ],
    ),
    impl="anyany_image_heads.diffusion:Diffusion",
    tiny={"size": 16, "patch": 4, "width": 32, "layers": 2, "heads": 2, "steps": 4},
)


@hookimpl
def anyany_cards() -> Sequence[Card]:
    """The components of this family."""
    return [DIFFUSION, DIT, MAR, VAR, *unclip_cards.CARDS, *stable_unclip_card.CARDS, *simple_cards.CARDS]
