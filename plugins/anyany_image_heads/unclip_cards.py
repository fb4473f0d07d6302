"""Cards of DALL-E 2: its priors and its decoder. Torch-free; implementations: `unclip_prior.py`, `unclip.py`."""

from __future__ import annotations

from typing import Any

from anyany.api.v1 import Batching, Call, Config, Facts, Port, card, json, option, tensor, var
from anyany_image_heads.contract import HeadConfig, begun, parted, picture, whole_levels


class UnclipPriorConfig(Config):
    """The prior; the defaults are those of Karlo's and Kandinsky 2.1's (`kind: diffusers`)."""

    kind: str = option("diffusers", choices=("diffusers", "lucidrains", "autoregressive"),
                       doc="diffusion with either library's network and names, or autoregression")  # fmt: skip
    steps: int = option(25, per_item=True, low=1, high=1000, doc="diffusion steps")
    guidance: float = option(4.0, per_item=True, low=0, doc="classifier-free guidance (1: none)")
    embed: int | None = option(None, low=1, doc="numbers of an embedding (checkpoint's or neighbour's, else 768)")
    words: int | None = option(None, low=1, doc="autoregressive: width of the words (else the embedding's, as ever)")
    text_length: int = option(77, low=1, doc="places for words")
    width: int = option(2048, low=1, doc="width inside (lucidrains: the embedding's)")
    layers: int = option(20, low=1, doc="blocks")
    heads: int = option(32, low=1, doc="attention heads")
    head_width: int | None = option(None, low=1, doc="width of a head (width / heads)")
    drop: float = option(0.1, low=0, high=1, doc="texts dropped in training")
    extra: dict[str, Any] = option({}, doc="diffusers: further settings of PriorTransformer")
    timesteps: int = option(1000, low=1, doc="lucidrains: steps it was trained on")
    time_table: int | None = option(None, low=1, doc="lucidrains: rows of the time table (none: a network of the time)")
    time_tokens: int = option(1, low=1, doc="lucidrains: tokens of the time")
    image_tokens: int = option(1, low=1, doc="lucidrains: tokens of the picture")
    text_tokens: int = option(1, low=1, doc="lucidrains: tokens of the text embedding")
    ratio: int = option(4, low=1, doc="lucidrains: feed-forward width over the width")
    rotary: bool = option(True, doc="lucidrains: rotary positions")
    norm_in: bool = option(False, doc="lucidrains: a norm before the first block")
    normformer: bool = option(False, doc="lucidrains: a norm inside the feed-forward")
    self_cond: bool = option(False, doc="lucidrains: sees its last estimate")
    unit_start: bool = option(False, doc="lucidrains: begins from noise of an embedding's length")
    unit_estimates: bool = option(False, doc="lucidrains: estimates are brought to that length")
    unit_result: bool = option(False, doc="lucidrains: so is the result")
    axes: int = option(319, low=1, doc="autoregressive: principal axes said")
    buckets: int = option(1024, low=2, doc="autoregressive: values of each")
    agreements: int = option(32, low=1, doc="autoregressive: buckets of the cosine of picture and text")
    agreement: float = option(0.5, low=-1, high=1, doc="autoregressive: the cosine asked for")
    temperature: float = option(1.0, low=0, doc="autoregressive: of sampling (0: the likeliest)")
    top_k: int = option(0, low=0, doc="autoregressive: from the k likeliest (0: all)")
    top_p: float = option(1.0, low=0.0001, high=1, doc="autoregressive: from the likeliest of this mass")

    def __post_init__(self) -> None:
        if not self.head_width:
            parted(self.width, self.heads)
        if self.kind == "lucidrains" and self.embed not in (None, self.width):
            raise ValueError(f"lucidrains' prior is as wide inside as its embeddings: {self.embed}, not {self.width}")


def prior_calls(config: Any, facts: Any) -> dict[str, Call]:
    embed = facts.known("embed") or config.embed or var("embed", 768)
    wide = embed
    if config.kind == "autoregressive":
        wide = facts.known("words") or config.words or var("words", 768)

    def vector(doc: str) -> Port:
        return Port("embedding", "D", D=embed, doc=doc)

    text = {"text": vector("CLIP's embedding of the caption")}
    words = {"words": Port("features?", "N W", W=wide, doc="CLIP's features of its words")}
    return {
        "embed": Call(takes={**text, **words}, gives={"embedding": vector("of a picture of it")}, teach="loss"),
        "loss": Call(
            takes={**text, "image": vector("of the caption's picture"), **words},
            gives={"loss": Port("loss", doc="to minimise")},
            batching=Batching(max_rows=256),
        ),
    }


UNCLIP_PRIOR = card(
    "image_heads/unclip-prior",
    role="adapter",
    about="DALL-E 2's prior: the embedding of a caption becomes that of a picture, by diffusion or autoregression.",
    source="DALL-E 2 (Ramesh et al. 2022, arXiv 2204.06125); diffusers PriorTransformer; lucidrains/DALLE2-pytorch",
    config=UnclipPriorConfig,
    calls=prior_calls,
    facts=Facts(
        embed=[tensor("proj_to_clip_embeddings.weight"), tensor("net.learned_query"), tensor("axes.basis", axis=1)],
        words=[tensor("words.weight", axis=1)],
    ),
    presets={
        "kandinsky-2.2": {"embed": 1280},
        "karlo": {"embed": 768},
        "lucidrains": {"kind": "lucidrains", "width": 768, "layers": 12, "heads": 12, "time_table": 1000,
                       "normformer": True, "steps": 64, "guidance": 1.0},
        "autoregressive": {"kind": "autoregressive", "layers": 24, "heads": 32},
        "tiny-lucidrains": {"kind": "lucidrains", "embed": 16, "width": 16, "layers": 2, "heads": 2,
                            "text_length": 8, "timesteps": 10, "time_table": 10, "steps": 3},
        "tiny-autoregressive": {"kind": "autoregressive", "embed": 16, "width": 32, "layers": 2, "heads": 2,
                                "text_length": 8, "axes": 6, "buckets": 16},
    },
    tiny={"width": 32, "layers": 2, "heads": 2, "text_length": 64, "steps": 3},
    impl="anyany_image_heads.unclip_prior:UnclipPrior",
)  # fmt: skip


class UnclipConfig(HeadConfig):
    """DALL-E 2's decoder. A checkpoint's own files fix what it is; the sizes here are for a UNet of one's own."""

    strength: float = option(0.8, per_item=True, low=0, high=1, doc="how much of a `start` is made anew")
    eta: float = option(0.0, low=0, high=1, doc="noise of DDIM's steps")
    drop: float = option(0.1, low=0, high=1, doc="conditions dropped in training")
    words: int | None = option(None, low=1, doc="width of the words (checkpoint's or neighbour's)")
    size: int | None = option(None, low=1, doc="side of the picture in pixels (the checkpoint's own, else 64)")
    width: int = option(192, low=1, doc="channels of the finest level")
    levels: list[int] = option([1, 2, 3, 4], doc="channels of each level over that")
    blocks: int = option(3, low=1, doc="blocks a level")
    heads: int = option(8, low=1, doc="attention heads")
    inside: int = option(768, low=1, doc="width of the tokens that are attended to")

    def __post_init__(self) -> None:
        whole_levels(self.width, self.levels)


def unclip_calls(config: Any, facts: Any) -> dict[str, Call]:
    size = {"D": facts.known("cond") or config.cond or var("cond")}
    wide = {"W": facts.known("words") or config.words or var("words")}
    cond = Port("embedding|features", "... D", doc="CLIP's embedding of the picture to draw", **size)
    words = {"words": Port("features?", "N W", doc="CLIP's features of the caption's words", **wide)}
    takes = {
        "cond": cond, "negative": Port("embedding|features?", "... D", doc="what to keep away from", **size), **words,
        **begun(),
    }  # fmt: skip
    wanted = {"cond": cond, "image": Port("image", channels=3, doc="what should be drawn, at any size"), **words}
    batching = Batching(max_rows=16)
    return {
        "image": Call(takes=takes, gives=picture(), batching=batching, teach="loss"),
        "loss": Call(takes=wanted, gives={"loss": Port("loss", doc="to minimise")}, batching=batching),
    }


UNCLIP = card(
    "image_heads/unclip",
    role="decoder",
    about="DALL-E 2's decoder: a picture of an image embedding, by diffusion; Kandinsky 2.2's too.",
    source="DALL-E 2 (Ramesh et al. 2022, arXiv 2204.06125); diffusers UNet2DConditionModel, VQModel",
    config=UnclipConfig,
    calls=unclip_calls,
    facts=Facts(
        cond=[tensor("tokens.weight", axis=1), json("encoder_hid_dim", "unet/config.json")],
        words=[tensor("word_tokens.weight", axis=1)],
    ),
    tiny={"size": 16, "width": 16, "levels": [1, 2], "blocks": 1, "heads": 2, "inside": 16, "steps": 4},
    impl="anyany_image_heads.unclip:Unclip",
)
CARDS = [UNCLIP_PRIOR, UNCLIP]
