"""VAR's generation beside the loop of its reference: same weights, class and draws, equal tokens, in turns.

    python benchmarks/var_speed.py                     (VAR-d16's shape, one picture with guidance, scales up to 4x4)
    python benchmarks/var_speed.py --scales 10         (all ten)

The reference's loop, written here in our own words as it does it: at every scale every block makes its shifts, scales
and gates anew from the condition, and keys and values are joined to those before them. "best" is the same loop with
the biases and heats that it makes again at every call taken out. Times are the CPU's, of one thread; a ratio is the
median over rounds of neighbours. Some 30 s.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from anyany_image_heads.plugin import VAR
from anyany_image_heads.var import Var, filtered
from anyany_image_heads.var_transformer import HIGHEST

from anyany.testing.harness import bench
from anyany.testing.timing import in_turns, paired

EPS, GUIDANCE, TOP_K, TOP_P = 1e-6, 1.5, 900, 0.96


def head_of(depth: int) -> Var:
    """A random head of the shape, without encoder and decoder of pixels."""
    options = {"depth": depth, "classes": 1000, "autoencoder": False}
    head: Var = bench(VAR, options).build().component
    return head


def plain(layer: Any, x: torch.Tensor) -> torch.Tensor:
    """A linear layer as the reference has it."""
    return F.linear(x, layer.weight, layer.bias)


def constants(a: Any) -> SimpleNamespace:
    """What an attention layer makes again at every call."""
    bias = torch.cat((a.q_bias, torch.zeros_like(a.q_bias), a.v_bias))
    return SimpleNamespace(bias=bias, heat=a.scale_mul_1H11.clamp_max(HIGHEST).exp())


def attention(a: Any, x: torch.Tensor, past: list[torch.Tensor], kept: SimpleNamespace | None) -> torch.Tensor:
    """Keys and values joined to the past."""
    rows, count, _ = x.shape
    kept = kept or constants(a)
    qkv = F.linear(x, a.mat_qkv.weight, kept.bias).view(rows, count, 3, a.heads, -1)
    q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
    q = F.normalize(q, dim=-1).mul(kept.heat)
    k = F.normalize(k, dim=-1)
    if past:
        k, v = torch.cat((past[0], k), dim=2), torch.cat((past[1], v), dim=2)
    past[:] = [k, v]
    out = F.scaled_dot_product_attention(q, k, v, scale=1.0)
    return plain(a.proj, out.transpose(1, 2).reshape(rows, count, -1))


def block(b: Any, x: torch.Tensor, cond: torch.Tensor, past: list[torch.Tensor], kept: Any) -> torch.Tensor:
    """Modulations from the condition, every time."""
    wide = x.shape[-1:]
    made = plain(b.ada_lin[1], F.silu(cond))
    gate1, gate2, scale1, scale2, shift1, shift2 = made.view(-1, 1, 6, *wide).unbind(2)
    inner = F.layer_norm(x, wide, eps=EPS).mul(scale1.add(1)).add_(shift1)
    x = x + attention(b.attn, inner, past, kept).mul_(gate1)
    inner = F.layer_norm(x, wide, eps=EPS).mul(scale2.add(1)).add_(shift2)
    inner = F.gelu(plain(b.ffn.fc1, inner), approximate="tanh")
    return x + plain(b.ffn.fc2, inner).mul(gate2)


def reference(
    head: Var, cond: torch.Tensor, null: torch.Tensor, pick: Any, scales: int, best: bool
) -> list[torch.Tensor]:
    """Token ids of each scale."""
    m, codes = head.model, head.vae.quantize
    both, last = torch.cat((cond, null)), len(m.scales) - 1
    places = m.places()
    x = both[:, None] + m.pos_start + places[:, :1]
    pasts: list[list[torch.Tensor]] = [[] for _ in m.blocks]
    kept = [constants(b.attn) if best else None for b in m.blocks]
    f, ids, used = both.new_zeros(1, head.config.latents, m.scales[-1], m.scales[-1]), [], 0
    for k in range(scales):
        used += m.counts[k]
        for b, past, keeps in zip(m.blocks, pasts, kept):
            x = block(b, x, both, past, keeps)
        scale, shift = plain(m.head_nm.ada_lin[1], F.silu(both)).view(-1, 1, 2, m.width).unbind(2)
        logits = plain(m.head, F.layer_norm(x, x.shape[-1:], eps=EPS).mul(scale.add(1)).add_(shift)).float()
        weight = GUIDANCE * k / last
        chosen = pick((1 + weight) * logits[:1] - weight * logits[1:], k)
        ids.append(chosen)
        f = f + codes.added(chosen, k)
        if k < scales - 1:
            inputs = plain(m.word_embed, codes.smaller(f, k + 1)) + places[:, used : used + m.counts[k + 1]]
            x = inputs.repeat(2, 1, 1)
    return ids


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """The figures; tokens must be equal."""
    head = head_of(options.depth)
    cond = head.look_up(torch.tensor([3]))
    null = head.null_C()[None]
    scales = min(options.scales, len(head.model.scales))
    generator = torch.Generator().manual_seed(0)
    codes = head.config.codes
    draws = [-torch.log(-torch.log(torch.rand(1, n, codes, generator=generator))) for n in head.model.counts[:scales]]

    def pick(logits: torch.Tensor, k: int) -> torch.Tensor:
        assert not math.isnan(float(logits[0, 0, 0]))
        return (filtered(logits, TOP_K, TOP_P) + draws[k]).argmax(-1)

    guidance = torch.tensor([GUIDANCE])
    runs: dict[str, Callable[[], list[torch.Tensor]]] = {
        "ours": lambda: head.grow(cond, null, guidance, pick, scales)[0],
        "reference": lambda: reference(head, cond, null, pick, scales, False),
        "best": lambda: reference(head, cond, null, pick, scales, True),
    }
    found = {key: torch.cat(run(), 1) for key, run in runs.items()}
    assert all(torch.equal(ids, found["reference"]) for ids in found.values()), "tokens differ"
    seconds = in_turns(runs, options.rounds)
    median = {key: statistics.median(took) for key, took in seconds.items()}
    return {
        "depth": options.depth, "scales": head.model.scales[:scales], "tokens": found["ours"].shape[1], "equal": True,
        **{f"{key}_ms": round(value * 1e3, 1) for key, value in median.items()},
        "ratio": paired(seconds, "reference"), "ratio_best": paired(seconds, "best"),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depth", type=int, default=16)
    parser.add_argument("--scales", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=9)
    torch.set_num_threads(1)
    with torch.inference_mode():
        print(json.dumps(compare(parser.parse_args())))


if __name__ == "__main__":
    main()
