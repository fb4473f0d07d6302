"""What the pages of docs/systems show is true: their specs exist and check, with each stage of training they print."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from anyany.spec.check import check_text

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs/systems").glob("*.md"))
NAMED = re.compile(r"pipelines/([a-z0-9.-]+?)\.yaml")
BLOCK = re.compile(r"```yaml\n(train:.*?)```", re.DOTALL)
STAGES = [(page.stem, block) for page in PAGES for block in BLOCK.findall(page.read_text("utf-8"))]


@pytest.mark.parametrize("page", [p.stem for p in PAGES])
def test_a_page_names_specs_that_exist(page: str) -> None:
    names = set(NAMED.findall((ROOT / f"docs/systems/{page}.md").read_text("utf-8")))
    assert names and [n for n in names if not (ROOT / f"pipelines/{n}.yaml").exists()] == []


@pytest.mark.parametrize(("page", "train"), STAGES, ids=[f"{page}-{i}" for i, (page, _) in enumerate(STAGES)])
def test_the_training_that_a_page_shows_checks_with_its_spec(page: str, train: str) -> None:
    first = NAMED.findall((ROOT / f"docs/systems/{page}.md").read_text("utf-8"))[0]
    text = (ROOT / f"pipelines/{first}.yaml").read_text("utf-8")
    found = check_text(f"{text}\n{train}", require_weights=False)
    assert [f"{p.code} {p.path}: {p.message}" for p in found.problems if p.is_error] == []
    assert found.graph is not None and found.graph.train is not None
