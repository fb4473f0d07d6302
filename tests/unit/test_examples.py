"""The files of `examples/`: small, described, and what the script that makes them makes."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from anyany.media import load

EXAMPLES = Path(__file__).parents[2] / "examples"
MEDIA = sorted(p.name for p in EXAMPLES.iterdir() if p.suffix not in (".md", ".py") and p.is_file())


def test_they_are_small() -> None:
    assert sum((EXAMPLES / name).stat().st_size for name in MEDIA) < 300_000


@pytest.mark.parametrize("name", [n for n in MEDIA if n != "scene.png"])  # a copy for the README
def test_each_is_described(name: str) -> None:
    assert f"`{name}`" in (EXAMPLES / "README.md").read_text("utf-8")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the script has filled."""
    spec = importlib.util.spec_from_file_location("make_media", EXAMPLES / "make_media.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    folder = tmp_path_factory.mktemp("examples")
    script.main(folder)
    return folder


def test_the_script_makes_the_films_again(made: Path) -> None:
    for name in ("clip-seen-1.mp4", "clip-seen-1.gif"):
        old, new = (load("video", folder / name) for folder in (EXAMPLES, made))
        assert (old.frames.shape, old.fps) == (torch.Size([8, 3, 64, 64]), 4.0)
        assert (old.frames.float() - new.frames.float()).abs().mean() < 2  # another encoder may round otherwise
    assert load("video", EXAMPLES / "clip-seen-1.mp4").audio is not None


@pytest.mark.parametrize("name", ["melody.wav", "melody.flac", "melody.mp3", "clip-seen-1.mp4"])
def test_the_melody_is_heard_in_every_file_of_it(name: str) -> None:
    sound = load("audio", EXAMPLES / name, {"rate": 16000, "channels": 1}).samples[0]
    second_C = sound[28000 + 1600 : 28000 + 3600]  # the last of eight notes
    strongest = float(torch.fft.rfft(second_C).abs().argmax()) * 16000 / len(second_C)
    assert strongest == pytest.approx(523.25, abs=8)
    assert len(sound) / 16000 == pytest.approx(2.0, abs=0.15)
