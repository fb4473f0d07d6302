"""Times of several ways to do one thing, taken in turns, so that whatever else runs is shared by all."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any


def in_turns(runs: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of this thread's work that each run took, round by round."""
    seconds: dict[str, list[float]] = {key: [] for key in runs}
    for _ in range(rounds):
        for key, run in runs.items():
            start = time.thread_time()
            run()
            seconds[key].append(time.thread_time() - start)
    return seconds


def paired(seconds: Mapping[str, list[float]], key: str, ours: str = "ours") -> float:
    """How many times as long `key` took as `ours`: the median over rounds."""
    return round(statistics.median(a / b for a, b in zip(seconds[key], seconds[ours], strict=True)), 2)
