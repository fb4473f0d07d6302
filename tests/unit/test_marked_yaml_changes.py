"""Marked YAML changed by --set or built in Python, and 2,400 mutations that must never raise."""

from __future__ import annotations

import math
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from plugins_for_tests.marked_texts import SPEC

from anyany.errors import Mark
from anyany.errors.render import render
from anyany.spec.marked import (
    SET,
    Marked,
    apply_sets,
    at,
    find,
    from_python,
    parse,
    set_path,
    to_plain,
)

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=[False, True], ids=["libyaml", "pure"])
def pure(request):
    return request.param


# --set


@pytest.mark.parametrize(
    ("setting", "path", "meaning"),
    [
        ("name=other", "name", "other"), ("nodes.see.with.queries=64", "nodes.see.with.queries", 64),
        ("nodes.see.with.inner.deep=[1, {a: b}]", "nodes.see.with.inner.deep", [1, {"a": "b"}]),
        ("outputs.reply.image.1=all*", "outputs.reply.image", ["draw", "all*"]),
        ("nodes.look.weights=hub:a/b@c#d=e", "nodes.look.weights", "hub:a/b@c#d=e"),
        ("nodes.new.use=acme/dino", "nodes.new", {"use": "acme/dino"}), ("about=null", "about", None),
        ("inputs.prompt=text?", "inputs.prompt", "text?"),
    ],
)  # fmt: skip
def test_set_replaces_or_adds_a_value(setting, path, meaning):
    root, _ = parse(SPEC, "spec.yaml")
    before = to_plain(root)
    changed, problems, text = apply_sets(root, [setting])
    assert problems == [] and to_plain(find(changed, path)) == meaning and text == setting
    assert to_plain(root) == before


def test_set_keeps_everything_else_and_marks_the_new_value_by_its_setting():
    root, _ = parse(SPEC, "spec.yaml")
    changed, _, _ = apply_sets(root, ["name=x", "nodes.see.with.queries=64"])
    assert at(changed, "nodes.see.with.queries") == Mark(SET, 2, 24, 2)
    assert at(changed, "nodes.see.with.bias") == at(root, "nodes.see.with.bias")
    assert list(to_plain(changed)) == list(to_plain(root))


def test_set_below_a_preset_keeps_the_preset():
    root, _ = parse("nodes: {see: {use: a/b, with: tiny}}", "spec.yaml")
    changed, _ = set_path(root, "nodes.see.with.width", "8")
    assert to_plain(changed)["nodes"]["see"]["with"] == {"preset": "tiny", "width": 8}


def test_set_takes_python_values_too():
    root, _ = parse(SPEC, "spec.yaml")
    changed, problems = set_path(root, "nodes.see.with", {"queries": 4, "no": [None, 1e-9, True]})
    assert problems == [] and to_plain(find(changed, "nodes.see.with")) == {"queries": 4, "no": [None, 1e-9, True]}
    assert [p.code for p in set_path(root, "name", object())[1]] == ["E905"]


@pytest.mark.parametrize(
    ("setting", "code"),
    [
        ("name", "E905"), ("=x", "E905"), ("a..b=1", "E905"), ("name=", "E905"), ("name.first=x", "E905"),
        ("outputs.reply.image.9=x", "E905"), ("outputs.reply.image.first=x", "E905"),
        (".".join("a" * 99) + "=1", "E905"),
        ("name=[1, 2", "E014"), ("name=@x", "E016"), ("name=yes", "E027"), ("name=*x", "E022"), ("name=\x00", "E004"),
    ],
)  # fmt: skip
def test_set_that_makes_no_sense_is_an_error_and_changes_nothing(setting, code):
    root, _ = parse(SPEC, "spec.yaml")
    changed, problems, text = apply_sets(root, ["about=fine", setting])
    assert [p.code for p in problems] == [code]
    assert problems[0].mark.file == SET and problems[0].mark.line == 2
    assert to_plain(changed) == {**to_plain(root), "about": "fine"}
    render(problems, {SET: text}, colour=False).encode("utf-8")


# specs built in Python


def test_a_spec_built_in_python_is_the_same_tree_with_lines_to_show():
    plain = to_plain(parse(SPEC, "spec.yaml")[0])
    plain["more"] = {"no": "yes", "n": 1e-20, "t": "1", "é": 'a "b"\n: c', "": {}, "l": [[], {"a": {"b": {"c": 1}}}]}
    root, problems, text = from_python(plain)
    assert problems == [] and to_plain(root) == plain
    mark = at(root, "nodes.see.with.queries")
    assert text.splitlines()[mark.line - 1][mark.column - 1 :].startswith("32")
    assert to_plain(from_python({"a": (1, 2), "i": math.inf, "j": -math.inf})[0]) == {
        "a": [1, 2], "i": math.inf, "j": -math.inf,
    }  # fmt: skip


def test_values_that_a_spec_cannot_hold_are_told_with_their_path():
    loop: dict = {}
    loop["a"] = loop
    for bad, path in (
        ({"nodes": {"see": {"in": Path("x")}}}, "nodes.see.in"), ({"a": [1, {1, 2}]}, "a.1"), ({"a": {1: 2}}, "a"),
        ({"a": math.nan}, "a"), ({"a": b"x"}, "a"), (loop, ".".join("a" * 65)),
    ):  # fmt: skip
        root, problems, _ = from_python(bad)
        assert root is None and [(p.code, p.path) for p in problems] == [("E034", path)]
    assert [p.code for p in from_python({"a": 10**400})[1]] == ["E030"]
    assert [p.code for p in from_python([1])[1]] == ["E006"]


# nothing ever raises


def _mutated(rng, text):
    """One to four random edits: characters, lines, indentation and pieces of syntax."""
    pieces = "\t|: |:|- |{|}|[|]|'|\"|*|&a |*a|!x |? |?|>|%|@|`|#|---|...|\n|\r|\u2028|\x85|\0|\ufeff|\\|yes|1e-4"
    pieces = [*pieces.split("|"), "|", "<<: ", "~", "é", "\U0001f600", ",", "010", "\ud800"]
    for _ in range(rng.randint(1, 4)):
        lines = text.split("\n")
        spot = rng.randrange(len(text) + 1)
        row = rng.randrange(len(lines))
        match rng.randrange(7):
            case 0:
                text = text[:spot] + rng.choice(pieces) + text[spot:]
            case 1:
                text = text[:spot] + text[spot + rng.randint(1, 9) :]
            case 2:
                lines[row] = " " * rng.randint(0, 9) + lines[row].strip()
                text = "\n".join(lines)
            case 3:
                lines.insert(row, rng.choice(lines))
                text = "\n".join(lines)
            case 4:
                text = text[:spot]
            case 5:
                text = text[:spot] + chr(rng.choice([rng.randrange(128), rng.randrange(0x3000)])) + text[spot:]
            case _:
                other = rng.randrange(len(text) + 1)
                text = text[:spot] + text[min(spot, other) : max(spot, other)] + text[spot:]
    return text


@pytest.mark.parametrize(("parser", "count"), [("libyaml", 2000), ("pure", 400)])
def test_no_mutation_of_a_spec_ever_raises(parser, count):
    rng = random.Random(20)
    broken = 0
    for _ in range(count):
        text = _mutated(rng, SPEC)
        root, problems = parse(text, "spec.yaml", parser == "pure")
        assert isinstance(root, Marked) or problems
        shown = render(problems, {"spec.yaml": text}, colour=False)
        shown.encode("utf-8")
        assert not re.search(r"Traceback|yaml\.|object at 0x", shown)
        lines = re.split("\r\n|[\r\n\x85\u2028\u2029]", text.removeprefix("\ufeff"))
        for found in problems:
            assert 1 <= found.mark.line <= len(lines) + 1 and found.mark.column >= 1 and found.help
        broken += any(p.is_error for p in problems)
    assert broken > count // 3  # the mutations do bite


def test_random_bytes_never_raise():
    rng = random.Random(7)
    for _ in range(300):
        data = bytes(rng.choice(b" \n:-{}[]'\"*&!?|>%@`#,a1\t\\") for _ in range(rng.randint(0, 60)))
        root, problems = parse(data, "spec.yaml")
        assert root is not None or problems
        assert parse(data, "spec.yaml", pure=True)[0] is not None or parse(data, "spec.yaml", pure=True)[1]


def test_both_parsers_agree_on_what_good_text_means():
    rng = random.Random(3)
    agreed = 0
    for _ in range(300):
        text = _mutated(rng, SPEC)
        (one, first), (two, second) = parse(text, "s"), parse(text, "s", pure=True)
        if not first and not second:
            assert to_plain(one) == to_plain(two)
            agreed += 1
    assert agreed > 20


def test_marked_yaml_imports_no_heavy_library():
    code = (
        "import sys; from anyany.spec.marked import parse; before = 'yaml' in sys.modules; parse('a: 1', 'x');"
        "heavy = {'torch', 'numpy', 'transformers', 'logging', 'asyncio', 'importlib.metadata'} & set(sys.modules);"
        "print(before, 'anyany.errors.catalogue' in sys.modules, heavy)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.strip() == "False False set()"
