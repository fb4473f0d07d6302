"""Every line of the README runs: its spec checks, its Python runs, its commands exist, its table is complete."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def test_the_spec_in_the_readme_checks() -> None:
    from anyany.spec.check import check_text

    (spec,) = blocks("yaml")
    found = check_text(spec, "README.md")
    assert found.graph is not None, found.problems
    assert not found.problems


def test_the_python_in_the_readme_runs(tmp_path: Path) -> None:
    code = next(b for b in blocks("python") if "anyany.load" in b)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "ok" in done.stdout


def test_the_plugin_in_the_readme_is_a_plugin() -> None:
    code = next(b for b in blocks("python") if "anyany_cards" in b)
    space: dict[str, object] = {}
    exec(code, space)
    (card,) = space["anyany_cards"]()  # type: ignore[operator]
    assert card.name == "acme_thermal/encoder"


def commands() -> list[str]:
    lines = [line for block in blocks("") for line in block.splitlines()]
    return [line.split("  #")[0].strip() for line in lines if line.startswith("anyany ")]


@pytest.mark.parametrize("line", [c for c in commands() if " new " not in c])
def test_each_command_of_the_readme_succeeds(line: str, tmp_path: Path) -> None:
    words = shlex.split(line)[1:]
    words = [str(tmp_path / w) if w.endswith((".svg", ".json")) else w for w in words]
    if words[0] == "run":
        words += ["--out", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-m", "anyany", *words], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


def test_the_table_of_components_is_complete() -> None:
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        from fill_readme import components
    finally:
        sys.path.pop(0)
    assert components() in TEXT
