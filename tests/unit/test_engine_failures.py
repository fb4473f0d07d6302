"""Failures: bad items stand alone, memory halves the batch, broken promises are named, wrong calls are exceptions."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from plugins_for_tests import engine_toys
from plugins_for_tests.engine_pipes import calls, pipe, registry

from anyany.engine.build import Components
from anyany.engine.context import Cancelled
from anyany.errors import CallError, EnvironmentProblem, SpecError
from anyany.pipeline import ItemError, load

SIFT = """
    inputs: {t: text}
    nodes: {s: {use: et/sift, in: t}, j: {use: et/join, in: {a: s}}}
    outputs: {out: j}
"""


def test_one_bad_item_in_a_batch_fails_alone_and_the_others_are_right() -> None:
    items = [{"t": "bad!" if i in (3, 11) else f"t{i}"} for i in range(16)]
    results = list(pipe(SIFT).map(items))
    assert [r.item for r in results if r.status == "failed"] == ["3", "11"]
    assert [r.outputs["out"] for r in results if r.status == "ok"] == [f"t{i}+-" for i in range(16) if i not in (3, 11)]
    failed = results[3].error
    assert failed is not None and failed.node == "s" and failed.code == "E601" and "bad!" in failed.message


def test_a_bad_element_of_a_list_fails_its_item_alone() -> None:
    p = pipe("""
        inputs: {words: text*}
        nodes: {s: {use: et/sift, in: words}, g: {use: et/gather, in: {values: s}}}
        outputs: {out: g, each: s}
    """)
    results = list(p.map([{"words": ["a", "!"]}, {"words": ["b", "c"]}, {"words": []}]))
    assert [r.status for r in results] == ["failed", "ok", "ok"]
    assert [r.outputs["out"] for r in results[1:]] == ["[b,c]", "[]"]


def test_out_of_memory_halves_the_batch_until_it_fits_and_says_so() -> None:
    p = pipe(SIFT)
    results = list(p.map([{"t": f"{i}#"} for i in range(4)]))
    assert [r.outputs["out"] for r in results] == [f"{i}#+-" for i in range(4)]
    assert any("out of memory" in note for note in p.recorder.nodes["s"].notes)


def test_a_component_that_breaks_its_promise_is_named() -> None:
    p = pipe("""
        inputs: {t: text}
        nodes: {lie: {use: et/liar, in: t}}
        outputs: {out: lie}
    """)
    with pytest.raises(ItemError, match=r"E607.*lie: it gave 2 rows of 'text' for 1"):
        p(t="a")


def test_what_an_item_lacks_or_has_too_much_is_its_own_failure_in_map() -> None:
    results = list(pipe(SIFT).map([{}, {"t": "a", "T": 1}, {"t": 3}, {"t": "a"}]))
    assert [r.error.code if r.error else None for r in results] == ["E602", "E603", "E909", None]
    assert results[1].error is not None and "did you mean" in results[1].error.help


def test_wrong_calls_of_one_item_are_call_errors() -> None:
    p = pipe(SIFT)
    with pytest.raises(CallError, match="E903"):
        p()
    with pytest.raises(CallError, match=r"E902(.|\n)*did you mean t"):
        p(t="a", tt="b")


def test_wanting_what_is_not_there_is_a_call_error() -> None:
    with pytest.raises(CallError, match=r"E904(.|\n)*out"):
        pipe(SIFT, want="uot")
    with pytest.raises(CallError, match="E904"):
        pipe(SIFT, want="out.image")


def test_a_wrong_spec_is_a_spec_error_with_its_place() -> None:
    with pytest.raises(SpecError, match=r"spec:\d+:\d+"):
        pipe(SIFT.replace("et/join", "et/jion"))


def test_weights_that_are_not_there_are_refused_before_anything_is_built() -> None:
    spec = """
        inputs: {t: text}
        nodes: {len: {use: et/length, in: t}, lin: {use: et/linear, weights: "file:nowhere.safetensors", in: len}}
        outputs: {out: lin}
    """
    with pytest.raises(SpecError, match=r"nowhere\.safetensors"):
        pipe(spec)


def test_too_little_memory_is_refused_with_what_would_be_needed() -> None:
    spec = """
        inputs: {t: text}
        nodes: {len: {use: et/length, in: t}, lin: {use: et/linear, weights: "random:0", in: len}}
        outputs: {out: lin}
    """
    with pytest.raises(EnvironmentProblem, match=r"E610(.|\n)*lin 80 B"):
        pipe(spec, memory="79B")
    assert pipe(spec, memory=80)(t="ab")["out"].shape == (2, 4)
    with pytest.raises(CallError, match="E906"):
        pipe(spec, memory="lots")


def test_a_device_that_is_not_there_is_refused_before_anything_is_built() -> None:
    spec = """
        inputs: {t: text}
        nodes: {len: {use: et/length, in: t, device: "cuda:63"}}
        outputs: {out: len}
    """
    with pytest.raises(EnvironmentProblem, match=r"E803(.|\n)*cuda:63"):
        pipe(spec)


def test_a_failed_item_of_a_remote_component_stands_alone() -> None:
    p = pipe("""
        inputs: {t: text}
        nodes: {far: {use: et/remote, in: t}}
        outputs: {out: far}
    """)
    results = list(p.map([{"t": t} for t in ("a", "bad", "c", "d", "e")]))
    assert [r.outputs.get("out") for r in results] == ["A", None, "C", "D", "E"]
    assert results[1].error is not None and "refused" in results[1].error.message


def test_a_run_that_is_stopped_gives_what_is_done() -> None:
    p = pipe(SIFT)
    stop = threading.Event()
    made = (p.item({"t": str(i)}, str(i)) for i in range(100))
    got = []
    for result in p.run(made, batch=4, stop=stop.is_set):
        got.append(result.item)
        stop.set()
    assert got == ["0", "1", "2", "3"]


def test_cancelling_inside_a_component_ends_the_run() -> None:
    class Stubborn:
        def run(self, ctx: Any, text: Any) -> Any:
            ctx.check()
            raise AssertionError("not reached")

    p = pipe(SIFT)
    p.components = Components(p.graph, overrides={"s": Stubborn(), "j": engine_toys.Join(None, None)})
    with pytest.raises(Cancelled):
        list(p.run([p.item({"t": "a"}, "0")], stop=lambda: True))


def test_failures_in_one_chunk_leave_later_chunks_alone() -> None:
    p = pipe(SIFT)
    results = list(p.map([{"t": "!"}, {"t": "!"}, {"t": "a"}], batch=2))
    assert [r.status for r in results] == ["failed", "failed", "ok"]
    assert calls("j") == [1]


def test_a_spec_may_be_a_mapping() -> None:
    spec = {
        "anyany": 1, "inputs": {"t": "text"}, "nodes": {"s": {"use": "et/sift", "in": "t"}}, "outputs": {"out": "s"},
    }  # fmt: skip
    assert load(spec, registry=registry())(t="a") == {"out": "a"}


def test_what_cannot_be_prepared_fails_its_item_alone() -> None:
    p = pipe("""
        inputs: {t: text}
        nodes: {s: {use: et/sums, in: t}}
        outputs: {out: s}
    """)
    results = list(p.map([{"t": "abc"}, {"t": "-"}, {"t": "de"}]))
    assert [r.outputs.get("out") for r in results] == ["n3", None, "n2"]
    assert results[1].error is not None and "cannot be measured" in results[1].error.message
