"""Saving: the value of a kind as a file, under a temporary name first, so that nobody sees half of it.

text .txt, image and mask .png, audio .wav (or .flac), video .mp4, tensors .safetensors, messages .json, flow .flo
with its picture, points in space .ply, others .json.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from typing import Any

from anyany.kinds.message import Media, Message, Region
from anyany.media.errors import MediaError
from anyany.media.files import atomic

TENSORS = ("features", "embedding", "tokens", "latent", "field")
_SUFFIX = {"PNG": ".png", "JPEG": ".jpg", "WebP": ".webp", "GIF": ".gif", "BMP": ".bmp", "TIFF": ".tiff",
           "AVIF": ".avif", "WAV": ".wav", "FLAC": ".flac", "OGG": ".ogg", "MP3": ".mp3", "AIFF": ".aiff",
           "MP4": ".mp4", "WebM": ".webm", "MKV": ".mkv", "AVI": ".avi"}  # fmt: skip


def save(kind: str, value: Any, stem: str | os.PathLike[str], *, audio: str = "WAV") -> str:
    """Write a value beside `stem` (a path without suffix) and return the path of the file.

    audio: "WAV" or "FLAC", both 16-bit. A message also gets STEM.html and its media as STEM-0.png,
    STEM-1.wav...
    Raises MediaError where the value is not of its kind or the disk refuses.
    """
    base = os.fspath(stem)
    if kind == "message":
        return _save_message(Message.of(value), base)
    if kind == "flow":
        from anyany.media.flow import save_flow

        return save_flow(value, base)
    suffix, write = _writer(kind, value, audio)
    path = base + suffix
    with atomic(path) as temporary:
        try:
            write(value, temporary)
        except MediaError as error:
            raise MediaError(error.code, error.message, error.help, path) from error
    return path


def _writer(kind: str, value: Any, audio: str) -> tuple[str, Callable[[Any, str], None]]:
    """The suffix of a kind, and the function that writes it."""
    if kind == "text":
        return ".txt", _write_text
    if kind in ("image", "mask"):
        from anyany.media.images import write_mask, write_png

        return ".png", write_mask if kind == "mask" else write_png
    if kind == "audio":
        from anyany.media.audio import write_audio

        return f".{audio.lower()}", lambda value, path: write_audio(value, path, audio)
    if kind == "video":
        from anyany.media.containers import write_video

        return ".mp4", write_video
    if kind == "points":
        from anyany.media.points import is_cloud, write_ply

        return (".ply", write_ply) if is_cloud(value) else (".json", _write_json)
    return (".safetensors", _write_tensors) if kind in TENSORS else (".json", _write_json)


def _write_text(value: Any, path: str) -> None:
    if not isinstance(value, str):
        raise MediaError("E524", f"a text is a string, not {type(value).__name__}", "check what makes it")
    with open(path, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        file.write(value)


def _write_json(value: Any, path: str) -> None:
    with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
        json.dump(to_plain(value), file, ensure_ascii=False, indent=1)
        file.write("\n")


def _write_tensors(value: Any, path: str) -> None:
    import torch
    from safetensors.torch import save_file

    named = value if isinstance(value, dict) else {"value": value}
    try:
        tensors = {str(k): torch.as_tensor(v).detach().cpu().contiguous() for k, v in named.items()}
        # A view would drag its whole storage along, and safetensors refuses two names for one storage.
        save_file({k: v.clone() for k, v in tensors.items()}, path)
    except (TypeError, ValueError, RuntimeError) as error:
        raise MediaError("E524", f"these are no tensors ({error})", "check what makes them") from error


def to_plain(value: Any) -> Any:
    """A value as JSON knows it: tensors as lists, what is not finite as null. Raises MediaError for what
    has no form.
    """
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if abs(value) <= 1.8e308 else None
    if isinstance(value, dict):
        return {str(k): to_plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(v) for v in value]
    if hasattr(value, "tolist"):
        return to_plain(value.tolist())
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise MediaError("E524", f"a {type(value).__name__} cannot be written as JSON", "give numbers, text and lists")


# messages ---------------------------------------------------------------------------------------------
def _save_message(message: Message, base: str) -> str:
    """Media first, then the page, then the JSON: a reader who sees the JSON finds everything it names."""
    from anyany.media.previews import message_page

    names: dict[int, str] = {}
    for index, part in enumerate(message.parts):
        if isinstance(part, Media) or (isinstance(part, Region) and part.kind == "mask"):
            names[index] = os.path.basename(_save_part(part, f"{base}-{len(names)}"))
    title = os.path.basename(base)
    with atomic(base + ".html") as temporary, open(temporary, "w", encoding="utf-8") as page:
        page.write(message_page(message, names, title))
    with atomic(base + ".json") as temporary:
        _write_parts(message.to_json(names), temporary)
    return base + ".json"


def _write_parts(parts: list[Any], path: str) -> None:
    """A part a line, for people who open the file."""
    lines = [json.dumps(to_plain(part), ensure_ascii=False) for part in parts]
    with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write("[\n " + ",\n ".join(lines) + "\n]\n")


def _save_part(part: Media | Region, base: str) -> str:
    """A medium that came from a file is copied as it is; others are written."""
    if part.path is None or not os.path.isfile(part.path):
        return save(part.kind, part.value, base)
    from anyany.media.sniffing import sniff

    path = base + _SUFFIX.get(sniff(part.path).format, os.path.splitext(part.path)[1])
    with atomic(path) as temporary:
        shutil.copyfile(part.path, temporary)
    return path


def message_parts(path: str | os.PathLike[str]) -> list[Any]:
    """The parts of a saved message as `--json` prints them: strings, {"image": ABSOLUTE PATH}, regions and
    turns.
    """
    with open(path, encoding="utf-8") as file:
        parts = json.load(file)
    folder = os.path.dirname(os.path.abspath(path))
    return [_absolute(part, folder) for part in parts]


def _absolute(part: Any, folder: str) -> Any:
    if not isinstance(part, dict):
        return part
    return {
        tag: os.path.join(folder, value) if isinstance(value, str) and tag != "role" else value
        for tag, value in part.items()
    }
