"""Card of SEED's tokenizer. Torch-free; the implementation is `seed.py`."""

from __future__ import annotations

from typing import Any

from anyany.api.v1 import Batching, Call, Config, Facts, Port, card, option, tensor


class SeedConfig(Config):
    """SEED-2 as released by default; `with: seed-1` is SEED-1."""

    version: int = option(2, choices=(1, 2), doc="SEED-2 decodes to a picture's embedding, SEED-1 to a text's features")
    branch: str = option("mlp", choices=("mlp", "qformer"), doc="SEED-2: how codes become the embedding")
    resolution: int = option(224, low=1, doc="side in pixels that every picture is stretched to")
    patch: int = option(14, low=1, doc="side of a patch in pixels")
    vision_width: int = option(1408, low=1, doc="features a token of the tower")
    vision_layers: int = option(39, low=1, doc="its blocks")
    vision_heads: int = option(16, low=1, doc="its attention heads")
    vision_mlp: int | None = option(None, low=1, doc="its feed-forward width (4.3637 × width)")
    width: int = option(768, low=1, doc="width of the Q-Former")
    layers: int = option(12, low=1, doc="its layers")
    heads: int = option(12, low=1, doc="its attention heads")
    mlp: int = option(3072, low=1, doc="its feed-forward width")
    queries: int = option(32, low=1, doc="codes of a picture")
    code_dim: int = option(32, low=1, doc="width of a code")
    codes: int = option(8192, low=2, doc="size of the vocabulary")
    depth: int = option(4, low=1, doc="blocks behind the codes")
    block_heads: int = option(12, low=1, doc="attention heads of those blocks")
    reverse_layers: int | None = option(None, low=1, doc="layers of the reverse Q-Former (`layers`; SEED-1: 4)")
    outputs: int | None = option(None, low=1, doc="width of what is given (1024; SEED-1: 768)")
    length: int | None = option(None, low=1, doc="SEED-1: rows of what is given (77)")

    def __post_init__(self) -> None:
        if self.version == 1 and self.branch != "mlp":
            raise ValueError("`branch` is an option of SEED-2; SEED-1 always has a reverse Q-Former")
        for width, heads in ((self.vision_width, self.vision_heads), (self.width, self.heads),
                             (self.width, self.block_heads)):  # fmt: skip
            if width % heads:
                raise ValueError(f"width {width} does not divide by {heads} heads")
        if self.resolution % self.patch:
            raise ValueError(f"resolution {self.resolution} is no multiple of the patch, {self.patch} pixels")

    @property
    def given(self) -> tuple[int, int]:
        """(rows, width) of what codes become."""
        if self.version == 1:
            return self.length or 77, self.outputs or 768
        return 1, self.outputs or 1024


def seed_calls(config: Any, facts: Any) -> dict[str, Call]:
    rows, width = config.given[0], facts.known("outputs") or config.given[1]
    codes = facts.known("codes") or config.codes
    tokens = Port("tokens", "N", N=config.queries, vocab=codes, space="self", doc="causal: each after those before")
    features = Port("features", "L D", L=rows, D=width, doc="conditioning of the diffusion model")
    gives = {"features": features}
    if config.version == 2:
        gives["embedding"] = Port("embedding", "D", D=width, doc="the same, as CLIP's embedding of the picture")
        wanted = Port("embedding", "D", D=width, doc="CLIP's embedding of the picture")
    else:
        wanted = Port("features", "L D", L=rows, D=width, doc="the text encoder's features of its caption")
    image = {"image": Port("image", channels=3)}
    batching = Batching(max_rows=32)
    return {
        "encode": Call(takes=image, gives={"tokens": tokens}, teach="loss", batching=batching),
        "decode": Call(takes={"tokens": tokens}, gives=gives, batching=batching),
        "loss": Call(
            takes={**image, "wanted": wanted},
            gives={"loss": Port("loss", doc="5 × codes + 0.5 × distance + 2 × (1 - cosine)"), "tokens": tokens,
                   "codes": Port("metric"), "distance": Port("metric"), "recovery": Port("metric")},
            batching=batching,
        ),
    }  # fmt: skip


SEED = card(
    "tokenizers/seed",
    role="tokenizer",
    about="SEED: a picture as 32 causal codes of 8192, and back to the conditioning of a diffusion model.",
    source="SEED (Ge et al. 2023, arXiv 2307.08041); SEED-LLaMA (Ge et al. 2023, arXiv 2310.01218); AILab-CVC/SEED",
    config=SeedConfig,
    calls=seed_calls,
    facts=Facts(
        codes=[tensor("quantize.embedding.weight")],
        outputs=[tensor("distill_image_proj.weight"), tensor("distill_text_proj.weight")],
    ),
    ignores=("clip.*", "model.clip*"),
    presets={"seed-1": {"version": 1}},
    tiny={"resolution": 28, "vision_width": 16, "vision_layers": 2, "vision_heads": 2, "width": 24, "layers": 2,
          "heads": 2, "mlp": 48, "queries": 32, "code_dim": 8, "codes": 64, "depth": 1, "outputs": 16, "length": 4},
    impl="anyany_tokenizers.seed:Seed",
)  # fmt: skip

CARDS = [SEED]
