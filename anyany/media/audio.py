"""Sound: files by soundfile, and by PyAV the rest, into float32 [C, T] in -1...1; and back into WAV or FLAC.

Resampling is torchaudio's windowed sinc. Files cut short are told from whole ones by what their headers
promise.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor

from anyany.media.errors import MediaError
from anyany.media.files import check_file
from anyany.media.limits import Limits, check_decoded, check_seconds
from anyany.media.values import Audio, check_audio

_SOUNDFILE = ("WAV", "FLAC", "OGG", "AIFF")


def load_audio(path: str, format: str, facets: Mapping[str, Any], limits: Limits) -> Audio:
    """The sound in a file whose format `sniff` told, with the facets `rate` and `channels` met. Raises
    MediaError.
    """
    check_file(path, limits)
    if format == "WAV":
        _check_riff(path)
    if format == "OGG":
        _check_ogg(path)
    audio = _by_soundfile(path, format, limits) if format in _SOUNDFILE else None
    if audio is None:
        from anyany.media.containers import load_track

        audio = load_track(path, format, limits)
    if not bool(torch.isfinite(audio.samples).all()):
        message = "the sound holds samples that are not numbers (NaN or infinity)"
        raise MediaError("E522", message, "export it again from its source", path)
    return meet_audio(Audio(audio.samples.clamp_(-1, 1), audio.rate), facets)


def _by_soundfile(path: str, format: str, limits: Limits) -> Audio | None:
    """None where libsndfile does not know the codec (Speex in OGG, say) or the length."""
    try:
        with soundfile.SoundFile(os.path.abspath(path)) as file:
            frames, rate, channels = file.frames, file.samplerate, file.channels
            if frames >= 2**62:  # a FLAC written to a pipe does not know its length
                return None
            if frames <= 0:
                raise MediaError("E516", "the sound has no samples (0 s)", "give a sound that lasts", path)
            check_seconds(frames / rate, limits, path)
            check_decoded(frames * channels * 4, limits, path)
            samples = file.read(frames, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        if format == "OGG":
            return None
        text = str(error).split(":")[-1].strip(" '\".").lower()
        if (format == "FLAC" and "lost sync" in text) or "premature" in text:
            raise MediaError("E508", f"the {format} file ends too early", "copy it again", path) from error
        raise MediaError("E509", f"the {format} file is damaged ({text[:80]})", "export it again", path) from error
    if len(samples) < frames:
        raise _cut(path, format, frames / rate, len(samples) / rate)
    return Audio(torch.from_numpy(np.ascontiguousarray(samples.T)), rate)


def _cut(path: str, format: str, promised: float, found: float) -> MediaError:
    message = f"the {format} file ends too early: it promises {promised:.2f} s and holds {found:.2f} s"
    return MediaError("E508", message, "copy or download it again", path)


def _check_riff(path: str) -> None:
    """Step over the chunks of a WAV: libsndfile takes a file cut short without a word."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        position = 12
        while position + 8 <= size:
            file.seek(position)
            head = file.read(8)
            length = int.from_bytes(head[4:], "little")
            if head[:4] == b"data":
                # Programs that write to a pipe leave the length at its largest, or at zero.
                if 0 < length < 0xFFFFFF00 and position + 8 + length > size:
                    share = max(0, size - position - 8) / length
                    message = f"the WAV file ends too early: {share:.0%} of its samples are there"
                    raise MediaError("E508", message, "copy or download it again", path)
                if length == 0 and position + 8 >= size:
                    raise MediaError("E516", "the sound has no samples (0 s)", "give a sound that lasts", path)
                return
            position += 8 + length + (length & 1)
    raise MediaError("E508", "the WAV file ends before its samples begin", "copy or download it again", path)


def _check_ogg(path: str) -> None:
    """The last page of an OGG file must be whole (RFC 3533): players stop at a cut one without a word."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        start = file.seek(max(0, size - (1 << 17)))
        tail = file.read()
    at = tail.rfind(b"OggS")
    if at < 0:
        return
    count = tail[at + 26] if at + 26 < len(tail) else 255
    table = tail[at + 27 : at + 27 + count]
    if len(table) < count or start + at + 27 + count + sum(table) > size:
        raise MediaError("E508", "the OGG file ends too early", "copy or download it again", path)


def meet_audio(value: Any, facets: Mapping[str, Any]) -> Audio:
    """A sound at the `rate` and with the `channels` asked for. (samples, rate) is taken for an `Audio`."""
    if isinstance(value, tuple) and len(value) == 2:
        value = Audio(torch.as_tensor(value[0]), int(value[1]))
    audio = check_audio(value)
    samples = with_audio_channels(audio.samples, facets.get("channels"))
    rate = facets.get("rate")
    if not rate or rate == audio.rate:
        return Audio(samples, audio.rate)
    if not isinstance(rate, (int, float)) or rate < 1:
        raise MediaError("E525", f"a sound cannot have the rate {rate!r}", "ask for samples a second, 16000 say")
    return Audio(resample(samples, audio.rate, int(rate)), int(rate))


def with_audio_channels(samples: Tensor, channels: Any) -> Tensor:
    """[C, T] with the channels asked for: one is the mean of all; one becomes many by repetition."""
    have = samples.shape[0]
    if not channels or channels == have:
        return samples
    if not isinstance(channels, int) or channels < 1:
        raise MediaError("E525", f"a sound cannot have {channels!r} channels", "ask for 1 or 2 channels")
    mono = samples if have == 1 else samples.mean(0, keepdim=True)
    return mono.expand(channels, -1).contiguous()


def resample(samples: Tensor, old: int, new: int) -> Tensor:
    """[C, T] at `old` samples a second -> [C, ceil(T * new / old)] at `new`, by torchaudio's windowed sinc.

    Rates without a common divisor would need a filter of billions of taps; their ratio is rounded to terms
    below
    2,000 (a change of pitch of less than one in a million).
    """
    import torchaudio.functional

    ratio = Fraction(new, old).limit_denominator(2000)
    if ratio == 0 or ratio > 2000:
        raise MediaError(
            "E525", f"a sound of {old} samples a second cannot become one of {new}", "ask for another rate"
        )
    result: Tensor = torchaudio.functional.resample(samples, ratio.denominator, ratio.numerator)
    return result.clamp(-1, 1)


def write_audio(value: Audio, path: str, format: str = "WAV") -> None:
    """Write a sound as 16-bit PCM, in a WAV or FLAC file."""
    audio = check_audio(value)
    scaled = (audio.samples.T * 32768).round().clamp(-32768, 32767).to(torch.int16).contiguous().numpy()
    if format == "FLAC" and audio.samples.shape[0] > 8:
        raise MediaError("E523", "FLAC holds at most 8 channels", "write a WAV file", path)
    soundfile.write(path, scaled, audio.rate, subtype="PCM_16", format=format)
