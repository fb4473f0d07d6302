"""Shikra, Ferret, NExT-Chat and Aurora in their mini profiles, on real files, from the command line's own entry.

Random weights: what counts is that questions about places become boxes, masks and maps on disk, and that what a model
writes wrongly is a note of its item.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import anyany
from anyany import media
from anyany.cli import main

ROOT = Path(__file__).parents[2]
SCENE, OTHER = ROOT / "examples" / "scene-unseen-3.png", ROOT / "examples" / "scene-seen-1.png"
Run = Callable[..., dict[str, Any]]

ANSWERED = """\
anyany: 1
name: answered
inputs: {photo: "image*", answer: text}
nodes:
  shikra: {use: grounding/box-text}
  parse: {of: shikra, call: parse, in: {text: answer, images: photo}}
outputs: {boxes: parse, points: parse.points, note: parse.note}
"""


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a pipeline of the folder (mini), or a spec's text, and gives what `--json` told of its one item."""

    def told(spec: str, *inputs: str, sets: tuple[str, ...] = (), code: int = 0) -> dict[str, Any]:
        path, profile = ROOT / "pipelines" / f"{spec}.yaml", ["--profile", "mini"]
        if "\n" in spec:
            path, profile = tmp_path / "spec.yaml", []
            path.write_text(spec, "utf-8")
        argv = ["run", str(path), *profile, "--json", "--out", str(tmp_path / "out")]
        argv += [part for one in inputs for part in ("--in", one)] + [part for one in sets for part in ("--set", one)]
        assert main(argv) == code
        found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
        return found

    return told


def differs(path: str, source: Path) -> bool:
    """Whether a drawing shows something else than its picture, scaled as drawings are."""
    with Image.open(path) as shown, Image.open(source) as plain:
        return list(shown.convert("RGB").getdata()) != list(plain.convert("RGB").resize(shown.size, 0).getdata())


def test_next_chat_answers_where_with_a_box_and_a_mask_on_the_picture(run: Run) -> None:
    told = run("next-chat", f"photo={SCENE}", "ask=Where is the red ring?", sets=("nodes.think.with.produce=[boxes]",))
    (box,), (mask,) = told["outputs"]["boxes"]["items"], told["outputs"]["masks"]["items"]
    ((x1, y1, x2, y2),) = json.loads(Path(box["path"]).read_text())
    assert 0 <= x1 < x2 <= 64 and 0 <= y1 < y2 <= 64
    assert differs(box["drawn"], SCENE) and Path(mask["drawn"]).exists()
    assert media.load("mask", mask["path"]).shape == (64, 64)
    reply = told["outputs"]["reply"]["parts"]
    (region,) = [part for part in reply if isinstance(part, dict)]
    assert region["boxes"] == [[x1, y1, x2, y2]] and differs(region["drawn"], SCENE)


def test_next_chat_hears_of_each_box_in_the_question() -> None:
    pipe = anyany.load(ROOT / "pipelines" / "next-chat.yaml", profile="mini", want="reply.text")
    ask = ["What is ", {"boxes": [[5, 5, 30, 30]]}, " and ", {"boxes": [[35, 35, 60, 60]]}, "?"]
    assert isinstance(pipe(photo=SCENE, ask=ask)["reply"], str)
    assert pipe.recorder.node("given").rows == 2 and pipe.recorder.node("sam").calls == 0


def test_shikra_reads_a_box_of_the_question_and_gives_boxes_of_its_answer(run: Run) -> None:
    ask = f"prompt={{file:{SCENE}}} Where is the red ring, is it in {{boxes:10,10,50,50}}?"
    told = run("shikra", ask)
    assert isinstance(json.loads(Path(told["outputs"]["boxes"]["path"]).read_text()), list)
    assert Path(told["outputs"]["boxes"]["drawn"]).exists()


def test_an_answer_in_shikras_words_becomes_boxes_drawn_on_the_picture(run: Run) -> None:
    told = run(ANSWERED, f"photo={SCENE}", "answer=The red ring [0.250,0.500,0.750,1.000] is there.")
    boxes = told["outputs"]["boxes"]
    assert json.loads(Path(boxes["path"]).read_text()) == [[16, 32, 48, 64]]
    assert differs(boxes["drawn"], SCENE) and told["outputs"]["note"] is None and "notes" not in told


@pytest.mark.parametrize("answer", [
    "It is at [0.25, 0.5, 0.75, 1].", "It is at [0.25,0.5,0.75", "It is at [25,50,75,100].", "[[[,,,1,,]]] [nan,0,1,1]",
])  # fmt: skip
def test_malformed_coordinates_of_a_model_are_a_note_of_the_item_and_no_crash(run: Run, answer: str) -> None:
    told = run(ANSWERED, f"photo={SCENE}", f"answer={answer}")
    assert told["status"] == "ok" and json.loads(Path(told["outputs"]["boxes"]["path"]).read_text()) == []
    (note,) = told["notes"]
    assert note.startswith("parse: ") and "passed over" in note and told["outputs"]["note"]["text"] in note


def test_boxes_of_an_answer_without_a_picture_are_a_note_too(run: Run, tmp_path: Path) -> None:
    items = tmp_path / "items.jsonl"
    items.write_text(json.dumps({"photo": [], "answer": "[0.1,0.2,0.3,0.4]"}) + "\n")
    (tmp_path / "spec.yaml").write_text(ANSWERED)
    argv = ["run", str(tmp_path / "spec.yaml"), "--items", str(items), "--out", str(tmp_path / "out")]
    assert main(argv) == 0
    assert "no picture for them" in (tmp_path / "out" / "items.jsonl").read_text()


def test_ferret_takes_boxes_points_and_a_mask_of_two_pictures_in_one_question(run: Run, tmp_path: Path) -> None:
    covered = torch.zeros(64, 64, dtype=torch.bool)
    covered[8:30, 10:40] = True
    mask = media.save("mask", covered, tmp_path / "mask")
    first = f"{{file:{SCENE}}} {{boxes:5,5,30,30;35,35,60,60}}"
    assert run("ferret", f"prompt={first} and {{file:{OTHER}}} {{points:32,32}} {{mask:{mask}}}?")["status"] == "ok"


def test_a_region_before_any_picture_fails_its_item_with_what_to_do(run: Run) -> None:
    told = run("shikra", "prompt=What is {boxes:1,1,5,5}?", code=1)
    assert told["status"] == "failed" and "put it behind its picture" in told["error"]


def test_aurora_writes_a_field_and_a_map_for_each_step(run: Run) -> None:
    told = run("aurora", f"now={ROOT / 'examples' / 'weather.npz'}")
    steps = told["outputs"]["forecast"]["items"]
    fields = [media.load("field", step["path"]) for step in steps]
    assert [f.step for f in fields] == [1, 2] and fields[1].surf["2t"].shape == (2, 16, 32)
    assert bool(torch.isfinite(fields[1].atmos["z"]).all()) and all(Path(step["map"]).exists() for step in steps)


@pytest.mark.parametrize("name", ["shikra", "ferret", "next-chat", "aurora"])
def test_a_pipeline_checks_in_every_profile(name: str) -> None:
    assert main(["check", str(ROOT / "pipelines" / f"{name}.yaml")]) == 0
