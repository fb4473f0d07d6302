"""Writes docs/errors: a page for every code of the catalogue, and an index.

`python -m anyany.errors.pages [FOLDER]`; the default folder is docs/errors of the working directory.
"""

from __future__ import annotations

import sys
from pathlib import Path

from anyany.errors.catalogue import CATALOGUE, GROUPS, Entry, group_of


def page(code: str, entry: Entry) -> str:
    """The Markdown page of one code."""
    text = f"# {code}: {entry.title}\n\n{entry.explanation}\n\n**What to do.** {entry.fix}\n"
    if entry.example:
        fence = "sh" if entry.example.startswith(("--", "anyany ")) else "yaml"
        text += f"\nAn example that gives it:\n\n```{fence}\n{entry.example}\n```\n"
    return text


def index() -> str:
    """The Markdown index of all codes, by group."""
    text = (
        "# Errors\n\nEvery error and warning has a code; `anyany explain CODE` prints its page. "
        "Codes with E are errors, codes with W warnings.\n"
    )
    for group in dict.fromkeys(map(group_of, CATALOGUE)):
        codes = [code for code in CATALOGUE if group_of(code) == group]
        rows = [f"- [{code}]({code}.md): {CATALOGUE[code].title}" for code in codes]
        text += f"\n## {group}\n\n" + "\n".join(rows) + "\n"
    return text


def pages() -> dict[str, str]:
    """File name to text of everything in docs/errors."""
    assert set(map(group_of, CATALOGUE)) <= set(GROUPS.values())
    return {"README.md": index(), **{f"{code}.md": page(code, entry) for code, entry in CATALOGUE.items()}}


def write(folder: Path) -> int:
    """Write all pages into `folder`, remove pages of codes that are gone, and return how many there are."""
    folder.mkdir(parents=True, exist_ok=True)
    made = pages()
    for old in folder.glob("[EW][0-9][0-9][0-9].md"):
        if old.name not in made:
            old.unlink()
    for name, text in made.items():
        (folder / name).write_text(text, encoding="utf-8")
    return len(made)


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs/errors")
    print(f"{write(target)} pages in {target}")
