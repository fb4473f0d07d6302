"""The bundled miniature as its users meet it: text, pictures and speech in and out, on the files of examples/."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import soundfile
from anyany_mini import marker
from PIL import Image

import anyany

ROOT = Path(__file__).resolve().parents[2]
SAID = "a small yellow ring at the top and a big blue cross on the left"
SHOWN = "a small yellow square at the top right and a small purple cross at the bottom left"


@pytest.fixture(scope="module")
def pipe() -> Any:
    return anyany.load(str(ROOT / "pipelines/mini.yaml"))


@pytest.fixture(scope="module")
def hear() -> Any:
    return anyany.load(str(ROOT / "pipelines/mini/hear.yaml"))


def file(name: str) -> Path:
    return ROOT / "examples" / name


def kinds(reply: Any) -> list[str]:
    return ["text" if isinstance(part, str) else part.kind for part in reply.parts]


def test_a_recording_is_written_down(pipe: Any) -> None:
    assert pipe(prompt=["describe it ", file("spoken.wav")])["reply"].text == SAID


def test_a_picture_is_described_and_said(pipe: Any, hear: Any) -> None:
    assert pipe(prompt=["describe it ", file("scene-seen-2.png")])["reply"].text == SHOWN
    reply = pipe(prompt=["say it ", file("scene-seen-2.png")])["reply"]
    assert kinds(reply) == ["audio"]
    assert hear(audio=reply.parts[0].value)["text"] == SHOWN


def test_a_spoken_question_about_a_picture_is_answered(pipe: Any) -> None:
    assert pipe(prompt=[file("scene-seen-3.png"), "how many shapes are there"])["reply"].text == "two"
    drawn = pipe(prompt="draw a small red ring in the center")["reply"].parts[0].value
    assert pipe(prompt=[drawn, file("question.wav")])["reply"].text == "red"


def test_a_recording_is_drawn_and_described_in_order(pipe: Any) -> None:
    reply = pipe(prompt=["draw it and describe it ", file("spoken.wav")])["reply"]
    assert kinds(reply) == ["image", "text"]
    assert reply.text.strip() == SAID


def test_one_command_writes_the_sound_and_the_picture(tmp_path: Path) -> None:
    items = tmp_path / "items.jsonl"
    items.write_text(
        '{"prompt": "say a big red square on the left"}\n{"prompt": "draw a big red square on the left"}\n'
    )
    command = [sys.executable, "-m", "anyany", "run", "pipelines/mini.yaml", "--items", str(items), "--out",
               str(tmp_path / "out")]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (sound,) = (tmp_path / "out").rglob("*.wav")
    (picture,) = (tmp_path / "out").rglob("*.png")
    samples, rate = soundfile.read(sound)
    assert rate == 16000 and 1 < len(samples) / rate < 4
    import numpy as np

    marks = marker.mark_picture(np.asarray(Image.open(picture).convert("RGB")), "a big red square on the left")
    assert marks["place"] == 1 and marks["colour"] == 1


def test_stage_three_can_be_trained_again_from_what_came_before_it() -> None:
    from anyany.spec.check import check_file

    found = check_file(str(ROOT / "pipelines/mini.yaml"), profile="aligned")
    found.expect()
    instruct = next(s for s in found.stages if s.name == "instruct")
    assert instruct.part.graph.nodes["think"].weights == ("bundle:mini/think",)
    assert instruct.part.graph.nodes["see"].weights == ("bundle:mini/aligned/see",)
