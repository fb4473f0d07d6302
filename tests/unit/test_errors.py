"""The catalogue, problems, the caret renderer, did-you-mean and exit codes.

Rendered text is compared whole where its layout is the point.
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from anyany.errors import CATALOGUE, CallError, EnvironmentProblem, Mark, SpecError, explain, problem
from anyany.errors import exit as exits
from anyany.errors.pages import pages
from anyany.errors.pages import write as write_pages
from anyany.errors.render import WIDEST, caret_line, render, wants_colour
from anyany.errors.suggest import FAR, did_you_mean, distance, suggest

ROOT = Path(__file__).resolve().parents[2]
NAMES = [
    "vision/clip",
    "vision/vit",
    "adapters/mlp",
    "adapters/linear",
    "adapters/qformer",
    "language/causal-lm",
    "image_heads/diffusion",
    "audio/whisper-encoder",
]
SPEC = "nodes:\n  look: {use: vision/clip}\n  see: {use: vison/clip, in: look}\n"


def finding(**changes):
    base = {"path": "nodes.see.use", "mark": Mark("spec.yaml", 3, 14, 10), "help": "did you mean `vision/clip`?"}
    return problem("E101", "no component `vison/clip`", **{**base, **changes})


# the catalogue


def test_every_code_is_well_formed_and_its_entry_complete():
    assert len(CATALOGUE) >= 70
    for code, entry in CATALOGUE.items():
        assert re.fullmatch(r"[EW]\d{3}", code)
        assert entry.title and entry.explanation and entry.fix, code
        assert not entry.title.endswith("."), code
        assert len(entry.title) <= 80, code


def test_the_pages_in_docs_are_those_of_the_catalogue():
    on_disk = {path.name: path.read_text("utf-8") for path in (ROOT / "docs" / "errors").glob("*.md")}
    assert on_disk == pages(), "run `python -m anyany.errors.pages`"


def test_writing_pages_removes_those_of_codes_that_are_gone(tmp_path):
    (tmp_path / "E000.md").write_text("old")
    assert write_pages(tmp_path) == len(CATALOGUE) + 1
    assert not (tmp_path / "E000.md").exists()
    assert (tmp_path / "E021.md").read_text("utf-8").startswith("# E021: ")


def test_the_index_links_every_page():
    index = pages()["README.md"]
    assert all(f"({code}.md)" in index for code in CATALOGUE)


def test_media_and_weights_codes_are_in_the_catalogue():
    from anyany.media.errors import CODES as MEDIA
    from anyany.weights.errors import CODES as WEIGHTS

    assert (MEDIA.keys() | WEIGHTS.keys()) <= CATALOGUE.keys()


def test_every_code_that_the_source_names_is_in_the_catalogue():
    files = [path for folder in ("anyany", "plugins") for path in (ROOT / folder).rglob("*.py")]
    named = {code for path in files for code in re.findall(r"\"([EW]\d{3})\"", path.read_text("utf-8"))}
    assert len(named) > 100 and named <= CATALOGUE.keys(), sorted(named - CATALOGUE.keys())


def test_explain_takes_any_case_and_knows_when_it_does_not_know():
    text = explain(" e021 ")
    assert text is not None and text.startswith("E021: ") and "What to do: " in text and "    nodes:" in text
    assert explain("E000") is None


def test_a_problem_with_an_unknown_code_is_a_bug_of_ours():
    with pytest.raises(AssertionError):
        problem("E000", "no such code")


# problems and exceptions


def test_json_has_exactly_the_promised_keys():
    found = finding(expected="features", found="image").to_json()
    assert found == {
        "code": "E101",
        "file": "spec.yaml",
        "line": 3,
        "column": 14,
        "path": "nodes.see.use",
        "message": "no component `vison/clip` (expected features, found image)",
        "help": "did you mean `vision/clip`?",
    }
    assert json.loads(json.dumps(found)) == found


def test_a_problem_without_place_has_null_file_line_and_column():
    found = problem("E803", "no CUDA device").to_json()
    assert (found["file"], found["line"], found["column"]) == (None, None, None)


def test_exceptions_show_the_rendered_text_and_know_their_exit_code():
    error = SpecError([finding()], {"spec.yaml": SPEC})
    assert "^^^^^^^^^^" in str(error) and str(error).endswith("1 error")
    assert (error.exit_code, CallError([]).exit_code, EnvironmentProblem([]).exit_code) == (2, 2, 3)


def test_exit_codes_of_lists_of_problems():
    assert exits.code_for([]) == 0
    assert exits.code_for(["W001"]) == 0
    assert exits.code_for(["W001", "E803"]) == 3
    assert exits.code_for(["E803", "E101"]) == 2


# the renderer


def test_an_error_is_shown_with_its_line_carets_related_places_and_help():
    found = finding(
        expected="features [N, D]",
        found="image",
        related=((Mark("spec.yaml", 2, 3, 4), "the edge starts here"), (Mark("plugin.py", 1, 1), "declared here")),
    )
    assert render([found], {"spec.yaml": SPEC}, colour=False) == (
        "error[E101] spec.yaml:3:14 nodes.see.use\n"
        "  no component `vison/clip`\n"
        "  3 |   see: {use: vison/clip, in: look}\n"
        "    |              ^^^^^^^^^^\n"
        "  2 |   look: {use: vision/clip}\n"
        "    |   ---- the edge starts here\n"
        "    --> plugin.py:1:1\n"
        "    | declared here\n"
        "  expected: features [N, D]\n"
        "     found: image\n"
        "      help: did you mean `vision/clip`?\n"
        "\n"
        "1 error"
    )


def test_problems_come_in_file_order_once_each_with_a_count_at_the_end():
    late, early = finding(), finding(mark=Mark("spec.yaml", 2, 1))
    warning = problem("W101", "nothing uses `look`", mark=Mark("spec.yaml", 2, 3, 4))
    nowhere = problem("E803", "no CUDA device")
    text = render([nowhere, late, warning, early, late], {"spec.yaml": SPEC}, colour=False)
    heads = [line.split()[0] + line.partition("spec.yaml")[2][:4] for line in text.splitlines() if "[" in line[:9]]
    assert heads == ["error[E101]:2:1", "warning[W101]:2:3", "error[E101]:3:1", "error[E803]"]
    assert text.endswith("\n3 errors, 1 warning")


def test_no_problems_are_said_to_be_none():
    assert render([], colour=False) == "no problems"


def test_wide_characters_tabs_and_accents_keep_the_caret_below_its_word():
    assert caret_line("日本: x", 5, 1) == ("日本: x", 6, 1)
    assert caret_line("\ta: b", 5, 1) == ("    a: b", 7, 1)
    assert caret_line("a\u0301: b", 5, 1) == ("a\u0301: b", 3, 1)
    assert caret_line("日本", 1, 2) == ("日本", 0, 4)
    assert caret_line("", 1, 1) == ("", 0, 1)
    assert caret_line("ab", 9, 5) == ("ab", 2, 1)


def test_a_very_long_line_is_cut_to_a_window_round_the_caret():
    line = "a" * 5000 + "X" + "b" * 5000
    shown, offset, width = caret_line(line, 5001, 1)
    assert len(shown) == WIDEST + 2 and shown[offset] == "X" and width == 1
    assert shown[0] == shown[-1] == "…"
    start, offset, _ = caret_line(line, 1, 1)
    assert start[0] == "a" and offset == 0 and start[-1] == "…"


def test_nothing_a_spec_says_can_drive_the_terminal_or_break_its_encoding():
    evil = "\x1b[2J\ud800\x9b31m\u202e"
    found = problem("E110", f"no node {evil}", path=evil, mark=Mark("x", 1, 1))
    text = render([found], {"x": evil}, colour=False)
    text.encode("utf-8")
    assert not set(text) & set("\x1b\x9b\u202e")


def test_the_source_line_is_read_from_disk_when_not_given(tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: \xff\r\n")
    marks = (Mark(str(path), 1, 4), Mark(str(path), 2, 4))
    text = render([problem("E041", "wrong", mark=mark) for mark in marks], colour=False)
    assert "  1 | a: 1\n    |    ^" in text and "  2 | b: \ufffd" in text
    missing = render([problem("E041", "wrong", mark=Mark(str(tmp_path / "gone.yaml"), 1, 4))])
    assert "gone.yaml:1:4" in missing and "|" not in missing


def test_colours_only_on_a_terminal_and_never_with_no_color(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert wants_colour(Terminal()) and not wants_colour(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not wants_colour(Terminal())
    coloured = render([finding()], {"spec.yaml": SPEC}, colour=True)
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == render([finding()], {"spec.yaml": SPEC}, colour=False)
    assert "\x1b[1;31merror[E101]" in coloured


# did-you-mean


@pytest.mark.parametrize(
    ("word", "first"),
    [
        ("vison/clip", "vision/clip"),
        ("adapter/mlp", "adapters/mlp"),
        ("adapters/mpl", "adapters/mlp"),
        ("clip", "vision/clip"),
        ("image/clip", "vision/clip"),
        ("Vision/CLIP", "vision/clip"),
        ("language/causal_lm", "language/causal-lm"),
        ("causal-lm", "language/causal-lm"),
        ("adapters/qfomer", "adapters/qformer"),
    ],
)
def test_the_nearest_component_comes_first(word, first):
    assert suggest(word, NAMES)[0] == first


def test_short_option_names_and_nonsense():
    assert suggest("quries", ["queries", "width", "layers"]) == ["queries"]
    assert suggest("zzz", NAMES) == [] and suggest("", NAMES) == []
    assert suggest("x" * 10_000, NAMES) == []
    assert len(suggest("nod", ["node", "nodes", "mod", "nod1", "nob"])) == 3


def test_did_you_mean_reads_as_a_sentence():
    assert did_you_mean("quries", ["queries"]) == "did you mean `queries`?"
    assert did_you_mean("abce", ["abcd", "abcf"]) == "did you mean `abcd` or `abcf`?"
    assert did_you_mean("zzz", NAMES) is None


def test_distance_counts_swaps_once_and_is_bounded():
    assert distance("clip", "clpi") == 1
    assert distance("", "abc") == 3
    assert distance("kitten", "sitting") == 3
    assert distance("kitten", "sitting", limit=2) == FAR


# the light path


def test_the_package_of_errors_imports_nothing_until_asked():
    late = {"dataclasses", "inspect", "torch", "anyany.errors.problems"}
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import anyany.errors.exit; print({late} & set(sys.modules))"
    run = [sys.executable, "-S", "-c", code]
    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout.strip() == "set()"
