"""Is a value what its port promises? And are two values the same? For the conformance kit.

Shapes are those of `anyany.kinds.builtin`: features [N,D], image [C,H,W], boxes [N,4], and so on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from anyany.api.v1 import Media, Message, Place, Port, Region
from anyany.media.fields import Field
from anyany.media.values import Audio, Video
from anyany.testing.synthetic import Making

_RANKS = {"features": 2, "embedding": 1, "tokens": 1, "latent": 3}


def faults(port: Port, value: Any, making: Making, kind: str | None = None) -> list[str]:
    """What is wrong with one value of an output port; empty when it keeps the promise. kind: the union's actual one."""
    if value is None:
        return [] if port.optional else ["nothing was given"]
    kinds = (kind,) if kind else port.kinds
    found = [_of_kind(k, port, value, making) for k in kinds]
    return [] if any(not f for f in found) else found[0]


def _of_kind(kind: str, port: Port, value: Any, making: Making) -> list[str]:
    if kind in _RANKS:
        return _tensor(kind, port, value, making)
    if kind == "image":
        return _picture(port, value, making)
    if kind == "text":
        return [] if isinstance(value, str) else [f"a {type(value).__name__}, not a string"]
    if kind == "message":
        return [] if isinstance(value, Message) else [f"a {type(value).__name__}, not a Message"]
    if kind == "audio":
        return _sound(port, value, making)
    if kind == "video":
        return [] if isinstance(value, Video) and value.frames.dim() == 4 else [f"{_say(value)}, not a Video [T,C,H,W]"]
    if kind in ("loss", "metric"):
        fine = isinstance(value, float) or (isinstance(value, torch.Tensor) and value.numel() == 1)
        return [] if fine else [f"{_say(value)}, not one number"]
    if kind == "boxes":
        fine = isinstance(value, torch.Tensor) and value.dim() == 2 and value.shape[1] == 4
        return [] if fine else [f"{_say(value)}, not [N,4]"]
    if kind == "mask":
        fine = isinstance(value, torch.Tensor) and value.dim() == 2
        return [] if fine else [f"{_say(value)}, not [H,W]"]
    return []


def _tensor(kind: str, port: Port, value: Any, making: Making) -> list[str]:
    if not isinstance(value, torch.Tensor):
        return [f"{_say(value)}, not a tensor"]
    axes = port.axes
    rank = len(axes) if axes else _RANKS[kind]
    if axes and axes[0] == "...":
        axes = axes[1:]
        if value.dim() < len(axes):
            return [f"shape {list(value.shape)}, but the card says [... {' '.join(axes)}]"]
    elif value.dim() != rank:
        return [f"shape {list(value.shape)}, but the card says [{' '.join(axes) or f'{rank} axes'}]"]
    found = []
    for axis, size in zip(reversed(axes), reversed(value.shape)):
        wanted = making.size(port, axis)
        if wanted is not None and size != wanted:
            found.append(f"axis {axis} is {size}, but the card says {wanted}")
    if kind == "tokens":
        if value.is_floating_point():
            found.append(f"tokens are whole numbers, not {value.dtype}")
        vocab = making.facet(port, "vocab", None)
        if vocab is not None and value.numel() and not 0 <= int(value.min()) <= int(value.max()) < int(vocab):
            found.append(f"tokens from {int(value.min())} to {int(value.max())}, but the vocabulary has {vocab}")
    elif not bool(torch.isfinite(value.float()).all()):
        found.append("it holds NaN or infinity")
    return found


def _picture(port: Port, value: Any, making: Making) -> list[str]:
    if not isinstance(value, torch.Tensor) or value.dim() != 3:
        return [f"{_say(value)}, not a picture [C,H,W]"]
    found = []
    channels = making.facet(port, "channels", None)
    if channels is not None and value.shape[0] != channels:
        found.append(f"{value.shape[0]} channels, but the card says {channels}")
    for axis, size in (("H", value.shape[1]), ("W", value.shape[2])):
        wanted = making.size(port, axis)
        if wanted is not None and size != wanted:
            found.append(f"axis {axis} is {size}, but the card says {wanted}")
    if value.dtype != torch.uint8:
        if not bool(torch.isfinite(value.float()).all()):
            found.append("it holds NaN or infinity")
        elif float(value.min()) < -1e-3 or float(value.max()) > 1 + 1e-3:
            found.append(f"pixels from {float(value.min()):.3g} to {float(value.max()):.3g}; floats go from 0 to 1")
    return found


def _sound(port: Port, value: Any, making: Making) -> list[str]:
    if not isinstance(value, Audio):
        return [f"{_say(value)}, not an Audio"]
    found = []
    rate = making.facet(port, "rate", None)
    if rate is not None and value.rate != rate:
        found.append(f"{value.rate} samples a second, but the card says {rate}")
    if value.samples.dim() != 2 or not bool(torch.isfinite(value.samples).all()):
        found.append(f"samples {list(value.samples.shape)}; they are finite numbers [C,T]")
    return found


def _say(value: Any) -> str:
    shape = getattr(value, "shape", None)
    return f"a {type(value).__name__}" + (f" {list(shape)}" if shape is not None else "")


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(path, tensor or plain thing) of everything inside a value, in a fixed order."""
    if isinstance(value, Message):
        for i, part in enumerate(value.parts):
            inner = part.content if isinstance(part, (Media, Region)) else part
            yield from leaves(inner, f"{path}.parts[{i}]")
    elif isinstance(value, Audio):
        yield f"{path}.rate", value.rate
        yield f"{path}.samples", value.samples
    elif isinstance(value, Video):
        yield f"{path}.fps", value.fps
        yield f"{path}.frames", value.frames
    elif isinstance(value, Field):
        yield from leaves(vars(value), path)
    elif isinstance(value, Mapping):
        for key in value:
            yield from leaves(value[key], f"{path}.{key}")
    elif isinstance(value, Sequence) and not isinstance(value, str):
        yield f"{path}.length", len(value)
        for i, inner in enumerate(value):
            yield from leaves(inner, f"{path}[{i}]")
    else:
        yield path, value


def difference(a: Any, b: Any, tolerance: float = 0.0) -> str | None:
    """Where two values differ by more than `tolerance` (relative to the larger of 1 and the largest number), or None.

    Tolerance 0 means bit for bit.
    """
    left, right = list(leaves(a)), list(leaves(b))
    if [p for p, _ in left] != [p for p, _ in right]:
        return "they are built differently"
    for (path, x), (_, y) in zip(left, right):
        where = path.lstrip(".") or "the value"
        if not isinstance(x, torch.Tensor) or not isinstance(y, torch.Tensor):
            if isinstance(x, float) and isinstance(y, float) and abs(x - y) <= tolerance * max(1.0, abs(x)):
                continue
            if type(x) is not type(y) or x != y:
                return f"{where}: {_short(x)} and {_short(y)}"
            continue
        if x.shape != y.shape:
            return f"{where}: shapes {list(x.shape)} and {list(y.shape)}"
        if torch.equal(x, y):
            continue
        if tolerance == 0 or not x.is_floating_point():
            return f"{where}: {int((x != y).sum())} of {x.numel()} numbers differ"
        gap = float((x.double() - y.double()).abs().max())
        if not gap <= tolerance * max(1.0, float(x.double().abs().max())):
            return f"{where}: off by {gap:.3g}"
    return None


def _short(value: Any) -> str:
    text = repr(value.index if isinstance(value, Place) else value)
    return text if len(text) <= 60 else text[:57] + "..."
