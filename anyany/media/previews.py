"""Previews: a value as a piece of HTML that needs no other file, and the page of a message.

Pictures, sounds and films become data addresses, made smaller where they are large. All text is escaped.
"""

from __future__ import annotations

import base64
import html
import io
import os
import tempfile
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from anyany.kinds.message import Media, Message, Part, Place, Region, is_path

SIDE = 512  # longest side of a picture, in pixels
FILM_SIDE = 320
SECONDS = 60.0  # longest sound
FILM_SECONDS = 20.0
TEXT = 20_000  # characters
ROWS = 50

STYLE = """
.aa{font:15px/1.5 system-ui,sans-serif;color:#1c1c1e}
.aa-text{white-space:pre-wrap;overflow-wrap:anywhere}
.aa img,.aa video,img.aa-image,video.aa-video{max-width:100%;border-radius:6px;display:block;margin:6px 0}
.aa-image{image-rendering:auto;min-width:160px;background:#fff;border:1px solid #ddd}
.aa-note{color:#777;font-size:13px}
.aa-table{border-collapse:collapse;font-variant-numeric:tabular-nums}
.aa-table td,.aa-table th{padding:2px 10px 2px 0;text-align:left;border-bottom:1px solid #eee}
.aa-bar{display:inline-block;height:9px;background:#4a7bd0;border-radius:2px;vertical-align:middle}
.aa-turn{margin:10px 0;padding:10px 14px;border-radius:12px;background:#f2f2f5;max-width:44em}
.aa-turn.assistant{background:#e8f0fd}
.aa-turn.system{background:#fff7e0}
.aa-role{color:#777;font-size:12px;text-transform:uppercase;letter-spacing:.05em}
"""


def preview(kind: str, value: Any) -> str:
    """A value, or a path object of its file, as HTML without outside references. `STYLE` holds the classes
    it uses.
    """
    if value is None:
        return _note("absent")
    if is_path(value):
        from anyany.media.loading import load

        value = load(kind, value)
    shown = {"text": _text, "image": _image, "audio": _audio, "video": _video, "mask": _mask, "message":
    _message,
             "scores": _scores, "label": _text, "boxes": _numbers, "points": _points, "flow": _flow,
             "spans": _spans}.get(kind)  # fmt: skip
    return _drawing(kind, value) + (shown(value) if shown is not None else _other(value))


def _drawing(kind: str, value: Any) -> str:
    """A region on its picture, or a field as a map; nothing for other values."""
    if kind == "field":
        from anyany.media.fields import Field
        from anyany.media.maps import picture

        return _picture(picture(value), 3 * SIDE) if isinstance(value, Field) else ""
    if kind in ("boxes", "points", "mask"):
        from anyany.media.drawing import can_draw, drawn

        return _picture(drawn(kind, value), SIDE) if can_draw(kind, value) else ""
    return ""


def _picture(image: Any, side: int) -> str:
    """A Pillow picture, no larger than `side`."""
    note = f"{image.width}×{image.height}"
    image.thumbnail((side, side))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return _image_tag(_uri(buffer.getvalue(), "image/png"), note)


def _note(text: str) -> str:
    return f'<span class="aa-note">{html.escape(text)}</span>'


def _text(value: Any) -> str:
    text = str(value)
    rest = f" {_note(f'… and {len(text) - TEXT:,} characters more')}" if len(text) > TEXT else ""
    return f'<span class="aa-text">{html.escape(text[:TEXT])}</span>{rest}'


def _uri(data: bytes, mime: str) -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}"


def _image(value: Any) -> str:
    from anyany.media.images import meet_image, pillow

    return _picture(pillow(meet_image(value, {"channels": 4 if getattr(value, "shape", [0])[0] == 4 else 3})), SIDE)


def _image_tag(src: str, note: str = "") -> str:
    about = f' title="{html.escape(note)}"' if note else ""
    return f'<img class="aa-image" src="{html.escape(src)}" alt="image"{about}>'


def _mask(value: Any) -> str:
    import torch

    return _image((torch.as_tensor(value).float().reshape(1, *value.shape[-2:]) > 0.5).to(torch.uint8) * 255)


def _audio(value: Any) -> str:
    from anyany.media.audio import meet_audio, write_audio
    from anyany.media.values import Audio

    audio = meet_audio(value, {})
    note = f"{audio.seconds:.2f} s, {audio.rate} Hz"
    if audio.seconds > SECONDS:
        note += f"; the first {SECONDS:.0f} s"
        audio = Audio(audio.samples[:, : int(SECONDS * audio.rate)], audio.rate)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "preview.wav")
        write_audio(audio, path)
        with open(path, "rb") as file:
            return f"{_audio_tag(_uri(file.read(), 'audio/wav'))}{_note(note)}"


def _audio_tag(src: str) -> str:
    return f'<audio controls src="{html.escape(src)}"></audio>'


def _video(value: Any) -> str:
    from anyany.media.containers import meet_video, write_video

    video = meet_video(value, {})
    size = f"{video.frames.shape[-1]}×{video.frames.shape[-2]}"
    note = f"{size}, {video.seconds:.2f} s, {video.fps:g} frames a second"
    if video.seconds > FILM_SECONDS:
        note += f"; the first {FILM_SECONDS:.0f} s"
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "preview.mp4")
        write_video(_small(video), path)
        with open(path, "rb") as file:
            return f"{_video_tag(_uri(file.read(), 'video/mp4'))}{_note(note)}"


def _small(video: Any) -> Any:
    """A film cut and scaled for a preview."""
    from torch.nn.functional import interpolate

    from anyany.media.values import Audio, Video, to_float

    count = max(1, int(FILM_SECONDS * video.fps))
    frames, audio = video.frames[:count], video.audio
    scale = FILM_SIDE / max(frames.shape[-2:])
    if scale < 1:
        size = [max(2, round(side * scale)) for side in frames.shape[-2:]]
        frames = interpolate(to_float(frames), size=size, mode="bilinear", antialias=True)
    if audio is not None:
        audio = Audio(audio.samples[:, : int(FILM_SECONDS * audio.rate)], audio.rate)
    return Video(frames, video.fps, audio)


def _video_tag(src: str) -> str:
    return f'<video class="aa-video" controls loop src="{html.escape(src)}"></video>'


# tables -----------------------------------------------------------------------------------------------
def _table(rows: list[list[str]], head: list[str]) -> str:
    """Cells are HTML already."""
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows[:ROWS])
    names = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    rest = _note(f"… and {len(rows) - ROWS} rows more") if len(rows) > ROWS else ""
    return f'<table class="aa-table"><tr>{names}</tr>{body}</table>{rest}'


def _plain(value: Any) -> Any:
    from anyany.media.saving import to_plain

    return to_plain(value)


def _scores(value: Any) -> str:
    plain = _plain(value)
    pairs = list(plain.items()) if isinstance(plain, dict) else list(plain)
    if pairs and not isinstance(pairs[0], (list, tuple)):
        pairs = list(enumerate(pairs))
    if not all(len(p) == 2 and isinstance(p[1], (int, float)) for p in pairs):
        return _other(value)
    pairs.sort(key=lambda pair: -pair[1])
    top = max((abs(p[1]) for p in pairs), default=0) or 1
    bar = '<span class="aa-bar" style="width:{:.0f}px"></span>'
    rows = [[html.escape(str(n)), f"{s:.4g}", bar.format(max(0, s) / top * 120)] for n, s in pairs]
    return _table(rows, ["label", "score", ""])


def _numbers(value: Any) -> str:
    rows = _plain(value)
    if not isinstance(rows, list) or not all(isinstance(r, list) for r in rows):
        return _other(value)
    if not rows:
        return _note("none")
    names = ["x1", "y1", "x2", "y2"] if len(rows[0]) == 4 else ["x", "y", "z"][: len(rows[0])]
    return _table([[f"{x:.1f}" if isinstance(x, (int, float)) else "–" for x in row] for row in rows], names)


def _points(value: Any) -> str:
    """Few points as a table, many as a drawing: seen from the front, y down as on pictures, up in space."""
    rows = _plain(value)
    if not isinstance(rows, list) or len(rows) <= ROWS:
        return _numbers(value)
    shown = rows[:: -(-len(rows) // 2000)]
    up = -1 if len(rows[0]) == 3 else 1
    xs, ys = [row[0] for row in shown], [up * row[1] for row in shown]
    span = max(max(xs) - min(xs), max(ys) - min(ys)) or 1
    places = [(4 + 300 * (x - min(xs)) / span, 4 + 300 * (y - min(ys)) / span) for x, y in zip(xs, ys)]
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1.5"/>' for x, y in places)
    return f'<svg width="308" height="308" fill="#4a7bd0">{dots}</svg>{_note(f"{len(rows)} points")}'


def _flow(value: Any) -> str:
    from anyany.media.flow import check_flow, coloured

    far = float(check_flow(value).norm(dim=0).nan_to_num(0).max())
    return _image(coloured(value)) + _note(f"at most {far:.1f} pixels; the hue says where to")


def _spans(value: Any) -> str:
    rows = _plain(value)
    if isinstance(rows, list):
        rows = [[r[k] for k in ("start", "end", "text")] if _named_span(r) else r for r in rows]
    if not isinstance(rows, list) or not all(isinstance(r, list) and len(r) >= 3 for r in rows):
        return _other(value)
    cells = [[f"{row[0]:.2f}", f"{row[1]:.2f}", html.escape(str(row[2]))] for row in rows]
    return _table(cells, ["from (s)", "to (s)", "text"])


def _named_span(row: Any) -> bool:
    return (
        isinstance(row, dict) and all(isinstance(row.get(k), (int, float)) for k in ("start", "end")) and "text" in row
    )


def _other(value: Any) -> str:
    """Tensors by shape and range; anything else as JSON, or by its own words where it is none."""
    import json

    if isinstance(value, dict) and any(hasattr(v, "shape") for v in value.values()):
        return _table([[html.escape(str(k)), _other(v)] for k, v in value.items()], ["name", "value"])
    if hasattr(value, "shape") and hasattr(value, "float") and value.numel() > 16:
        x = value.detach().float().cpu()
        shape, dtype = "×".join(map(str, x.shape)), str(value.dtype).removeprefix("torch.")
        return _note(f"{shape} {dtype}, from {x.min():.4g} to {x.max():.4g}, mean {x.mean():.4g}")
    from anyany.media.errors import MediaError
    from anyany.media.fields import GROUPS, Field

    if isinstance(value, Field):
        names = [f"{group}_{name}" for group in GROUPS for name in getattr(value, group)]
        return _note(f"{value.time:%Y-%m-%d %H:%M} UTC; {', '.join(names)}")
    try:
        text = json.dumps(_plain(value), ensure_ascii=False, indent=1)
    except MediaError:
        text = repr(value)
    return _text(text)


# messages ---------------------------------------------------------------------------------------------
def _message(value: Any) -> str:
    return _turns(Message.of(value), lambda index, part: preview(part.kind, part.content))


def _turns(message: Message, medium: Callable[[int, Media | Region], str]) -> str:
    """The turns of a message as HTML; `medium` draws a medium or region from its position and the part
    itself.
    """
    place = {id(part): index for index, part in enumerate(message.parts) if not isinstance(part, str)}

    def piece(part: Part) -> str:
        if isinstance(part, str):
            return _text(part)
        if isinstance(part, Place):
            return _note(f"[{part.kind} not made]")
        assert isinstance(part, (Media, Region))
        about = ""
        if isinstance(part, Region):
            about = _note(part.kind + (f" of image {part.of}" if part.of is not None else "")) + " "
        return about + medium(place[id(part)], part)

    blocks = []
    turns = message.turns()
    for role, parts in turns:
        said = f'<div class="aa-role">{html.escape(role)}</div>' if len(turns) > 1 else ""
        blocks.append(f'<div class="aa-turn {html.escape(role)}">{said}{"".join(map(piece, parts))}</div>')
    return f'<div class="aa">{"".join(blocks)}</div>'


def _or_note(part: Media | Region) -> str:
    """A part as HTML; where its file went away since, a note instead."""
    from anyany.media.errors import MediaError

    try:
        return preview(part.kind, part.content)
    except MediaError as error:
        return _note(f"[{part.kind} cannot be shown: {error.path or ''} {error.message}]")


def message_page(message: Message, names: Mapping[int, str], title: str) -> str:
    """A page of a message whose media are the files `names` (by position of the part) beside the page."""

    def medium(index: int, part: Media | Region) -> str:
        if index not in names:
            return _or_note(part)
        src = quote(names[index])
        if part.kind == "image" or isinstance(part, Region):
            return _image_tag(src)
        if part.kind == "audio":
            return _audio_tag(src)
        if part.kind == "video":
            return _video_tag(src)
        return f'<a href="{src}">{html.escape(names[index])}</a>'

    head = f'<!doctype html><html><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
    style = f"<style>body{{margin:2em auto;max-width:48em;padding:0 1em}}{STYLE}</style></head>"
    return f"{head}{style}<body>{_turns(message, medium)}</body></html>\n"
