"""What a run tells of itself: rows, calls, seconds and bytes of each node, notes, and the events of a trace.

Times are seconds of `time.perf_counter`. One `Recorder` watches one run.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from anyany.engine.compile import Step


@dataclass(eq=False)
class NodeStats:
    """What one node did in a run. build: seconds to load it; bytes: of its weights, once loaded."""

    rows: int = 0
    calls: int = 0
    seconds: float = 0.0
    build: float = 0.0
    bytes: int = 0
    failed: int = 0
    notes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of work for the trace: what, on which thread, from when to when."""

    name: str
    lane: str
    start: float
    stop: float
    thread: int
    args: Mapping[str, Any]


class Recorder:
    """Counts, and with `trace` keeps every call as a span."""

    def __init__(self, *, trace: bool = False) -> None:
        self.nodes: dict[str, NodeStats] = {}
        self.trace = trace
        self.spans: list[Span] = []
        self.began = perf_counter()
        self._lock = threading.Lock()

    def node(self, name: str) -> NodeStats:
        """The statistics of a node."""
        stats = self.nodes.get(name)
        if stats is None:
            with self._lock:
                stats = self.nodes.setdefault(name, NodeStats())
        return stats

    def called(self, step: Step, start: float, stop: float, rows: int) -> None:
        """One call of a node over `rows` elements."""
        stats = self.nodes.get(step.name) or self.node(step.name)
        stats.rows += rows
        stats.calls += 1
        stats.seconds += stop - start
        if self.trace:
            self.span(step.name, step.name, start, stop, rows=rows, call=step.call_name)

    def noted(self, step: Step, text: str) -> None:
        """Something worth a line in the summary (a batch that was halved, a place that was removed)."""
        notes = self.node(step.name).notes
        notes[text] = notes.get(text, 0) + 1

    def built(self, name: str, start: float, stop: float, size: int) -> None:
        """A component was loaded: `size` bytes of weights."""
        stats = self.node(name)
        stats.build, stats.bytes = stop - start, size
        if self.trace:
            self.span(f"load {name}", name, start, stop, bytes=size)

    def span(self, name: str, lane: str, start: float, stop: float, **args: Any) -> None:
        """Any other work, for the trace."""
        if self.trace:
            with self._lock:
                self.spans.append(Span(name, lane, start, stop, threading.get_ident(), args))
