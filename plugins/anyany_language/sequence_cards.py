"""Cards of sequence components: Mamba's block, BEiT-3, adaptive input and softmax, and a model around them.

Torch-free. Implementations: `mamba_block.py`, `multiway.py`, `adaptive_io.py`, `adaptive_lm.py`.
"""

from __future__ import annotations

from typing import Any

from anyany.api.v1 import Batching, Call, Config, Facts, Port, card, option, tensor, var


class MambaBlockConfig(Config):
    """One selective state space block; the defaults are those of every Mamba-1 release."""

    width: int | None = option(None, low=1, doc="features a position (solved when not given)")
    states: int = option(16, low=1, doc="states a channel")
    conv: int = option(4, low=2, high=4, doc="width of the causal convolution")
    expand: int = option(2, low=1, doc="inner width over the width")
    rank: int | None = option(None, low=1, doc="rank of the time steps (width / 16, rounded up)")


def mamba_calls(config: Any, facts: Any) -> dict[str, Call]:
    width = config.width or facts.known("width") or var("width", 768)
    port = Port("features", "N D", D=width, doc="a sequence")
    return {"mix": Call(takes={"features": port}, gives={"features": Port("features", "N D", D=width)})}


MAMBA_BLOCK = card(
    "language/mamba-block",
    role="adapter",
    about="Mamba's selective state space block over a sequence; each position sees what came before it.",
    source="Mamba (Gu and Dao 2023, arXiv 2312.00752); state-spaces/mamba; transformers MambaMixer",
    config=MambaBlockConfig,
    calls=mamba_calls,
    facts=Facts(width=[tensor("*out_proj.weight")]),
    tiny={"states": 4},
    impl="anyany_language.mamba_block:MambaBlock",
)


class MultiwayConfig(Config):
    """BEiT-3; the defaults are those of the base model."""

    head: str = option("none", choices=("none", "retrieval", "vqa", "pair", "caption", "classify"),
                       doc="what the checkpoint was tuned for (pair: NLVR2)")  # fmt: skip
    resolution: int = option(224, low=1, doc="side in pixels that every picture is resized to")
    patch: int = option(16, low=1, doc="side of a patch in pixels")
    width: int = option(768, low=1, doc="features a position")
    layers: int = option(12, low=1, doc="blocks")
    heads: int = option(12, low=1, doc="attention heads a block")
    mlp: int | None = option(None, low=1, doc="feed-forward width (4 x width)")
    vocab: int = option(64010, low=8, doc="rows of the word embedding")
    positions: int = option(1024, low=8, doc="rows of the text positions, the first two of which are never read")
    classes: int = option(3129, low=1, doc="answers or classes of the head (VQA 3129, ImageNet 1000, NLVR2 2)")
    names: tuple[str, ...] = option((), doc="names of the classes, in order")
    max_new_tokens: int = option(24, low=1, doc="longest caption in tokens")


def multiway_calls(config: Any, facts: Any) -> dict[str, Call]:
    def picture() -> Port:
        return Port("image", channels=3)

    def vector() -> dict[str, Port]:
        return {"embedding": Port("embedding", "D", D=config.width, space="self", doc="a unit vector")}

    named = {"label": Port("label", doc="the likeliest"), "scores": Port("scores", doc="the five likeliest")}
    features = {"features": Port("features", "N D", D=config.width, doc="image positions, then words")}
    own: dict[str, dict[str, Call]] = {
        "none": {},
        "retrieval": {
            "image": Call(takes={"image": picture()}, gives=vector()),
            "text": Call(takes={"text": Port("text")}, gives=vector()),
        },
        "vqa": {"answer": Call(takes={"image": picture(), "text": Port("text", doc="a question")}, gives=named)},
        "pair": {"judge": Call(takes={"first": picture(), "second": picture(), "text": Port("text")}, gives=named)},
        "caption": {"caption": Call(takes={"image": picture()}, gives={"text": Port("text", doc="a caption")})},
        "classify": {"classify": Call(takes={"image": picture()}, gives=named)},
    }
    encode = Call(takes={"image": Port("image?", channels=3), "text": Port("text?")}, gives=features,
                  batching=Batching(max_rows=32))  # fmt: skip
    return {**own[config.head], "encode": encode}


MULTIWAY = card(
    "language/multiway",
    role="backbone",
    about="BEiT-3: one transformer for images, texts and pairs, with shared attention and an expert for each.",
    source="BEiT-3 (Wang et al. 2022, arXiv 2208.10442); microsoft/unilm/beit3; microsoft/torchscale",
    config=MultiwayConfig,
    calls=multiway_calls,
    tiny={"resolution": 32, "patch": 16, "width": 32, "layers": 2, "heads": 2, "vocab": 264, "positions": 96,
          "classes": 4, "max_new_tokens": 4},
    impl="anyany_language.multiway:Multiway",
)  # fmt: skip


class AdaptiveIoConfig(Config):
    """Adaptive input and softmax; the defaults are those of the WikiText-103 model."""

    layout: str = option("fairseq", choices=("fairseq", "torch"), doc="whose names; torch's has a softmax alone")
    vocab: int = option(267744, low=2, doc="words, sorted by frequency")
    width: int = option(1024, low=1, doc="width of the model")
    initial: int | None = option(None, low=1, doc="width of the first band's vectors (the model's)")
    cutoffs: tuple[int, ...] = option((20000, 60000), doc="where a new band of rarer words begins")
    factor: float = option(4.0, low=1.0, doc="by how much each band is narrower than the one before")
    tie: bool = option(True, doc="the softmax uses the embeddings of the input")
    tie_projections: bool = option(True, doc="and its projections")
    pad: int = option(1, low=0, doc="id of padding, whose vector is zero")
    bias: bool = option(False, doc="a bias in the head (torch's layout)")


def adaptive_calls(config: Any, facts: Any) -> dict[str, Call]:
    tokens = Port("tokens", "N", vocab=config.vocab, doc="words by frequency")
    features = Port("features", "N D", D=config.width)
    calls = {
        "predict": Call(takes={"features": features}, gives={"tokens": tokens}),
        "score": Call(takes={"features": features, "tokens": tokens}, gives={"loss": Port("loss")}),
    }
    if config.layout == "torch":
        return calls
    return {"embed": Call(takes={"tokens": tokens}, gives={"features": features}), **calls}


ADAPTIVE_IO = card(
    "language/adaptive-io",
    role="adapter",
    about="Adaptive input and softmax: rare words get narrower vectors, and are scored only where they may be.",
    source="Baevski and Auli 2019, arXiv 1809.10853; Grave et al. 2017, arXiv 1609.04309; facebookresearch/fairseq",
    config=AdaptiveIoConfig,
    calls=adaptive_calls,
    tiny={"vocab": 64, "width": 32, "cutoffs": (16, 32), "factor": 2.0},
    impl="anyany_language.adaptive_io:AdaptiveIo",
)


PATTERNS = ("dense", "local", "strided", "fixed")


class AdaptiveLmConfig(Config):
    """A causal language model of few parameters for many words; the defaults are those of the WikiText-103 model."""

    vocab: int | None = option(267744, low=2, doc="words, sorted by frequency (none: as many as the tokenizer has)")
    cutoffs: tuple[int, ...] = option((20000, 60000), doc="where a new band of rarer words begins; none: one band")
    factor: float = option(4.0, low=1.0, doc="by how much each band is narrower than the one before")
    width: int = option(1024, low=2, doc="features a position")
    layers: int = option(16, low=1, doc="blocks")
    heads: int = option(8, low=1, doc="attention heads a block")
    mlp: int | None = option(None, low=1, doc="feed-forward width (4 x width)")
    context: int = option(3072, low=8, doc="longest sequence in tokens")
    attention: tuple[str, ...] = option(
        ("dense",), doc="dense, local, strided or fixed, block by block in turn: [dense, local] is GPT-3's"
    )
    stride: int = option(128, low=1, doc="positions that `local` sees, steps of `strided`, blocks of `fixed`")
    summary: int = option(8, low=1, doc="last positions of a block that `fixed` shows to all later ones")
    inputs: tuple[str, ...] = option(("image", "audio", "video"), doc="kinds whose features stand at their places")
    template: str = option("auto", choices=("auto", "plain", "chatml"), doc="chat template, as of causal-lm")
    system: str = option("", per_item=True, doc="system prompt put before the message")
    max_new_tokens: int = option(256, per_item=True, low=1, doc="longest reply in tokens")
    temperature: float = option(0.0, per_item=True, low=0.0, doc="0 is greedy")
    top_k: int = option(0, per_item=True, low=0, doc="sample among the k likeliest (0: all)")
    top_p: float = option(1.0, per_item=True, low=0.0, high=1.0, doc="sample within this probability mass")

    def __post_init__(self) -> None:
        odd = [kind for kind in self.attention if kind not in PATTERNS]
        if odd or not self.attention:
            raise ValueError(f"attention is a list of {', '.join(PATTERNS)}, not {odd or 'empty'}")
        if not 1 <= self.summary <= self.stride and "fixed" in self.attention:
            raise ValueError(f"a summary is 1 to {self.stride} positions, the stride, not {self.summary}")
        ends = [*self.cutoffs, *([self.vocab] if self.vocab else [])]
        if sorted(set(ends)) != ends:
            raise ValueError(f"cutoffs grow and stay below the vocabulary of {self.vocab}: {list(self.cutoffs)}")
        if self.width % self.heads or self.width % 2:
            raise ValueError(f"width {self.width} is not even, or does not divide by {self.heads} heads")


def adaptive_lm_calls(config: Any, facts: Any) -> dict[str, Call]:
    takes = {"message": Port("message", doc="text with media at their places; turns make a conversation")}
    for kind in config.inputs:
        takes[kind] = Port(
            "features|embedding?", "... D", D=config.width, per="message", doc=f"features at each {kind}"
        )
    target = {"target": Port("message", doc="the reply to be learned")}
    return {
        "generate": Call(
            takes=takes,
            gives={"reply": Port("message", doc="the reply"), "text": Port("text", doc="its text")},
            teach="learn",
            batching=Batching(max_rows=32, cost="length"),
        ),
        "learn": Call(takes={**takes, **target}, gives={"loss": Port("loss", doc="mean over the target's tokens")}),
    }


ADAPTIVE_LM = card(
    "language/adaptive-lm",
    role="backbone",
    about="A causal language model with adaptive input and softmax, and dense, local, strided or fixed attention.",
    source="Baevski and Auli 2019, arXiv 1809.10853; Child et al. 2019, arXiv 1904.10509; GPT-3, arXiv 2005.14165",
    config=AdaptiveLmConfig,
    calls=adaptive_lm_calls,
    ignores=("*version", "*_float_tensor"),
    tiny={"vocab": 258, "cutoffs": (64, 160), "factor": 2.0, "width": 32, "layers": 2, "heads": 2, "context": 512,
          "attention": ("dense", "local"), "stride": 8, "summary": 2, "max_new_tokens": 12},
    impl="anyany_language.adaptive_lm:AdaptiveLm",
)  # fmt: skip

CARDS = [MAMBA_BLOCK, MULTIWAY, ADAPTIVE_IO, ADAPTIVE_LM]
