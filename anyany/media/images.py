"""Pictures: files by Pillow into uint8 [C, H, W], and back into PNG.

Orientation of EXIF is applied, transparency is laid on white, 16-bit greys keep their upper 8 bits.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, ImageSequence
from torch import Tensor

from anyany.media.errors import MediaError
from anyany.media.files import open_file
from anyany.media.limits import Limits, check_decoded, check_pixels
from anyany.media.values import Audio, Video, check_image, describe, to_float, to_uint8

_PILLOW = {"WebP": "WEBP"}
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def load_image(path: str, format: str, facets: Mapping[str, Any], limits: Limits) -> Tensor:
    """The picture in a file of a known format, as uint8 [C, H, W]; facet `channels`: 1, 3 (default) or 4.

    Of several frames the first is taken. Raises MediaError.
    """
    mode = _mode(facets)
    with open_file(path, limits) as file:
        image = _open(file, path, format, limits)
        try:
            image.load()
            return _tensor(convert(ImageOps.exif_transpose(image), mode))
        except (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, KeyError) as error:
            raise damaged(path, format, error) from error


def load_gif(path: str, limits: Limits) -> Video:
    """A GIF's frames as a film: uint8 [T, 3, H, W]; its speed is the mean one. Raises MediaError."""
    with open_file(path, limits) as file:
        image = _open(file, path, "GIF", limits)
        frames: list[Tensor] = []
        milliseconds = 0.0
        try:
            for frame in ImageSequence.Iterator(image):
                check_decoded((len(frames) + 1) * image.width * image.height * 3, limits, path)
                frames.append(_tensor(convert(frame, "RGB")))
                milliseconds += frame.info.get("duration") or 100  # browsers, too, read 0 as a tenth of a second
        except (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, KeyError) as error:
            raise damaged(path, "GIF", error) from error
    return Video(torch.stack(frames), 1000 * len(frames) / milliseconds)


def _open(file: Any, path: str, format: str, limits: Limits) -> Image.Image:
    """Read the header alone, by the reader of this very format.

    Image.open would try all readers and warn of "decompression bombs" for the whole process; our own limit
    decides.
    """
    Image.init()
    name = _PILLOW.get(format, format)
    if name not in Image.OPEN:
        raise MediaError("E526", f"{format} pictures cannot be decoded here", "convert it to PNG or JPEG", path)
    try:
        image: Image.Image = Image.OPEN[name][0](file, os.fspath(path))
    except Exception as error:  # readers let struct.error and more through: all mean a broken header
        _check_header(file, path, format, limits)
        raise damaged(path, format, error) from error
    check_pixels(image.width, image.height, limits, path)
    return image


def _check_header(file: Any, path: str, format: str, limits: Limits) -> None:
    """Say what Pillow does not about a header that it refuses: no pixels, or a file shorter than it says."""
    file.seek(0)
    head = file.read(32)
    if len(head) < 32:
        raise damaged(path, format, EOFError())
    if format == "PNG":
        width, height = struct.unpack(">II", head[16:24])
        check_pixels(width, height, limits, path)
    if format == "BMP":
        width, height = struct.unpack("<ii", head[18:26])
        check_pixels(width, abs(height), limits, path)
    if format == "WebP" and struct.unpack("<I", head[4:8])[0] + 8 > file.seek(0, os.SEEK_END):
        raise damaged(path, format, EOFError())


def damaged(path: str, format: str, error: BaseException) -> MediaError:
    """The error for content that a reader refuses: cut short, or broken."""
    text = str(error).lower()
    if isinstance(error, EOFError) or any(w in text for w in ("truncat", "not enough", "end of file", "eof")):
        return MediaError("E508", f"the {format} file ends too early", "copy or download it again", path)
    return MediaError("E509", f"the {format} file is damaged ({_short(text)})", "copy or export it again", path)


def _short(text: str) -> str:
    text = text.split("\n")[0].strip()
    if "not identified" in text:
        return "its header makes no sense"
    return text if 0 < len(text) <= 80 else "its content breaks the format's rules"


def _mode(facets: Mapping[str, Any]) -> str:
    channels = facets.get("channels") or 3
    if channels not in _MODES:
        raise MediaError("E525", f"a picture cannot have {channels} channels", "ask for 1, 3 or 4 channels")
    return _MODES[channels]


def convert(image: Image.Image, mode: str) -> Image.Image:
    """A Pillow picture in mode L, RGB or RGBA; transparency is laid on white unless RGBA is asked for."""
    if image.mode.startswith("I") or image.mode == "F":
        image = _to_8_bit(image)
    if "transparency" in image.info or image.mode in ("LA", "PA", "La", "RGBa"):
        image = image.convert("RGBA")
    if image.mode == "RGBA" and mode != "RGBA":
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image).convert("RGB")
    return image if image.mode == mode else image.convert(mode)


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Greys of 16 or 32 bits or floating ones, which Pillow would clip: upper 8 bits; floats up to 1 count
    as 0...1.
    """
    values = np.asarray(image).astype(np.float64)
    top = float(values.max(initial=0.0))
    if image.mode == "F":
        scale = 255.0 if top <= 1 else 1.0
    else:
        scale = 1 / 256 if top > 255 or image.mode.startswith("I;16") else 1.0
    return Image.fromarray(np.clip(np.nan_to_num(values * scale), 0, 255).astype(np.uint8))


def _tensor(image: Image.Image) -> Tensor:
    array = np.array(image)  # a copy: np.asarray would share Pillow's read-only memory
    if array.ndim == 2:
        return torch.from_numpy(array)[None]
    return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)))


def meet_image(value: Any, facets: Mapping[str, Any]) -> Tensor:
    """A decoded picture (tensor [C,H,W], Pillow image, or uint8 array [H,W,C]) with the channels asked
    for.
    """
    mode = _mode(facets)
    if isinstance(value, Image.Image):
        return _tensor(convert(value, mode))
    if isinstance(value, np.ndarray) and value.ndim in (2, 3):
        array = value[..., None] if value.ndim == 2 else value
        value = torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)))
    if isinstance(value, Video | Audio):
        raise MediaError("E524", f"a picture is a tensor [C, H, W], not {describe(value)}", "check what feeds it")
    return with_channels(check_image(value), {"L": 1, "RGB": 3, "RGBA": 4}[mode])


def with_channels(x: Tensor, channels: int) -> Tensor:
    """Pictures or frames [..., C, H, W] with 1, 3 or 4 channels (luma of BT.601; transparency on white)."""
    have = x.shape[-3]
    if have == channels:
        return x
    if have == 4:
        x = _on_white(x)
    if channels == 1:
        luma = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float32, device=x.device)[:, None, None]
        grey = (x[..., :3, :, :].float() * luma).sum(-3, keepdim=True)
        return grey.round().to(torch.uint8) if x.dtype == torch.uint8 else grey.to(x.dtype)
    rgb = x.expand(*x.shape[:-3], 3, *x.shape[-2:]) if x.shape[-3] == 1 else x
    if channels == 3:
        return rgb.contiguous()
    opaque = torch.full_like(rgb[..., :1, :, :], 255 if x.dtype == torch.uint8 else 1)
    return torch.cat([rgb, opaque], -3)


def _on_white(x: Tensor) -> Tensor:
    full = to_float(x)
    mixed = full[..., :3, :, :] * full[..., 3:, :, :] + (1 - full[..., 3:, :, :])
    return (mixed * 255).round().to(torch.uint8) if x.dtype == torch.uint8 else mixed


def pillow(value: Tensor) -> Image.Image:
    """A picture [C, H, W] as a Pillow image. Raises MediaError for what is no picture."""
    array = to_uint8(check_image(value)).numpy()
    return Image.fromarray(array[0] if array.shape[0] == 1 else np.ascontiguousarray(array.transpose(1, 2, 0)))


def write_png(value: Tensor, path: str) -> None:
    """Write a picture [C, H, W] as a PNG file."""
    pillow(value).save(path, "PNG")


def load_mask(path: str, format: str, limits: Limits) -> Tensor:
    """A mask [H, W] of truth values: white (above the middle grey) is true."""
    return load_image(path, format, {"channels": 1}, limits)[0] > 127


def write_mask(value: Any, path: str) -> None:
    """Write a mask [H, W] (or [1, H, W]) as a black and white PNG."""
    if not isinstance(value, Tensor) or value.squeeze().ndim > 2 or 0 in value.shape:
        raise MediaError("E524", f"a mask is a tensor [H, W], not {describe(value)}", "check what makes it")
    flat = value.reshape(value.shape[-2:]).detach().cpu()
    Image.fromarray((flat.float() > 0.5).numpy()).save(path, "PNG")
