"""Pipelines over the engine's toys, from a few lines of YAML."""

from __future__ import annotations

import textwrap
from functools import cache
from typing import Any

from plugins_for_tests import engine_toys

from anyany.pipeline import Pipeline, load
from anyany.registry import Registry


@cache
def registry() -> Registry:
    """The toys' registry."""
    made = Registry()
    made.add("et", engine_toys)
    return made


def pipe(body: str, **options: Any) -> Pipeline:
    """A pipeline of a spec without its first two lines; the toys' record of calls is emptied."""
    engine_toys.CALLS.clear()
    return load("anyany: 1\nname: toy\n" + textwrap.dedent(body), registry=registry(), **options)


def calls(node: str) -> list[int]:
    """Rows of each call of a node since the pipeline was made."""
    return [rows for name, rows in engine_toys.CALLS if name == node]
