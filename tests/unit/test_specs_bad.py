"""Every file in tests/specs_bad has one mistake (or a few) and beside it, word for word, what `check` says of it.

After a change of a message that is meant: `python tests/unit/test_specs_bad.py` writes the texts anew, to be read.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "specs_bad"
SPECS = sorted(p.stem for p in FOLDER.glob("*.yaml"))


def said(name: str) -> tuple[str, list[dict[str, object]]]:
    """The rendered text and the JSON of a check in the folder of the bad specs."""
    from plugins_for_tests.toy import registry

    from anyany.errors.render import in_order, render
    from anyany.spec.check import check_file

    before = Path.cwd()
    os.chdir(FOLDER)
    try:
        checked = check_file(f"{name}.yaml", registry=registry())
        text = render(checked.problems, checked.sources, colour=False)
        return text + "\n", [p.to_json() for p in in_order(checked.problems)]
    finally:
        os.chdir(before)


def test_there_are_enough_bad_specs() -> None:
    assert len(SPECS) >= 45
    assert {p.stem for p in FOLDER.glob("*.expected")} == set(SPECS)


@pytest.mark.parametrize("name", SPECS)
def test_a_bad_spec_is_told_word_for_word(name: str) -> None:
    text, _ = said(name)
    assert text == (FOLDER / f"{name}.expected").read_text("utf-8")


@pytest.mark.parametrize("name", SPECS)
def test_every_problem_of_a_bad_spec_has_a_code_a_place_a_path_and_an_action(name: str) -> None:
    _, problems = said(name)
    assert any(str(p["code"]).startswith("E") for p in problems)
    for problem in problems:
        assert problem["file"] == f"{name}.yaml"
        assert isinstance(problem["line"], int) and isinstance(problem["column"], int)
        assert problem["message"] and problem["help"]


def test_the_bad_specs_together_meet_most_codes_of_the_checker() -> None:
    from anyany.errors import CATALOGUE

    met = {str(p["code"]) for name in SPECS for p in said(name)[1]}
    of_the_checker = {c for c in CATALOGUE if c[:2] in ("E1", "E2", "E3") or c[:3] in ("E40", "E41")}
    # E303, E310 and E212 are for the planner; E403 is the plan's; E115 needs --profile.
    assert of_the_checker - met <= {"E115", "E212", "E303", "E310", "E403"}


if __name__ == "__main__":
    sys.path.insert(0, str(FOLDER.parent))
    for spec in SPECS:
        (FOLDER / f"{spec}.expected").write_text(said(spec)[0], "utf-8")
    print(f"{len(SPECS)} texts written")
