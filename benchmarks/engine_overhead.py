"""Overhead of the engine: microseconds a node a call on a chain of ten no-op components, one item at a time.

Prints figures of CPU time (best and median of rounds) and asserts nothing. Run: python benchmarks/engine_overhead.py
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from plugins_for_tests.chains import chain

from anyany.engine.build import Components
from anyany.engine.items import Item
from anyany.engine.plan import make_plan
from anyany.engine.run import Runner
from anyany.pipeline import Pipeline

NODES, CALLS, ROUNDS = 10, 500, 15


class Nothing:
    """Gives its rows back."""

    def run(self, ctx: Any, x: Any) -> dict[str, Any]:
        """The very rows."""
        return {"x": x}


def measure(run: Any) -> list[float]:
    """Microseconds of CPU time of one call, for each round."""
    run()
    rounds = []
    for _ in range(ROUNDS):
        start = time.process_time()
        for _ in range(CALLS):
            run()
        rounds.append((time.process_time() - start) / CALLS * 1e6)
    return rounds


def main() -> None:
    """Print the table."""
    made: dict[int, list[float]] = {}
    for nodes in (0, NODES):
        graph = chain(nodes)
        components = Components(graph, overrides={n: Nothing() for n in graph.nodes})
        pipe = Pipeline(make_plan(graph), components)
        made[nodes] = measure(lambda pipe=pipe: pipe(x="a"))
    whole, bare = made[NODES], made[0]
    print(f"pipe() on {NODES} no-op nodes: best {min(whole):.1f} us, median {statistics.median(whole):.1f} us")
    best, median = min(whole) / NODES, statistics.median(whole) / NODES
    print(f"  all of it, a node:        best {best:.1f} us, median {median:.1f} us")
    print(f"  without the call's own:   best {(min(whole) - min(bare)) / NODES:.1f} us a node")
    graph = chain(NODES)
    components = Components(graph, overrides={n: Nothing() for n in graph.nodes})
    runner = Runner(make_plan(graph), components)
    items = [Item(id=str(i), values={"x": "a"}) for i in range(32)]
    many = measure(lambda: runner.chunk(items))
    print(f"a chunk of 32 items:         best {min(many) / NODES / 32:.2f} us a node an item")


if __name__ == "__main__":
    main()
