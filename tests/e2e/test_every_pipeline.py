"""Every spec of `pipelines/` runs on real files, as the command in its first lines says, and tells bad ones clearly.

New specs are covered by their header comment alone (`plugins_for_tests/spec_commands.py`). Random weights: what counts
is that files become files, and that what cannot become one is told with a place and an action.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from plugins_for_tests.spec_commands import (
    FILE,
    ROOT,
    SPECS,
    commands,
    is_remote,
    item,
    kinds_taken,
    narrowed,
    pipe,
    with_text,
)

from anyany.cli import main
from anyany.engine.failures import Failure
from anyany.errors import CallError
from anyany.report.writing import paths_in

OTHER_FORMATS = (
    {"image": "examples/scene-seen-4.jpg", "audio": "examples/melody.flac", "video": "examples/clip-seen-1.gif"},
    {"image": "examples/scene-unseen-2.png", "audio": "examples/melody.mp3", "video": "examples/clip-seen-1.mp4"},
)


@pytest.fixture(scope="module", params=SPECS)
def name(request: pytest.FixtureRequest) -> Iterator[str]:
    """A spec that runs here, and the repository as the folder that its command starts from."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        if is_remote(request.param):
            pytest.skip("a node of it is elsewhere")
        yield request.param


# whole files ---------------------------------------------------------------------------------------------------------
def test_the_header_shows_a_command_on_files_that_are_there(name: str) -> None:
    assert commands(name), "the first lines show no `anyany run` command"
    for command in commands(name):
        assert command.words[0] == f"pipelines/{name}.yaml"
        for text in command.given:
            assert all((ROOT / found[0]).is_file() for found in FILE.finditer(text)), text


def test_the_commands_of_the_header_write_their_outputs(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, command in enumerate(commands(name)):
        assert main(["run", *command.words, "--out", str(tmp_path / str(number)), "--json"]) == 0
        line = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert line["status"] == "ok"
        made = [o for o in line["outputs"].values() if o is not None]
        assert made, "every output is absent"
        written = [Path(path) for output in made for path in paths_in(output)]
        assert all(path.is_file() and path.stat().st_size for path in written)
        assert written or any("text" in o or "parts" in o for o in made)


def test_files_of_other_formats_do_as_well(name: str) -> None:
    kinds = kinds_taken(name)
    if not kinds:
        pytest.skip("it takes no files")
    items = [item(name, files) for files in OTHER_FORMATS]
    for given, files in zip(items, OTHER_FORMATS):
        assert all(files[kind] in repr(given) for kind in kinds)
    assert [(r.status, r.error) for r in pipe(name).map(items)] == [("ok", None)] * len(items)


# wrong widths --------------------------------------------------------------------------------------------------------
def test_a_wrong_width_is_told_by_check_with_both_ends_and_what_to_do(name: str) -> None:
    found = narrowed(name)
    if found is None:
        pytest.skip("no adapter of it has a width of its own")
    assert found.graph is None
    assert {told.code for told in found.problems} == {"E401"}
    for told in found.problems:
        assert told.mark is not None and told.help and len(told.related) >= 2
        assert "7" in told.message


# bad ones ------------------------------------------------------------------------------------------------------------
def wave(path: Path, samples: bytes) -> str:
    """A mono WAV of 16-bit samples, 16 kHz."""
    head = struct.pack("<4sIHHIIHH4sI", b"fmt ", 16, 1, 1, 16000, 32000, 2, 16, b"data", len(samples))
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(head) + len(samples)) + b"WAVE" + head + samples)
    return str(path)


def film(path: Path, frames: int, size: tuple[int, int] = (32, 32), sound: bool = False) -> str:
    """An MP4 of grey frames, or of a sound alone."""
    import av
    import numpy as np

    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as file:
        if frames:
            stream = file.add_stream("mpeg4", rate=4)
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
            for index in range(frames):
                frame = av.VideoFrame.from_ndarray(np.full((*size[::-1], 3), 40 * index, np.uint8), format="rgb24")
                frame.pts = index
                file.mux(stream.encode(frame))
            file.mux(stream.encode(None))
        if sound:
            track = file.add_stream("aac", rate=16000, layout="mono")
            piece = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            piece.sample_rate, piece.pts = 16000, 0
            file.mux(track.encode(piece))
            file.mux(track.encode(None))
    return str(path)


def picture(path: Path, width: int, height: int, mode: str = "RGB") -> str:
    from PIL import Image

    Image.effect_noise((width, height), 60).convert(mode).save(path)
    return str(path)


Files = Mapping[str, Mapping[str, str]]


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Files that nothing can be made of, by kind and name."""
    folder = tmp_path_factory.mktemp("broken")
    (folder / "cut.mp4").write_bytes((ROOT / "examples/clip-seen-1.mp4").read_bytes()[:9000])
    (folder / "cut.png").write_bytes((ROOT / "examples/scene-seen-2.png").read_bytes()[:200])
    (folder / "noise.png").write_bytes(bytes((i * 197 + 11) % 251 for i in range(2000)))
    no_stream = (ROOT / "examples/clip-seen-1.mp4").read_bytes().replace(b"avc1", b"nope")
    (folder / "codec.mp4").write_bytes(no_stream)
    return {
        "image": {"truncated": str(folder / "cut.png"), "noise": str(folder / "noise.png"),
                  "missing": str(folder / "none.png")},
        "audio": {"no samples": wave(folder / "none.wav", b""), "one sample": wave(folder / "one.wav", b"\1\1"),
                  "missing": str(folder / "none.flac")},
        "video": {"truncated": str(folder / "cut.mp4"), "no codec": str(folder / "codec.mp4"),
                  "no picture": film(folder / "sound.mp4", 0, sound=True),
                  "no frames": film(folder / "empty.mp4", 0)},
    }  # fmt: skip


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Whole files that are stranger than any that a component was made for."""
    folder = tmp_path_factory.mktemp("odd")
    return {
        "image": {"one pixel": picture(folder / "dot.png", 1, 1), "a line": picture(folder / "l.png", 300, 1),
                  "a column": picture(folder / "c.png", 1, 300), "grey": picture(folder / "g.png", 20, 30, "L")},
        "audio": {"silent": wave(folder / "silent.wav", bytes(32000)), "10 ms": wave(folder / "s.wav", b"\1\2" * 160),
                  "30 ms": wave(folder / "t.wav", b"\1\2" * 480)},
        "video": {"one frame": film(folder / "one.mp4", 1), "a GIF of one frame": picture(folder / "one.gif", 9, 7),
                  "two pixels wide": film(folder / "tiny.mp4", 3, (2, 2))},
    }  # fmt: skip


def results(name: str, files: Files) -> list[tuple[str, Failure | None]]:
    """What becomes of the header's inputs with each of the files in their kind's place: why it failed, if it did."""
    found: list[tuple[str, Failure | None]] = []
    for kind in sorted(kinds_taken(name)):
        for what, path in files[kind].items():
            try:
                (result,) = pipe(name).map([item(name, {kind: path})])
                found.append((f"{kind}: {what}", result.error))
            except CallError as error:  # a message's parts are looked at before there is an item
                (told,) = error.problems
                found.append((f"{kind}: {what}", Failure(code=told.code, message=told.message, help=told.help or "")))
    if not found:
        pytest.skip("it takes no files")
    return found


def unclear(error: Failure | None) -> bool:
    """True for a failure without a place (a file, a node or an input), or in the words of a library's exception."""
    if error is None:
        return False
    raw = re.match(r"\w*(Error|Exception|Warning)\b", error.message) or "Traceback" in error.message
    place = error.node or "/" in error.message or "`" in error.message
    return bool(raw) or not place or len(error.message) < 12


def test_a_broken_file_fails_its_item_with_its_path_and_what_to_do(name: str, broken: Files) -> None:
    found = results(name, broken)
    if "audio" in kinds_taken(name):  # in a message, a film without pictures is the sound that it holds
        found = [(what, error) for what, error in found if what != "video: no picture"]
    assert not [what for what, error in found if error is None and "one sample" not in what]
    assert not [(what, error) for what, error in found if unclear(error)]
    assert not [(what, error) for what, error in found if error and error.code != "E601" and not error.help]


def test_a_strange_file_is_taken_or_told_clearly(name: str, odd: Files) -> None:
    assert not [(what, error) for what, error in results(name, odd) if unclear(error)]


def test_a_text_beyond_the_context_is_told_with_its_length_and_the_limit(name: str) -> None:
    cases = with_text(name, "word " * 2500)
    if not cases:
        pytest.skip("it takes no text")
    for what, given in cases:
        (result,) = pipe(name).map([given])
        assert not unclear(result.error), (what, result.error)
        if result.error is not None:
            assert len(re.findall(r"\d+", result.error.message)) >= 2, (what, result.error)


@pytest.mark.parametrize("text", ["", " \n", "\u0000\U0001f98a\uffff"])
def test_a_text_of_nothing_or_of_odd_characters_is_taken_or_told_clearly(name: str, text: str) -> None:
    for what, given in with_text(name, text):
        (result,) = pipe(name).map([given])
        assert not unclear(result.error), (what, result.error)
