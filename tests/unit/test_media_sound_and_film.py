"""Sound and film: formats, resampling, channels, choice of frames, orientation, and the way back to files."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
import torch

from anyany.media import Audio, Limits, MediaError, Video, load, meet, save, sniff
from anyany.media.moments import sample_frames
from anyany.testing.broken_files import wav

RATE = 16000


def tone(hertz: float, rate: int = RATE, seconds: float = 1.0) -> torch.Tensor:
    return 0.5 * torch.sin(2 * math.pi * hertz * torch.arange(round(rate * seconds)) / rate)


@pytest.fixture
def sound() -> Audio:
    """One second, two channels, 440 Hz and 220 Hz."""
    return Audio(torch.stack([tone(440), tone(220)]), RATE)


@pytest.fixture
def film(sound: Audio) -> Video:
    """Two seconds at 12 frames a second; frame i has the red level i / 24."""
    frames = torch.zeros(24, 3, 32, 48)
    frames[:, 0] = torch.arange(24)[:, None, None] / 24
    return Video(frames, 12.0, sound)


def pitch(samples: torch.Tensor, rate: int) -> float:
    """The strongest frequency, in hertz."""
    return float(torch.fft.rfft(samples).abs().argmax()) * rate / samples.shape[-1]


@pytest.mark.parametrize("format", ["WAV", "FLAC"])
def test_sound_makes_the_round_trip_within_16_bits(tmp_path: Path, sound: Audio, format: str) -> None:
    path = save("audio", sound, tmp_path / "a", audio=format)
    assert str(sniff(path)) == f"audio ({format})"
    found = load("audio", path)
    assert found.rate == RATE
    assert (found.samples - sound.samples).abs().max() <= 1 / 65536 + 1e-7


def test_sixteen_bit_samples_are_written_back_unchanged(tmp_path: Path) -> None:
    values = np.arange(-32768, 32768, 7, dtype=np.int16)
    soundfile.write(str(tmp_path / "a.wav"), values, 8000)
    again = save("audio", load("audio", tmp_path / "a.wav"), tmp_path / "b")
    assert np.array_equal(soundfile.read(again, dtype="int16")[0], values)


@pytest.mark.parametrize(
    ("name", "container", "codec", "rate", "format"),
    [
        ("a.mp3", "mp3", "libmp3lame", 16000, "MP3"),
        ("a.opus", "ogg", "libopus", 48000, "OGG"),
        ("a.m4a", "mp4", "aac", 16000, "MP4"),
        ("a.webm", "webm", "libopus", 48000, "WebM"),
        ("a.mka", "matroska", "flac", 16000, "MKV"),
        ("a.aac", "adts", "aac", 16000, "AAC"),
    ],
)
def test_other_formats_are_heard(tmp_path: Path, name: str, container: str, codec: str, rate: int, format: str) -> None:
    path = tmp_path / "nameless"
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate, layout="mono")
        wanted = "s16" if codec in ("flac", "libopus") else "fltp"
        samples = tone(440, rate)[None].numpy()
        array = (samples * 32767).astype(np.int16) if wanted == "s16" else samples
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(array), format=wanted, layout="mono")
        frame.sample_rate, frame.pts = rate, 0
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    assert sniff(path) == type(sniff(path))("audio", format)
    found = load("audio", path)
    assert found.rate == rate
    assert found.seconds == pytest.approx(1.0, abs=0.1)
    assert pitch(found.samples[0], rate) == pytest.approx(440, abs=3)


def test_ogg_vorbis_is_heard(tmp_path: Path) -> None:
    soundfile.write(str(tmp_path / "a"), tone(440).numpy(), RATE, format="OGG", subtype="VORBIS")
    found = load("audio", tmp_path / "a")
    assert (found.samples.shape, found.rate) == ((1, RATE), RATE)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 44101])
def test_resampling_keeps_pitch_and_length(tmp_path: Path, sound: Audio, rate: int) -> None:
    found = load("audio", save("audio", sound, tmp_path / "a"), {"rate": rate})
    assert found.rate == rate
    assert found.samples.shape == (2, rate)
    assert pitch(found.samples[0], rate) == pytest.approx(440, abs=1)


def test_one_channel_is_the_mean_and_many_are_copies(tmp_path: Path, sound: Audio) -> None:
    mono = load("audio", save("audio", sound, tmp_path / "a"), {"channels": 1})
    assert torch.allclose(mono.samples[0], sound.samples.mean(0), atol=1e-4)
    stereo = meet("audio", mono, {"channels": 2})
    assert torch.equal(stereo.samples[0], stereo.samples[1])


def test_samples_with_a_rate_are_met_as_audio() -> None:
    found = meet("audio", (tone(440), RATE), {"rate": 8000})
    assert (found.samples.shape, found.rate) == ((1, 8000), 8000)


@pytest.mark.parametrize(("facet", "value"), [("rate", "high"), ("channels", 0.5), ("rate", -1)])
def test_facets_that_cannot_be_met_are_named(sound: Audio, facet: str, value: object) -> None:
    with pytest.raises(MediaError) as caught:
        meet("audio", sound, {facet: value})
    assert caught.value.code == "E525"


def test_a_wav_from_a_pipe_with_an_unknown_length_is_heard(tmp_path: Path) -> None:
    path = tmp_path / "pipe.wav"
    path.write_bytes(wav(struct.pack("<400h", *range(400)), promised=0xFFFFFFFF - 36))
    assert load("audio", path).samples.shape == (1, 400)


def test_the_limit_on_seconds_is_checked(tmp_path: Path, sound: Audio, film: Video) -> None:
    for kind, value in (("audio", sound), ("video", film)):
        with pytest.raises(MediaError) as caught:
            load(kind, save(kind, value, tmp_path / kind), limits=Limits(seconds=0.5))
        assert caught.value.code == "E512"


def test_saving_a_sound_of_nan_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MediaError) as caught:
        save("audio", Audio(torch.full((1, 9), float("nan")), 8000), tmp_path / "a")
    assert caught.value.code == "E522"


# film ----------------------------------------------------------------------------------------------------
def test_film_makes_the_round_trip_with_its_sound(tmp_path: Path, film: Video) -> None:
    path = save("video", film, tmp_path / "a")
    assert str(sniff(path)) == "a video (MP4)"
    found = load("video", path)
    assert (found.frames.shape, found.frames.dtype, found.fps) == ((24, 3, 32, 48), torch.uint8, 12.0)
    assert (found.frames.float() / 255 - film.frames).abs().mean() < 0.02
    assert found.audio is not None
    assert found.audio.rate == RATE
    assert pitch(found.audio.samples[0], RATE) == pytest.approx(440, abs=2)


def test_odd_sides_get_an_edge_and_grey_frames_become_rgb(tmp_path: Path) -> None:
    path = save("video", Video(torch.full((3, 1, 7, 9), 200, dtype=torch.uint8), 10.0), tmp_path / "a")
    found = load("video", path).frames
    assert found.shape == (3, 3, 8, 10)
    assert (found.int() - 200).abs().max() <= 4


@pytest.mark.parametrize("size", [(32, 64), (720, 1280)])
def test_colours_are_kept_and_said_to_be_bt601(tmp_path: Path, size: tuple[int, int]) -> None:
    colours = torch.tensor([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]], dtype=torch.uint8)
    stripes = colours.T[:, None].repeat_interleave(size[1] // 4, 2).expand(3, *size)
    path = save("video", Video(stripes[None], 1.0), tmp_path / "a")
    found = load("video", path).frames[0, :, 10, size[1] // 8 :: size[1] // 4]
    assert (found.T.int() - colours.int()).abs().max() <= 4
    with av.open(path) as file:
        assert int(file.streams.video[0].codec_context.colorspace) == 6


@pytest.mark.parametrize("fps", [1.0, 29.97, 30.0, 60.0])
def test_speed_is_kept(tmp_path: Path, fps: float) -> None:
    frames = torch.zeros(6, 3, 16, 16, dtype=torch.uint8)
    assert load("video", save("video", Video(frames, fps), tmp_path / "a")).fps == pytest.approx(fps, rel=1e-3)


def test_a_rate_that_aac_does_not_have_is_resampled(tmp_path: Path) -> None:
    video = Video(torch.zeros(4, 3, 16, 16, dtype=torch.uint8), 4.0, Audio(tone(440, 10000)[None], 10000))
    found = load("video", save("video", video, tmp_path / "a"))
    assert found.audio is not None
    assert found.audio.rate == 48000
    assert pitch(found.audio.samples[0], 48000) == pytest.approx(440, abs=2)


@pytest.mark.parametrize("count", [1, 500])
def test_a_film_whose_sound_is_shorter_than_a_frame_of_aac_is_read_again(tmp_path: Path, count: int) -> None:
    made = Video(torch.zeros(2, 3, 8, 8), 8.0, Audio(torch.full((1, count), 0.5), 48000))
    found = load("video", save("video", made, tmp_path / "film")).audio
    assert found is not None and found.samples.shape[1] >= count and found.rate == 48000


def red(video: Video) -> list[int]:
    """The number of each frame, read from its red level."""
    return [round(float(x) / 255 * 24) for x in video.frames.float()[:, 0].mean((-1, -2))]


def test_frames_are_chosen_by_time(tmp_path: Path, film: Video) -> None:
    path = save("video", film, tmp_path / "a")
    few, slow, fast = (load("video", path, f) for f in ({"frames": 4}, {"fps": 3}, {"fps": 24}))
    assert red(few) == [3, 9, 15, 21]
    assert red(slow) == [0, 4, 8, 12, 16, 20]
    assert red(fast) == [i // 2 for i in range(48)]
    assert (slow.fps, fast.fps, few.fps) == (3, 24, 2.0)


def test_frames_of_a_decoded_film_are_chosen_alike(film: Video) -> None:
    assert red(meet("video", Video((film.frames * 255).byte(), 12.0), {"frames": 4})) == [3, 9, 15, 21]
    assert red(meet("video", Video((film.frames * 255).byte(), 12.0), {"fps": 3})) == [0, 4, 8, 12, 16, 20]


def test_a_long_film_gives_no_more_frames_than_the_most_that_are_wanted(tmp_path: Path, film: Video) -> None:
    path = save("video", Video(film.frames, film.fps), tmp_path / "a")
    many, few = (load("video", path, {"every": 0.25, "most": most}) for most in (8, 4))
    assert (red(many), many.fps) == ([0, 3, 6, 9, 12, 15, 18, 21], 4.0)
    assert (red(few), few.fps) == ([0, 6, 12, 18], 2.0)
    assert load("video", path, {"every": 0.25, "most": 4}, Limits(decoded=200_000)).frames.shape[0] == 4


@pytest.mark.parametrize("wish", [{"every": 0.5}, {"every": 0.25, "most": 3}, {"frames": 5}])
def test_choosing_frames_again_changes_nothing(film: Video, wish: dict[str, Any]) -> None:
    once = sample_frames(Video((film.frames * 255).byte(), 12.0), **wish)
    again = sample_frames(once, **wish)
    assert red(again) == red(once)
    assert again.fps == pytest.approx(once.fps)


@pytest.mark.parametrize("facet", ["fps", "every", "frames", "most"])
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "many"])
def test_a_choice_of_frames_that_cannot_be_is_an_error(film: Video, facet: str, value: Any) -> None:
    with pytest.raises(MediaError, match=facet) as caught:
        meet("video", film, {facet: value})
    assert caught.value.code == "E525"


def test_the_sound_of_a_film_is_heard_alone(tmp_path: Path, film: Video) -> None:
    found = load("audio", save("video", film, tmp_path / "a"), {"rate": 8000, "channels": 1})
    assert found.rate == 8000
    assert pitch(found.samples[0], 8000) in (pytest.approx(220, abs=2), pytest.approx(440, abs=2))


def test_a_film_lying_on_its_side_is_turned(tmp_path: Path) -> None:
    frames = torch.zeros(4, 3, 32, 48, dtype=torch.uint8)
    frames[:, :, :16, :16] = 255  # white at the top left as it is stored
    path = Path(save("video", Video(frames, 4.0), tmp_path / "a"))
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 4 + 20 + 16  # the matrix of the track (ISO 14496-12, 8.3.2)
    one = 1 << 16
    data[at : at + 36] = struct.pack(">9i", 0, one, 0, -one, 0, 0, 32 * one, 0, 1 << 30)  # a quarter turn clockwise
    path.write_bytes(data)
    found = load("video", path).frames
    assert found.shape == (4, 3, 48, 32)
    assert found[0, 0, 4, 28] > 200  # white is now at the top right
    assert found[0, 0, 4, 4] < 50


@pytest.mark.parametrize(
    ("container", "codec", "format"),
    [("webm", "libvpx-vp9", "WebM"), ("matroska", "mpeg4", "MKV"), ("avi", "mpeg4", "AVI")],
)
def test_other_containers_are_seen(tmp_path: Path, film: Video, container: str, codec: str, format: str) -> None:
    path = tmp_path / "nameless"
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, rate=12)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for image in (film.frames * 255).byte():
            array = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
            file.mux(stream.encode(av.VideoFrame.from_ndarray(array, format="rgb24")))
        file.mux(stream.encode(None))
    assert (sniff(path).kind, sniff(path).format) == ("video", format)
    found = load("video", path)
    assert found.frames.shape == (24, 3, 32, 48)
    assert found.fps == pytest.approx(12)


def test_a_film_too_large_to_decode_says_how_to_choose_frames(tmp_path: Path, film: Video) -> None:
    path = save("video", Video(film.frames, film.fps), tmp_path / "a")
    with pytest.raises(MediaError, match="once decoded") as caught:
        load("video", path, limits=Limits(decoded=50_000))
    assert caught.value.code == "E513"
    assert "frames" in caught.value.help
    assert load("video", path, {"frames": 2}, Limits(decoded=200_000)).frames.shape[0] == 2
