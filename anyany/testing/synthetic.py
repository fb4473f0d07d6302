"""Synthetic values for the ports of a call: pictures, sounds, messages, features, made from kinds, axes and facets.

Everything is a pure function of (seed, row, port), and rows differ in size wherever a port leaves a size open.
Shape suffixes: N length, D width, C channels, H height, W width, T samples or frames.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from anyany.api.v1 import Call, Media, Message, Port, Region, Var
from anyany.engine.rows import Rows
from anyany.kinds.builtin import REGIONS
from anyany.media.values import Audio, Video

LENGTHS = (3, 1, 5, 2)
IMAGE_SIZES = ((24, 24), (17, 31), (40, 9), (8, 8))
TEXTS = ("a red circle", "describe", "Ein großes Bild: 漢字, and more words than the others have.", "two")
PLACES = ((1, 0, 1), (0, 1, 2), (2, 1, 0), (1, 1, 1))
"""How many places of the first, second and third per-place port each row has."""


class CannotMake(Exception):
    """No value of this kind can be made up; the component must give an `example`."""


@dataclass(frozen=True, kw_only=True)
class Making:
    """What values are made with.

    sizes: solved variables. even: all rows alike in size. fed: the optional ports to feed (None: all of them).
    """

    sizes: Mapping[str, int]
    seed: int = 0
    even: bool = False
    fed: frozenset[str] | None = None

    def leaves_out(self, name: str, port: Port) -> bool:
        """True for an optional port that this case does not feed."""
        return port.optional and self.fed is not None and name not in self.fed

    def generator(self, *what: Any) -> torch.Generator:
        return torch.Generator().manual_seed(zlib.crc32(repr((self.seed, *what)).encode()))

    def size(self, port: Port, axis: str) -> int | None:
        """The size of an axis: its number, its variable's value, or None where it varies."""
        size = port.sizes.get(axis)
        if isinstance(size, Var):
            return self.sizes.get(size.name, size.default)
        return size

    def facet(self, port: Port, name: str, default: Any) -> Any:
        value = port.facets.get(name, default)
        return self.sizes.get(value.name, value.default or default) if isinstance(value, Var) else value

    def varying(self, choices: Sequence[Any], row: int) -> Any:
        return choices[0] if self.even else choices[row % len(choices)]


Maker = Callable[[Making, Port, int, torch.Generator], Any]


def _text(m: Making, port: Port, row: int, g: torch.Generator) -> str:
    return str(m.varying(TEXTS, row))


def _image(m: Making, port: Port, row: int, g: torch.Generator) -> torch.Tensor:
    height, width = m.varying(IMAGE_SIZES, row)
    shape = (m.facet(port, "channels", 3), m.size(port, "H") or height, m.size(port, "W") or width)
    return torch.randint(0, 256, shape, generator=g, dtype=torch.uint8)


def _audio(m: Making, port: Port, row: int, g: torch.Generator) -> Audio:
    rate = int(m.facet(port, "rate", 16000))
    length = int(rate * m.varying((0.4, 0.25, 0.6, 0.3), row))
    return Audio(torch.rand(m.facet(port, "channels", 1), length, generator=g) * 2 - 1, rate)


def _video(m: Making, port: Port, row: int, g: torch.Generator) -> Video:
    frames = m.size(port, "T") or m.varying((4, 2, 6, 3), row)
    height, width = m.varying(IMAGE_SIZES, row)
    shape = (frames, m.facet(port, "channels", 3), m.size(port, "H") or height, m.size(port, "W") or width)
    return Video(torch.randint(0, 256, shape, generator=g, dtype=torch.uint8), float(m.facet(port, "fps", 8.0)))


def _tensor(default_axes: tuple[str, ...]) -> Maker:
    def make(m: Making, port: Port, row: int, g: torch.Generator) -> torch.Tensor:
        axes = port.axes or default_axes
        if axes and axes[0] == "...":
            axes = (*default_axes[: len(default_axes) - (len(axes) - 1)], *axes[1:])
        shape = [m.size(port, a) or (m.varying(LENGTHS, row) if a == axes[0] and len(axes) > 1 else 16) for a in axes]
        return torch.randn(shape, generator=g)

    return make


def _tokens(m: Making, port: Port, row: int, g: torch.Generator) -> torch.Tensor:
    shape = [m.size(port, a) or m.varying(LENGTHS, row) for a in port.axes or ("N",)]
    return torch.randint(0, int(m.facet(port, "vocab", 16)), shape, generator=g)


def _boxes(m: Making, port: Port, row: int, g: torch.Generator) -> torch.Tensor:
    corner = torch.rand(m.varying((2, 1, 3), row), 2, generator=g) * 4
    return torch.cat([corner, corner + 1 + torch.rand(corner.shape, generator=g) * 3], 1)


def _mask(m: Making, port: Port, row: int, g: torch.Generator) -> torch.Tensor:
    return torch.rand(m.varying(IMAGE_SIZES, row), generator=g) > 0.5


def _points(m: Making, port: Port, row: int, g: torch.Generator) -> torch.Tensor:
    return torch.rand(m.varying((2, 1, 3), row), 2, generator=g) * 8


def _label(m: Making, port: Port, row: int, g: torch.Generator) -> int:
    return int(torch.randint(0, 2, (), generator=g))


def _scores(m: Making, port: Port, row: int, g: torch.Generator) -> dict[str, float]:
    return {"a": float(torch.rand((), generator=g)), "b": float(torch.rand((), generator=g))}


def _number(m: Making, port: Port, row: int, g: torch.Generator) -> torch.Tensor:
    return torch.rand((), generator=g)


MAKERS: dict[str, Maker] = {
    "text": _text, "image": _image, "audio": _audio, "video": _video, "features": _tensor(("N", "D")),
    "embedding": _tensor(("D",)), "latent": _tensor(("C", "H", "W")), "tokens": _tokens, "boxes": _boxes,
    "mask": _mask, "points": _points, "label": _label, "scores": _scores, "loss": _number, "metric": _number,
}  # fmt: skip


def value(port: Port, row: int, making: Making, *, kind: str | None = None, where: Any = "") -> Any:
    """One value for a port (of its first kind that can be made; `any` becomes text). Raises `CannotMake`."""
    for candidate in (kind,) if kind else port.kinds:
        maker = MAKERS.get("text" if candidate == "any" else candidate)
        if maker is not None:
            return maker(making, port, row, making.generator(where, row, candidate))
    raise CannotMake(f"no value of kind {'|'.join(port.kinds)} can be made up")


def _per_ports(call: Call, message: str) -> dict[str, Port]:
    return {name: p for name, p in call.takes.items() if p.per == message}


def _message(call: Call, name: str, row: int, making: Making) -> Message:
    """A message of text and, for each per-place port, the places that `places` counts, after the text."""
    port = call.takes[name]
    parts: list[Any] = [_text(making, port, row, making.generator())]
    kinds = places(call, name, row, making)
    kinds.update({k: 1 for k in sorted(port.native) if k not in kinds and k != "text" and k in MAKERS})
    order = sorted(kinds, key=lambda k: k in REGIONS)  # a region lies on the image before it
    if any(k in REGIONS and kinds[k] for k in kinds) and "image" not in kinds:
        raise CannotMake("a region wants an image in its message")
    for kind in order:
        for i in range(kinds[kind]):
            made = value(Port(kind), row, making, where=(name, kind, i))
            parts.append(Region(kind=kind, value=made) if kind in REGIONS else Media(kind=kind, value=made))
    return Message(tuple(parts))


def places(call: Call, message: str, row: int, making: Making) -> dict[str, int]:
    """How many places of each kind the message of a row has."""
    found = {}
    for i, (kind, port) in enumerate(_per_ports(call, message).items()):
        left_out = making.leaves_out(kind, port)
        found[kind] = 0 if left_out else PLACES[0 if making.even else row % len(PLACES)][i % 3]
    return found


def example_rows(call: Call, rows: Sequence[int], making: Making) -> dict[str, Rows]:
    """The arguments of one call over these rows, as the engine would give them (floats in float32)."""
    given: dict[str, Rows] = {}
    for name, port in call.takes.items():
        if "node" in port.kinds:
            raise CannotMake(f"port `{name}` takes another component")
        if making.leaves_out(name, port):
            continue
        if port.per is not None:
            counts = [places(call, port.per, row, making)[name] for row in rows]
            values = [value(port, row, making, where=(name, i)) for row, n in zip(rows, counts) for i in range(n)]
            given[name] = as_rows(values, counts)
        elif port.many:
            counts = [2 if making.even else (2, 1, 3, 1)[row % 4] for row in rows]
            values = [value(port, row, making, where=(name, i)) for row, n in zip(rows, counts) for i in range(n)]
            given[name] = as_rows(values, counts)
        elif "message" in port.kinds:
            given[name] = Rows([_message(call, name, row, making) for row in rows])
        else:
            given[name] = as_rows([value(port, row, making, where=name) for row in rows])
    return given


def as_rows(values: list[Any], counts: list[int] | None = None) -> Rows:
    """Values as an edge carries them: tensors of one width packed along their ragged axis, other things in a list."""
    tensors = bool(values) and all(isinstance(v, torch.Tensor) and v.is_floating_point() and v.dim() for v in values)
    if tensors and len({v.shape for v in values}) == 1:
        return Rows(torch.stack(values), counts=counts)
    if tensors and len({v.shape[1:] for v in values}) == 1:
        offsets = [0]
        for v in values:
            offsets.append(offsets[-1] + v.shape[0])
        return Rows(torch.cat(values), offsets, counts=counts)
    return Rows(values, counts=counts)
