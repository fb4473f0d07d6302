"""Broken inputs for tests: seventy files (and things that are no files) that must each fail alone, with a clear error.

`make_broken(folder)` writes them and says what each must be told; `make_good(folder)` writes whole ones beside them.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import zlib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Broken:
    """One broken input: loading `path` as `kind` must raise MediaError `code`, whose message has the word `says`."""

    name: str
    kind: str
    path: str
    code: str
    says: str = ""


def make_good(folder: Path) -> dict[str, str]:
    """Whole files of each kind, made here: {"image": PATH, "audio": ..., "video": ..., "text": ..., "boxes": ...}."""
    import torch

    from anyany.media.saving import save
    from anyany.media.values import Audio, Video

    folder.mkdir(parents=True, exist_ok=True)
    noise = torch.Generator().manual_seed(0)
    image = (torch.rand(3, 48, 64, generator=noise) * 255).to(torch.uint8)
    audio = Audio(torch.sin(torch.arange(8000) * 0.3)[None] * 0.5, 8000)
    frames = (torch.rand(12, 3, 48, 64, generator=noise) * 255).to(torch.uint8)
    values = {
        "image": image,
        "audio": audio,
        "video": Video(frames, 12.0, audio),
        "text": "What is this?\n",
        "boxes": [[1, 2, 30, 40]],
        "embedding": torch.arange(8.0),
    }
    return {kind: save(kind, value, folder / f"good-{kind}") for kind, value in values.items()}


def make_broken(folder: Path) -> list[Broken]:
    """Write all broken inputs into `folder` and return what each is. Sparse and link files keep it small (a few MB)."""
    good = make_good(folder / "good")
    maker = _Maker(folder, good)
    for make in (_places, _pictures, _damaged_pictures, _sizes, _sounds, _films, _texts):
        make(maker)
    return maker.made


class _Maker:
    def __init__(self, folder: Path, good: dict[str, str]) -> None:
        self.folder, self.good, self.made = folder, good, list[Broken]()

    def add(self, name: str, kind: str, content: bytes | None, code: str, says: str = "") -> str:
        """Write `content` (None: somebody else makes the path) and note what is to be said about it."""
        path = str(self.folder / name)
        if content is not None:
            Path(path).write_bytes(content)
        self.made.append(Broken(name=name, kind=kind, path=path, code=code, says=says))
        return path

    def whole(self, kind: str) -> bytes:
        return Path(self.good[kind]).read_bytes()

    def picture(self, format: str, **options: Any) -> bytes:
        """The good picture in another format."""
        import io

        from PIL import Image

        buffer = io.BytesIO()
        with Image.open(self.good["image"]) as image:
            image.save(buffer, format, **options)
        return buffer.getvalue()


def _places(m: _Maker) -> None:
    """Paths that lead to no file, or to something that must never be opened."""
    m.add("missing.png", "image", None, "E501", "no such file")
    m.add("no/such/folder/cat.png", "image", None, "E501", "no such file")
    os.mkdir(m.add("folder.png", "image", None, "E502", "folder"))
    os.symlink("nowhere.png", m.add("dangling.png", "image", None, "E501"))
    os.symlink("loop.png", m.add("loop.png", "image", None, "E501", "link"))
    os.mkfifo(m.add("pipe.wav", "audio", None, "E503", "pipe"))
    os.symlink("/dev/zero", m.add("device.png", "image", None, "E503", "device"))
    os.symlink("/dev/tty", m.add("terminal.txt", "text", None, "E503", "device"))
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        path = m.add("socket.wav", "audio", None, "E503", "socket")
        os.chdir(m.folder)  # the name of a socket is at most about 100 bytes long
        try:
            listener.bind(os.path.basename(path))
        finally:
            os.chdir(here)
    _unreadable(m)
    m.add("n" * 300 + ".png", "image", None, "E527", "too long")
    m.add("zero\0byte.png", "image", None, "E527", "zero byte")
    with open(m.add("giant.wav", "audio", None, "E510", "2.0 GiB"), "wb") as file:
        file.truncate(2**31)  # sparse: takes no room


def _unreadable(m: _Maker) -> None:
    """A file that does not let itself be read. The superuser may read all, so there it is memory that is not mapped."""
    path = m.add("unreadable.png", "image", None, "E504", "read")
    if os.geteuid() == 0:
        os.symlink("/proc/self/mem", path)
    else:
        Path(path).write_bytes(m.whole("image"))
        os.chmod(path, 0)


def _pictures(m: _Maker) -> None:
    """Files that are not what their names say."""
    m.add("empty.png", "image", b"", "E505", "empty")
    m.add("sound.png", "image", m.whole("audio"), "E506", "audio (WAV)")
    m.add("film.png", "image", m.whole("video"), "E506", "a video (MP4)")
    m.add("words.png", "image", b"I am no picture.\n", "E506", "text")
    m.add("page.jpg", "image", b"<!doctype html><title>404 Not Found</title>", "E506", "text (HTML)")
    m.add("json.webp", "image", b'{"image": "cat.png"}', "E506", "JSON")
    m.add("pointer.png", "image", b"version https://git-lfs.github.com/spec/v1\nsize 12\n", "E506", "LFS pointer")
    m.add("zip.png", "image", b"PK\x03\x04" + bytes(60), "E506", "ZIP")
    m.add("weights.png", "image", m.whole("embedding"), "E506", "safetensors")
    m.add("noise.png", "image", bytes((i * 197 + 11) % 251 for i in range(2000)), "E507", "no known format")
    m.add("zeros.png", "image", bytes(1000), "E507", "no known format")
    m.add("phone.heic", "image", b"\0\0\0\x18ftypheic" + bytes(400), "E526", "HEIC")


def _damaged_pictures(m: _Maker) -> None:
    """Pictures cut short, and with bytes changed."""
    png = m.whole("image")
    m.add("cut.png", "image", png[: len(png) // 2], "E508", "too early")
    m.add("cut-in-header.png", "image", png[:20], "E508", "too early")
    for format, share in (("JPEG", 0.5), ("WebP", 0.5), ("BMP", 0.5), ("TIFF", 0.5), ("GIF", 0.7)):
        data = m.picture(format)
        m.add(f"cut.{format.lower()}", "image", data[: int(len(data) * share)], "E508", "too early")
    middle = len(png) // 2
    m.add("damaged.png", "image", png[:middle] + bytes(200) + png[middle + 200 :], "E509", "damaged")
    header = png[:16] + struct.pack(">II", 64, 48) + bytes([99]) + png[25:]
    m.add("bad-depth.png", "image", header, "E509", "damaged")
    m.add("damaged.jpeg", "image", m.picture("JPEG")[:20] + bytes(range(256)) * 3, "E509", "damaged")
    webp = m.picture("WebP")
    m.add("damaged.webp", "image", webp[:20] + bytes(len(webp) - 20), "E509", "damaged")


def png(width: int, height: int, data: bytes) -> bytes:
    """A one-bit grey PNG of any size whose compressed rows are `data`."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def _sizes(m: _Maker) -> None:
    """Pictures without pixels, and with far too many."""
    row, packer = bytes(5001), zlib.compressobj(1)
    black = b"".join(packer.compress(row * 100) for _ in range(400)) + packer.flush()
    m.add("huge.png", "image", png(40_000, 40_000, black), "E511", "40000×40000")
    jpeg = m.picture("JPEG")
    at = jpeg.index(b"\xff\xc0") + 5
    m.add("huge.jpeg", "image", jpeg[:at] + struct.pack(">HH", 65_000, 65_000) + jpeg[at + 4 :], "E511", "65000")
    gif = m.picture("GIF")
    m.add("huge.gif", "image", gif[:6] + struct.pack("<HH", 60_000, 60_000) + gif[10:], "E511", "60000")
    bmp = m.picture("BMP")
    m.add("huge.bmp", "image", bmp[:18] + struct.pack("<ii", 40_000, 40_000) + bmp[26:], "E511", "40000")
    m.add("zero.png", "image", png(0, 0, zlib.compress(b"")), "E515", "0×0")
    m.add("zero-high.png", "image", png(64, 0, zlib.compress(b"")), "E515", "64×0")
    m.add("zero.bmp", "image", bmp[:18] + bytes(8) + bmp[26:], "E515", "0×0")


def wav(data: bytes, *, rate: int = 8000, format: int = 1, bits: int = 16, promised: int | None = None) -> bytes:
    """A mono WAV whose header may promise more bytes than there are."""
    size = len(data) if promised is None else promised
    width = bits // 8
    head = struct.pack("<4sIHHIIHH", b"fmt ", 16, format, 1, rate, rate * width, width, bits)
    body = b"WAVE" + head + b"data" + struct.pack("<I", size) + data
    return b"RIFF" + struct.pack("<I", 36 + size) + body


def _sounds(m: _Maker) -> None:
    whole = m.whole("audio")
    m.add("empty.wav", "audio", b"", "E505", "empty")
    m.add("cut.wav", "audio", whole[: len(whole) // 2], "E508", "too early")
    m.add("cut-in-header.wav", "audio", whole[:30], "E508", "before")
    m.add("silent.wav", "audio", wav(b""), "E516", "0 s")
    m.add("not-numbers.wav", "audio", wav(struct.pack("<f", float("nan")) * 100, format=3, bits=32), "E522", "NaN")
    m.add("long.wav", "audio", wav(bytes(8000), rate=1), "E512", "4,000 s")
    m.add("strange-codec.wav", "audio", wav(bytes(4000), format=0x1234), "E509", "damaged")
    m.add("picture.wav", "audio", m.whole("image"), "E506", "an image (PNG)")
    m.add("words.mp3", "audio", b"la la la\n", "E506", "text")
    flac, ogg = _soundfile(m, "FLAC", 8000), _soundfile(m, "OGG", 8000)
    m.add("cut.flac", "audio", flac[: len(flac) // 2], "E508", "too early")
    m.add(
        "silent.flac",
        "audio",
        flac[:4] + b"\x80" + flac[5:21] + bytes([flac[21] & 0xF0]) + bytes(4) + flac[26:42],
        "E516",
        "0 s",
    )
    m.add("cut.ogg", "audio", ogg[: len(ogg) * 3 // 4], "E508", "too early")
    m.add("damaged.ogg", "audio", ogg[:58] + bytes(len(ogg) - 58), "E509", "damaged")
    mp3 = _encoded(m, "cut.mp3.whole", "mp3", "libmp3lame")
    m.add("cut.mp3", "audio", mp3[: len(mp3) // 2], "E508", "too early")
    m.add("damaged.mp3", "audio", b"ID3\x04\0\0\0\0\0\0" + bytes(3000), "E509", "damaged")
    m.add("silent-film.wav", "audio", _film(m, "silent-film", 12), "E517", "no sound track")


def _soundfile(m: _Maker, format: str, frames: int) -> bytes:
    import numpy as np
    import soundfile

    path = m.folder / f"whole.{format.lower()}"
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, frames)
    soundfile.write(str(path), noise, 8000, format=format)
    return path.read_bytes()


def _encoded(m: _Maker, name: str, container: str, codec: str) -> bytes:
    """The good sound in another container."""
    import av

    from anyany.media.loading import load

    samples = load("audio", m.good["audio"], {"rate": 16000}).samples.numpy().copy()
    with av.open(str(m.folder / name), "w", format=container) as file:
        stream: Any = file.add_stream(codec, rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 16000, 0
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return (m.folder / name).read_bytes()


def _film(
    m: _Maker, name: str, frames: int, *, container: str = "mp4", rate: Fraction = Fraction(12), fast: bool = False
) -> bytes:
    """A film of noise without sound. fast: the index (moov) stands before the pictures."""
    import av
    import numpy as np

    noise = np.random.default_rng(0)
    options = {"movflags": "+faststart"} if fast else {}
    with av.open(str(m.folder / f"{name}.whole"), "w", format=container, options=options) as file:
        stream = file.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(frames):
            array = noise.integers(0, 255, (48, 64, 3), dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(array, format="rgb24")
            frame.pts = index
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return (m.folder / f"{name}.whole").read_bytes()


def _films(m: _Maker) -> None:
    film, fast = _film(m, "film", 24), _film(m, "fast", 24, fast=True)
    matroska = _film(m, "matroska", 24, container="matroska")
    m.add("empty.mp4", "video", b"", "E505", "empty")
    m.add("cut.mp4", "video", film[: len(film) // 2], "E508", "moov")
    m.add("cut-fast.mp4", "video", fast[: len(fast) // 2], "E508", "too early")
    m.add("cut.mkv", "video", matroska[: len(matroska) // 2], "E508", "too early")
    m.add("damaged.mp4", "video", film[:48] + bytes(len(film) // 2) + film[48 + len(film) // 2 :], "E509", "damaged")
    m.add("damaged.webm", "video", matroska[:60] + bytes(len(matroska) - 60), "E509", "damaged")
    m.add("sound.mp4", "video", m.whole("audio"), "E506", "audio (WAV)")
    m.add("picture.mp4", "video", m.picture("JPEG"), "E506", "an image (JPEG)")
    m.add("long.mp4", "video", _film(m, "long", 40, rate=Fraction(1, 100)), "E512", "4,000 s")


def _texts(m: _Maker) -> None:
    m.add("empty.txt", "text", b"", "E505", "empty")
    m.add("latin.txt", "text", b"one\ntwo caf\xe9 three\n", "E518", "line 2")
    m.add("cut-character.txt", "text", "naïveté é".encode()[:-1], "E518", "not UTF-8")
    m.add("utf16.txt", "text", "words".encode("utf-16"), "E518", "UTF-16")
    m.add("picture.txt", "text", m.whole("image"), "E506", "an image (PNG)")
    m.add("long.txt", "text", b"word " * 300_000, "E514", "limit")
    m.add("cut.json", "boxes", b"[[1, 2, 3, 4],\n [5, 6", "E519", "line 2")
    m.add("deep.json", "scores", b"[" * 100_000, "E519", "JSON")
    m.add("three.json", "boxes", json.dumps([[1, 2, 3]]).encode(), "E524", "boxes")
    m.add("words.json", "points", b'["left", "right"]', "E524", "points")
    m.add("part.json", "message", b'["look: ", {"pic": "cat.png"}]', "E521", "pic")
    m.add("cut.safetensors", "embedding", m.whole("embedding")[:-4], "E509", "damaged")
