"""A good spec and what `parse` says of texts, shared by the tests of marked YAML."""

from __future__ import annotations

from anyany.errors.render import render
from anyany.spec.marked import parse, parse_value, to_plain

SPEC = """\
anyany: 1
name: nextgpt
about: Text, pictures and sound in.   # a comment
inputs:
  prompt: message
  labels: {kind: text*, default: [a cat, "a dog"]}
nodes:
  look: {use: vision/clip, weights: "hub:openai/clip", in: prompt.image}
  see:
    use: adapters/qformer
    with: {queries: 32, rate: 1.0e-4, bias: false}
    in: look
  think: {use: language/causal-lm, with: {signals: {image: 4}}, in: {message: prompt, image: see}}
outputs:
  reply: {fill: think.reply, image: [draw, photos*]}
profiles:
  "*": {device: cuda}
"""


def codes(text, pure=False):
    root, problems = parse(text, "spec.yaml", pure)
    render(problems, {"spec.yaml": text if isinstance(text, str) else ""}, colour=False).encode("utf-8")
    assert root is not None or problems
    return [p.code for p in problems]


def only(text, pure=False):
    _, problems = parse(text, "spec.yaml", pure)
    assert len(problems) == 1, [(p.code, p.message) for p in problems]
    return problems[0]


def value(text):
    root, _ = parse_value(text, "spec.yaml")
    return to_plain(root)
