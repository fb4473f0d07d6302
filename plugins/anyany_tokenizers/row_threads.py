"""Rows of a tensor shared among threads that each compute alone, without waiting for one another.

A search of many small steps meets a barrier at the end of each of torch's parallel steps; where other programs want
the same cores, every barrier waits for the thread that lost its turn (measured: 5 times slower). Here each thread runs
all steps of its own rows by itself.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}
_lock = threading.Lock()


def by_rows(work: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """`work` on consecutive parts of x's rows, as many as torch has threads here; the results, one behind the other.

    On an accelerator, and where there is one thread, it is `work(x)`. work must not need gradients.
    """
    count = torch.get_num_threads()
    if x.device.type != "cpu" or count < 2 or len(x) < count:
        return work(x)

    def part(rows: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return work(rows)

    return torch.cat(list(_pool(count).map(part, x.chunk(count))))


def _pool(count: int) -> ThreadPoolExecutor:
    """Threads in which torch's own parallelism is off, made once (and anew in a forked process)."""
    with _lock:
        key = (os.getpid(), count)
        if key not in _pools:
            ready = threading.Barrier(count + 1)
            pool = ThreadPoolExecutor(count, "rows", initializer=_alone)
            for _ in range(count):
                pool.submit(ready.wait)
            ready.wait()
            torch.set_num_threads(count)  # what a thread sets for itself is the default of threads to come
            _pools[key] = pool
        return _pools[key]


def _alone() -> None:
    torch.get_num_threads()  # makes torch read its default, which would later overwrite what is set here
    torch.set_num_threads(1)
