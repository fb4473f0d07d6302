"""The pipelines of the vision systems in their mini profiles, on real files, from the command line's own entry.

Random weights: what counts is that files become outputs of the right kinds.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from anyany.cli import main

ROOT = Path(__file__).parents[2]
ONE, TWO, THREE = (ROOT / "examples" / f"scene-seen-{i}.png" for i in (1, 2, 3))
ASK = ["prompt={file:%s} What is this?" % ONE]  # noqa: UP031
CASES = {
    "vit": ([f"photo={ONE}"], {"label": "label", "scores": "scores", "distance": "features"}),
    "clip-zero-shot": ([f"photos={ONE}", f"photos={TWO}"], {"label": "label", "scores": "scores"}),
    "clip-search": ([f"gallery={ONE}", f"gallery={TWO}", "query=a red circle"], {"hits": "image", "scores": "scores"}),
    "dino": ([f"photo={ONE}"], {"mask": "mask", "class": "embedding"}),
    "llava": (ASK, {"text": "text"}),
    "llava-1.5": (ASK, {"text": "text"}),
    "llava-anyres": (ASK, {"text": "text"}),
    "llava-mof": (ASK, {"text": "text"}),
    "pic2word": (
        [f"gallery={ONE}", f"gallery={TWO}", "prompt=a drawing of {file:%s} in blue" % THREE],  # noqa: UP031
        {"hits": "image", "scores": "scores"},
    ),
    "imagebind-search": (
        ["gallery={file:%s} {file:%s}" % (ONE, TWO), "query=a red circle"],  # noqa: UP031
        {"hits": "image", "scores": "scores"},
    ),
    "screenai": (ASK, {"text": "text"}),
    "quadrangle-vit": ([f"photo={ONE}"], {"label": "label", "scores": "scores"}),
}


@pytest.mark.parametrize("name", CASES)
def test_a_mini_pipeline_runs_on_real_files(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given, kinds = CASES[name]
    argv = ["run", str(ROOT / "pipelines" / f"{name}.yaml"), "--profile", "mini", "--json", "--out", str(tmp_path)]
    assert main([*argv, *(part for one in given for part in ("--in", one))]) == 0
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line["status"] == "ok" and {n: o["kind"] for n, o in line["outputs"].items()} == kinds


@pytest.mark.parametrize("name", CASES)
def test_a_pipeline_checks_in_every_profile(name: str) -> None:
    assert main(["check", str(ROOT / "pipelines" / f"{name}.yaml")]) == 0


def test_an_mlp_and_a_linear_layer_exchange_by_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "pipelines" / "llava-1.5.yaml").read_text("utf-8")
    other = tmp_path / "other.yaml"
    other.write_text(text.replace("adapters/mlp", "adapters/linear"), "utf-8")
    assert main(["run", str(other), "--profile", "mini", "--json", "--out", str(tmp_path), "--in", *ASK]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["status"] == "ok"
