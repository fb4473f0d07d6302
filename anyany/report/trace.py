"""The trace of a run as Chrome's JSON, which ui.perfetto.dev opens: a lane a node and thread, counters of rows.

Times in the file are microseconds from the start of the run.
"""

from __future__ import annotations

import json
import os
from typing import Any

from anyany.engine.watch import Recorder


def trace_events(recorder: Recorder) -> list[dict[str, Any]]:
    """The events, in order of time."""
    lanes: dict[tuple[int, str], int] = {}
    events: list[dict[str, Any]] = []
    done: dict[str, int] = {}
    for span in sorted(recorder.spans, key=lambda s: s.start):
        lane = lanes.setdefault((span.thread, span.lane), len(lanes) + 1)
        at = round((span.start - recorder.began) * 1e6, 1)
        events.append({"name": span.name, "cat": span.lane, "ph": "X", "pid": 1, "tid": lane, "ts": at,
                       "dur": round((span.stop - span.start) * 1e6, 1), "args": dict(span.args)})  # fmt: skip
        if "rows" in span.args:
            done[span.lane] = done.get(span.lane, 0) + int(span.args["rows"])
            end = round((span.stop - recorder.began) * 1e6, 1)
            events.append({"name": "rows", "ph": "C", "pid": 1, "ts": end, "args": dict(done)})
    names: list[dict[str, Any]] = [{"name": "process_name", "ph": "M", "pid": 1, "args": {"name": "anyany"}}]
    threads = {thread: i for i, thread in enumerate(dict.fromkeys(t for t, _ in lanes))}
    for (thread, of), number in lanes.items():
        told = {"name": f"{of} (thread {threads[thread]})"}
        names.append({"name": "thread_name", "ph": "M", "pid": 1, "tid": number, "args": told})
    return names + sorted(events, key=lambda e: e["ts"])


def write_trace(recorder: Recorder, path: str) -> None:
    """Write the trace to a file, under a temporary name first. Raises OSError."""
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    temporary = f"{path}.{os.getpid()}.tmp"
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump({"traceEvents": trace_events(recorder), "displayTimeUnit": "ms"}, file)
    os.replace(temporary, path)
