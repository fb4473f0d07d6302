"""Saving: the value of a kind as a file, under a temporary name first, so that nobody sees half of it.

text .txt, image and mask .png, audio .wav (or .flac), video .mp4, tensors .safetensors, messages .json, flow .flo
with its picture, points in space .ply, fields .npz, others .json. `companions` are written beside some of them.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from typing import Any

from anyany.kinds.message import REGION_KINDS, Media, Message, Region
from anyany.media.errors import MediaError
from anyany.media.files import atomic

TENSORS = ("features", "embedding", "tokens", "latent", "field")
_SUFFIX = {"PNG": ".png", "JPEG": ".jpg", "WebP": ".webp", "GIF": ".gif", "BMP": ".bmp", "TIFF": ".tiff",
           "AVIF": ".avif", "WAV": ".wav", "FLAC": ".flac", "OGG": ".ogg", "MP3": ".mp3", "AIFF": ".aiff",
           "MP4": ".mp4", "WebM": ".webm", "MKV": ".mkv", "AVI": ".avi"}  # fmt: skip


def save(kind: str, value: Any, stem: str | os.PathLike[str], *, audio: str = "WAV") -> str:
    """Write a value beside `stem` (a path without suffix) and return the path of the file.

    audio: "WAV" or "FLAC", both 16-bit, also of sounds in a message. A message also gets STEM.html and its
    media as STEM-0.png, STEM-1.wav...
    Raises MediaError where the value is not of its kind or the disk refuses.
    """
    base = os.fspath(stem)
    if kind == "message":
        return _save_message(Message.of(value), base, audio)
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
    if _is_field(kind, value):
        from anyany.media.fields import write_npz

        return ".npz", write_npz
    return (".safetensors", _write_tensors) if kind in TENSORS else (".json", _write_json)


def companions(kind: str, value: Any, stem: str | os.PathLike[str]) -> dict[str, str]:
    """Write what people look at beside a value's own file, and return the paths by what they are.

    Boxes, points and masks `drawn` on their picture (STEM-drawn.png), spans as subtitles (`srt`, `vtt`), a field as a
    `map` (.png), a flow's `picture` (already there). Raises MediaError.
    """
    base = os.fspath(stem)
    if kind == "spans":
        from anyany.media.spans import srt, vtt

        return {name: _written(f"{base}.{name}", make(value)) for name, make in (("srt", srt), ("vtt", vtt))}
    if _is_field(kind, value):
        from anyany.media.maps import picture

        return {"map": _shown(picture(value), f"{base}.png")}
    if kind == "flow":
        return {"picture": f"{base}.png"}
    if kind in REGION_KINDS:
        from anyany.media.drawing import can_draw, drawn

        if can_draw(kind, value):
            return {"drawn": _shown(drawn(kind, value), f"{base}-drawn.png")}
    return {}


def _is_field(kind: str, value: Any) -> bool:
    """A weather field, rather than named tensors of a kind of its own."""
    if kind != "field":
        return False
    from anyany.media.fields import Field

    return isinstance(value, Field)


def _written(path: str, text: str) -> str:
    with atomic(path) as temporary:
        _write_text(text, temporary)
    return path


def _shown(picture: Any, path: str) -> str:
    with atomic(path) as temporary:
        picture.save(temporary, "PNG")
    return path


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
def _save_message(message: Message, base: str, audio: str) -> str:
    """Media first, then the page, then the JSON: a reader who sees the JSON finds everything it names."""
    from anyany.media.previews import message_page

    names: dict[int, str] = {}
    for index, part in enumerate(message.parts):
        if isinstance(part, Media) or (isinstance(part, Region) and part.kind == "mask"):
            names[index] = os.path.basename(_save_part(part, f"{base}-{len(names)}", audio))
    shown = _draw_regions(message, base)
    title = os.path.basename(base)
    with atomic(base + ".html") as temporary, open(temporary, "w", encoding="utf-8") as page:
        page.write(message_page(message, {**names, **shown}, title))
    parts = message.to_json(names)
    for index, name in shown.items():
        parts[index] = {**parts[index], "drawn": name}
    with atomic(base + ".json") as temporary:
        _write_parts(parts, temporary)
    return base + ".json"


def _draw_regions(message: Message, base: str) -> dict[int, str]:
    """The names of pictures with regions on them, by position of the region: those that know their picture."""
    found: dict[int, str] = {}
    for index, part in enumerate(message.parts):
        if isinstance(part, Region) and (made := companions(part.kind, part.value, f"{base}-{part.kind}-{len(found)}")):
            found[index] = os.path.basename(made["drawn"])
    return found


def _write_parts(parts: list[Any], path: str) -> None:
    """A part a line, for people who open the file."""
    lines = [json.dumps(to_plain(part), ensure_ascii=False) for part in parts]
    with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write("[\n " + ",\n ".join(lines) + "\n]\n")


def _save_part(part: Media | Region, base: str, audio: str) -> str:
    """A medium that came from a file is copied as it is; others are written."""
    if part.path is None or not os.path.isfile(part.path):
        return save(part.kind, part.value, base, audio=audio)
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
