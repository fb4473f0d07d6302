"""Cards of namespace `video`: moving pictures. Torch-free.

Implementations are in the files beside this one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anyany.api.v1 import Call, Card, Config, Facts, Port, card, hookimpl, option, tensor, var
from anyany_video.generate_cards import CARDS as GENERATE


class FramesConfig(Config):
    """Which frames of a film are seen."""

    fps: float = option(1.0, low=1e-3, doc="frames taken from each second")
    n: int | None = option(None, low=1, doc="instead: so many, the middle frames of equal stretches of the film")
    most: int = option(64, low=1, doc="a film that would give more frames at `fps` gives these, evenly spaced")


def frames_calls(config: Any, facts: Any) -> dict[str, Call]:
    wish = {"frames": config.n} if config.n else {"every": 1 / config.fps, "most": config.most}
    return {
        "cut": Call(
            takes={"video": Port("video", channels=3, doc="a film of any length", **wish)},
            gives={
                "frames": Port("image*", channels=3, doc="the frames, in order"),
                "times": Port("spans", doc="the stretch of the film, in seconds, that each stands for"),
            },
        )
    }


FRAMES = card(
    "video/frames",
    role="transform",
    about="A film as a list of pictures: so many a second, or so many in all.",
    source="one frame a second: Flamingo (Alayrac et al. 2022, arXiv 2204.14198)",
    config=FramesConfig,
    calls=frames_calls,
    weights=False,
    tiny={"most": 8},
    impl="anyany_video.frames:Frames",
)


class PoolConfig(Config):
    """How many patches become one."""

    side: int = option(2, low=1, doc="side of the squares of the patch grid that become one each")
    how: str = option("average", choices=("average", "max"), doc="their mean, or the largest value of each feature")


POOL = card(
    "video/pool",
    role="adapter",
    about="Fewer patches of a frame: squares of its grid become one each.",
    source="LLaVA-NeXT-Video (Zhang et al. 2024); transformers LlavaNextVideoPooler",
    config=PoolConfig,
    calls={
        "pool": Call(
            takes={"features": Port("features", "N D", D=var("width"), doc="the patches of a square picture")},
            gives={"features": Port("features", "M D", D=var("width"), doc="one for each square, row by row")},
        )
    },
    weights=False,
    tiny={},
    impl="anyany_video.pool:Pool",
)


def _timed(width: Any) -> dict[str, Port]:
    return {"frames": Port("features|embedding*", "... D", D=width, ties="frames", doc="the same, with their times")}


def _untimed(width: Any) -> dict[str, Port]:
    return {"frames": Port("features|embedding*", "... D", D=width, doc="features of a film's frames, in order")}


class LearnedTimesConfig(Config):
    """Learned times; the defaults are Video-LLaMA's."""

    width: int | None = option(None, low=1, doc="features a token (solved from the neighbours when not given)")
    frames: int = option(32, low=1, doc="how many frames have a time of their own")
    stretch: bool = option(False, doc="a longer film spreads them by interpolation, as Flamingo does (else an error)")


def learned_calls(config: Any, facts: Any) -> dict[str, Call]:
    width = config.width or facts.known("width") or var("width", 768)
    return {"stamp": Call(takes=_untimed(width), gives=_timed(width))}


LEARNED = card(
    "video/learned-times",
    role="adapter",
    about="A learned vector for the first frame of a film, one for the second, … added to its features.",
    source="Video-LLaMA (Zhang et al. 2023, arXiv 2306.02858); Flamingo (Alayrac et al. 2022, arXiv 2204.14198)",
    config=LearnedTimesConfig,
    calls=learned_calls,
    facts=Facts(
        width=[tensor("*frame_position_embedding.weight", axis=1)],
        frames=[tensor("*frame_position_embedding.weight", axis=0)],
    ),
    tiny={"frames": 4, "stretch": True},
    impl="anyany_video.learned_times:LearnedTimes",
)


class SinusoidalTimesConfig(Config):
    """Times as waves."""

    longest: float = option(10000.0, low=1.0, doc="the longest wave is this many times 2 pi seconds")


def sinusoidal_calls(config: Any, facts: Any) -> dict[str, Call]:
    width = var("width", 768)
    times = Port("spans?", doc="when each frame is (video/frames); without it, one a second")
    return {"stamp": Call(takes={**_untimed(width), "times": times}, gives=_timed(width))}


SINUSOIDAL = card(
    "video/sinusoidal-times",
    role="adapter",
    about="The second at which a frame is seen, as sines and cosines added to its features; nothing is learned.",
    source="Attention Is All You Need (Vaswani et al. 2017, arXiv 1706.03762), section 3.5",
    config=SinusoidalTimesConfig,
    calls=sinusoidal_calls,
    weights=False,
    tiny={},
    impl="anyany_video.sinusoidal_times:SinusoidalTimes",
)


@hookimpl
def anyany_cards() -> Sequence[Card]:
    """The components of this family."""
    return [FRAMES, POOL, LEARNED, SINUSOIDAL, *GENERATE]
