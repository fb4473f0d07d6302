"""Files of inputs as values: decoded once for each set of facets, by threads ahead of the chunk that needs them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from time import perf_counter
from typing import Any

from anyany.engine.watch import Recorder
from anyany.kinds.message import REGION_KINDS, FilePath

_Name = tuple[str, Any, tuple[tuple[str, Any], ...]]


class MediaCache:
    """Decoded values of one chunk. Files that were not announced by `ahead` are decoded where they are asked for."""

    def __init__(self) -> None:
        self._known: dict[_Name, Future[Any]] = {}

    def ahead(self, pool: ThreadPoolExecutor, kind: str, value: Any, facets: Mapping[str, Any],
              recorder: Recorder | None = None) -> None:  # fmt: skip
        """Begin to decode a file in a thread of `pool`."""
        name = _name(kind, value, facets)
        if name is not None and name not in self._known:
            self._known[name] = pool.submit(_timed, kind, value, facets, recorder)

    def value(self, kind: str, value: Any, facets: Mapping[str, Any]) -> Any:
        """The decoded value, meeting `facets`. Raises MediaError."""
        name = _name(kind, value, facets)
        if name is None:
            return load_value(kind, value, facets)
        future = self._known.get(name)
        if future is None:
            future = self._known[name] = Future()
            try:
                future.set_result(load_value(kind, value, facets))
            except Exception as error:
                future.set_exception(error)
        return future.result()


def _timed(kind: str, value: Any, facets: Mapping[str, Any], recorder: Recorder | None) -> Any:
    start = perf_counter()
    try:
        return load_value(kind, value, facets)
    finally:
        if recorder is not None and recorder.trace:
            recorder.span(f"decode {kind}", "decode", start, perf_counter(), file=getattr(value, "path", ""))


def load_value(kind: str, value: Any, facets: Mapping[str, Any]) -> Any:
    """A file or a value of an input as the value that a port with these facets takes. Raises MediaError."""
    from anyany import media

    own = plugin_function(kind, "load") if type(value) is FilePath else None
    if own is not None:
        return own(value.path, facets, media.Limits())
    if type(value) is FilePath:
        return media.load(kind, value.path, facets)
    return media.meet(kind, value, facets) if facets or kind in REGION_KINDS or isinstance(value, list) else value


def _name(kind: str, value: Any, facets: Mapping[str, Any]) -> _Name | None:
    if type(value) is not FilePath:
        return None
    return kind, value.path, tuple(sorted(facets.items(), key=str))


def plugin_function(kind: str, what: str) -> Any:
    """The function with which a plugin's own kind is loaded or saved ("load", "save"); None for built-in kinds."""
    from anyany.kinds.builtin import KINDS

    if kind in KINDS:
        return None
    from anyany.registry import default_registry

    found = default_registry().kinds().get(kind)
    place = getattr(found, what, "")
    if not place:
        return None
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)
