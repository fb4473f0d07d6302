"""What a file is, by its content and never by its name: the kind of medium and the format. Stdlib only.

Kinds: image, audio, video, json, text, and "other" for what is recognised but is no medium (PDF, ZIP...).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import IO

from anyany.media.errors import MediaError
from anyany.media.files import open_file, read_head, unreadable
from anyany.media.limits import Limits

_HEAD = 4096
_MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (b"\x89PNG", "image", "PNG"),
    (b"\xff\xd8\xff", "image", "JPEG"),
    (b"II*\0", "image", "TIFF"),
    (b"MM\0*", "image", "TIFF"),
    (b"fLaC", "audio", "FLAC"),
    (b"PK\x03\x04", "other", "ZIP"),
    (b"\x1f\x8b", "other", "GZIP"),
    (b"\x93NUMPY", "other", "NumPy array"),
    (b"PIEH", "other", "FLO"),
    (b"ply\n", "other", "PLY"),
    (b"ply\r", "other", "PLY"),
    (b"CDF\x01", "other", "NetCDF"),
    (b"CDF\x02", "other", "NetCDF"),
    (b"CDF\x05", "other", "NetCDF"),
    (b"\x89HDF", "other", "HDF5"),
    (b"\x7fELF", "other", "program"),
    (b"%PDF-", "other", "PDF"),
    (b"8BPS", "other", "PSD"),
    (b"\x00\x00\x01\x00", "other", "ICO"),
    (b"7z\xbc\xaf\x27\x1c", "other", "7-Zip"),
    (b"\xff\xfe", "text", "UTF-16"),
    (b"\xfe\xff", "text", "UTF-16"),
)
_RIFF = {b"WAVE": ("audio", "WAV"), b"WEBP": ("image", "WebP"), b"AVI ": ("video", "AVI")}
_HEIF = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIC", b"msf1": "HEIC"}
# Control characters that no text has: everything below space but tab, line feed, form feed, return, escape.
_BINARY = bytes(set(range(32)) - {9, 10, 12, 13, 27}) + b"\x7f"


@dataclass(frozen=True)
class Sniffed:
    """What a file holds: `kind` as above, `format` its name ("PNG", "WAV", "MP4", "UTF-8 text")."""

    kind: str
    format: str

    def __str__(self) -> str:
        if self.kind == "other":
            return self.format if self.format in ("NumPy array", "program") else f"a {self.format} file"
        if self.kind == "json":
            return "JSON"
        if self.kind == "text":
            return "text" if self.format == "UTF-8" else f"text ({self.format})"
        return f"{ARTICLE.get(self.kind, self.kind)} ({self.format})"


ARTICLE = {"image": "an image", "audio": "audio", "video": "a video", "text": "text", "json": "JSON"}


def sniff(source: str | os.PathLike[str] | bytes, limits: Limits = Limits()) -> Sniffed:  # noqa: B008
    """What a file, or its bytes, holds. Raises MediaError where the file cannot be read or its content is
    unknown.
    """
    path = None if isinstance(source, bytes) else os.fspath(source)
    head = source[:_HEAD] if isinstance(source, bytes) else read_head(source, limits, _HEAD)
    if not head:
        raise MediaError("E505", "there is no content", "give a file with content", path)
    found = _text(head) if not head.startswith(b"%PDF-") else None
    if found is None or found.format == "UTF-16":
        found = _binary(head)
    if found is None:
        found = _mp3(head, source) or _text(head, strict=False)
    if found is None:
        message = "the content is of no known format"
        help = "known: PNG, JPEG, WebP, GIF, BMP, TIFF, WAV, FLAC, OGG, MP3, MP4, WebM, MKV, JSON, UTF-8 text"
        raise MediaError("E507", message, help, path)
    if found.format in ("GIF", "MP4", "WebM", "MKV"):
        found = _tracks(found, source)
    if found.kind == "text" and found.format == "UTF-8" and head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"["):
        found = _json(head, source) or found
    return found


def _binary(head: bytes) -> Sniffed | None:
    """Formats that say who they are in their first bytes."""
    if head[:4] == b"RIFF" and head[8:12] in _RIFF:
        return Sniffed(*_RIFF[head[8:12]])
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return Sniffed("image", "GIF")
    if head[:2] == b"BM" and head[6:10] == b"\0\0\0\0":
        return Sniffed("image", "BMP")
    if head[:4] == b"OggS":
        return Sniffed("video" if b"\x80theora" in head[:200] else "audio", "OGG")
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return Sniffed("audio", "AIFF")
    if head[4:8] == b"ftyp":
        return _ftyp(head)
    if head[:4] == b"\x1aE\xdf\xa3":
        return Sniffed("video", "WebM" if b"webm" in head[:64] else "MKV")
    if len(head) > 16 and head[8:10] == b'{"' and int.from_bytes(head[:8], "little") < 10**8:
        return Sniffed("other", "safetensors")
    for magic, kind, name in _MAGIC:
        if head.startswith(magic):
            return Sniffed(kind, name)
    return None


def _ftyp(head: bytes) -> Sniffed:
    brand = head[8:12]
    if brand in _HEIF:
        return Sniffed("image", _HEIF[brand])
    return Sniffed("video", "MP4")


def _mp3(head: bytes, source: str | os.PathLike[str] | bytes) -> Sniffed | None:
    """MP3 by its tag, or by a frame header that makes sense."""
    start = 0
    if head[:3] == b"ID3" and len(head) >= 10 and head[3] < 255 and all(b < 128 for b in head[6:10]):
        size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
        start = 10 + size
        if start + 4 > len(head):
            head, start = _read(source, start, 16), 0
            if not head:
                return Sniffed("audio", "MP3")  # cut inside its tag: the loader will say so
        if head[start : start + 4] == b"fLaC":
            return Sniffed("audio", "FLAC")
        return Sniffed("audio", "MP3")
    if len(head) < 4:
        return None
    sync = head[0] == 0xFF and head[1] & 0xE0 == 0xE0
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    if sync and version != 1 and layer != 0 and head[2] >> 4 not in (0, 15) and head[2] >> 2 & 3 != 3:
        return Sniffed("audio", "MP3")
    if sync and layer == 0 and head[1] & 0xF0 == 0xF0:
        return Sniffed("audio", "AAC")
    return None


def _text(head: bytes, strict: bool = True) -> Sniffed | None:
    """UTF-8 text without control characters; not strict: in some other encoding."""
    if head.translate(None, _BINARY) != head:
        return None
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        if not strict:
            return Sniffed("text", "not UTF-8")
        if error.start < len(head) - 3 or len(head) < _HEAD:  # else only the last character is cut by the window
            return None
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:200].lower()
    if start.startswith(b"version https://git-lfs"):
        return Sniffed("text", "Git LFS pointer")
    if start.startswith((b"<!doctype html", b"<html")):
        return Sniffed("text", "HTML")
    return Sniffed("text", "SVG" if b"<svg" in start else "UTF-8")


def _json(head: bytes, source: str | os.PathLike[str] | bytes) -> Sniffed | None:
    """JSON where the content parses; a content too long to try is believed from its first character."""
    import json

    limit = 1 << 20
    data = source[: limit + 1] if isinstance(source, bytes) else _read(source, 0, limit + 1)
    if len(data) > limit:
        return Sniffed("json", "JSON")
    try:
        json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None
    return Sniffed("json", "JSON")


def _read(source: str | os.PathLike[str] | bytes, start: int, count: int) -> bytes:
    if isinstance(source, bytes):
        return source[start : start + count]
    with open_file(source) as file:
        try:
            file.seek(start)
            return file.read(count)
        except OSError as error:
            raise unreadable(source, error) from error


def _tracks(found: Sniffed, source: str | os.PathLike[str] | bytes) -> Sniffed:
    """Look further: a GIF of several frames is a video, an MP4 or WebM without pictures is audio."""
    import io

    file: IO[bytes] = io.BytesIO(source) if isinstance(source, bytes) else open_file(source)
    with file:
        try:
            if found.format == "GIF":
                return Sniffed("video", "GIF") if _gif_frames(file) > 1 else found
            data = mp4_index(file) if found.format == "MP4" else file.read(1 << 18)
        except OSError as error:
            raise unreadable(source, error) from error  # type: ignore[arg-type]
    if found.format == "MP4":
        silent = b"soun" in data and b"vide" not in data
    else:  # the type of a Matroska track: element 0x83, size 1, then 1 for video or 2 for audio
        silent = b"\x83\x81\x02" in data and b"\x83\x81\x01" not in data
    return Sniffed("audio", found.format) if silent else found


def mp4_index(file: IO[bytes]) -> bytes:
    """The first MiB of the `moov` box, found by stepping over the others; empty where there is none."""
    position = 0
    for _ in range(10_000):
        file.seek(position)
        header = file.read(16)
        if len(header) < 8:
            return b""
        size = int.from_bytes(header[:4], "big")
        if size == 1 and len(header) == 16:
            size = int.from_bytes(header[8:], "big")
        if header[4:8] == b"moov":
            return file.read(1 << 20)
        if size < 8:
            return b""
        position += size
    return b""


def _gif_frames(file: IO[bytes], enough: int = 2) -> int:
    """How many frames a GIF has, counted up to `enough` by stepping over its blocks (GIF89a
    specification).
    """
    header = file.read(13)
    if len(header) < 13:
        return 0
    if header[10] & 0x80:
        file.seek(3 << ((header[10] & 7) + 1), os.SEEK_CUR)
    frames = 0
    while frames < enough:
        block = file.read(1)
        if block == b"\x21":
            file.read(1)
        elif block == b"\x2c":
            frames += 1
            shape = file.read(9)
            if len(shape) == 9 and shape[8] & 0x80:
                file.seek(3 << ((shape[8] & 7) + 1), os.SEEK_CUR)
            file.read(1)
        else:
            break
        while (size := file.read(1)) and size != b"\0":
            file.seek(size[0], os.SEEK_CUR)
    return frames
