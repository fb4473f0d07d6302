"""Lists of several kinds: each value is decoded, given and written as what it is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import anyany
from anyany.api.torch import Audio, Video
from anyany.cli import main

EXAMPLES = Path(__file__).parents[2] / "examples"
SPEC = """anyany: 1
inputs: {prompt: message, more: image}
nodes:
  joined: {use: transforms/message, in: {values: [prompt.text, more, prompt.audio*, prompt.video*]}}
outputs: {joined: joined, all: [more, prompt.audio*, prompt.video*]}
"""
MORE = EXAMPLES / "scene-seen-4.jpg"


def test_each_value_of_a_mixed_list_is_decoded_as_what_it_is() -> None:
    prompt = ["listen ", EXAMPLES / "melody.flac", " and look ", EXAMPLES / "clip-seen-1.gif"]
    found = anyany.load(SPEC)(prompt=prompt, more=MORE)
    picture, sound, film = found["all"]
    assert isinstance(picture, torch.Tensor)
    assert isinstance(sound, Audio)
    assert isinstance(film, Video)
    text, *parts = found["joined"].parts
    assert text == "listen  and look "
    assert [(p.kind, type(p.value)) for p in parts] == [("image", torch.Tensor), ("audio", Audio), ("video", Video)]


def test_each_value_of_a_mixed_list_is_written_as_what_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    prompt = f"listen {{file:{EXAMPLES / 'melody.flac'}}} and look {{file:{EXAMPLES / 'clip-seen-1.gif'}}}"
    given = ["--in", f"prompt={prompt}", "--in", f"more={MORE}"]
    assert main(["run", str(tmp_path / "spec.yaml"), *given, "--out", str(tmp_path / "out"), "--json"]) == 0
    outputs = json.loads(capsys.readouterr().out)["outputs"]
    written = [(one["kind"], Path(one["path"]).suffix) for one in outputs["all"]["items"]]
    assert written == [("image", ".png"), ("audio", ".wav"), ("video", ".mp4")]
    assert "cannot be shown" not in (tmp_path / "out" / "report.html").read_text()


def test_what_is_imported_while_a_component_is_built_keeps_its_own_tensors() -> None:
    code = (
        "import anyany, sys\n"
        "spec = {'anyany': 1, 'inputs': {'t': 'text'}, 'outputs': {'o': 'a'}, 'nodes':\n"
        "        {'a': {'use': 'language/causal-lm', 'weights': 'random:0', 'with': 'tiny', 'in': 't'}}}\n"
        "anyany.load(spec)(t='a')\n"
        "from torchaudio.compliance import kaldi\n"
        "assert not kaldi.EPSILON.is_meta\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
