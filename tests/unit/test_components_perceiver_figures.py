"""Perceiver and Perceiver IO on the meta device: the sizes and costs that their papers state, and how cost grows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from anyany import pipeline
from anyany.engine.probe import Inspected, inspect_graph
from anyany.registry import default_registry
from anyany.testing.harness import bench

GIGA, MEGA = 10**9, 10**6
ROOT = Path(__file__).parents[2]


def made(name: str) -> Any:
    return bench(default_registry().card(name), "tiny").build()


def inspected(nodes: dict[str, Any], **inputs: str) -> dict[str, Inspected]:
    page = {"anyany": 1, "name": "test", "inputs": inputs, "outputs": {n: n for n in nodes}}
    page["nodes"] = {k: {"weights": "random:0", **v} for k, v in nodes.items()}
    return {row.node: row for row in inspect_graph(pipeline.load(page).graph, offline=True)}


@pytest.mark.parametrize(
    ("profile", "parameters", "flops"), [("bytes", 201, 113), ("base", 223, 119), ("plus-plus", 425, 241)]
)
def test_the_language_models_are_of_their_published_size_and_cost(profile: str, parameters: int, flops: int) -> None:
    """The rule that also gives BERT's 109 GFLOPs: outputs count one operation a multiply-add, all else two."""
    pipe = pipeline.load(str(ROOT / "pipelines/perceiver-io-bytes.yaml"), profile=profile)
    rows = {row.node: row for row in inspect_graph(pipe.graph, offline=True)}
    count = sum(row.parameters or 0 for row in rows.values())
    inside, outputs = rows["think"].flops or 0, rows["fill"].flops or 0
    assert count == pytest.approx(parameters * MEGA, rel=0.01)
    assert inside + outputs / 2 == pytest.approx(flops * GIGA, rel=0.05)
    page = (ROOT / "docs/systems/perceiver-io.md").read_text("utf-8")
    ours = [f"{count:,}", *(f"{x / GIGA:.1f} G" for x in (inside, inside + outputs, inside + outputs / 2))]
    assert all(figure in page for figure in ours), ours


def test_the_original_perceiver_is_of_its_published_size_and_cost() -> None:
    rows = inspected({
        "look": {"use": "perceiver/image", "in": "image"},
        "think": {"use": "perceiver/encoder", "in": "look", "with": "original"},
        "name": {"use": "perceiver/classify", "in": "think", "with": {"pooled": True}},
    }, image="image").values()  # fmt: skip
    assert sum(r.parameters or 0 for r in rows) == pytest.approx(44.9 * MEGA, rel=0.01)
    assert sum(r.flops or 0 for r in rows) == pytest.approx(707.2 * GIGA, rel=0.01)


def test_cost_grows_by_the_same_with_each_input_and_with_each_query() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    def flops(what: Any) -> int:
        with FlopCounterMode(display=False) as counter:
            what()
        return int(counter.get_total_flops())

    core, at = made("perceiver/encoder").component.core, made("perceiver/at").component
    inputs = [flops(lambda n=n: core(torch.zeros(1, n, 32))) for n in (50, 100, 150)]
    queries = [flops(lambda n=n: at.read(torch.zeros(1, 6, 32), torch.zeros(1, n, 2))) for n in (56, 112, 168)]
    assert inputs[2] - inputs[1] == inputs[1] - inputs[0] > 0
    fixed = queries[0] - (queries[1] - queries[0])
    assert queries[2] - queries[1] == queries[1] - queries[0] > 0 and fixed < queries[0]
