"""Fills the marked sections of README.md with what commands print: `python docs/fill_readme.py [SECTION...]`.

components: the table of cards. quickstart: the runs of `make run`. evaluation: `python -m anyany_mini.evaluate`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
DESCRIBE = ["--in", "prompt=describe {file:examples/scene.png}", "--out", "out/describe"]
DRAW = ["--in", "prompt=draw a big red ring on the left", "--out", "out/draw"]


def components() -> str:
    """A row for each first-party card."""
    from anyany.registry import default_registry

    registry = default_registry()
    rows = ["| component | role | what it does |", "|---|---|---|"]
    for name in registry.names():
        card = registry.card(name)
        rows.append(f"| `{name}` | {card.role} | {card.about} |")
    return "\n".join(rows)


def quickstart() -> str:
    """What the two runs print, and the picture that was drawn."""
    blocks = []
    for arguments in (DESCRIBE, DRAW):
        command = [sys.executable, "-m", "anyany", "run", "pipelines/quickstart.yaml", *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        shown = " ".join(f'"{a}"' if " " in a else a for a in command[3:]).replace('"prompt=', 'prompt="')
        blocks.append(f"```\n$ anyany {shown}\n{done.stdout.replace(str(ROOT) + '/', '').strip()}\n```")
    images = ROOT / "docs" / "images"
    shutil.copy(next((ROOT / "out/draw").rglob("*.png")), images / "drawn.png")
    shutil.copy(ROOT / "examples/scene.png", images / "scene.png")
    described, drawn = blocks
    picture = '<img src="docs/images/{}" width="160" alt="{}">'
    return "\n\n".join(
        (
            described,
            picture.format("scene.png", "the picture described"),
            drawn,
            picture.format("drawn.png", "the picture drawn"),
        )
    )


def evaluation() -> str:
    """The table of the evaluation, as measured."""
    done = subprocess.run(
        [sys.executable, "-m", "anyany_mini.evaluate", "--n", "200"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    head = "As measured by `python -m anyany_mini.evaluate --n 200` on scenes that training never saw:"
    table = "\n".join(line for line in done.stdout.strip().splitlines() if not line.endswith(" s"))
    return f"{head}\n\n```\n{table}\n```"


SECTIONS = {"components": components, "quickstart": quickstart, "evaluation": evaluation}


def replace(text: str, name: str, content: str) -> str:
    """The text with the section between its two marks replaced."""
    pattern = re.compile(f"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    if not pattern.search(text):
        raise SystemExit(f"README.md has no section {name}")
    return pattern.sub(lambda m: f"{m[1]}{content}\n{m[2]}", text)


def main() -> None:
    for name in sys.argv[1:] or list(SECTIONS):
        README.write_text(replace(README.read_text("utf-8"), name, SECTIONS[name]()), "utf-8")


if __name__ == "__main__":
    main()
