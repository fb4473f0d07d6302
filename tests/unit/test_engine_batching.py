"""Batches: what goes together, in which order, with what noise; defaults once; per-item options; components shared."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from plugins_for_tests.chains import chain
from plugins_for_tests.engine_pipes import calls, pipe

from anyany.api.v1 import Batching
from anyany.engine.batching import cut
from anyany.engine.build import Components
from anyany.engine.plan import make_plan
from anyany.engine.rows import Rows
from anyany.pipeline import Pipeline

LENGTH = """
    inputs: {t: text}
    nodes: {len: {use: et/length, in: t}, sh: {use: et/shape, in: len}}
    outputs: {out: sh}
"""


def test_rows_are_sorted_by_length_cut_by_cost_and_come_back_in_order() -> None:
    p = pipe(LENGTH)
    lengths = [5, 1, 4, 2, 3, 1, 6]
    results = list(p.map([{"t": "a" * n} for n in lengths]))
    assert [r.outputs["out"] for r in results] == [f"{n}x4" for n in lengths]
    assert calls("len") == [3, 2, 2]  # lengths 1 1 2, then 3 4 and 5 6: a third would cost more than 12


def test_what_cannot_mix_is_kept_apart() -> None:
    p = pipe(LENGTH)
    list(p.map([{"t": "aa"}, {"t": "b"}, {"t": "cc"}]))
    assert sorted(calls("sh")) == [1, 2]


@pytest.mark.parametrize("order", [range(9), reversed(range(9))])
def test_cutting_depends_on_nothing_but_the_elements(order: Any) -> None:
    values = [torch.zeros(n % 4 + 1, 2) for n in order]
    batching = Batching(max_rows=3, cost="length", max_cost=8)
    batches = cut(batching, len(values), value=values.__getitem__)
    assert sorted(i for b in batches for i in b) == list(range(9))
    assert all(len(b) <= 3 and max(len(values[i]) for i in b) * len(b) <= 8 for b in batches)
    assert batches == cut(batching, len(values), value=values.__getitem__)


def test_a_row_that_costs_more_than_the_limit_still_runs_alone() -> None:
    batches = cut(Batching(cost="length", max_cost=3), 2, value=["aaaaaaa", "b"].__getitem__)
    assert batches == [[1], [0]]


def test_rows_are_grouped_by_named_axes() -> None:
    pictures = [torch.zeros(3, h, w) for h, w in ((8, 8), (8, 9), (8, 8))]
    batches = cut(Batching(group_by=("H", "W")), 3, value=pictures.__getitem__, kind="image")
    assert batches == [[0, 2], [1]]


NOISY = """
    inputs: {t: text}
    nodes: {z: {use: et/noisy, in: t}}
    outputs: {out: z}
"""


def test_the_noise_of_an_item_is_the_same_alone_in_any_batch_and_in_any_order() -> None:
    ids = ["a", "b", "c", "d", "e"]
    p = pipe(NOISY)
    together = {r.item: r.outputs["out"] for r in p.map([{"id": i, "t": i} for i in ids])}
    backwards = {r.item: r.outputs["out"] for r in p.map([{"id": i, "t": i} for i in reversed(ids)], batch=2)}
    alone = {i: next(p.map([{"id": i, "t": i}])).outputs["out"] for i in ids}
    for i in ids:
        assert torch.equal(together[i], backwards[i]) and torch.equal(together[i], alone[i])
    assert not torch.equal(together["a"], together["b"])


def test_another_seed_gives_other_noise() -> None:
    a, b, again = (pipe(NOISY, seed=s)(t="x")["out"] for s in (0, 1, 0))
    assert not torch.equal(a, b)
    assert torch.equal(a, again)


def test_what_depends_only_on_defaults_is_computed_once_a_run() -> None:
    p = pipe("""
        inputs: {t: text, avoid: {kind: text, default: none}}
        nodes: {once: {use: et/sift, in: avoid}, j: {use: et/join, in: {a: t, b: once}}}
        outputs: {out: j}
    """)
    results = list(p.map([{"t": str(i)} for i in range(5)], batch=2))
    assert [r.outputs["out"] for r in results] == [f"{i}+none" for i in range(5)]
    assert calls("once") == [1]
    mixed = list(p.map([{"t": "a"}, {"t": "b", "avoid": "this"}]))
    assert [r.outputs["out"] for r in mixed] == ["a+none", "b+this"]


def test_noise_that_depends_only_on_defaults_is_the_same_for_whoever_takes_the_default() -> None:
    spec = """
        inputs: {t: text, u: {kind: text, default: d}}
        nodes: {z: {use: et/noisy, in: u}, j: {use: et/join, in: {a: t}}}
        outputs: {out: z, j: j}
    """
    alone = pipe(spec)(t="a")["out"]
    mixed = list(pipe(spec).map([{"t": "a"}, {"t": "b", "u": "own"}]))
    assert torch.equal(alone, mixed[0].outputs["out"])
    assert not torch.equal(alone, mixed[1].outputs["out"])


def test_a_default_list_of_a_run_is_mapped_and_gathered() -> None:
    p = pipe("""
        inputs: {t: text, labels: {kind: text*, default: [a, b]}}
        nodes:
          s: {use: et/sift, in: labels}
          g: {use: et/gather, in: {values: s}}
          j: {use: et/join, in: {a: t, b: g}}
        outputs: {out: j, each: s}
    """)
    results = list(p.map([{"t": "1"}, {"t": "2"}]))
    assert [r.outputs for r in results] == [
        {"out": "1+[a,b]", "each": ["a", "b"]}, {"out": "2+[a,b]", "each": ["a", "b"]},
    ]  # fmt: skip
    assert calls("s") == [2]


JOIN = """
    inputs: {t: text}
    nodes: {j: {use: et/join, in: {a: t, b: t}}}
    outputs: {out: j}
"""


def test_an_item_may_set_options_that_the_card_marks_per_item() -> None:
    items = [{"t": "a"}, {"t": "b", "with": {"sign": "-"}}, {"t": "c", "with": {"j": {"sign": "*"}}},
             {"t": "d", "with": {"sing": "-"}}, {"t": "e", "with": {"sign": 3}}]  # fmt: skip
    results = list(pipe(JOIN).map(items))
    assert [r.outputs.get("out") for r in results] == ["a+a", "b-b", "c*c", None, None]
    assert "did you mean sign" in str(results[3].error)
    assert "sign" in str(results[4].error)


def test_a_component_is_shared_by_every_node_of_its_owner() -> None:
    p = pipe("""
        inputs: {t: text}
        nodes:
          len: {use: et/length, in: t}
          one: {use: et/linear, weights: "random:0", in: len}
          two: {of: one, in: one}
        outputs: {out: two}
    """)
    found = p(t="abc")["out"]
    layer = p.components.get("one").component.layer
    x = torch.arange(3.0)[:, None].expand(-1, 4)
    assert torch.allclose(found, layer(layer(x)), atol=1e-6)
    assert not layer.weight.requires_grad
    assert sorted(p.components._built) == ["len", "one"]


def test_a_loop_calls_the_component_that_it_was_given() -> None:
    p = pipe("""
        inputs: {t: text}
        nodes:
          j: {use: et/join}
          l: {use: et/loop, in: {text: t, step: {of: j}}}
        outputs: {out: l}
    """)
    assert p(t="a")["out"] == "a+-+-"


def test_prepared_values_reach_the_method() -> None:
    p = pipe("""
        inputs: {t: text}
        nodes: {s: {use: et/sums, in: t}}
        outputs: {out: s}
    """)
    assert p(t="abcd")["out"] == "n4"


def test_an_unmapped_edge_hands_on_the_very_same_rows() -> None:
    seen: list[Rows] = []

    class Watch:
        def run(self, ctx: Any, x: Rows) -> dict[str, Rows]:
            seen.append(x)
            return {"x": x}

    graph = chain(4)
    p = Pipeline(make_plan(graph), Components(graph, overrides={n: Watch() for n in graph.nodes}))
    assert p(x="a")["y"] == "a"
    assert len(seen) == 4 and all(rows is seen[0] for rows in seen)


def test_text_is_streamed_with_the_item_and_the_node_it_belongs_to() -> None:
    p = pipe("""
        inputs: {ask: text}
        nodes: {think: {use: et/think, in: {message: ask}}}
        outputs: {text: think.text}
    """)
    told: list[tuple[str, str, str]] = []
    items = [p.item({"ask": a}, a) for a in ("x", "y")]
    list(p.run(items, emit=lambda *what: told.append(what)))
    assert told == [("x", "think", "x|0|"), ("y", "think", "y|0|")]
