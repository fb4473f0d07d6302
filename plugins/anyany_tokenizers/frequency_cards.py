"""Cards of the tokenizers without weights: frequency and patch. Torch-free.

Implementations: `frequency.py`, `patch.py`.
"""

from __future__ import annotations

from typing import Any

from anyany.api.v1 import Batching, Call, Config, Port, card, option
from anyany_tokenizers.vq_cards import FITS, batching, picture_port


class FrequencyConfig(Config):
    """Block cosine coefficients; DCTdiff's setting for 64×64 is block 2, kept 4, bound 244.925."""

    resolution: int = option(256, low=2, doc="side in pixels that pictures are made to have")
    fit: str = option("crop", choices=FITS, doc="how: the square in the middle, the whole picture, or not at all")
    block: int = option(8, low=1, doc="side of a block in pixels (of twice as many in colour differences)")
    kept: int = option(16, low=1, doc="coefficients kept of each block, from the lowest frequency")
    levels: int = option(512, low=2, doc="steps that a coefficient is told by: the vocabulary")
    bound: float | None = option(None, low=1e-6, doc="largest coefficient (128 × block, which none exceeds)")
    pyramid: list[int] = option([0, 2, 3, 4, 5, 6, 7, 8, 9, 10], doc="sides of the levels of a latent")

    def __post_init__(self) -> None:
        if self.fit != "none" and self.resolution % (2 * self.block):
            raise ValueError(f"resolution {self.resolution} is no multiple of {2 * self.block}, two blocks")
        if self.kept > self.block**2:
            raise ValueError(f"a block of {self.block}×{self.block} has {self.block**2} coefficients, not {self.kept}")
        if not self.pyramid or min(self.pyramid) < 0:
            raise ValueError("`pyramid` lists sides from 0")

    @property
    def bounds(self) -> float:
        return self.bound or 128.0 * self.block

    @property
    def count(self) -> int | None:
        """Tokens of a picture, where every picture has as many."""
        return None if self.fit == "none" else self.kept * (self.resolution // self.block) ** 2 * 3 // 2


def frequency_calls(config: Any, facts: Any) -> dict[str, Call]:
    group = Batching(max_rows=64, group_by=("shape",))

    def tokens(count: int | None) -> Port:
        return Port("tokens", "N", N=count, vocab=config.levels, space="self", doc="from low to high frequencies")

    rows = Port("features", "T D", D=6 * config.kept, T=config.count and config.count // (6 * config.kept),
                doc="a row for 2×2 blocks: theirs, and their colours'")  # fmt: skip
    latent = Port("latent", "C H W", doc="what a diffusion model makes")
    return {
        "encode": Call(takes=picture_port(), gives={"tokens": tokens(config.count)}, batching=batching(config)),
        "decode": Call(takes={"tokens": tokens(None)}, gives=picture_port(), batching=group),
        "rows": Call(takes=picture_port(), gives={"features": rows}, batching=batching(config)),
        "picture": Call(takes={"features": rows}, gives=picture_port(), batching=group),
        "pyramid": Call(takes={"latent": latent}, gives={"levels": Port("latent*", "C H W", doc="coarse to fine")}),
    }


FREQUENCY = card(
    "tokenizers/frequency",
    role="tokenizer",
    about="A picture as cosine coefficients from low to high frequencies: the next token is always finer.",
    source="DCTdiff (Ning et al. 2024, arXiv 2412.15032), forever208/DCTdiff; "
    "FAR (Yu et al. 2025, arXiv 2503.05305), yuhuUSTC/FAR",
    config=FrequencyConfig,
    calls=frequency_calls,
    weights=False,
    tiny={"resolution": 16, "block": 4, "kept": 4, "levels": 64, "pyramid": [0, 1, 2]},
    impl="anyany_tokenizers.frequency:Frequency",
)


class PatchConfig(Config):
    """Pictures cut into squares of pixels."""

    resolution: int = option(224, low=1, doc="side in pixels that pictures are made to have")
    fit: str = option("crop", choices=FITS, doc="how: the square in the middle, the whole picture, or not at all")
    patch: int = option(16, low=1, doc="side of a patch in pixels")
    normalise: bool = option(False, doc="each patch to mean 0 and variance 1, as MAE's targets are; no way back")

    def __post_init__(self) -> None:
        if self.fit != "none" and self.resolution % self.patch:
            raise ValueError(f"resolution {self.resolution} is no multiple of the patch, {self.patch} pixels")


def patch_calls(config: Any, facts: Any) -> dict[str, Call]:
    count = None if config.fit == "none" else (config.resolution // config.patch) ** 2
    patches = Port("features", "N D", N=count, D=3 * config.patch**2, space="self", doc="pixels in -1..1, row by row")
    back = Call(takes={"patches": patches}, gives=picture_port(), batching=Batching(group_by=("shape",)))
    encode = Call(takes=picture_port(), gives={"patches": patches}, batching=batching(config))
    return {"encode": encode} if config.normalise else {"encode": encode, "decode": back}


PATCH = card(
    "tokenizers/patch",
    role="tokenizer",
    about="A picture cut into square patches of pixels, and back.",
    source="ViT (Dosovitskiy et al. 2020, arXiv 2010.11929); MAE (He et al. 2021, arXiv 2111.06377)",
    config=PatchConfig,
    calls=patch_calls,
    weights=False,
    tiny={"resolution": 16, "patch": 4},
    impl="anyany_tokenizers.patch:Patch",
)

CARDS = [FREQUENCY, PATCH]
