"""Films, and sound that soundfile cannot read, by PyAV: MP4, WebM, MKV, AVI, MP3; and back into MP4.

Frames are uint8 [T, 3, H, W]. The packets' times are read first, so that limits and selection come before
decoding.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from anyany.media.audio import meet_audio, resample, with_audio_channels
from anyany.media.errors import MediaError
from anyany.media.files import check_file
from anyany.media.images import with_channels
from anyany.media.limits import Limits, check_decoded, check_pixels, check_seconds
from anyany.media.moments import chosen, wanted
from anyany.media.values import Audio, Video, check_audio, check_video, to_uint8

_DEMUXERS = {
    "MP4": "mp4",
    "WebM": "matroska",
    "MKV": "matroska",
    "MP3": "mp3",
    "AAC": "aac",
    "FLAC": "flac",
    "OGG": "ogg",
    "AVI": "avi",
}
_BT601, _VIDEO_RANGE = 6, 1  # AVCOL_SPC_SMPTE170M, AVCOL_RANGE_MPEG
_AAC_FRAME = 1024
_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)


@contextlib.contextmanager
def _opened(path: str, format: str, limits: Limits) -> Iterator[Any]:
    """The container, opened by the demuxer of this very format (no playlist or address can sneak in by a
    name).
    """
    full, _ = check_file(path, limits)
    if format not in _DEMUXERS:
        raise MediaError("E526", f"{format} files cannot be decoded here", "convert it to MP4 or WAV", path)
    try:
        with av.open(full, format=_DEMUXERS[format], metadata_errors="ignore") as container:
            yield container
    except (av.error.FFmpegError, UnicodeDecodeError) as error:
        text = str(getattr(error, "strerror", "") or error).lower()
        if "decoder not found" in text or "not implemented" in text:
            message = f"this {format} file uses a codec that cannot be decoded here"
            raise MediaError("E526", message, "convert it to MP4 (H.264) or WAV", path) from error
        if format == "MP4" and not _has_index(full):
            message = "the MP4 file ends too early: its index (moov) is missing"
            raise MediaError("E508", message, "copy or record it again", path) from error
        raise MediaError("E509", f"the {format} file is damaged ({text[:80]})", "export it again", path) from error


def _has_index(path: str) -> bool:
    from anyany.media.sniffing import mp4_index

    with open(path, "rb") as file:
        return bool(mp4_index(file))


@dataclass(frozen=True, kw_only=True)
class _Scan:
    """What the packets say before anything is decoded. count: video packets; start, end: seconds."""

    count: int
    start: float
    end: float


def load_video(path: str, format: str, facets: Mapping[str, Any], limits: Limits) -> Video:
    """The film in a file, with its sound; facets choose frames (`Choice`), and `rate` is met for the sound.

    Raises MediaError.
    """
    choice = wanted(facets)
    with _opened(path, format, limits) as container:
        stream = _video_stream(container, path)
        context = stream.codec_context
        check_pixels(context.width, context.height, limits, path)
        if container.duration:
            check_seconds(container.duration / av.time_base, limits, path)
        scan = _scan(container, stream, path, format)
        check_seconds(scan.end - scan.start, limits, path)
        seconds = max(scan.end - scan.start, 1e-3)
        rate = float(stream.average_rate or 0) or scan.count / seconds
        times = choice.times(scan.start, scan.end)
        count = scan.count if times is None else len(times)
        hint = "choose fewer frames with the facets `fps`, `frames` or `most`"
        check_decoded(count * context.width * context.height * 3, limits, path, hint)
    with _opened(path, format, limits) as container:
        picked = _decode(container, _video_stream(container, path), times, path, format)
        has_sound = bool(container.streams.audio)
    audio = load_track(path, format, limits) if has_sound else None
    if audio is not None:
        audio = meet_audio(audio, {"rate": facets.get("rate")})
    return Video(torch.stack(picked), choice.speed(seconds) or rate, audio)


def _video_stream(container: Any, path: str) -> Any:
    for stream in container.streams.video:
        if stream.codec_context is None:
            raise MediaError("E526", "the film's codec is not known here", "convert it to MP4 (H.264)", path)
        if not stream.disposition & av.stream.Disposition.attached_pic:
            return stream
    raise MediaError("E517", "the file has no moving picture", "give a film, or use it as audio", path)


def _scan(container: Any, stream: Any, path: str, format: str) -> _Scan:
    """Read all packets without decoding; tell a file cut short by what its header promises."""
    count, last, start, end = 0, 0.0, math.inf, 0.0
    rate = float(stream.average_rate or 25)
    for packet in container.demux():
        if packet.size == 0:
            continue
        step = float(packet.duration * packet.time_base) if packet.duration else 0.0
        time = packet.pts if packet.pts is not None else packet.dts
        at = float(time * packet.time_base) if time is not None else None
        last = max(last, (at or 0.0) + step)
        if packet.stream.index == stream.index:
            at = at if at is not None else count / rate
            count, start, end = count + 1, min(start, at), max(end, at + (step or 1 / rate))
    if count == 0:
        raise MediaError("E516", "the film has no frames", "give a film that lasts", path)
    promised = (container.duration or 0) / av.time_base
    if stream.frames > count or promised > last + max(0.5, 0.05 * promised):
        told, found = (
            (f"{stream.frames} frames", count) if stream.frames > count else (f"{promised:.2f} s", f"{last:.2f} s")
        )
        message = f"the {format} file ends too early: it promises {told} and holds {found}"
        raise MediaError("E508", message, "copy or download it again", path)
    return _Scan(count=count, start=start, end=end)


def _decode(container: Any, stream: Any, times: list[float] | None, path: str, format: str) -> list[Tensor]:
    """Frames [3, H, W] in order of showing: all of them, or the one shown at each of `times`."""
    picked: list[Tensor] = []
    size: tuple[int, int] | None = None
    before: Any = None
    number, done = 0, 0
    rate = float(stream.average_rate or 25)
    for frame in container.decode(stream):
        size = size or (frame.width, frame.height)
        at = frame.time if frame.time is not None else number / rate
        number += 1
        if times is None:
            picked.append(_frame(frame, size))
            continue
        while before is not None and done < len(times) and times[done] < at - 1e-6:
            picked.append(_frame(before, size))
            done += 1
        before = frame
        if done == len(times):
            break
    if times is not None and before is not None:
        picked += [_frame(before, size or (0, 0))] * (len(times) - done)
    if not picked:
        raise MediaError("E509", f"no frame of the {format} file can be decoded", "export it again", path)
    return picked


def _frame(frame: Any, size: tuple[int, int]) -> Tensor:
    array = frame.to_ndarray(format="rgb24", width=size[0], height=size[1])
    turns = round((frame.rotation or 0) / 90) % 4  # phones store films lying down
    if turns:
        array = np.rot90(array, turns)
    return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)))


def load_track(path: str, format: str, limits: Limits) -> Audio:
    """The first sound track of a file as it is: float32 [C, T]. Raises MediaError, E517 where there is
    none.
    """
    with _opened(path, format, limits) as container:
        if not container.streams.audio:
            raise MediaError("E517", "the file has no sound track", "give a file with sound", path)
        stream = container.streams.audio[0]
        if stream.codec_context is None:
            raise MediaError("E526", "the sound's codec is not known here", "convert it to WAV", path)
        rate, channels = stream.rate, stream.channels
        if not rate or not channels:
            raise MediaError("E509", f"the {format} file does not say its rate", "export it again", path)
        promised = (container.duration or 0) / av.time_base
        if promised:
            check_seconds(promised, limits, path)
            check_decoded(promised * rate * channels * 4, limits, path)
        samples, rate = _decode_sound(container, stream, limits, path)
    if samples.shape[1] == 0:
        raise MediaError("E516", "the sound has no samples (0 s)", "give a sound that lasts", path)
    found = samples.shape[1] / rate
    if format == "MP3" and _mp3_promises(path) and found < 0.95 * promised - 0.1:
        message = f"the MP3 file ends too early: it promises {promised:.2f} s and holds {found:.2f} s"
        raise MediaError("E508", message, "copy or download it again", path)
    return Audio(torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float32)), rate)


def _decode_sound(container: Any, stream: Any, limits: Limits, path: str) -> tuple[Any, int]:
    """All samples [C, T] as float32, and their rate as the decoder found it (AAC may double what its header says)."""
    resampler: Any = None
    form: tuple[int, int] | None = None
    pieces: list[Any] = []
    total = 0
    for frame in container.decode(stream):
        if form is None:
            form = (frame.sample_rate, frame.layout.nb_channels)
            resampler = av.AudioResampler(format="fltp", layout=frame.layout, rate=frame.sample_rate)
        if (frame.sample_rate, frame.layout.nb_channels) != form:
            raise MediaError("E509", "the sound changes its rate or channels midway", "export it again", path)
        for piece in resampler.resample(frame):
            pieces.append(piece.to_ndarray())
            total += pieces[-1].shape[1]
        check_seconds(total / form[0], limits, path)
        check_decoded(total * form[1] * 4, limits, path)
    if form is None:
        return np.zeros((1, 0), np.float32), stream.rate
    pieces += [piece.to_ndarray() for piece in resampler.resample(None)]
    return np.concatenate([np.zeros((form[1], 0), np.float32), *pieces], 1), form[0]


def _mp3_promises(path: str) -> bool:
    """Whether an MP3's header counts its frames; without that a length is only guessed from the file's
    size.
    """
    with open(path, "rb") as file:
        head = file.read(1 << 17)
    return any(mark in head for mark in (b"Xing", b"Info", b"VBRI"))


def write_video(value: Video, path: str) -> None:
    """Write a film as MP4: H.264 where this build has it, else MPEG-4; odd sizes get an edge to be even;
    AAC sound.
    """
    video = check_video(value)
    rate = Fraction(video.fps).limit_denominator(1001)
    with av.open(path, "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = _video_output(container, rate, video.frames.shape[-1], video.frames.shape[-2])
        sound, track = None, None
        if video.audio is not None:
            sound = _aac_ready(video.audio)
            track = container.add_stream("aac", rate=sound.rate, layout=_layout(sound))
        for index, image in enumerate(video.frames):
            frame = av.VideoFrame.from_ndarray(_even(image), format="rgb24")
            frame.pts, frame.time_base = index, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            _write_track(container, track, sound)


def _video_output(container: Any, rate: Fraction, width: int, height: int) -> Any:
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    options = {"crf": "18"} if codec == "libx264" else {"qscale": "3"}
    stream = container.add_stream(codec, rate=rate, options=options)
    stream.width, stream.height = width + width % 2, height + height % 2
    stream.pix_fmt = "yuv420p"
    # Said aloud, since players guess BT.709 for large frames: swscale makes BT.601 of RGB, in the video range.
    stream.codec_context.colorspace, stream.codec_context.color_range = _BT601, _VIDEO_RANGE
    return stream


def _even(image: Tensor) -> np.ndarray[Any, Any]:
    """uint8 [H, W, 3] with even sides (4:2:0 chroma needs them), the last row and column repeated."""
    rgb = with_channels(to_uint8(image), 3)
    height, width = rgb.shape[-2:]
    if height % 2 or width % 2:
        rgb = pad(rgb[None].float(), (0, width % 2, 0, height % 2), mode="replicate")[0].to(torch.uint8)
    return np.ascontiguousarray(rgb.permute(1, 2, 0).numpy())


def _aac_ready(audio: Audio) -> Audio:
    """The sound in at most two channels, at a rate of AAC's, and a frame of it long: of less nothing comes back."""
    audio = check_audio(audio)
    samples = audio.samples if audio.samples.shape[0] <= 2 else with_audio_channels(audio.samples, 2)
    rate = audio.rate if audio.rate in _AAC_RATES else 48000
    if rate != audio.rate:
        samples = resample(samples, audio.rate, rate)
    return Audio(pad(samples, (0, max(0, _AAC_FRAME - samples.shape[1]))), rate)


def _layout(audio: Audio) -> str:
    return "mono" if audio.samples.shape[0] == 1 else "stereo"


def _write_track(container: Any, track: Any, audio: Audio) -> None:
    samples = audio.samples.contiguous().numpy()
    for start in range(0, samples.shape[1], _AAC_FRAME):
        piece = np.ascontiguousarray(samples[:, start : start + _AAC_FRAME])
        frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout=_layout(audio))
        frame.sample_rate, frame.pts, frame.time_base = audio.rate, start, Fraction(1, audio.rate)
        container.mux(track.encode(frame))
    container.mux(track.encode(None))


def meet_video(value: Any, facets: Mapping[str, Any]) -> Video:
    """A decoded film with the facets that choose frames (`wanted`), `rate` and `channels` met."""
    if isinstance(value, Tensor) and value.ndim == 4:
        value = Video(value, 8.0)
    video = chosen(check_video(value), wanted(facets))
    frames = with_channels(video.frames, facets["channels"]) if facets.get("channels") else video.frames
    audio = meet_audio(video.audio, {"rate": facets.get("rate")}) if video.audio is not None else None
    return Video(frames, video.fps, audio)
