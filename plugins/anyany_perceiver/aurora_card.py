"""Card of fields/aurora. Torch-free; the implementation is `aurora.py`."""

from __future__ import annotations

from typing import Any

from anyany.api.v1 import Call, Config, Port, card, option


class AuroraConfig(Config):
    """Aurora's sizes; the defaults are those of aurora-0.25-finetuned."""

    steps: int | None = option(None, low=1, doc="so many steps, one after the other, as a list; one if not given")
    surf: tuple[str, ...] = option(("2t", "10u", "10v", "msl"), doc="surface variables")
    static: tuple[str, ...] = option(("lsm", "z", "slt"), doc="fixed variables")
    atmos: tuple[str, ...] = option(("z", "u", "v", "t", "q"), doc="variables on pressure levels")
    lead: float = option(6.0, low=0.1, doc="hours of a step")
    history: int = option(2, low=1, doc="times that the model may see")
    patch: int = option(4, low=1, doc="side of a patch in grid points")
    width: int = option(512, low=4, doc="width of a patch")
    levels: int = option(4, low=2, doc="latent levels, one of them the surface")
    heads: int = option(16, low=1, doc="heads of both Perceivers")
    depth: int = option(1, low=1, doc="blocks of the Perceiver that takes levels together")
    decoder_depth: int = option(1, low=1, doc="blocks of the one that takes them apart")
    ratio: float = option(4.0, low=0.1, doc="feed-forward width over the width")
    decoder_ratio: float = option(2.0, low=0.1, doc="the same in the decoder")
    encoder_depths: tuple[int, ...] = option((6, 10, 8), doc="blocks of each stage down")
    decoder_depths: tuple[int, ...] = option((8, 10, 6), doc="blocks of each stage up")
    encoder_heads: tuple[int, ...] = option((8, 16, 32), doc="heads of each stage down")
    decoder_heads: tuple[int, ...] = option((32, 16, 8), doc="heads of each stage up")
    window: tuple[int, ...] = option((2, 6, 12), doc="levels, latitudes and longitudes of a window, in patches")
    lora: bool = option(True, doc="low-rank additions to the backbone's attention, as fine-tuned for roll-outs")
    lora_steps: int = option(40, low=1, doc="steps of a roll-out that have them")
    lora_mode: str = option(
        "single", choices=("single", "from_second", "all"), doc="one for all steps, for all from the second, one each"
    )
    lora_rank: int = option(8, low=1, doc="their rank")
    norm: bool = option(False, doc="keys and queries of the first Perceiver block are normed (the wave model)")
    eps: float = option(1e-5, low=0.0, doc="epsilon of the Perceivers' norms")


def _calls(config: Any, facts: Any) -> dict[str, Call]:
    ahead = "field*" if config.steps else "field"
    return {
        "step": Call(
            takes={"field": Port("field", doc="the weather now and before, in physical units")},
            gives={"field": Port(ahead, doc="the next step, with what went before as its history")},
            teach="learn",
        ),
        "learn": Call(
            takes={
                "field": Port("field", doc="the weather now and before"),
                "target": Port("field", doc="the weather one step on"),
            },
            gives={"loss": Port("loss", doc="mean absolute error in normalised units, the surface's by a quarter")},
        ),
    }


SMALL = {"width": 256, "heads": 8, "encoder_depths": (2, 6, 2), "decoder_depths": (2, 6, 2),
         "encoder_heads": (4, 8, 16), "decoder_heads": (16, 8, 4), "lora": False}  # fmt: skip
AURORA = card(
    "fields/aurora",
    role="backbone",
    about="Weather fields to those of the next hours, on any grid and pressure levels.",
    source="Aurora (Bodnar et al. 2024, arXiv 2405.13063); microsoft/aurora",
    config=AuroraConfig,
    calls=_calls,
    presets={
        "pretrained": {"lora": False},
        "pretrained-12h": {"lora": False, "lead": 12.0},
        "small": SMALL,
        "high-resolution": {"patch": 10, "encoder_depths": (6, 8, 8), "decoder_depths": (8, 8, 6)},
    },
    tiny={"width": 16, "heads": 2, "encoder_depths": (1, 2), "decoder_depths": (2, 1), "encoder_heads": (2, 4),
          "decoder_heads": (4, 2), "window": (2, 2, 4), "lora_steps": 2},
    impl="anyany_perceiver.aurora:Aurora",
)  # fmt: skip
