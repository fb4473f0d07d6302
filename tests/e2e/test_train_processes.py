"""Training as processes: killed at any moment and resumed, and shared by two through `accelerate launch`."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[2]
SPEC = """
anyany: 1
name: t
inputs: {photo: image}
nodes:
  look: {use: vision/clip, weights: "random:0", with: tiny, in: photo}
  see: {use: adapters/mlp, weights: "random:1", in: look.patches}
  think: {use: language/causal-lm, weights: "random:2", with: tiny, in: {message: [photo], image: see}}
outputs: {text: think.text}
train:
  data: {use: sources/jsonl, with: {path: pairs.jsonl}, fields: {photo: image, reply: message}}
  batch: 4
  log_every: 1
  save_every: 5
  steps: 60
  optim: {lr: 1.0e-2}
  stages:
    - name: in
      learn: [see]
      feed: {photo: data.photo, think.target: data.reply}
      minimise: {think.loss: 1.0}
      ema: 0.9
"""
ALONE = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    scenes = sorted((ROOT / "examples").glob("scene-*.png"))
    lines = [{"photo": str(scenes[i % len(scenes)]), "reply": f"a ring {i}"} for i in range(10)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    path = tmp_path / "t.yaml"
    path.write_text(SPEC)
    return path


def command(spec: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "anyany", "train", str(spec), "--cpu", "--quiet", *more]


def curve(folder: Path) -> list[float]:
    return [json.loads(line)["think.loss"] for line in (folder / "in" / "metrics.jsonl").read_text().splitlines()]


def steps_done(folder: Path) -> int:
    path = folder / "in" / "metrics.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


def test_a_run_killed_again_and_again_ends_with_the_weights_of_one_that_was_not(spec: Path, tmp_path: Path) -> None:
    subprocess.run(command(spec, "--out", str(tmp_path / "whole")), check=True, env=ALONE)
    cut, chance = tmp_path / "cut", random.Random(0)
    for number in range(3):
        begun = steps_done(cut)
        with subprocess.Popen(command(spec, "--out", str(cut), *["--resume"][: bool(number)]), env=ALONE) as process:
            limit = time.monotonic() + 120
            while steps_done(cut) <= begun and time.monotonic() < limit and process.poll() is None:
                time.sleep(0.01)
            time.sleep(chance.uniform(0.0, 0.4))
            process.kill()
    subprocess.run(command(spec, "--out", str(cut), "--resume"), check=True, env=ALONE)
    first, second = (load_file(f / "in" / "see.safetensors") for f in (tmp_path / "whole", cut))
    assert all(torch.equal(first[n], second[n]) for n in first)
    assert curve(cut) == curve(tmp_path / "whole")


@pytest.mark.parametrize(("kind", "shared"), [("--multi_gpu", "copies"), ("--use_fsdp --fsdp_version 2", "shards")])
def test_two_processes_give_the_loss_curve_and_weights_of_one(
    spec: Path, tmp_path: Path, kind: str, shared: str
) -> None:
    short = ("--set", "train.steps=8")
    subprocess.run(command(spec, *short, "--out", str(tmp_path / "one")), check=True, env=ALONE)
    launch = [sys.executable, "-m", "accelerate.commands.launch", *kind.split(), "--num_processes", "2",
              "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no",
              "--num_cpu_threads_per_process", "1",
              "--main_process_port", "0", "-m"]  # fmt: skip
    subprocess.run([*launch, *command(spec, *short, "--out", str(tmp_path / "two"))[2:]], check=True, env=ALONE)
    done = json.loads((tmp_path / "two" / "in" / "done.json").read_text())
    assert (done["processes"], done["shared"]) == (2, shared)
    assert curve(tmp_path / "two") == pytest.approx(curve(tmp_path / "one"), abs=1e-4)
    first, second = (load_file(tmp_path / n / "in" / "see.safetensors") for n in ("one", "two"))
    for name in first:
        torch.testing.assert_close(first[name], second[name], atol=1e-4, rtol=0)
