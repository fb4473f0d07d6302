"""What sparse attention costs over dense: operations and seconds of one block's attention, side by side in one run.

`python benchmarks/sparse_attention.py [--lengths 1024 2048 …]`: one row of 8 heads of 64, stride 128, summaries of 8.
Operations are counted on the meta device; seconds are the best of three on this machine's CPU.
"""

from __future__ import annotations

import argparse
import time

import torch
from anyany_language.sequence_cards import PATTERNS
from anyany_language.sparse_attention import Pattern, attend
from torch.utils.flop_counter import FlopCounterMode

HEADS, WIDE, STRIDE, SUMMARY = 8, 64, 128, 8


def operations(pattern: Pattern, length: int) -> int:
    """Of scores and weighted sums; the projections before and behind them are the same for all patterns."""
    q, k, v = (torch.empty(1, HEADS, length, WIDE, device="meta") for _ in range(3))
    with FlopCounterMode(display=False) as counter:
        attend(q, k, v, pattern)
    return int(counter.get_total_flops())


def seconds(pattern: Pattern, length: int) -> float:
    """The best of three."""
    q, k, v = (torch.randn(1, HEADS, length, WIDE) for _ in range(3))
    best = float("inf")
    with torch.inference_mode():
        for _ in range(3):
            start = time.perf_counter()
            attend(q, k, v, pattern)
            best = min(best, time.perf_counter() - start)
    return best


def main() -> None:
    """Print a table: a line a length, operations and milliseconds of each pattern."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lengths", type=int, nargs="+", default=[1024, 2048, 4096, 8192, 16384])
    lengths = parser.parse_args().lengths
    print(f"{'positions':>10}" + "".join(f"{kind:>22}" for kind in PATTERNS))
    for length in lengths:
        line = f"{length:>10}"
        for kind in PATTERNS:
            pattern = Pattern(kind=kind, stride=STRIDE, summary=SUMMARY)
            line += f"{operations(pattern, length) / 1e9:>9.2f} G{1000 * seconds(pattern, length):>8.1f} ms"
        print(line)


if __name__ == "__main__":
    main()
