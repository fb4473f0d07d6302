"""The kinds that every installation knows: media, tensors, results and training values.

Axes are the canonical ones of a kind (outermost first); a port may name fewer or others where its family does.
"""

from __future__ import annotations

from anyany.api.v1 import Kind


def _media(name: str, *facets: str, files: tuple[str, ...] = (), about: str = "") -> Kind:
    return Kind(name=name, group="media", facets=facets, files=files, about=about)


def _other(group: str, name: str, axes: str = "", *facets: str, about: str = "") -> Kind:
    return Kind(name=name, group=group, axes=tuple(axes.split()), facets=facets, about=about)


KINDS: dict[str, Kind] = {
    k.name: k
    for k in (
        _media("text", files=("txt", "md"), about="a string"),
        _media("image", "channels", files=("png", "jpg", "webp", "gif"), about="[C,H,W], uint8 or float in 0..1"),
        _media("audio", "rate", "channels", files=("wav", "flac", "ogg", "mp3"), about="[C,T] samples in -1..1"),
        _media("video", "fps", "channels", files=("mp4", "webm", "gif"), about="[T,C,H,W] frames"),
        _media("message", files=("json",), about="text, media, regions and turns in order"),
        _other("tensor", "features", "N D", "space", about="a sequence of vectors"),
        _other("tensor", "embedding", "D", "space", about="one vector"),
        _other("tensor", "tokens", "N", "vocab", "turns", "space", about="discrete codes"),
        _other("tensor", "latent", "C H W", "space", about="a continuous code of a picture or sound"),
        _other("result", "label", "", "classes", about="a class: its number or its name"),
        _other("result", "scores", about="names or numbers with a figure each"),
        _other("result", "boxes", about="[N,4] x1 y1 x2 y2 in pixels"),
        _other("result", "mask", about="[H,W] of truth values"),
        _other("result", "points", about="[N,2] or [N,3]"),
        _other("result", "flow", about="[2,H,W] pixels moved, right and down"),
        _other("result", "spans", about="timed text"),
        _other("result", "field", about="named physical fields on a grid"),
        _other("training", "loss", about="a number to minimise"),
        _other("training", "metric", about="a number to report"),
    )
}
MEDIA = tuple(k.name for k in KINDS.values() if k.group == "media")
REGIONS = ("boxes", "points", "mask")
