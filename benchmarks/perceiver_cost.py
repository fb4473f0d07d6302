"""What Perceiver costs: time of the encoder by its inputs and of a query decoder by its queries, drawn as SVG.

Prints seconds of CPU time on one thread (the best of rounds), the straight line through them, and how well it fits.
Beside the encoder, one layer of plain self-attention over the same inputs.
Run: python benchmarks/perceiver_cost.py [docs/images/perceiver-cost.svg]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from anyany.registry import default_registry
from anyany.testing.harness import bench

WIDTH, ROUNDS = 128, 7
ENCODER = {"latents": 256, "width": 256, "blocks": 1, "layers": 6, "heads": 8, "inputs": WIDTH}
DECODER = {"latents": 256, "outputs": 2, "resolution": (368, 496), "bands": 31, "chunk": 4096}
SIZES = (8192, 16384, 32768, 49152, 65536, 81920, 98304)
PLAIN = (512, 1024, 1536, 2048, 2560)
Point = tuple[int, float]


def curve(run: Callable[[torch.Tensor], Any], inputs: Sequence[torch.Tensor]) -> list[Point]:
    """(length, CPU seconds of one call) of each input, the best of rounds; all take part in each round."""
    best = [float("inf")] * len(inputs)
    for _ in range(ROUNDS):
        for i, x in enumerate(inputs):
            start = time.process_time()
            run(x)
            best[i] = min(best[i], time.process_time() - start)
    return [(x.shape[1], s) for x, s in zip(inputs, best)]


def measure() -> dict[str, list[Point]]:
    """(size, seconds) of each curve."""
    encoder: Any = bench(default_registry().card("perceiver/encoder"), ENCODER).build().component
    decoder: Any = bench(default_registry().card("perceiver/at"), DECODER).build().component
    plain = torch.nn.TransformerEncoderLayer(WIDTH, 8, 4 * WIDTH, batch_first=True, norm_first=True).eval()
    latents = torch.randn(1, 256, 256)
    with torch.inference_mode():
        return {
            "encoder": curve(encoder.core, [torch.randn(1, n, WIDTH) for n in SIZES]),
            "self-attention": curve(plain, [torch.randn(1, n, WIDTH) for n in PLAIN]),
            "decoder": curve(lambda x: decoder.read(latents, x), [torch.rand(1, n, 2) for n in SIZES]),
        }


def line(points: Sequence[Point]) -> tuple[float, float, float]:
    """(seconds at 0, seconds an input or query, R squared) of the straight line with the least squares."""
    mean_x, mean_y = (sum(p[i] for p in points) / len(points) for i in (0, 1))
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)
    start = mean_y - slope * mean_x
    left = sum((y - start - slope * x) ** 2 for x, y in points)
    return start, slope, 1 - left / sum((y - mean_y) ** 2 for _, y in points)


# drawing --------------------------------------------------------------------------------------------------
WIDE, HIGH, EDGE = 360, 250, 46
BLUE, RED, INK, PALE = "#2f6fd0", "#c2503a", "#333", "#e4e6ea"


def panel(left: int, title: str, axis: str, curves: Sequence[tuple[str, Sequence[Point], str]]) -> str:
    """One plot: dots and the straight line through them; self-attention is no line, and its dots are joined."""
    right = max(x for _, points, _ in curves for x, _ in points)
    top = 1.1 * max(y for _, points, _ in curves for _, y in points)

    def at(x: float, y: float) -> tuple[float, float]:
        return left + EDGE + x / right * (WIDE - EDGE - 20), HIGH - EDGE - y / top * (HIGH - 2 * EDGE)

    parts = [f'<text x="{left + EDGE}" y="24" font-weight="600">{title}</text>']
    for part in range(5):
        (x, y), (end, _) = at(0, top * part / 4), at(right, 0)
        parts.append(f'<path d="M{x:.1f} {y:.1f}H{end:.1f}" stroke="{PALE}"/>')
        parts.append(f'<text x="{x - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{top * part / 4:.2f}</text>')
        x, y = at(right * part / 4, 0)
        parts.append(f'<text x="{x:.1f}" y="{y + 16:.1f}" text-anchor="middle">{right * part / 4 / 1000:.0f}k</text>')
    parts.append(f'<text x="{left + WIDE / 2:.0f}" y="{HIGH - 8}" text-anchor="middle">{axis}, seconds</text>')
    for name, points, colour in curves:
        dots = [at(x, y) for x, y in points]
        start, slope, fit = line(points)
        if name == "self-attention":
            path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in dots)
        else:
            (x, y), (end, last) = at(0, start), at(right, start + slope * right)
            path = f"M{x:.1f} {y:.1f}L{end:.1f} {last:.1f}"
            name += f", R² {fit:.4f}"
        parts.append(f'<path d="{path}" stroke="{colour}" fill="none" stroke-width="1.5"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in dots]
        place = at(right, top * (0.1 if colour == BLUE else 1.0))
        parts.append(f'<text x="{place[0]:.1f}" y="{place[1]:.1f}" text-anchor="end" fill="{colour}">{name}</text>')
    return "".join(parts)


def drawn(found: dict[str, list[Point]]) -> str:
    """Both plots beside each other."""
    plots = panel(0, "encoder, 256 latents, 6 layers", "inputs", [
        ("encoder", found["encoder"], BLUE), ("self-attention", found["self-attention"], RED),
    ]) + panel(WIDE, "query decoder", "queries", [("decoder", found["decoder"], BLUE)])  # fmt: skip
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * WIDE}" height="{HIGH}" font-family="sans-serif"'
    return f'{head} font-size="11" fill="{INK}"><rect width="100%" height="100%" fill="#fff"/>{plots}</svg>\n'


def main(path: Path | None) -> None:
    """Print the figures; draw them where a path is given."""
    torch.set_num_threads(1)
    found = measure()
    for name, points in found.items():
        told = "  ".join(f"{n}: {s:.3f}" for n, s in points)
        start, slope, fit = line(points)
        print(f"{name:<15} {told}\n{'':<15} {start:.3f} s + {slope * 1e6:.2f} us each, R2 {fit:.4f}")
    if path is not None:
        path.write_text(drawn(found), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
