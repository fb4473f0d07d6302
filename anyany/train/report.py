"""report.html of a training run: a curve for every number, samples of each validation, what each node cost.

One file, nothing from outside; made from the metrics files and samples that lie in the folder.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from anyany.train.metrics import read

WIDE, HIGH, PAD = 420, 140, 28
SAMPLES = 6
IMAGES = {".png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp"}


def write_report(out: Path, spec: str) -> Path:
    """Write the page of every stage below `out` that has metrics."""
    stages = sorted((p.parent for p in out.glob("*/metrics.jsonl")), key=lambda p: p.stat().st_mtime)
    body = "".join(_stage(folder) for folder in stages)
    page = (
        f'<!doctype html><meta charset="utf-8"><title>{escape(spec)}</title><style>{_STYLE}</style>'
        f"<h1>{escape(spec)}: training</h1>{body}"
    )
    path = out / "report.html"
    partial = path.with_suffix(".partial")
    partial.write_text(page, "utf-8")
    os.replace(partial, path)
    return path


_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#222}"
    "figure{display:inline-block;margin:0 1rem 1rem 0}figcaption{font-size:13px;color:#555}"
    "svg{background:#fafafa;border:1px solid #ddd}img{image-rendering:auto;max-height:160px;border:1px solid #ddd}"
    "pre{background:#f4f4f4;padding:.5rem;max-width:26rem;white-space:pre-wrap}table{border-collapse:collapse}"
    "td,th{padding:.1rem .8rem .1rem 0;text-align:left}"
)


def _stage(folder: Path) -> str:
    lines = read(folder / "metrics.jsonl")
    names = dict.fromkeys(n for line in lines for n in line if n != "step")
    curves = "".join(_curve(name, [(line["step"], line[name]) for line in lines if name in line]) for name in names)
    return f"<h2>{escape(folder.name)}</h2>{_done(folder)}{curves}{_samples(folder)}"


def _done(folder: Path) -> str:
    path = folder / "done.json"
    if not path.exists():
        return "<p>under way</p>"
    done = json.loads(path.read_text("utf-8"))
    prefix: Mapping[str, float] = done.get("prefix", {})
    told = f"{done['steps']} steps, {done['seconds']:.1f} s"
    if prefix.get("computed"):
        each = prefix["seconds"] / prefix["computed"]
        told += (
            f"; before what is learned: {prefix['computed']} items computed ({1000 * each:.2f} ms each), "
            f"{prefix['reused']} reused, {prefix['bytes'] / 2**20:.1f} MiB kept"
        )
    rows = "".join(
        f"<tr><td>{escape(n)}</td><td>{v['seconds']:.2f} s</td><td>{v['rows']} rows</td></tr>"
        for n, v in done.get("nodes", {}).items()
    )
    return f"<p>{escape(told)}</p><table>{rows}</table>"


def _curve(name: str, points: Sequence[tuple[int, float]]) -> str:
    """One number over the steps as a line."""
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    low, high = min(ys), max(ys)
    wide, tall = max(max(xs) - min(xs), 1), (high - low) or 1.0
    dots = " ".join(
        f"{PAD + (x - min(xs)) / wide * (WIDE - 2 * PAD):.1f},{HIGH - PAD - (y - low) / tall * (HIGH - 2 * PAD):.1f}"
        for x, y in points
    )
    line = f'<polyline points="{dots}" fill="none" stroke="#2a6" stroke-width="1.5"/>'
    text = (
        f'<text x="4" y="14" font-size="11">{high:.4g}</text>'
        f'<text x="4" y="{HIGH - 6}" font-size="11">{low:.4g}</text>'
        f'<text x="{WIDE - 60}" y="{HIGH - 6}" font-size="11">step {max(xs)}</text>'
    )
    label = f"{escape(name)}: {ys[-1]:.4g}"
    return (
        f'<figure><svg width="{WIDE}" height="{HIGH}" role="img" aria-label="{label}">{line}{text}</svg>'
        f"<figcaption>{label}</figcaption></figure>"
    )


def _samples(folder: Path) -> str:
    found = sorted((folder / "samples").glob("step-*"))[-3:]
    parts = []
    for step in found:
        files = [p for p in sorted(step.iterdir()) if p.is_file()][: 2 * SAMPLES]
        parts.append(f"<h3>{escape(step.name)}</h3>" + "".join(_sample(p) for p in files))
    return "".join(parts)


def _sample(path: Path) -> str:
    if path.suffix in IMAGES:
        data = base64.b64encode(path.read_bytes()).decode()
        inner = f'<img alt="{escape(path.name)}" src="data:{IMAGES[path.suffix]};base64,{data}">'
    elif path.suffix == ".wav":
        inner = f'<audio controls src="data:audio/wav;base64,{base64.b64encode(path.read_bytes()).decode()}"></audio>'
    else:
        inner = f"<pre>{escape(path.read_text('utf-8', 'replace')[:1000])}</pre>"
    return f"<figure>{inner}<figcaption>{escape(path.name)}</figcaption></figure>"
