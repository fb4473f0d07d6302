"""The quickstart's graph through the engine: lazy weights, pruning, batches against single items, Ctrl-C."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from anyany.kinds.message import Media
from anyany.pipeline import Pipeline, load
from anyany.weights.access import watch

ROOT = Path(__file__).resolve().parents[2]
SPEC = ROOT / "pipelines" / "quickstart.yaml"
SCENE = ROOT / "examples" / "scene.png"


@pytest.fixture(scope="module")
def quickstart() -> Pipeline:
    """The quickstart on the CPU."""
    return load(SPEC, device="cpu")


def picture(height: int, width: int, seed: int) -> torch.Tensor:
    """A picture of noise."""
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def test_wanting_text_reads_no_byte_of_the_decoders_weights() -> None:
    with watch() as reads:
        pipe = load(SPEC, want="reply.text", device="cpu")
        pipe(prompt="draw a big red circle on the left")
    folders = {Path(f).parent.name for f in reads.files}
    assert "think" in folders
    assert not folders & {"draw", "to_image"}


def test_a_branch_that_the_model_does_not_choose_reads_no_weights(quickstart: Pipeline) -> None:
    with watch() as reads:
        pipe = load(SPEC, device="cpu")
        reply = pipe(prompt=["describe ", SCENE])["reply"]
    assert not reply.select("image")
    read = {Path(f).parent.name for f, size in reads.bytes.items() if size and f.endswith(".safetensors")}
    assert {"look", "see", "think"} <= read
    headers = sum(size for f, size in reads.bytes.items() if Path(f).parent.name == "draw")
    assert headers < 200_000  # the header alone: the check of its facts may look at it


def test_items_of_very_different_sizes_in_one_batch_answer_as_alone(quickstart: Pipeline) -> None:
    items: list[dict[str, Any]] = [
        {"id": "small", "prompt": ["describe ", picture(8, 11, 1)]},
        {"id": "draw", "prompt": "draw a small blue square at the top"},
        {"id": "large", "prompt": ["describe ", picture(240, 100, 2), " and then some more words about it, please"]},
        {"id": "two", "prompt": [picture(64, 64, 3), picture(30, 70, 4), "describe"]},
    ]
    together = {r.item: r for r in quickstart.map(items)}
    for item in items:
        [alone] = quickstart.map([item])
        assert together[alone.item].status == alone.status == "ok", alone.error
        one, many = alone.outputs["reply"].parts, together[alone.item].outputs["reply"].parts
        assert [p for p in one if isinstance(p, str)] == [p for p in many if isinstance(p, str)]
        media = [(a, b) for a, b in zip(one, many) if isinstance(a, Media)]
        for a, b in media:
            assert float((a.value - b.value).abs().max()) < 1e-4


SLOW = """
import sys, time
sys.path.insert(0, {tests!r})
from plugins_for_tests import engine_toys
from anyany.registry import default_registry
class Slow(engine_toys.Plain):
    def run(self, ctx, text):
        time.sleep(0.1)
        return {{"text": text}}
engine_toys.Sift = Slow
default_registry().add("et", engine_toys)
from anyany.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_an_interrupt_finishes_writing_and_exits_with_130(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(
        "anyany: 1\nname: s\ninputs: {t: text}\nnodes: {s: {use: et/sift, in: t}}\noutputs: {out: s}\n"
    )
    (tmp_path / "items.jsonl").write_text("".join(f'{{"t": "{i}"}}\n' for i in range(400)))
    code = SLOW.format(tests=str(ROOT / "tests"))
    command = [
        sys.executable,
        "-c",
        code,
        "run",
        "s.yaml",
        "--items",
        "items.jsonl",
        "--batch",
        "1",
        "--json",
        "--out",
        "o",
    ]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stderr is not None
    first = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    rest, errors = process.stdout.read(), process.stderr.read()
    process.wait(timeout=120)
    assert process.returncode == 130, errors
    told = [json.loads(line) for line in [first, *rest.splitlines()]]
    assert 1 <= len(told) < 400
    for result in told:
        assert (tmp_path / "o" / result["item"] / "out.txt").read_text() == result["item"]
    assert json.loads((tmp_path / "o" / "run.json").read_text())["items"]["ok"] == len(told)
    assert "Traceback" not in errors and "what was done is written" in errors
