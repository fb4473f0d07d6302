"""Weights of a node: is there a source, can it be read as one, and which facts does it tell.

Local sources (`file:`, `bundle:`) are looked into, of the hub only what the lock and caches hold unless online.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from anyany.api.v1 import Card
from anyany.errors import problem
from anyany.errors.problems import Mark
from anyany.spec.raw import Settings
from anyany.spec.settings import source_of
from anyany.spec.wires import Check, NodeState


def resolve(check: Check, state: NodeState, card: Card) -> tuple[Settings, Mapping[str, Any]]:
    """The node's settings with its weights checked, and the facts known of them."""
    weights = state.settings.weights
    if not check.require_weights:
        return state.settings, {}
    if weights is None:
        _check_missing(check, state, card)
        return state.settings, {}
    layer = source_of(check, state, "weights")
    mark, path = layer.mark_of("weights") or state.raw.mark, f"{layer.path}.weights"
    if not card.weights:
        check.tell(
            "E449",
            f"`{card.name}` has no weights, and `{state.name}` gives it some",
            mark=mark,
            path=path,
            help="delete `weights`",
        )
        return replace(state.settings, weights=None), {}
    parsed = _parse(check, weights, mark, path)
    if parsed is None:
        return state.settings, {}
    return state.settings, _facts(check, state, card, parsed, mark, path)


def _check_missing(check: Check, state: NodeState, card: Card) -> None:
    if not card.weights or state.raw.settings.tree is None:
        return
    if state.raw.tree.get("weights") is not None:
        return  # given, but malformed: told already
    check.tell(
        "E450",
        f"`{state.name}` has no weights",
        mark=state.raw.mark,
        path=state.raw.path,
        help='add `weights: "hub:ORG/NAME"`, `"file:PATH"`, or `"random:0"` if untrained weights are meant',
    )


def _parse(check: Check, weights: tuple[str, ...], mark: Mark, path: str) -> tuple[Any, ...] | None:
    from anyany.weights.sources import SourceSyntaxError, parse_sources

    try:
        return parse_sources(weights[0] if len(weights) == 1 else weights, base=check.folder)
    except SourceSyntaxError as error:
        # The place inside the text is known; the mark is of the whole, with its quote if it has one.
        check.tell("E451", f"`{error.text}`: {error.message}", mark=mark, path=path, help=error.help)
        return None


def _facts(
    check: Check, state: NodeState, card: Card, parsed: tuple[Any, ...], mark: Mark, path: str
) -> Mapping[str, Any]:
    """Known facts of the base source. For random weights a fact is the option of the same name."""
    from anyany.weights.sources import BundleSource, FileSource, RandomSource

    base = parsed[0]
    if isinstance(base, RandomSource):
        values = {name: getattr(state.config, name, None) for name in card.facts.sources}
        return {name: value for name, value in values.items() if value is not None}
    for source in parsed:
        if isinstance(source, FileSource) and not os.path.exists(source.location):
            check.notes.append(
                problem("W451", f"`{source}` is not there yet", mark=mark, path=path, help="`plan` and `run` need it")
            )
            if source is base:
                return {}
        if isinstance(source, BundleSource) and not _bundle_exists(check, source, mark, path) and source is base:
            return {}
    if not card.facts.sources or (check.facts_of is not None and state.name not in check.facts_of):
        return {}
    return _read_facts(check, card, parsed, mark, path)


def _bundle_exists(check: Check, source: Any, mark: Mark, path: str) -> bool:
    from anyany.weights.errors import WeightsError

    try:
        location = source.locate(_resolver(check))
    except WeightsError as error:
        check.tell(error.code, error.message, mark=mark, path=path, help=error.help or None)
        return False
    if not os.path.exists(location):
        check.tell(
            "E452",
            f"`{source}`: the plugin ships no such weights",
            mark=mark,
            path=path,
            help=f"name one of its weights: {_shipped(check, source)}",
        )
        return False
    return True


def _shipped(check: Check, source: Any) -> str:
    folder = os.path.join(str(check.registry.folder(source.namespace)), "weights")
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return ", ".join(names[:8]) or "it ships none"


def _resolver(check: Check) -> Any:
    def resolve_namespace(namespace: str) -> str:
        try:
            return str(check.registry.folder(namespace))
        except LookupError:
            raise KeyError(namespace) from None

    return resolve_namespace


def _read_facts(check: Check, card: Card, parsed: tuple[Any, ...], mark: Mark, path: str) -> Mapping[str, Any]:
    key = ("facts", card.name, tuple(map(str, parsed)))
    if key not in check.memo:
        check.memo[key] = _resolve_facts(check, card, parsed, mark, path)
    found: Mapping[str, Any] = check.memo[key]
    return found


def _resolve_facts(check: Check, card: Card, parsed: tuple[Any, ...], mark: Mark, path: str) -> Mapping[str, Any]:
    from anyany.weights.errors import WeightsError
    from anyany.weights.facts import resolve_facts
    from anyany.weights.locate import default_cache

    try:
        return resolve_facts(
            card.facts.sources, parsed, _lock(check), default_cache(), check.online, resolver=_resolver(check)
        )
    except WeightsError as error:
        check.tell(error.code, error.message, mark=mark, path=path, help=error.help or None)
        return {}


def _lock(check: Check) -> Any:
    from anyany.weights.errors import WeightsError
    from anyany.weights.lock import lock_path, read_lock

    key = ("lock",)
    if key not in check.memo:
        file = check.spec.tree.mark.file
        check.memo[key] = None
        if os.path.isfile(file) and os.path.isfile(lock_path(file)):
            try:
                check.memo[key] = read_lock(lock_path(file))
            except WeightsError as error:
                check.tell(error.code, error.message, mark=Mark(file, 1, 1), help=error.help or None)
    return check.memo[key]
