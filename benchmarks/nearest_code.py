"""Nearest codes beside what they replace: vector-quantize-pytorch's evaluation path, and `cdist` with `argmin`.

    python benchmarks/nearest_code.py                        (4096×32 among 4096 codes, and 8192×256 among 8192)
    python benchmarks/nearest_code.py --sizes 65536x64x16384 --rounds 3

All take turns in one process on the same vectors, so that a busy machine slows them alike; the indices must be equal.
Memory is the peak that each adds in a fresh process (Linux). Some 60 s; torch's threads as OMP_NUM_THREADS sets them.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from anyany_tokenizers.fast_codebook import speed_up
from anyany_tokenizers.nearest import nearest
from vector_quantize_pytorch import VectorQuantize

SIZES = ("4096x32x4096", "8192x256x8192")
Way = Callable[[], torch.Tensor]


def ways_of(size: str) -> dict[str, Way]:
    """The ways to find indices [M], by name; vectors and codes are drawn from a unit Gaussian."""
    count, width, codes = (int(n) for n in size.split("x"))
    torch.manual_seed(0)
    x_MD, table_KD = torch.randn(count, width), torch.randn(codes, width)
    library = VectorQuantize(width, codes).eval()
    library._codebook.embed.copy_(table_KD[None])
    faster = copy.deepcopy(library)
    speed_up(faster)
    return {
        "vector-quantize-pytorch": lambda: library(x_MD[None])[1][0],
        "cdist + argmin": lambda: torch.cdist(x_MD, table_KD).argmin(1),
        "its codebook, sped up": lambda: faster(x_MD[None])[1][0],
        "nearest": lambda: nearest(x_MD, table_KD),
    }


def seconds(ways: dict[str, Way], rounds: int) -> dict[str, list[float]]:
    """Seconds of each round of each way. Raises AssertionError where indices differ."""
    for way in ways.values():
        way()
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        indices = {}
        for name, way in ways.items():
            start = time.perf_counter()
            indices[name] = way()
            found[name].append(time.perf_counter() - start)
        for name, ids in indices.items():
            assert torch.equal(ids, indices["nearest"]), f"{name} gives other indices"
    return found


def peak(way: Way) -> int:
    """Bytes that a way adds to the process at its highest."""
    way()  # once, so that libraries have their own buffers
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    way()
    return max(0, _status("VmHWM") - before)


def _status(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def bytes_of(size: str, name: str) -> int:
    """The peak of one way in a fresh process."""
    command = [sys.executable, __file__, "--sizes", size, "--peak", name]
    # What is freed goes back to the system at once, or a second call would find it still there.
    around = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    told = subprocess.run(command, capture_output=True, text=True, check=True, env=around)
    return int(told.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="MxDxK", help="vectors × width × codes")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--json", action="store_true", help="one JSON object a size")
    given = parser.parse_args()
    torch.set_grad_enabled(False)
    if given.peak:
        print(peak(ways_of(given.sizes[0])[given.peak]))
        return
    for size in given.sizes:
        times = seconds(ways_of(size), given.rounds)
        held = {} if given.no_memory else {name: bytes_of(size, name) for name in times}
        rows = {
            name: {
                "milliseconds": statistics.median(taken) * 1e3,
                "least": min(taken) * 1e3,
                "slower": statistics.median(a / b for a, b in zip(taken, times["nearest"])),
                "bytes": held.get(name),
            }
            for name, taken in times.items()
        }
        if given.json:
            print(json.dumps({"size": size, "threads": torch.get_num_threads(), **rows}))
            continue
        print(f"{size} (vectors × width × codes), {torch.get_num_threads()} threads, {given.rounds} rounds in turns")
        for name, row in rows.items():
            memory = f"{row['bytes'] / 2**20:9.1f} MiB more" if held else ""
            print(f"  {name:<24}{row['milliseconds']:9.1f} ms (least {row['least']:.1f})"
                  f"{row['slower']:8.2f} × the time of `nearest`{memory}")  # fmt: skip


if __name__ == "__main__":
    main()
