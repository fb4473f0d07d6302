"""Errors as a feature: the catalogue of codes, problems with places, rendering, did-you-mean, exit codes.

Names load on first use, so that `anyany --help` pays for none of them. The renderer is
`anyany.errors.render.render`, the suggestions are `anyany.errors.suggest`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anyany.errors.catalogue import CATALOGUE, Entry, explain
    from anyany.errors.problems import (
        AnyanyError,
        CallError,
        EnvironmentProblem,
        Mark,
        Problem,
        SpecError,
        problem,
    )

__all__ = [
    "CATALOGUE",
    "AnyanyError",
    "CallError",
    "Entry",
    "EnvironmentProblem",
    "Mark",
    "Problem",
    "SpecError",
    "explain",
    "problem",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'anyany.errors' has no attribute {name!r}")
    if name in ("CATALOGUE", "Entry", "explain"):
        from anyany.errors import catalogue as module
    else:
        from anyany.errors import problems as module  # type: ignore[no-redef]
    value = getattr(module, name)
    globals()[name] = value
    return value
