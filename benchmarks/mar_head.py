"""MAR's diffusion head beside the loop of its reference: same weights, conditions and noise, equal tokens, in turns.

    python benchmarks/mar_head.py                      (MAR-B's head, 8 rows: 4 tokens and their unconditional twins)
    python benchmarks/mar_head.py --rows 64 --preset large

The reference's loop, written here in our own words as it does it: at every step the times are embedded, the conditions
projected and every shift, scale and gate made anew; the posterior's mean goes through the clean estimate. "best" is the
same loop with what does not change over the steps (the conditions' projection) taken out, and no tables on the way.
Times are the CPU's, of one thread; a ratio is the median over rounds of neighbours. Some 45 s.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from anyany_image_heads import gaussian
from anyany_image_heads.diffusion_head import EPS, DiffusionHead
from anyany_image_heads.transformer_parts import sinusoid

from anyany.testing.timing import in_turns, paired

SIZES = {"base": (768, 1024, 6), "large": (1024, 1280, 8), "huge": (1280, 1536, 12)}
"""Condition, width and blocks of the released heads; tokens have 16 numbers."""
TOKEN, GUIDANCE = 16, 2.9


def head_of(preset: str) -> DiffusionHead:
    cond, width, depth = SIZES[preset]
    torch.manual_seed(0)
    head = DiffusionHead(TOKEN, cond, width, depth).eval().requires_grad_(False)
    for parameter in head.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, 0, 0.6 * parameter.shape[-1] ** -0.5)
    return head


def network(head: DiffusionHead, x: torch.Tensor, t: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
    """One pass as the reference makes it; `c` is the projected condition."""
    net = head.net
    y = plain(net.time_embed.mlp, sinusoid(t)) + c
    h = plain(net.input_proj, x)
    for block in net.res_blocks:
        shift, scale, gate = plain(block.adaLN_modulation, y).chunk(3, dim=-1)
        inner = block.in_ln(h) * (1 + scale) + shift
        h = h + gate * plain(block.mlp, inner)
    shift, scale = plain(net.final_layer.adaLN_modulation, y).chunk(2, dim=-1)
    return plain(net.final_layer.linear, F.layer_norm(h, h.shape[-1:], eps=EPS) * (1 + scale) + shift)


def plain(layer: Any, x: torch.Tensor) -> torch.Tensor:
    """A layer, or several, with linear ones as the reference has them."""
    for one in layer if isinstance(layer, torch.nn.Sequential) else [layer]:
        x = F.linear(x, one.weight, one.bias) if isinstance(one, torch.nn.Linear) else one(x)
    return x


def reference(
    head: DiffusionHead, z: torch.Tensor, p: gaussian.Process, noise: torch.Tensor, best: bool
) -> torch.Tensor:
    """Guided ancestral sampling over both halves, step by step."""
    half, rows = len(z) // 2, len(z)
    x = torch.cat([noise[0], noise[0]])
    times, c = torch.tensor(p.timesteps), plain(head.net.cond_embed, z)
    for number, index in enumerate(reversed(range(len(p)))):
        t = torch.full((rows,), index)
        c = c if best else plain(head.net.cond_embed, z)
        out = network(head, torch.cat([x[:half], x[:half]]), times[t], c)
        eps, v = out[:, :TOKEN], out[:, TOKEN:]
        cond, null = eps.split(half)
        eps = null + GUIDANCE * (cond - null)
        eps = torch.cat([eps, eps])
        start = gaussian.cleaned(p, x, t, eps)
        mean = gaussian.posterior_mean(p, start, x, t)
        drawn = torch.cat([noise[number + 1], noise[number + 1]])
        moving = (t != 0).float().view(-1, 1)
        x = mean + moving * torch.exp(0.5 * gaussian.log_variance(p, v, t)) * drawn
    return x[:half]


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """The figures; tokens must be equal within 1e-5 of the largest."""
    head, half = head_of(options.preset), options.rows // 2
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(2 * half, SIZES[options.preset][0], generator=generator)
    p = gaussian.process("cosine", str(options.steps))
    noise = torch.randn(len(p) + 1, half, TOKEN, generator=generator)
    steps, scale = gaussian.ancestral(p), torch.full((half,), GUIDANCE)
    runs: dict[str, Callable[[], torch.Tensor]] = {
        "ours": lambda: head.sample(z, steps, lambda i: noise[i], scale),
        "reference": lambda: reference(head, z, p, noise, False),
        "best": lambda: reference(head, z, p, noise, True),
    }
    found = {key: run() for key, run in runs.items()}
    size = float(found["reference"].abs().max())
    apart = max(float((found[key] - found["reference"]).abs().max()) / size for key in ("ours", "best"))
    assert apart <= 1e-5, f"tokens differ by {apart:.1e} of the largest"
    seconds = in_turns(runs, options.rounds)
    median = {key: statistics.median(took) for key, took in seconds.items()}
    return {
        "head": options.preset, "rows": 2 * half, "steps": len(p), "tokens_apart": float(f"{apart:.1e}"),
        **{f"{key}_ms": round(value * 1e3, 1) for key, value in median.items()},
        "ratio": paired(seconds, "reference"), "ratio_best": paired(seconds, "best"),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="base", choices=list(SIZES))
    parser.add_argument("--rows", type=int, default=8, help="of the network: tokens and their unconditional twins")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    torch.set_num_threads(1)
    with torch.inference_mode():
        print(json.dumps(compare(parser.parse_args())))


if __name__ == "__main__":
    main()
