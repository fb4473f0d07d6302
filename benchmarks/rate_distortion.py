"""Rate and distortion of frequency tokens beside vector quantisation, on scenes of the miniature world.

    python benchmarks/rate_distortion.py                        (under a minute of one core: few scenes and steps)
    python benchmarks/rate_distortion.py --plot rate.svg --train 512 --test 128 --steps 500      (four minutes)

Rate is the cross-entropy of tokens under frequencies counted on training scenes, one table a coefficient or one for
all codes of a VQ, in bits a pixel; distortion is the PSNR of held-out scenes (64×64). VQ is k-means on pixel patches,
and a VQ-VAE (`tokenizers/vq`) that this program trains by the component's own `loss`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
import torch
from anyany_mini.world import EVAL_SEED, SIDE, render, sample_scene
from anyany_tokenizers.nearest import nearest

from anyany.api.torch import Context, Rows
from anyany.engine.noise import Noise
from anyany.registry import default_registry
from anyany.testing.harness import bench

Point = dict[str, Any]
PIXELS = SIDE * SIDE


def scenes(count: int, first: int) -> torch.Tensor:
    """[count,3,64,64] in 0..1."""
    made = [render(sample_scene(numpy.random.default_rng(first + i))) for i in range(count)]
    return torch.from_numpy(numpy.stack(made)).permute(0, 3, 1, 2).float() / 255


def psnr(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float(-10 * torch.log10((found - wanted).square().mean()))


def bits(train_BN: torch.Tensor, test_BN: torch.Tensor, codes: int, tables: int) -> float:
    """Bits a pixel of the test tokens; `tables` runs of equal length each have frequencies of their own."""
    total = 0.0
    for seen, asked in zip(train_BN.chunk(tables, 1), test_BN.chunk(tables, 1)):
        counts = torch.bincount(seen.flatten(), minlength=codes).double() + 0.1
        total += float(-(counts / counts.sum()).log2()[asked.flatten()].sum())
    return total / len(test_BN) / PIXELS


def context(count: int, step: int = 0) -> Context:
    return Context(node="rate", call="loss", keys=[(i,) for i in range(count)], device=torch.device("cpu"),
                   noise=Noise(step, [str(i) for i in range(count)]), dtype=torch.float32)  # fmt: skip


def call(component: Any, name: str, **ports: torch.Tensor) -> Any:
    rows = {port: Rows(value) for port, value in ports.items()}
    count = len(next(iter(rows.values())))
    return next(iter(getattr(component, name)(context(count), **rows).values())).data


def frequency(train: torch.Tensor, test: torch.Tensor) -> list[Point]:
    """Blocks of 8: a few coefficients finely, or more of them coarsely."""
    points = []
    for kept, levels in ((1, 64), (3, 64), (6, 64), (10, 64), (15, 64), (15, 128), (28, 128), (64, 128), (64, 256)):
        options = {"resolution": SIDE, "block": 8, "kept": kept, "levels": levels}
        component = bench(default_registry().card("tokenizers/frequency"), options).build().component
        seen, asked = (call(component, "encode", image=images) for images in (train, test))
        back = call(component, "decode", tokens=asked)
        # A run of a frequency is luma, blueness, redness in 4:1:1; six tables of 16 blocks each keep them apart.
        rate = bits(seen, asked, levels, 6 * kept)
        points.append({"way": "frequency", "what": f"{kept} of 64 coefficients, {levels} levels", "bits": rate,
                       "psnr": psnr(back, test), "tokens": asked.shape[1]})  # fmt: skip
    return points


def patches_vq(train: torch.Tensor, test: torch.Tensor) -> list[Point]:
    """k-means on pixel patches, twelve rounds."""
    points = []
    for side, codes in ((8, 64), (8, 512), (4, 32), (4, 128), (4, 512), (2, 64), (2, 256)):
        seen, asked = (cut(images, side) for images in (train, test))
        picked = torch.randperm(len(seen), generator=torch.Generator().manual_seed(0))
        table, sample = seen[picked[:codes]].clone(), seen[picked[: 200 * codes]]
        for _ in range(12):
            ids = nearest(sample, table)
            sums = torch.zeros_like(table).index_add_(0, ids, sample)
            counts = torch.bincount(ids, minlength=codes)
            table = torch.where((counts > 0)[:, None], sums / counts.clamp(min=1)[:, None], table)
        found_seen, found = nearest(seen, table), nearest(asked, table)
        error = (table[found] - asked).square().mean()
        rate = bits(found_seen.view(len(train), -1), found.view(len(test), -1), codes, 1)
        points.append({"way": "VQ of patches", "what": f"{side}×{side} pixels, {codes} codes", "bits": rate,
                       "psnr": float(-10 * torch.log10(error)), "tokens": (SIDE // side) ** 2})  # fmt: skip
    return points


def cut(images: torch.Tensor, side: int) -> torch.Tensor:
    """[B·N, 3·side²] patches."""
    return torch.nn.functional.unfold(images, side, stride=side).mT.flatten(0, 1)


def vq_vae(train: torch.Tensor, test: torch.Tensor, steps: int) -> list[Point]:
    """VQ-VAEs of a quarter the side, trained here."""
    points = []
    for codes in (64, 512):
        options = {"arch": "vqvae", "resolution": SIDE, "channels": 48, "hidden": 24, "dim": 16, "codes": codes,
                   "codebook": "ema", "revive": 0.5, "reconstruction": "l2", "decay": 0.95}  # fmt: skip
        component = bench(default_registry().card("tokenizers/vq"), options).build().component
        component.train().requires_grad_(True)
        learned = [p for n, p in component.named_parameters() if "_codebook" not in n]
        optim = torch.optim.Adam(learned, lr=2e-3)
        order = torch.Generator().manual_seed(0)
        for step in range(steps):
            for group in optim.param_groups:
                group["lr"] = 2e-3 * (1 - step / steps)
            batch = train[torch.randint(len(train), (16,), generator=order)]
            loss = component.loss(context(16, step), image=Rows(batch))["loss"].data.mean()
            optim.zero_grad()
            loss.backward()
            optim.step()
        component.eval()
        with torch.inference_mode():
            seen, asked = (torch.cat([call(component, "encode", image=p) for p in x.split(16)]) for x in (train, test))
            back = torch.cat([call(component, "decode", tokens=ids) for ids in asked.split(16)])
        points.append({"way": "VQ-VAE", "what": f"{codes} codes, {steps} steps", "bits": bits(seen, asked, codes, 1),
                       "psnr": psnr(back, test), "tokens": asked.shape[1]})  # fmt: skip
    return points


def plot(points: Sequence[Point]) -> str:
    """The curve as SVG: bits a pixel to the right, PSNR upwards."""
    width, height, left, low = 640, 400, 60, 40
    colours = {"frequency": "#2563eb", "VQ of patches": "#d97706", "VQ-VAE": "#059669"}
    most, top = max(p["bits"] for p in points) * 1.05, max(p["psnr"] for p in points) + 2
    base = min(p["psnr"] for p in points) - 2

    def place(point: Point) -> tuple[float, float]:
        return (left + point["bits"] / most * (width - left - 20),
                height - low - (point["psnr"] - base) / (top - base) * (height - low - 20))  # fmt: skip

    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
             f'font-size="12"><rect width="{width}" height="{height}" fill="white"/>'
             f'<path d="M{left} 20V{height - low}H{width - 20}" fill="none" stroke="#444"/>'
             f'<text x="{width - 20}" y="{height - 8}" text-anchor="end">bits a pixel</text>'
             '<text x="8" y="14">PSNR, dB</text>']  # fmt: skip
    for step in range(int(base) // 5 * 5 + 5, int(top) + 1, 5):
        y = place({"bits": 0, "psnr": step})[1]
        lines.append(f'<text x="{left - 6}" y="{y + 4:.0f}" text-anchor="end">{step}</text>'
                     f'<path d="M{left} {y:.0f}H{width - 20}" stroke="#eee"/>')  # fmt: skip
    for tenth in range(0, int(most * 10) + 1, max(1, int(most * 10) // 6)):
        x = place({"bits": tenth / 10, "psnr": base})[0]
        lines.append(f'<text x="{x:.0f}" y="{height - low + 16}" text-anchor="middle">{tenth / 10:g}</text>')
    for row, (way, colour) in enumerate(colours.items()):
        mine = sorted((p for p in points if p["way"] == way), key=lambda p: p["bits"])
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in map(place, mine))
        lines.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        lines += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in map(place, mine)]
        lines.append(f'<text x="{width - 150}" y="{height - 110 + 18 * row}" fill="{colour}">{way}</text>')
    return "\n".join([*lines, "</svg>", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=int, default=192, help="scenes to count and learn on")
    parser.add_argument("--test", type=int, default=64, help="held-out scenes")
    parser.add_argument("--steps", type=int, default=40, help="of training each VQ-VAE")
    parser.add_argument("--plot", metavar="SVG", help="write the curves there")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    train, test = scenes(given.train, 0), scenes(given.test, EVAL_SEED)
    points = frequency(train, test) + patches_vq(train, test) + vq_vae(train, test, given.steps)
    if given.plot:
        Path(given.plot).write_text(plot(points), "utf-8")
    if given.json:
        print(json.dumps(points, ensure_ascii=False))
        return
    for p in points:
        print(
            f"{p['way']:<14} {p['what']:<34} {p['tokens']:5} tokens {p['bits']:7.3f} bits a pixel {p['psnr']:6.2f} dB"
        )


if __name__ == "__main__":
    main()
