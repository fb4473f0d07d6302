"""The training tutorial, command by command, with few steps."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "tutorial-training.md").read_text("utf-8")
FEW = ["--cpu", "--set", "train.stages.0.steps=3", "--set", "train.stages.0.batch=4",
       "--set", "train.stages.0.validate.items=2"]  # fmt: skip


def commands() -> list[list[str]]:
    blocks = [body for language, body in re.findall(r"```(\w*)\n(.*?)```", TEXT, re.DOTALL) if not language]
    lines = [line for block in blocks for line in block.splitlines()]
    return [re.findall(r'(?:[^\s"]|"[^"]*")+', line) for line in lines if line.startswith("anyany ")]


@pytest.mark.slow
def test_the_tutorial_runs_as_it_stands(tmp_path: Path) -> None:
    for folder in ("pipelines", "examples"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("runs"))
    for words in commands():
        more = FEW if words[1] == "train" else []
        line = [sys.executable, "-m", "anyany", *(w.replace('"', "") for w in words[1:]), *more]
        done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=300,
                              env={**os.environ, "OMP_NUM_THREADS": "1"})  # fmt: skip
        assert done.returncode == 0, (words, done.stderr)
    assert (tmp_path / "pipelines" / "runs" / "adapter" / "see.safetensors").exists()
    assert (tmp_path / "pipelines" / "runs" / "report.html").exists()


def test_the_tutorial_shows_the_stage_of_the_pipeline() -> None:
    shown = re.search(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    assert shown is not None
    written = (ROOT / "pipelines" / "mini-llava.yaml").read_text("utf-8")
    for line in shown[1].splitlines():
        assert line.split("  #")[0].strip() in written, line
