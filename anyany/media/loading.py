"""Loading: from a file to the value of a kind, with facets met and limits kept.

Every failure is a MediaError that names the path, what was found and what to do.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from anyany.kinds.message import REGION_KINDS, Media, Message, Part, Region, is_path
from anyany.media.errors import MediaError
from anyany.media.files import check_file
from anyany.media.limits import Limits
from anyany.media.sniffing import ARTICLE, Sniffed, sniff

_TENSORS = ("features", "embedding", "tokens", "latent", "field")
_ROWS = ("points", "features", "embedding", "tokens", "latent")
_RANKS = {"features": 2, "embedding": 1, "tokens": 1, "latent": 3}
_NONE: Mapping[str, Any] = {}


def load(
    kind: str, path: str | os.PathLike[str], facets: Mapping[str, Any] = _NONE, limits: Limits = Limits()  # noqa: B008
) -> Any:  # fmt: skip
    """The value of `kind` in a file.

    image: uint8 [C,H,W]. audio: `Audio`. video: `Video`. text: str. message: a `Message` (JSON of the
    `--items` format)
    with its media still files. mask: bool [H,W] from a picture. boxes: float [N,4] from JSON. points: float [N,2|3]
    from JSON, CSV, NumPy or PLY. flow: float [2,H,W] from .flo. features, embedding, tokens, latent: a tensor from
    safetensors, CSV or NumPy; field: from safetensors. All others: what the JSON file holds.
    Raises MediaError.
    """
    given = os.fspath(path)
    check_file(given, limits)
    try:
        return _load(kind, given, facets, limits)
    except MediaError:
        raise
    except MemoryError as error:
        message = "there is not enough memory to decode it"
        raise MediaError("E513", message, "use a smaller file", given) from error
    except Exception as error:  # decoders meet bytes that their authors did not foresee
        message = f"the file is damaged in a way its decoder did not expect ({type(error).__name__}: {error})"
        raise MediaError("E509", message, "export it again", given) from error


def _load(kind: str, given: str, facets: Mapping[str, Any], limits: Limits) -> Any:
    found = sniff(given, limits)
    if kind == "text":
        return _load_text(given, found, limits)
    if kind in ("image", "mask"):
        return _load_image(kind, given, found, facets, limits)
    if kind == "audio":
        return _load_audio(given, found, facets, limits)
    if kind == "video":
        return _load_video(given, found, facets, limits)
    if kind in _TENSORS and found.format == "safetensors":
        return _load_tensors(given)
    if kind == "field":
        from anyany.media.fields import load_field

        return load_field(given, found, limits)
    if kind == "flow":
        from anyany.media.flow import load_flow

        return load_flow(given, limits)
    if kind in _ROWS and (found.kind == "text" or found.format in ("NumPy array", "PLY", "ZIP")):
        from anyany.media.points import load_rows

        rows = load_rows(kind, given, found, limits)
        return meet_result(kind, rows, given) if kind == "points" else rows
    return _load_result(kind, given, found, limits)


def _wrong(kind: str, found: Sniffed, path: str) -> MediaError:
    wanted = ARTICLE.get(kind, f"JSON for {kind}")
    help = "give another file, or feed it to an input of its own kind"
    if found.format == "Git LFS pointer":
        help = "only a pointer to it was cloned: run git lfs pull"
    elif found.format == "HTML":
        help = "this is a web page, often an error's: download the file itself"
    elif found.kind == "other":
        help = "give another file, or convert or unpack this one first"
    return MediaError("E506", f"expected {wanted}, found {found}", help, path)


def _load_text(path: str, found: Sniffed, limits: Limits) -> str:
    from anyany.media.texts import load_text

    if found.kind not in ("text", "json"):
        raise _wrong("text", found, path)
    return load_text(path, limits)


def _load_image(kind: str, path: str, found: Sniffed, facets: Mapping[str, Any], limits: Limits) -> Any:
    if found.kind != "image" and found.format != "GIF":
        raise _wrong("image", found, path)
    from anyany.media.images import load_image, load_mask

    if kind == "mask":
        return load_mask(path, found.format, limits)
    return load_image(path, found.format, facets, limits)


def _load_audio(path: str, found: Sniffed, facets: Mapping[str, Any], limits: Limits) -> Any:
    if found.kind not in ("audio", "video") or found.format == "GIF":
        raise _wrong("audio", found, path)
    from anyany.media.audio import load_audio

    return load_audio(path, found.format, facets, limits)


def _load_video(path: str, found: Sniffed, facets: Mapping[str, Any], limits: Limits) -> Any:
    from anyany.media.containers import load_video, meet_video

    if found.format == "GIF":
        from anyany.media.images import load_gif

        return meet_video(load_gif(path, limits), facets)
    if found.kind != "video":
        raise _wrong("video", found, path)
    video = load_video(path, found.format, facets, limits)
    return meet_video(video, {"channels": facets.get("channels")})


def _load_tensors(path: str) -> Any:
    import safetensors.torch

    try:
        tensors = safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise MediaError("E509", f"the safetensors file is damaged ({error})", "write it again", path) from error
    return tensors["value"] if set(tensors) == {"value"} else tensors


def _load_result(kind: str, path: str, found: Sniffed, limits: Limits) -> Any:
    from anyany.media.texts import load_json

    if found.kind not in ("json", "text"):
        raise _wrong(kind, found, path)
    value = load_json(path, limits)
    if kind == "message":
        try:
            return Message.from_json(value, os.path.dirname(os.path.abspath(path)))
        except MediaError as error:
            raise MediaError(error.code, error.message, error.help, error.path or path) from error
    return meet_result(kind, value, path)


def meet_result(kind: str, value: Any, path: str | None = None) -> Any:
    """Boxes and points as float tensors, their rows checked; a mask as truth values; lists of numbers and arrays as
    tensors of their kind; other results as they are. Regions stay on their picture.
    """
    if kind in _RANKS and isinstance(value, list):
        return _numbers(kind, value, path)
    if kind in _RANKS and type(value).__module__ == "numpy":
        return _array(kind, value, path)
    if kind not in REGION_KINDS:
        return value
    from anyany.media.regions import OnImage, on_image

    result = _region(kind, value, path)
    return on_image(result, value.image, value.of) if isinstance(value, OnImage) else result


def _region(kind: str, value: Any, path: str | None) -> Any:
    import torch

    columns = {"boxes": (4,), "points": (2, 3)}.get(kind)

    form = {"boxes": "[[x1, y1, x2, y2], …]", "points": "[[x, y], …] or [[x, y, z], …]", "mask": "[H, W]"}[kind]
    try:
        result = torch.as_tensor(value, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise MediaError("E524", f"{kind} are {form}, not {str(value)[:60]}", "write rows of numbers", path) from error
    if kind == "mask":
        if result.ndim != 2:
            raise MediaError("E524", f"a mask is {form}, not {list(result.shape)}", "check what makes it", path)
        return result > 0.5
    assert columns is not None
    if result.ndim == 1 and result.numel() in columns:
        result = result[None]
    if result.numel() == 0:
        return result.reshape(0, columns[0])
    if result.ndim != 2 or result.shape[1] not in columns or not bool(torch.isfinite(result).all()):
        raise MediaError("E524", f"{kind} are {form}, not {str(value)[:60]}", "write rows of finite numbers", path)
    return result


def _numbers(kind: str, value: list[Any], path: str | None) -> Any:
    """Features, an embedding, a latent or tokens written as lists."""
    import torch

    try:
        result = torch.tensor(value)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise MediaError("E524", f"{kind} are numbers, not {str(value)[:60]}", "write rows of numbers", path) from error
    whole = not result.is_floating_point()
    if result.ndim != _RANKS[kind] or (kind == "tokens" and not whole and result.numel()):
        form = "whole numbers in a list" if kind == "tokens" else f"lists of numbers, {_RANKS[kind]} deep"
        raise MediaError("E524", f"{kind} are {form}, not {str(value)[:60]}", "write rows of numbers", path)
    return result.long() if kind == "tokens" else result.float()


def _array(kind: str, value: Any, path: str | None) -> Any:
    """The same as an array, of any rank."""
    import torch

    if value.dtype.kind not in "biuf" or (kind == "tokens" and value.dtype.kind not in "iu"):
        told = f"{kind} are {'whole ' if kind == 'tokens' else ''}numbers, not an array of {value.dtype}"
        raise MediaError("E524", told, "check what makes it", path)
    return torch.from_numpy(value.astype("int64" if kind == "tokens" else "float32"))


def meet(kind: str, value: Any, facets: Mapping[str, Any] = _NONE) -> Any:
    """An already decoded value with a port's facets met. Raises MediaError.

    Pictures have `channels`, sound `rate` and `channels`, film `fps`, `every`, `frames`, `most` and `channels`.
    Pillow images, arrays [H,W,C] and (samples, rate) are taken too.
    """
    if kind == "image":
        from anyany.media.images import meet_image

        return meet_image(value, facets)
    if kind == "audio":
        from anyany.media.audio import meet_audio

        return meet_audio(value, facets)
    if kind == "video":
        from anyany.media.containers import meet_video

        return meet_video(value, facets)
    if kind == "text" and not isinstance(value, str):
        from anyany.media.values import describe

        raise MediaError("E524", f"a text is a string, not {describe(value)}", "check what feeds it")
    if kind == "message":
        return Message.of(value)
    return meet_result(kind, value)


def resolve(kind: str, value: Any, facets: Mapping[str, Any] = _NONE, limits: Limits = Limits()) -> Any:  # noqa: B008
    """`load` where the value is a path object (`Path`, `FilePath`), `meet` where it is decoded already."""
    return load(kind, value, facets, limits) if is_path(value) else meet(kind, value, facets)


def decode_message(message: Message, facets: Mapping[str, Mapping[str, Any]] = _NONE,
                   limits: Limits = Limits()) -> Message:  # fmt: skip  # noqa: B008
    """The message with every medium and mask that is still a file decoded; `facets` gives those of each
    kind.
    """

    def decoded(part: Part) -> Part:
        if isinstance(part, (Media, Region)):
            return replace(part, value=resolve(part.kind, part.content, facets.get(part.kind, _NONE), limits))
        return part

    return message.map(decoded)
