"""Eighty broken inputs in one run: each fails alone, with its code, its path and an action; the whole ones go on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from anyany.testing.broken_files import Broken, make_broken, make_good

SPEC = """
anyany: 1
name: mixed
inputs: {image: "image?", audio: "audio?", video: "video?", text: "text?", boxes: "boxes?",
         scores: "scores?", embedding: "embedding?",
         points: "points?", mask: "mask?", field: "field?"}
nodes:
  look: {use: vision/vit, weights: "random:0", with: tiny, in: image}
outputs: {seen: look.cls, image: image, audio: audio, video: video, text: text, boxes: boxes,
          scores: scores, embedding: embedding,
          points: points, mask: mask, field: field}
"""


@pytest.fixture(scope="module")
def run(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[list[Broken], dict[str, Any], subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("broken")
    broken = [b for b in make_broken(folder / "files") if "\0" not in b.path and b.kind != "message"]
    good = make_good(folder / "whole")
    lines = []
    for i, one in enumerate(broken):
        value = {"file": one.path} if one.kind == "text" else one.path  # a plain string is a text itself
        lines.append({"id": f"broken-{i}", one.kind: value})
        kind = ("image", "audio", "video", "text")[i % 4]
        lines.append({"id": f"whole-{i}", kind: good[kind] if kind != "text" else "all is well"})
    (folder / "mixed.yaml").write_text(SPEC)
    (folder / "items.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    command = [sys.executable, "-m", "anyany", "run", "mixed.yaml", "--items", "items.jsonl", "--json", "--out", "out"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    results = {r["item"]: r for r in map(json.loads, done.stdout.splitlines())}
    return broken, results, done


def test_every_item_is_answered_and_the_exit_code_says_that_some_failed(run: Any) -> None:
    broken, results, done = run
    assert len(broken) >= 60
    assert len(results) == 2 * len(broken)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_each_broken_input_fails_alone_with_its_code(run: Any) -> None:
    broken, results, _ = run
    wrong = []
    for i, one in enumerate(broken):
        result = results[f"broken-{i}"]
        text = json.dumps(result["error"])
        if result["status"] != "failed" or one.code not in text or "Traceback" in text:
            wrong.append((one.name, one.code, result["status"], text[:200]))
    assert not wrong


def test_the_whole_items_of_the_same_run_succeed(run: Any) -> None:
    broken, results, _ = run
    failed = {k: v["error"] for k, v in results.items() if k.startswith("whole-") and v["status"] != "ok"}
    assert not failed
    for i in range(len(broken)):
        outputs = {k: v for k, v in results[f"whole-{i}"]["outputs"].items() if v}
        assert outputs
        for value in outputs.values():
            assert "text" in value or Path(value["path"]).exists()
