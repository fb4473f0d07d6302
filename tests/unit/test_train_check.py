"""Stages of training as graphs: what is derived, and every mistake told before anything is loaded."""

from __future__ import annotations

from typing import Any

import pytest

from anyany.spec.check import check_text

HEAD = """
anyany: 1
name: t
inputs: {prompt: message}
nodes:
  look: {use: vision/clip, weights: "random:0", with: tiny, in: prompt.image}
  see: {use: adapters/mlp, weights: "random:0", in: look.patches}
  think:
    use: language/causal-lm
    weights: "random:0"
    with: {preset: tiny, signals: {image: 2}}
    in: {message: prompt, image: see}
  to_image: {use: adapters/linear, weights: "random:0", in: think.image}
  draw: {use: image_heads/diffusion, weights: "random:0", with: {preset: tiny, n: 2, cond: 8}, in: to_image}
outputs: {reply: {fill: think.reply, image: draw}}
train:
  data: {use: sources/jsonl, with: {path: pairs.jsonl}, fields: {prompt: message, reply: message, caption: text}}
  stages:
"""
STAGE = """    - name: align-in
      learn: [see]
      start: {see: "random:1"}
      feed: {prompt: data.prompt, think.target: data.reply}
      minimise: {think.loss: 1.0}
      steps: 20
      optim: {lr: 1.0e-3}
"""


def checked(stage: str = STAGE, **changes: str) -> Any:
    text = HEAD + stage
    for old, new in changes.values():
        assert old in text
        text = text.replace(old, new)
    return check_text(text, "t.yaml")


def codes(found: Any) -> list[str]:
    return [p.code for p in found.problems if p.is_error]


def test_a_stage_swaps_the_teach_call_in_and_leaves_out_what_no_loss_needs() -> None:
    found = checked()
    assert codes(found) == []
    (stage,) = found.stages
    graph = stage.part.graph
    assert set(graph.nodes) == {"look", "see", "think", "data"}
    assert graph.nodes["think"].call_name == "learn"
    assert graph.nodes["see"].weights == ("random:1",)
    assert stage.part.feeds == {"prompt": "prompt", "data.reply": "reply"}
    assert stage.part.targets == {"think.loss": 1.0}
    assert found.expect().nodes["think"].call_name == "generate"


def test_settings_of_a_stage_lie_over_those_of_all_stages() -> None:
    found = checked(a=("  stages:\n", "  batch: 8\n  optim: {lr: 0.5, weight_decay: 0.2}\n  stages:\n"))
    settings = found.stages[0].settings
    assert settings["batch"] == 8
    assert settings["steps"] == 20
    assert settings["optim"]["lr"] == 1e-3
    assert settings["optim"]["weight_decay"] == 0.2


def test_added_nodes_take_fields_of_the_data() -> None:
    stage = STAGE.replace("think.target: data.reply", "").replace("{think.loss: 1.0}", "{again.loss: 0.5}") + (
        "      add:\n        again: {of: think, call: learn, in: {message: prompt, image: see, target: data.reply}}\n"
    )
    found = checked(stage)
    assert codes(found) == []
    part = found.stages[0].part
    assert part.graph.nodes["again"].owner == "think"
    assert part.feeds == {"prompt": "prompt", "data.reply": "reply"}
    assert part.targets == {"again.loss": 0.5}


@pytest.mark.parametrize(
    ("old", "new", "code", "told"),
    [
        ("learn: [see]", "learn: [sea]", "E704", "did you mean `see`"),
        ("learn: [see]", "learn: [to_image]", "E701", "no gradient of `think.loss` reaches it"),
        ("data.reply}", "data.repy}", "E703", "did you mean `reply`"),
        ("think.target: data", "think.tarot: data", "E112", "target"),
        ("feed: {prompt: data.prompt, ", "feed: {", "E703", "needs input `prompt`"),
        ("feed: {prompt: data.prompt,", "feed: {prompt: data.caption,", "E703", "field `caption` is `text`"),
        ("minimise: {think.loss: 1.0}", "minimise: {look.patches: 1.0}", "E702", "not a loss"),
        ("minimise: {think.loss: 1.0}", "minimise: {thick.loss: 1.0}", "E702", "did you mean `think`"),
        ("      minimise: {think.loss: 1.0}\n", "", "E705", "no `minimise`"),
        ("name: align-in", "nam: align-in", "E705", "no `name`"),
        ("steps: 20", "steps: 0", "E707", "1 or more"),
        ("steps: 20", "stepps: 20", "E040", "did you mean `steps`"),
        ("optim: {lr: 1.0e-3}", "optim: {rate: 1.0e-3}", "E707", "no key `rate`"),
        ("use: sources/jsonl", "use: sources/jsonn", "E101", "did you mean"),
        ("use: sources/jsonl, with: {path: pairs.jsonl}", "use: transforms/first", "E708", "no source"),
        ("path: pairs.jsonl", "paht: pairs.jsonl", "E105", "did you mean `path`"),
        ("learn: [see]", "lora: {see: {rank: 0}}", "E707", "rank"),
    ],
)
def test_a_mistake_in_a_stage_is_told_with_its_place(old: str, new: str, code: str, told: str) -> None:
    found = checked(a=(old, new))
    assert code in codes(found)
    problem = next(p for p in found.problems if p.code == code)
    assert told in f"{problem.message} {problem.help} {problem.expected}"
    assert problem.mark is not None
    assert found.stages == () or code == "E707"


def test_training_sections_of_two_stages_are_checked_each() -> None:
    found = checked(STAGE + STAGE.replace("align-in", "again").replace("learn: [see]", "learn: [nobody]"))
    assert codes(found) == ["E704"]
    assert checked(STAGE + STAGE).problems[0].code == "E705"


@pytest.mark.parametrize(("bound", "code"), [("at_least: {sane: 0.9}", "E709"), ("at_most: {same: high}", "E041")])
def test_a_bound_is_a_number_for_something_that_is_measured(bound: str, code: str) -> None:
    validate = """      validate:
        add: {same: {use: metrics/exact-match, in: {found: think.text, wanted: data.reply}}}
        measure: [same]
        BOUND
"""
    assert codes(checked(STAGE + validate.replace("BOUND", "at_least: {same: 0.9}"))) == []
    assert codes(checked(STAGE + validate.replace("BOUND", bound))) == [code]
