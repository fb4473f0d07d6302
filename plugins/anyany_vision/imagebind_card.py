"""Card of vision/imagebind. Torch-free.

Implementation: imagebind.py.
"""

from __future__ import annotations

from typing import Any

from anyany.api.v1 import Batching, Call, Config, Facts, Port, card, option, tensor
from anyany_vision.encoder_cards import CLIP_MEAN, CLIP_STD

KINDS = ("vision", "text", "audio", "depth", "thermal", "imu")


class ImageBindConfig(Config):
    """ImageBind; defaults are imagebind_huge. Sizes of a modality are its width, blocks and heads."""

    modalities: tuple[str, ...] = option(KINDS, doc="which of its six modalities to hold")
    shared: int = option(1024, low=1, doc="width of the shared space")
    vision: tuple[int, ...] = option((1280, 32, 16), doc="pictures and films: width, blocks, heads")
    text: tuple[int, ...] = option((1024, 24, 16), doc="texts")
    audio: tuple[int, ...] = option((768, 12, 12), doc="sound")
    depth: tuple[int, ...] = option((384, 12, 8), doc="depth maps")
    thermal: tuple[int, ...] = option((768, 12, 12), doc="thermal pictures")
    imu: tuple[int, ...] = option((512, 6, 8), doc="motion sensors")
    resolution: int = option(224, low=1, doc="side of pictures in pixels")
    patch: int = option(14, low=1, doc="side of a patch of pictures")
    flat_patch: int = option(16, low=1, doc="side of a patch of depth maps and thermal pictures")
    clips: int = option(5, low=1, doc="clips that a film is seen as")
    mel: int = option(128, low=1, doc="bands of a spectrogram")
    frames: int = option(204, low=1, doc="frames of a spectrogram")
    audio_patch: int = option(16, low=1, doc="side of a patch of spectrograms")
    audio_stride: int = option(10, low=1, doc="distance between two such patches")
    readings: int = option(2000, low=8, doc="readings of a motion recording")
    vocab: int = option(49408, low=3, doc="tokens of the text trunk")
    context: int = option(77, low=3, doc="longest text in tokens")
    scaled: bool = option(True, doc="sounds and texts times their scale; NExT-GPT takes them of length one")
    mean: tuple[float, ...] = option(CLIP_MEAN, doc="subtracted from pixels in 0..1")
    std: tuple[float, ...] = option(CLIP_STD, doc="divides what is left")


def imagebind_calls(config: Any, facts: Any) -> dict[str, Call]:
    width = facts.shared
    embedding = {"embedding": Port("embedding", "D", D=width, space="self", doc="in the shared space")}
    gives = {**embedding, "patches": Port("features", "N D", D=width, doc="every patch in the shared space")}
    takes = {
        "image": {"image": Port("image", channels=3)}, "video": {"video": Port("video", channels=3)},
        "audio": {"audio": Port("audio", rate=16000, channels=1)}, "text": {"text": Port("text")},
        "depth": {"image": Port("image", channels=1)}, "thermal": {"image": Port("image", channels=1)},
        "imu": {"motion": Port("features", "C T", C=6, T=config.readings)},
    }  # fmt: skip
    held = {"image": "vision", "video": "vision"}
    return {
        name: Call(takes=ports, gives=embedding if name == "text" else gives, batching=Batching(max_rows=16))
        for name, ports in takes.items()
        if held.get(name, name) in config.modalities
    }


IMAGEBIND = card(
    "vision/imagebind",
    role="encoder",
    about="Pictures, films, sound, text, depth, heat and motion as vectors of one space.",
    source="ImageBind (Girdhar et al. 2023, arXiv 2305.05665); its weights are CC BY-NC-SA 4.0",
    config=ImageBindConfig,
    calls=imagebind_calls,
    facts=Facts(shared=[tensor("*modality_heads.*.2.weight", axis=0), tensor("*modality_heads.text.proj.1.weight")]),
    tiny={
        "shared": 24, "vision": (32, 2, 2), "text": (32, 2, 2), "audio": (24, 2, 2), "depth": (16, 1, 2),
        "thermal": (16, 1, 2), "imu": (16, 1, 2), "resolution": 32, "patch": 8, "clips": 2, "mel": 24, "frames": 34,
        "audio_patch": 8, "audio_stride": 5, "readings": 32, "vocab": 258, "context": 128,
    },
    impl="anyany_vision.imagebind:ImageBind",
)  # fmt: skip
