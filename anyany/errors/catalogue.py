"""The catalogue: every code that anyany prints, with its meaning and its cure.

E0xx YAML and shape, E1xx names, E2xx kinds and edges, E3xx lists, places, messages, E40x-E44x sizes,
E45x weights, facts, lock, E5xx media, E6xx run, E7xx training, E8xx environment, E9xx command line.
"""

from __future__ import annotations

from anyany.errors import codes_files, codes_graph, codes_run, codes_yaml
from anyany.errors.entry import Entry

__all__ = ["CATALOGUE", "GROUPS", "Entry", "explain", "group_of"]

GROUPS = {
    "E0": "The file, its YAML and its shape",
    "E1": "Names: components, options, nodes, ports",
    "E2": "Kinds, ports and edges",
    "E3": "Lists, places, messages, absence",
    "E4": "Sizes, facets, spaces, weights and facts",
    "E5": "Media",
    "E6": "Running",
    "E7": "Training",
    "E8": "The environment and its plugins",
    "E9": "The command line and the Python API",
    "W": "Warnings",
}


def _join(*parts: dict[str, Entry]) -> dict[str, Entry]:
    joined: dict[str, Entry] = {}
    for part in parts:
        twice = joined.keys() & part.keys()
        assert not twice, f"codes defined twice: {sorted(twice)}"
        joined.update(part)
    return dict(sorted(joined.items()))


CATALOGUE: dict[str, Entry] = _join(codes_yaml.ENTRIES, codes_graph.ENTRIES, codes_files.ENTRIES, codes_run.ENTRIES)


def group_of(code: str) -> str:
    """The heading under which a code stands in docs/errors."""
    return GROUPS["W" if code.startswith("W") else code[:2]]


def explain(code: str) -> str | None:
    """The long text of `anyany explain CODE` (plain text, case does not matter), or None if unknown."""
    code = code.strip().upper()
    entry = CATALOGUE.get(code)
    if entry is None:
        return None
    text = f"{code}: {entry.title}\n\n{entry.explanation}\n\nWhat to do: {entry.fix}\n"
    if entry.example:
        body = "\n".join(f"    {line}" for line in entry.example.split("\n"))
        text += f"\nAn example that gives it:\n\n{body}\n"
    return text
