"""The pipelines of language, queries and hearing check, and their mini profiles run on real files.

Files: a picture from `examples/`, a sound written here as WAV.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from anyany import pipeline
from anyany.spec.check import check_file

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "examples/scene-seen-1.png"
PROMPT = [PICTURE, " a circle. ", PICTURE, " And this?"]
GIVEN: dict[str, dict[str, Any]] = {
    "blip2": {"photo": str(PICTURE)},
    "flamingo": {"prompt": PROMPT},
    "nvlm-d": {"prompt": PROMPT},
    "nvlm-x": {"prompt": PROMPT},
    "set-transformer": {"photo": str(PICTURE)},
    "whisper": {},
    "mamba": {"prompt": "Once upon a time"},
    "gpt": {"prompt": "Once upon a time"},
    "gpt-adaptive": {"prompt": "Once upon a time"},
    "bert": {"text": "The sky is [MASK]."},
    "beit3": {"photo": str(PICTURE), "ask": "What is red?"},
    "t5": {"prompt": "translate English to German: a circle"},
}


@pytest.mark.parametrize("name", [*GIVEN, "remote-chat"])
def test_a_pipeline_checks_with_all_its_profiles(name: str) -> None:
    found = check_file(str(ROOT / f"pipelines/{name}.yaml"))
    assert found.graph is not None and not found.problems


@pytest.mark.parametrize("name", GIVEN)
def test_a_mini_profile_runs_on_real_files(name: str, tmp_path: Path) -> None:
    given = dict(GIVEN[name])
    if name == "whisper":
        import soundfile

        given["speech"] = str(tmp_path / "tone.wav")
        wave = torch.sin(torch.arange(3 * 44100) * 0.05).numpy()  # 44.1 kHz: the loader makes it 16
        soundfile.write(given["speech"], wave, 44100)
    outputs = pipeline.load(str(ROOT / f"pipelines/{name}.yaml"), profile="mini")(**given)
    assert outputs and all(value is not None for value in outputs.values())


@pytest.mark.parametrize("other", ["adapters/resampler", "adapters/mlp", "adapters/linear"])
def test_the_queries_of_blip2_exchange_by_one_line(other: str, tmp_path: Path) -> None:
    lines = (ROOT / "pipelines/blip2.yaml").read_text("utf-8").splitlines()
    (at,) = [i for i, line in enumerate(lines) if "adapters/qformer" in line]
    lines[at] = f'  see: {{use: {other}, weights: "random:1", in: look}}'
    spec = tmp_path / "spec.yaml"
    spec.write_text("\n".join(lines), "utf-8")
    found = check_file(str(spec))
    assert found.graph is not None and not found.problems
    assert pipeline.load(str(spec), profile="mini")(photo=str(PICTURE))["text"] is not None


def test_an_option_of_the_component_before_is_told_where_it_stands(tmp_path: Path) -> None:
    """The mini profile's preset may hold an option, but does not name this one."""
    text = (ROOT / "pipelines/blip2.yaml").read_text("utf-8").replace("adapters/qformer", "adapters/mlp")
    spec = tmp_path / "spec.yaml"
    spec.write_text(text, "utf-8")
    wrong = [p for p in check_file(str(spec)).problems if p.code == "E105"]
    line = 1 + text[: text.index("layout:")].count("\n")
    assert wrong and {p.mark.line for p in wrong if p.mark} == {line}


def test_the_two_ways_of_nvlm_differ_in_one_node() -> None:
    lines = [(ROOT / f"pipelines/nvlm-{k}.yaml").read_text().splitlines() for k in "dx"]
    differing = [(a, b) for a, b in zip(*lines) if a != b and not a.startswith(("#", "name:", "about:"))]
    assert [(a.strip(), b.strip()) for a, b in differing] == [("use: language/causal-lm", "use: language/gated-xattn")]
