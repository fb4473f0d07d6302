"""The Perceiver pipelines check, and their mini profiles turn real files into real files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from anyany import pipeline
from anyany.cli import main
from anyany.media import load
from anyany.spec.check import check_file

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PICTURE, OTHER = str(EXAMPLES / "scene-seen-1.png"), str(EXAMPLES / "scene-seen-2.png")
CLIP, CLOUD, UNITS = (str(EXAMPLES / n) for n in ("clip-seen-1.mp4", "ring.ply", "units.csv"))
GIVEN: dict[str, dict[str, Any]] = {
    "perceiver": {"image": PICTURE, "points": CLOUD, "audio": str(EXAMPLES / "melody.mp3")},
    "perceiver-io-image": {"photo": PICTURE},
    "perceiver-io-bytes": {"text": "an apple a[MASK][MASK][MASK][MASK] keeps the doctor away"},
    "perceiver-io-flow": {"a": PICTURE, "b": OTHER},
    "perceiver-io-autoencoding": {"clip": CLIP, "sound": CLIP},
    "perceiver-io-units": {"units": UNITS, "ask": [[20, 24], [52, 44]]},
}


def path(name: str) -> str:
    return str(ROOT / f"pipelines/{name}.yaml")


@pytest.mark.parametrize("name", GIVEN)
def test_a_pipeline_checks_with_all_its_profiles(name: str) -> None:
    found = check_file(path(name))
    assert found.graph is not None and not found.problems


@pytest.mark.parametrize("name", GIVEN)
def test_a_mini_profile_runs_on_real_files(name: str) -> None:
    outputs = pipeline.load(path(name), profile="mini")(**GIVEN[name])
    assert outputs and all(value is not None for value in outputs.values())


@pytest.mark.parametrize(
    "given", [{"image": PICTURE}, {"points": CLOUD}, {"audio": CLIP}, {"audio": CLIP, "points": CLOUD}]
)
def test_one_perceiver_names_whatever_it_is_given(given: dict[str, str]) -> None:
    scores = pipeline.load(path("perceiver"), profile="mini")(**given)["scores"]
    assert sum(scores.values()) == pytest.approx(1)


def test_a_film_comes_back_as_long_as_it_was_with_its_sound(tmp_path: Path) -> None:
    arguments = ["run", path("perceiver-io-autoencoding"), "--profile", "mini", "--in", f"clip={CLIP}", "--in",
                 f"sound={CLIP}", "--out", str(tmp_path)]  # fmt: skip
    assert main(arguments) == 0
    film, sound = load("video", tmp_path / "0/video.mp4"), load("audio", tmp_path / "0/audio.wav")
    before = load("video", CLIP)
    assert film.seconds == pytest.approx(before.seconds, abs=0.2) and sound.seconds == pytest.approx(
        film.seconds, abs=0.2
    )
    assert len(json.loads((tmp_path / "0/scores.json").read_text())) == 3


def test_two_pictures_become_a_flow_file_and_its_colours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["run", path("perceiver-io-flow"), "--profile", "mini", "--in", f"a={PICTURE}", "--in", f"b={OTHER}",
                 "--out", str(tmp_path), "--json"]  # fmt: skip
    assert main(arguments) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[0])["outputs"]["flow"]
    flow, colours = load("flow", told["path"]), load("image", tmp_path / "0/flow.png")
    assert flow.shape[1:] == colours.shape[1:] == load("image", PICTURE).shape[1:] and bool(flow.isfinite().all())


def test_a_pair_that_is_none_fails_alone_and_says_why() -> None:
    pipe = pipeline.load(path("perceiver-io-flow"), profile="mini")
    small = torch.zeros(3, 9, 9, dtype=torch.uint8)
    results = list(pipe.map([{"a": PICTURE, "b": small}, {"a": PICTURE, "b": OTHER}]))
    assert [r.status for r in results] == ["failed", "ok"] and "differ in size" in str(results[0].error)


def test_units_outside_the_map_fail_alone_and_say_why(tmp_path: Path) -> None:
    (tmp_path / "far.csv").write_text("1,2,1,1\n99,2,1,1\n")
    pipe = pipeline.load(path("perceiver-io-units"), profile="mini")
    asked = {"ask": [[1, 1], [2, 2]]}
    results = list(pipe.map([{"units": str(tmp_path / "far.csv"), **asked}, {"units": UNITS, **asked}]))
    assert [r.status for r in results] == ["failed", "ok"] and "outside 0..64" in str(results[0].error)
    assert results[1].outputs["target"] in ("0", "1")
    assert results[1].outputs["action"] in ("wait", "move", "attack", "gather")
