"""The plugin API is frozen: names may be added, but every line of `tests/unit/api_v1.txt` stays true.

After adding something (a name, an optional argument), record it with `python tests/unit/test_api_surface.py`.
What changes or removes something is an incompatible change and needs a new group, `anyany.v2`.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from pathlib import Path
from types import ModuleType

SNAPSHOT = Path(__file__).with_name("api_v1.txt")


def _signature(thing: object) -> str:
    try:
        text = str(inspect.signature(thing))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return ""
    text = re.sub(r"(: |-> )'([^']*)'", r"\1\2", text)  # annotations kept as text
    return re.sub(r"<[^<>]*MISSING[^<>]*>", "<required>", text)


def lines_of(module: ModuleType) -> list[str]:
    """One line for each public name of a module, and each public field and method of its classes."""
    found = []
    for name in sorted(module.__all__):
        thing = getattr(module, name)
        where = f"{module.__name__}.{name}"
        if name == "hookimpl":  # pluggy's own
            found.append(where)
            continue
        if not inspect.isclass(thing):
            found.append(f"{where}{_signature(thing)}" if callable(thing) else f"{where} = {thing!r}")
            continue
        found.append(f"{where}{_signature(thing)}")
        fields = {f.name for f in dataclasses.fields(thing)} if dataclasses.is_dataclass(thing) else set()
        for part, value in sorted(vars(thing).items()):
            if part.startswith("_") or part in fields:
                continue
            if isinstance(value, property):
                found.append(f"{where}.{part}")
            elif callable(value) or isinstance(value, (staticmethod, classmethod)):
                found.append(f"{where}.{part}{_signature(getattr(thing, part))}")
    return found


def surface() -> list[str]:
    from anyany.api import torch as api_torch
    from anyany.api import v1
    from anyany.api.v1 import Hooks

    hooks = [f"hook {n}{_signature(getattr(Hooks, n))}" for n in sorted(vars(Hooks)) if n.startswith("anyany_")]
    return [*lines_of(v1), *hooks, *lines_of(api_torch)]


def test_nothing_was_taken_from_the_frozen_api() -> None:
    frozen = SNAPSHOT.read_text("utf-8").splitlines()
    assert len(frozen) > 60
    assert sorted(set(frozen) - set(surface())) == []


def test_every_name_of_the_api_exists_and_is_documented() -> None:
    from anyany.api import torch as api_torch
    from anyany.api import v1

    for module in (v1, api_torch):
        for name in module.__all__:
            thing = getattr(module, name)
            if inspect.isclass(thing) or inspect.isfunction(thing):
                assert inspect.getdoc(thing), f"{module.__name__}.{name} has no docstring"


if __name__ == "__main__":
    SNAPSHOT.write_text("\n".join(surface()) + "\n", "utf-8")
    print(f"wrote {SNAPSHOT}", file=sys.stderr)
