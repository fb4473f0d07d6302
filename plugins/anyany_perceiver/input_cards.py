"""Cards of the preprocessors: what Perceiver looks at, with positions. Torch-free.

Implementations: `image.py`, `video.py`, `audio.py`, `points.py`, `join.py`.
"""

from __future__ import annotations

from typing import Any

from anyany.api.v1 import Batching, Call, Config, Port, card, option, var
from anyany_perceiver.input_widths import fourier_width, image_grid, image_width

PERCEIVER = "Perceiver (Jaegle et al. 2021, arXiv 2103.03206)"
IO = "Perceiver IO (Jaegle et al. 2021, arXiv 2107.14795); transformers"


def _array(width: int, count: int | None = None, doc: str = "") -> dict[str, Port]:
    return {"features": Port("features", "N C", N=count, C=width, doc=doc)}


class ImageConfig(Config):
    """Pictures; the defaults are those of vision-perceiver-fourier."""

    prep: str = option(
        "pixels", choices=("pixels", "conv", "learned", "patches"),
        doc="every pixel; a convolution and pooling; learned colours and places; flat patches",
    )  # fmt: skip
    size: tuple[int, int] = option((224, 224), doc="height and width that every picture is brought to")
    bands: int = option(64, low=1, doc="Fourier bands an axis")
    resolution: tuple[int, ...] = option((), doc="what the highest band is for, rows and columns (those there are)")
    channels: int = option(64, low=1, doc="values a place of `conv` and `learned`")
    places: int | None = option(None, low=1, doc="values of a learned position (as many as `channels`)")
    patch: int = option(4, low=1, doc="side of a patch of `patches`")
    norm: bool = option(True, doc="a batch norm after the convolution of `conv`")
    crop: float = option(8 / 7, low=0.0, doc="the middle square is the short side over this; 0: the whole, stretched")
    mean: tuple[float, float, float] = option((0.485, 0.456, 0.406), doc="subtracted from colours in 0..1")
    std: tuple[float, float, float] = option((0.229, 0.224, 0.225), doc="divides what is left")

    def __post_init__(self) -> None:
        less = {"conv": 4, "patches": self.patch}.get(self.prep, 1)
        if min(self.size) < max(1, less) or (self.prep == "patches" and any(s % less for s in self.size)):
            raise ValueError(f"size {self.size[0]} x {self.size[1]} is no multiple of {less} pixels")
        if self.resolution and len(self.resolution) != 2:
            raise ValueError("resolution is rows and columns, such as [224, 224]")


def image_calls(config: Any, facts: Any) -> dict[str, Call]:
    grid = image_grid(config)
    given = _array(image_width(config), grid[0] * grid[1] if grid else None, "a place after the other, row by row")
    return {"encode": Call(takes={"image": Port("image", channels=3)}, gives=given, batching=Batching(max_rows=16))}


IMAGE = card(
    "perceiver/image",
    role="encoder",
    about="A picture as Perceiver's input: pixels, a convolution or learned features, each with its position.",
    source=IO,
    config=ImageConfig,
    calls=image_calls,
    ignores=("*position_encoding.position_encoding",),  # krasserm's packages save the Fourier table, made here anew
    tiny={"size": (8, 8), "bands": 3, "channels": 8},
    presets={"learned": {"prep": "learned", "channels": 256}, "conv": {"prep": "conv", "resolution": (56, 56)}},
    impl="anyany_perceiver.image:Image",
)


class VideoConfig(Config):
    """Films; the defaults are those of multimodal-perceiver."""

    frames: int = option(16, low=1, doc="most frames; of a longer film they are taken evenly")
    size: tuple[int, int] = option((224, 224), doc="height and width that every frame is stretched to")
    patch: int = option(4, low=1, doc="side of a patch")
    bands: int = option(32, low=1, doc="Fourier bands an axis")
    resolution: tuple[int, ...] = option(
        (), doc="what the highest band is for: frames, rows, columns (those there are)"
    )

    def __post_init__(self) -> None:
        if any(s % self.patch for s in self.size):
            raise ValueError(f"size {self.size[0]} x {self.size[1]} is no multiple of {self.patch} pixels")
        if self.resolution and len(self.resolution) != 3:
            raise ValueError("resolution is frames, rows and columns, such as [16, 224, 224]")


def video_calls(config: Any, facts: Any) -> dict[str, Call]:
    given = _array(3 * config.patch**2 + fourier_width(3, config.bands), doc="patch after patch, frame after frame")
    return {"encode": Call(takes={"video": Port("video")}, gives=given, batching=Batching(max_rows=8))}


VIDEO = card(
    "perceiver/video",
    role="encoder",
    about="A film as Perceiver's input: patches with their place in time and picture.",
    source=IO,
    config=VideoConfig,
    calls=video_calls,
    weights=False,
    tiny={"frames": 3, "size": (8, 8), "bands": 2},
    impl="anyany_perceiver.video:Video",
)


class AudioConfig(Config):
    """Sounds; the defaults are those of Perceiver on AudioSet."""

    prep: str = option("raw", choices=("raw", "mel"), doc="samples as they are, or mel energies")
    rate: int = option(48000, low=1000, doc="samples a second; the loader converts")
    patch: int = option(128, low=1, doc="samples a place; the hop of `mel`")
    mels: int = option(128, low=1, doc="mel bands of `mel`")
    bands: int = option(192, low=1, doc="Fourier bands")
    resolution: int = option(61440, low=1, doc="what the highest band is for: samples of a clip")
    seconds: float | None = option(None, low=0.001, doc="cut or fill every sound to this")


def audio_calls(config: Any, facts: Any) -> dict[str, Call]:
    values = config.mels if config.prep == "mel" else config.patch
    takes = {"audio": Port("audio", rate=config.rate, channels=1)}
    given = _array(values + fourier_width(1, config.bands), doc="in order of time")
    return {"encode": Call(takes=takes, gives=given, batching=Batching(max_rows=16))}


AUDIO = card(
    "perceiver/audio",
    role="encoder",
    about="A sound as Perceiver's input: patches of raw samples, or mel energies, with their place in time.",
    source=PERCEIVER,
    config=AudioConfig,
    calls=audio_calls,
    weights=False,
    tiny={"rate": 8000, "patch": 16, "mels": 8, "bands": 3, "resolution": 1600},
    impl="anyany_perceiver.audio:Audio",
)


class PointsConfig(Config):
    """Points; the defaults are those of Perceiver on ModelNet40."""

    axes: int = option(3, low=1, doc="coordinates of a point")
    more: int = option(0, low=0, doc="further values of a point, behind its coordinates")
    bands: int = option(64, low=1, doc="Fourier bands an axis")
    resolution: int = option(1120, low=1, doc="what the highest band is for")
    bounds: tuple[float, ...] = option((), doc="low and high that go to -1 and 1 (the points' own extent)")

    def __post_init__(self) -> None:
        check_bounds(self.bounds)


def check_bounds(bounds: tuple[float, ...]) -> None:
    """Raise ValueError for what is no (low, high)."""
    if bounds and (len(bounds) != 2 or bounds[0] >= bounds[1]):
        raise ValueError("bounds are low and high, such as [0, 128]")


def points_calls(config: Any, facts: Any) -> dict[str, Call]:
    takes = {"points": Port("points|features", doc="rows of numbers: coordinates, then further values")}
    given = _array(fourier_width(config.axes, config.bands) + config.more, doc="in the order of the points")
    return {"encode": Call(takes=takes, gives=given)}


POINTS = card(
    "perceiver/points",
    role="encoder",
    about="A cloud of points, or units on a map, as Perceiver's input.",
    source=PERCEIVER,
    config=PointsConfig,
    calls=points_calls,
    weights=False,
    tiny={"axes": 2, "bands": 4, "resolution": 16},
    impl="anyany_perceiver.points:Points",
)


class JoinConfig(Config):
    """Several modalities in one array."""

    modalities: tuple[str, ...] = option(("image", "audio", "points"), doc="names of the ports, in the array's order")
    width: int = option(704, low=2, doc="values a place, more than any modality has by itself")

    def __post_init__(self) -> None:
        if not self.modalities or len(set(self.modalities)) != len(self.modalities):
            raise ValueError("modalities are names, each once, such as [image, audio]")
        if any(not name.isidentifier() for name in self.modalities):
            raise ValueError("modalities are simple names, such as [image, audio]")


def join_calls(config: Any, facts: Any) -> dict[str, Call]:
    takes = {n: Port("features?", "N C", C=var(n), doc=f"the array of {n}, or nothing") for n in config.modalities}
    return {"join": Call(takes=takes, gives=_array(config.width, doc="end to end"), batching=Batching(max_rows=16))}


JOIN = card(
    "perceiver/join",
    role="adapter",
    about="Several modalities as one array: a learned vector fills each to one width and names it.",
    source=PERCEIVER,
    config=JoinConfig,
    calls=join_calls,
    tiny={"width": 64},
    impl="anyany_perceiver.join:Join",
)

CARDS = [IMAGE, VIDEO, AUDIO, POINTS, JOIN]
