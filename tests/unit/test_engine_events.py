"""Plugins may observe a run: what they are told, and that one that fails cannot harm it."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import pytest
from plugins_for_tests import engine_toys

from anyany.api.v1 import hookimpl
from anyany.pipeline import load
from anyany.registry import Registry

SPEC = "anyany: 1\nname: seen\ninputs: {a: text}\noutputs: {b: same}\nnodes: {same: {use: et/pass, in: a}}\n"


def observed(observer: Any) -> Any:
    registry = Registry()
    registry.add("et", engine_toys)
    watcher = ModuleType("watcher")
    watcher.anyany_events, watcher.anyany_cards = observer, no_cards  # type: ignore[attr-defined]
    registry.add("watcher", watcher)
    return load(SPEC, registry=registry)


@hookimpl
def no_cards() -> list[Any]:
    return []


def test_an_observer_is_told_of_the_run_its_items_and_its_end() -> None:
    told: list[Mapping[str, Any]] = []

    @hookimpl
    def anyany_events(event: Mapping[str, Any]) -> None:
        told.append(event)

    list(observed(anyany_events).map([{"a": "x"}, {"id": "two", "a": "y"}]))
    assert [e["event"] for e in told] == ["run", "item", "item", "done"]
    assert [e["item"] for e in told[1:3]] == ["0", "two"]
    assert told[3]["items"] == {"ok": 2, "failed": 0}


def test_an_observer_that_raises_is_left_out_and_the_run_goes_on() -> None:
    calls: list[str] = []

    @hookimpl
    def anyany_events(event: Mapping[str, Any]) -> None:
        calls.append(event["event"])
        raise RuntimeError("no")

    with pytest.warns(RuntimeWarning, match="watcher observes no further: RuntimeError: no"):
        results = list(observed(anyany_events).map([{"a": "x"}]))
    assert [r.status for r in results] == ["ok"]
    assert calls == ["run"]
