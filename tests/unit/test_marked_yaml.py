"""Marked YAML: what every scalar means, where everything stands, and how every mistake is told.

The two parsers (libyaml and PyYAML's own) are both fed, so that specs mean the same on every machine.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest
from plugins_for_tests.marked_texts import SPEC, codes, only

from anyany.errors import Mark
from anyany.spec.marked import (
    at,
    find,
    parse,
    parse_file,
    to_plain,
)
from anyany.spec.yaml_scalar import portable_float

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=[False, True], ids=["libyaml", "pure"])
def pure(request):
    return request.param


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
