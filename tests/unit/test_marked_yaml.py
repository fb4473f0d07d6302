"""Marked YAML: what every scalar means, where everything stands, and how every mistake is told.

The two parsers (libyaml and PyYAML's own) are both fed, so that specs mean the same on every machine.
"""

from __future__ import annotations

import math
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

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
    parse_file,
    parse_value,
    set_path,
    to_plain,
)
from anyany.spec.yaml_scalar import portable_float

ROOT = Path(__file__).resolve().parents[2]
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


@pytest.fixture(params=[False, True], ids=["libyaml", "pure"])
def pure(request):
    return request.param


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


# a good spec


def test_a_spec_is_read_with_the_place_of_every_value_and_key(pure):
    root, problems = parse(SPEC, "spec.yaml", pure)
    assert problems == []
    plain = to_plain(root)
    assert plain["inputs"] == {"prompt": "message", "labels": {"kind": "text*", "default": ["a cat", "a dog"]}}
    assert plain["nodes"]["see"]["with"] == {"queries": 32, "rate": 0.0001, "bias": False}
    assert list(plain) == ["anyany", "name", "about", "inputs", "nodes", "outputs", "profiles"]
    assert at(root, "nodes.see.with.queries") == Mark("spec.yaml", 11, 21, 2)
    assert at(root, "nodes.see.with.queries", key=True) == Mark("spec.yaml", 11, 12, 7)
    assert at(root, "nodes.look.weights") == Mark("spec.yaml", 8, 37, 17)
    assert at(root, "outputs.reply.image.1") == Mark("spec.yaml", 15, 44, 7)
    assert find(root, "nodes.see").end_mark.line in (12, 13)


def test_a_missing_path_gives_the_key_of_what_is_there(pure):
    root, _ = parse(SPEC, "spec.yaml", pure)
    assert at(root, "nodes.see.when") == root.get("nodes").key_marks["see"]
    assert at(root, "nodes.nobody.in") == Mark("spec.yaml", 7, 1, 5)
    assert at(root, "nothing") == root.mark == at(root, "")
    assert find(root, "nodes.see.in.0") is None and find(root, "outputs.reply.image.7") is None


def test_keys_with_dots_are_found():
    root, _ = parse("with: {a.b: {c: 1}}", "spec.yaml")
    assert find(root, "with.a.b.c").value == 1


def test_the_marked_tree_says_what_it_holds():
    root, _ = parse('a: {b: 1}\nc: [x]\nd: "1"\ne: 2.5\nf: ~\ng: true\nh: 7', "spec.yaml")
    shapes = [node.what for _, node in root.items()]
    assert shapes == ["a mapping", "a list", "a text", "a number", "nothing", "a boolean", "a whole number"]
    assert root.get("d").quoted and root.get("d").raw is None and root.get("h").raw == "7"
    assert root.get("z") is None and root.get("c").get("x") is None


def test_line_breaks_of_windows_and_a_byte_order_mark_change_nothing(pure):
    root, problems = parse("\ufeff" + SPEC.replace("\n", "\r\n"), "spec.yaml", pure)
    assert problems == []
    assert at(root, "nodes.see.with.queries") == Mark("spec.yaml", 11, 21, 2)
    assert to_plain(root) == to_plain(parse(SPEC.encode(), "spec.yaml", pure)[0])


def test_places_count_characters_not_bytes(pure):
    root, _ = parse("名前: {é: 日本}\n", "spec.yaml", pure)
    assert at(root, "名前.é") == Mark("spec.yaml", 1, 9, 2)


# scalars


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("1", 1), ("-3", -3), ("+7", 7), ("0", 0), ("0x1f", 31), ("1.5", 1.5), ("-.5", -0.5), ("1.", 1.0),
        ("1.0e-4", 0.0001), (".inf", math.inf), ("-.Inf", -math.inf), ("true", True), ("FALSE", False),
        ("null", None), ("~", None), ("tRue", "tRue"), ("x", "x"), ("1x", "1x"), ("vision/clip", "vision/clip"),
        ("text?", "text?"), ("photos*", "photos*"), ("9223372036854775807", 2**63 - 1), ("1.2.3", "1.2.3"),
        ("hub:a/b@c#d", "hub:a/b@c#d"), ("random:0", "random:0"), ("is it on", "is it on"), ("node", "node"),
    ],
)  # fmt: skip
def test_plain_scalars_follow_the_core_schema_of_yaml_1_2(text, meaning):
    root, problems = parse(f"a: {text}", "spec.yaml")
    found = root.get("a").value
    assert problems == [] and found == meaning and type(found) is type(meaning)


@pytest.mark.parametrize("word", ["on", "off", "yes", "no", "y", "n", "Yes", "NO", "On", "OFF", "Y"])
def test_switch_words_are_text_and_an_error_that_says_how_to_mean_them(word, pure):
    root, problems = parse(f"a: {word}", "spec.yaml", pure)
    assert root.get("a").value == word
    assert [p.code for p in problems] == ["E027"] and problems[0].path == "a"
    truth = "true" if word.lower() in ("on", "yes", "y") else "false"
    assert f"`{truth}`" in problems[0].help and f'`"{word}"`' in problems[0].help
    assert parse(f"a: '{word}'", "spec.yaml", pure)[1] == []


@pytest.mark.parametrize(
    ("text", "meaning", "code", "advice"),
    [
        ("1e-4", 0.0001, "W001", "1.0e-4"), ("1E5", 100000.0, "W001", "1.0e+5"), ("2.5e3", 2500.0, "W001", "2.5e+3"),
        ("010", 10, "E028", "`10`"), ("-007", -7, "E028", "`7`"), ("1_000", "1_000", "E029", "decimal"),
        ("0b11", "0b11", "E029", "decimal"), ("1:30", "1:30", "W003", '"1:30"'), ("0o17", 15, "W003", "decimal"),
        ("2020-01-01", "2020-01-01", "W003", '"2020-01-01"'), ("9" * 30, 0, "E030", "smaller"),
        ("9" * 5000, 0, "E030", "smaller"), ("9223372036854775808", 0, "E030", "smaller"),
        ("1e999", 0.0, "E030", "smaller"),
        ("nan", "nan", "W004", "leave"), ("-inf", "-inf", "W004", "-.inf"), ("Infinity", "Infinity", "W004", ".inf"),
    ],
)  # fmt: skip
def test_scalars_that_tools_read_differently_are_told(text, meaning, code, advice):
    root, problems = parse(f"a: {text}", "spec.yaml")
    assert root.get("a").value == meaning
    assert [p.code for p in problems] == [code] and advice in problems[0].help


def test_not_a_number_is_refused():
    assert only("a: .nan").code == "E031"


@pytest.mark.parametrize("text", ["1e-4", "1E5", "3", "2.e7", ".5e3"])
def test_the_advised_number_is_read_alike_by_yaml_1_1_and_1_2(text):
    import yaml

    advised = portable_float(text)
    assert yaml.safe_load(advised) == float(text) == parse(f"a: {advised}", "x")[0].get("a").value


@pytest.mark.parametrize("key", ["on", "yes", "true", "1", "2.5"])
def test_keys_are_always_text_and_odd_ones_are_warned_about(key, pure):
    root, problems = parse(f"{key}: x", "spec.yaml", pure)
    assert to_plain(root) == {key: "x"} and [p.code for p in problems] == ["W002"]
    assert f'"{key}":' in problems[0].help


def test_x_and_y_are_fine_as_keys():
    assert codes("at: {x: 1, y: 2, n: 3}") == []


@pytest.mark.parametrize("text", ["~: 1", "null: 1", "? [a]\n: 1", "{{x}}: 1", "a: {{x}}", "? {a: b}\n: c", ": 1"])
def test_keys_that_are_no_names_are_one_error_each(text, pure):
    assert codes(text, pure) == ["E032"]


# mistakes in the file


@pytest.mark.parametrize(
    ("data", "code", "place"),
    [
        (b"", "E005", (1, 1)), (b"# only a comment\n", "E005", (1, 1)), (b"a: 1\nb: \xff\n", "E003", (2, 4)),
        ("a: é".encode("utf-16"), "E003", (1, 1)), (b"\xef\xbb\xbfa: \xc3\x28", "E003", (1, 4)),
        (b"a: 1\nb: x\x00y\n", "E004", (2, 5)), (b"a: \x1b[2J", "E004", (1, 4)),
        (b"a: " + b"x" * 1_000_001, "E002", (1, 1)), (b"- a\n", "E006", (1, 1)), (b"text", "E006", (1, 1)),
        (b"a: 1\n---\nb: 2\n", "E007", (2, 1)), (b"...\n", "E007", (1, 1)), (b"a: " + b"[" * 5000, "E008", (1, 67)),
        (b"a:\n" + b"".join(b" " * n + b"- \n" for n in range(1, 99)), "E008", (65, 65)),
    ],
)  # fmt: skip
def test_files_that_are_no_spec_at_all(data, code, place, pure):
    found = only(data, pure)
    assert found.code == code and (found.mark.line, found.mark.column) == place


def test_a_lone_surrogate_in_text_given_in_python_is_an_error_too():
    assert only("a: \ud800").code == "E004"


def test_files_are_read_with_their_problems(tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_bytes(SPEC.encode())
    root, problems, text = parse_file(str(path))
    assert problems == [] and text == SPEC and at(root, "name").file == str(path)
    os.mkfifo(tmp_path / "pipe")
    for bad in (tmp_path, tmp_path / "gone.yaml", tmp_path / "pipe", Path("/dev/zero"), path / "x", Path("a\0b")):
        root, problems, _ = parse_file(str(bad))
        assert root is None and [p.code for p in problems] == ["E001"]


# mistakes in the syntax


@pytest.mark.parametrize(
    ("text", "code", "place", "advice"),
    [
        ("nodes:\n\tlook: x\n", "E011", (2, 1), "spaces"),
        ("a: 1\n\tb: 2\n", "E011", (2, 1), "spaces"),
        ("\ta: 1\n", "E011", (1, 1), "spaces"),
        ("a: 1\n b: 2\n", "E012", (2, 2), "align"),
        ("a:\n  b: 1\n c: 2\n", "E012", (3, 2), "align"),
        (" a: 1\nb: 2\n", "E012", (2, 1), "align"),
        ("a: 1\n- b\n", "E012", (2, 1), "key"),
        ("- a\nb: 1\n", "E012", (2, 1), "- "),
        ("a: - b\n", "E012", (1, 4), "next line"),
        ("a:b\nc: d\n", "E013", (1, 1), "`a: b`"),
        ("a: 1\nb:2\nc: 3\n", "E013", (2, 1), "`b: 2`"),
        ("a: {b:1}\n", "E013", (1, 5), "`b: 1`"),
        ("see:\n  use:adapters/mlp\n", "E013", (2, 3), "`use: adapters/mlp`"),
        ("a: 1\njust words\nb: 2\n", "E013", (2, 1), "key: value"),
        ("a: [1, 2\nb: 3\n", "E014", (1, 4), "]"),
        ("a: {x: 1\nb: 3\n", "E014", (1, 4), "}"),
        ("a: {b: [1, 2}\n", "E014", (1, 13), "]"),
        ("a: {b: 1 c: 2}\n", "E014", (1, 11), "comma"),
        ("a: [", "E014", (1, 4), "close"),
        ("a: 'abc\nb: 3\n", "E015", (1, 4), "close"),
        ('a: "abc\nb: 3\n', "E015", (1, 4), "close"),
        ('a: "abc\nb: "x"\n', "E015", (2, 5), "close"),
        ("a: @x\n", "E016", (1, 4), "quote"),
        ("a: `x`\n", "E016", (1, 4), "quote"),
        ("a: %x\n", "E016", (1, 4), "quote"),
        ("%x: 1\n", "E016", (1, 1), "quote"),
        ("a: &\n", "E016", (1, 4), "quote"),
        ("a: ? b\n", "E016", (1, 4), "quote"),
        ("a: b: c\n", "E017", (1, 5), "quote"),
        ("a: 'it's'\n", "E018", (1, 8), "''"),
        ('a: "x" y\n', "E018", (1, 8), "quotes"),
        ("a: [1] x\n", "E018", (1, 8), "quotes"),
        ('a: "C:\\models"\n', "E019", (1, 7), "single"),
        ("a: ]\n", "E020", (1, 4), "delete"),
        ("{a: 1}}\n", "E020", (1, 7), "delete"),
        ("a: ,\n", "E020", (1, 4), "delete"),
        ("a: [1,, 2]\n", "E020", (1, 7), "delete"),
        ("in: *photos\n", "E022", (1, 5), "`photos*`"),
        ("in: [*prompt.image, ask]\n", "E022", (1, 6), "`prompt.image*`"),
        ("a: !!python/object:os.system ls\n", "E024", (1, 4), "delete"),
        ("a: !include x\n", "E024", (1, 4), "delete"),
        ("a: !x!y z\n", "E024", (1, 4), "quote"),
        ("<<: {a: 1}\n", "E025", (1, 1), "write"),
        ("a: {b: text?}\n", "E026", (1, 8), '`"text?"`'),
        ("a: {b: 1, c}\n", "E033", (1, 11), "`c: value`"),
        ("a: |x\n b\n", "E010", (1, 5), "new line"),
    ],
)  # fmt: skip
def test_each_mistake_has_its_code_its_place_and_an_action(text, code, place, advice, pure):
    found = only(text, pure)
    assert (found.code, (found.mark.line, found.mark.column)) == (code, place)
    assert advice in found.help


def test_a_key_given_twice_names_the_first(pure):
    root, problems = parse("nodes:\n  see: {use: a/b}\n  look: {use: c/d}\n  see: {use: e/f}\n", "spec.yaml", pure)
    assert [p.code for p in problems] == ["E021"] and problems[0].path == "nodes.see"
    assert problems[0].mark == Mark("spec.yaml", 4, 3, 3)
    assert problems[0].related == ((Mark("spec.yaml", 2, 3, 3), "first defined at line 2"),)
    assert find(root, "nodes.see.use").value == "a/b"


def test_all_problems_below_the_syntax_are_collected_in_one_pass():
    text = "a: yes\na: 1\nb: {c, d: 010, e: *f}\ng: !x 1\n<<: {}\n"
    assert sorted(codes(text)) == ["E021", "E022", "E024", "E025", "E027", "E028", "E033"]


def test_tabs_in_several_lines_are_shown_together():
    found = only("a:\n\tb: 1\n\tc: 2\n")
    assert [mark.line for mark, _ in found.related] == [3]


def test_an_unclosed_bracket_shows_where_it_opens_and_where_it_was_noticed(pure):
    found = only("nodes:\n  look: {use: vision/clip\n  see: {use: adapters/mlp}\n", pure)
    assert found.mark == Mark("spec.yaml", 2, 9) and [mark.line for mark, _ in found.related] == [3]


def test_missing_spaces_are_mended_for_the_checks_that_follow():
    root, _ = parse("see: {use:adapters/mlp, in: x}\nlook:\n  use:vision/clip\n", "spec.yaml")
    assert to_plain(root) == {"see": {"use": "adapters/mlp", "in": "x"}, "look": {"use": "vision/clip"}}


def test_a_star_before_a_name_is_read_as_the_splice_that_was_meant():
    root, _ = parse("in: [*photos, ask]", "spec.yaml")
    assert to_plain(root) == {"in": ["photos*", "ask"]}


# anchors and aliases


def test_aliases_stand_for_their_anchor_and_have_their_own_place(pure):
    root, problems = parse("a: &x {b: [1, 2]}\nc: *x\n", "spec.yaml", pure)
    assert problems == [] and to_plain(root)["c"] == {"b": [1, 2]}
    assert at(root, "c") == Mark("spec.yaml", 2, 4, 2)


def test_aliases_that_explode_or_contain_themselves_are_stopped(pure):
    levels = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 20))
    assert codes(f"a0: &a0 [x, x]\n{levels}\n", pure) == ["E023"]
    assert codes("a: &a [1, *a]", pure) == ["E023"]
    assert codes("a: &a {b: *a}", pure) == ["E023"]


def test_a_flood_of_values_or_of_problems_is_cut():
    assert codes("a: [" + "1," * 100_001 + "]") == ["E002"]
    flood = codes("a: [" + "yes," * 5_000 + "]")
    assert len(flood) == 101 and flood[-1] == "E009"


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
