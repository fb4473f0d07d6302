"""Cards of whole Perceiver IO models: optical flow, and film with sound and class. Torch-free.

Implementations: `flow.py`, `multimodal.py`. Their parts are calls, so that other encoders may feed the queries.
"""

from __future__ import annotations

from typing import Any

from anyany.api.v1 import Batching, Call, Facts, Port, card, option
from anyany_perceiver.input_cards import IO
from anyany_perceiver.input_widths import fourier_width
from anyany_perceiver.query_cards import LATENT_FACTS, TINY_LATENTS, LatentConfig, check_names

MEDIA = ("video", "audio", "label")


class FlowConfig(LatentConfig):
    """Optical flow; the defaults are those of optical-flow-perceiver, whose config.json overrides them."""

    latents: int = option(2048, low=1, doc="rows of the learned array")
    width: int = option(512, low=1, doc="values of each")
    blocks: int = option(1, low=1, doc="how often the block of self-attention runs")
    layers: int = option(24, low=1, doc="layers of a block")
    heads: int = option(16, low=1, doc="heads of self-attention")
    size: tuple[int, int] = option((368, 496), doc="height and width trained on")
    bands: int = option(64, low=1, doc="Fourier bands an axis")
    channels: int = option(64, low=1, doc="values made of a pixel's neighbourhood in both pictures")
    overlap: int = option(20, low=0, doc="pixels that neighbouring tiles of a larger picture share at least")
    chunk: int = option(32768, low=1, doc="queries at a time")


def flow_calls(config: Any, facts: Any) -> dict[str, Call]:
    count, channels = config.size[0] * config.size[1], config.channels + fourier_width(2, config.bands)
    width = facts.known("width") or config.width
    pictures = {"images": Port("image*", channels=3, doc="two pictures of one size, in order of time")}
    array = Port("features", "N C", N=count, C=channels, doc="a vector a pixel at the size trained on")
    flow = {"flow": Port("flow", doc="[2,H,W] pixels right and down")}
    latents = Port("features", "M D", D=width, doc="of any encoder")
    return {
        "flow": Call(takes=pictures, gives=flow, batching=Batching(max_rows=4)),
        "pair": Call(takes=pictures, gives={"features": array}, parts=("input_preprocessor",),
                     batching=Batching(max_rows=4)),
        "decode": Call(takes={"latents": latents, "queries": array}, gives=flow, parts=("decoder",),
                       batching=Batching(max_rows=4)),
    }  # fmt: skip


FLOW = card(
    "perceiver/flow",
    role="decoder",
    about="Optical flow by Perceiver IO: how far each pixel of a picture has moved in the next one.",
    source=IO,
    config=FlowConfig,
    calls=flow_calls,
    facts=Facts(**LATENT_FACTS),
    tiny={**TINY_LATENTS, "size": (16, 20), "bands": 2, "channels": 6, "overlap": 2, "chunk": 99},
    impl="anyany_perceiver.flow:Flow",
)


class IoConfig(LatentConfig):
    """Film, sound and class; the defaults are those of multimodal-perceiver, whose config.json overrides them."""

    inputs: tuple[str, ...] = option(MEDIA, doc="what may come in: video, audio, label")
    queries: tuple[str, ...] = option(MEDIA, doc="what is asked for: video, audio, label")
    masked: tuple[str, ...] = option(("label",), doc="inputs that are hidden, as the released model was trained")
    latents: int = option(784, low=1, doc="rows of the learned array")
    width: int = option(512, low=1, doc="values of each")
    blocks: int = option(1, low=1, doc="how often the block of self-attention runs")
    layers: int = option(8, low=1, doc="layers of a block")
    frames: int = option(16, low=1, doc="frames of a clip; longer films go clip by clip")
    fps: int = option(25, low=1, doc="frames a second")
    side: int = option(224, low=1, doc="side that every frame is stretched to")
    patch: int = option(4, low=1, doc="side of a patch of a frame")
    samples_per_frame: int = option(1920, low=1, doc="samples of sound in the time of a frame")
    samples: int = option(16, low=1, doc="samples of a patch of sound")
    classes: int | None = option(None, low=1, doc="classes (the checkpoint's, as many as `names`, or 700)")
    names: tuple[str, ...] = option((), doc="names of the classes, in order")
    top: int = option(5, low=0, doc="classes in `scores` (0: all)")
    video_bands: int = option(32, low=1, doc="Fourier bands an axis of film")
    audio_bands: int = option(192, low=1, doc="Fourier bands of sound")
    label_width: int = option(1024, low=1, doc="width of the query for the class")
    outputs: int = option(512, low=1, doc="values of an answer before its own head")
    chunk: int = option(16384, low=1, doc="queries at a time")

    def __post_init__(self) -> None:
        LatentConfig.__post_init__(self)
        check_names(self.names, self.classes)
        for name, given in (("inputs", self.inputs), ("queries", self.queries), ("masked", self.masked)):
            if not set(given) <= set(MEDIA) or len(set(given)) != len(given) or not (given or name == "masked"):
                raise ValueError(f"{name} are some of video, audio and label, each once")
        if self.side % self.patch:
            raise ValueError(f"side {self.side} is no multiple of the patch, {self.patch} pixels")
        if self.frames * self.samples_per_frame % self.samples:
            raise ValueError(f"{self.frames * self.samples_per_frame} samples are no multiple of {self.samples}")


def io_calls(config: Any, facts: Any) -> dict[str, Call]:
    rate = config.fps * config.samples_per_frame
    kinds = {"video": {"fps": config.fps}, "audio": {"rate": rate, "channels": 1}, "label": {}}
    takes = {n: Port(n if i == 0 else f"{n}?", **kinds[n]) for i, n in enumerate(config.inputs)}
    media = {n: Port(n, **kinds[n]) for n in config.queries if n != "label"}
    label = {"label": Port("label"), "scores": Port("scores")} if "label" in config.queries else {}
    count, width = facts.known("latents") or config.latents, facts.known("width") or config.width
    calls = {
        "autoencode": Call(takes=takes, gives={**media, **label}, batching=Batching(max_rows=4)),
        "encode": Call(takes=takes, gives={"latents": Port("features", "M D", M=count, D=width, space="self")},
                       parts=("input_preprocessor", "core"), batching=Batching(max_rows=4)),
        "decode": Call(takes={"latents": Port("features", "M D", D=width)}, gives={**media, **label},
                       parts=("decoder", "output_postprocessor"), batching=Batching(max_rows=4)),
    }  # fmt: skip
    wanted, answers = {"latents": Port("features", "M D", D=width)}, {}
    if "video" in config.queries:
        wanted["video_at"] = Port("tokens?", "N", vocab=config.frames * config.side**2, doc="pixels by flat index")
        answers["pixels"] = Port("features?", "Q K", K=3, doc="RGB of each")
    if "audio" in config.queries:
        places = config.frames * config.samples_per_frame // config.samples
        wanted["audio_at"] = Port("tokens?", "N", vocab=places, doc="patches of sound by index")
        answers["samples"] = Port("features?", "Q K", K=config.samples, doc="samples of each")
    calls["ask"] = Call(takes=wanted, gives={**answers, **label}, parts=("decoder", "output_postprocessor"))
    return calls


IO_CARD = card(
    "perceiver/io",
    role="backbone",
    about="Perceiver IO over film, sound and class: any of them in, any of them out, whole or at chosen places.",
    source=IO,
    config=IoConfig,
    calls=io_calls,
    facts=Facts(**LATENT_FACTS),
    tiny={**TINY_LATENTS, "frames": 2, "fps": 8, "side": 8, "samples_per_frame": 1000, "samples": 100,
          "names": ("circle", "square", "ring"), "video_bands": 2, "audio_bands": 3, "label_width": 8, "outputs": 12,
          "chunk": 50},
    impl="anyany_perceiver.multimodal:PerceiverIO",
)  # fmt: skip

CARDS = [FLOW, IO_CARD]
