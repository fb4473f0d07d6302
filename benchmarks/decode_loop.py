"""Tokens a second of the decode loop beside transformers' generate(): same model, same prompts, same ids, in turns.

    python benchmarks/decode_loop.py                                   (a small model, on the CPU or the GPU at hand)
    python benchmarks/decode_loop.py --shape 7b --dtype bfloat16       (wants a GPU)

The two take turns in one process, so that a busy machine slows both alike; the median of the rounds is printed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from anyany.api.torch import Decoder, Limits, Sampler
from anyany.engine.decode import left_pad

SHAPES = {
    "tiny": {"hidden_size": 64, "intermediate_size": 172, "num_hidden_layers": 4, "num_attention_heads": 4,
             "vocab_size": 512},
    "small": {"hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 6, "num_attention_heads": 8,
              "vocab_size": 4096},
    "7b": {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
           "vocab_size": 32000},
}  # fmt: skip


def model_of(options: argparse.Namespace) -> Any:
    """A random model of the shape, on the device. Drawn wide, so that replies are not one token repeated."""
    sizes = {**SHAPES[options.shape], "max_position_embeddings": options.prompt + options.new + 8}
    config = AutoConfig.for_model(options.arch, bos_token_id=None, eos_token_id=None, pad_token_id=0, **sizes)
    torch.manual_seed(0)
    with torch.device(options.device):
        model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, options.dtype)).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, 0, 2.0 * parameter.shape[-1] ** -0.5)
    return model.requires_grad_(False)


def prompts_of(model: Any, options: argparse.Namespace) -> list[torch.Tensor]:
    """Ragged prompts [N,D], the longest of the length asked for."""
    generator = torch.Generator().manual_seed(1)
    table = model.get_input_embeddings()
    lengths = [max(1, options.prompt - 3 * row) for row in range(options.batch)]
    ids = [torch.randint(1, model.config.vocab_size, (n,), generator=generator) for n in lengths]
    return [table(row.to(options.device)) for row in ids]


def loop(model: Any, prompts: Sequence[torch.Tensor], new: int) -> list[list[int]]:
    """Greedy ids by the decode loop."""
    batch = len(prompts)
    words = torch.zeros(batch, 2, dtype=torch.int64, device=prompts[0].device)
    greedy = Sampler.of([0.0] * batch, [0] * batch, [1.0] * batch, words)
    return [row.ids for row in Decoder(model).run(prompts, Limits(max_new=[new] * batch, stop_ids=[]), greedy)]


def generate(model: Any, prompts: Sequence[torch.Tensor], new: int) -> list[list[int]]:
    """Greedy ids by transformers."""
    embeds_BND, pads = left_pad(prompts)
    mask_BN = torch.ones(embeds_BND.shape[:2], dtype=torch.int64, device=embeds_BND.device)
    for row, pad in enumerate(pads):
        mask_BN[row, :pad] = 0
    wanted = {"max_new_tokens": new, "do_sample": False}
    ids: list[list[int]] = model.generate(inputs_embeds=embeds_BND, attention_mask=mask_BN, **wanted).tolist()
    return ids


def timed(run: Callable[[], list[list[int]]], device: str) -> tuple[float, list[list[int]]]:
    """Seconds and ids; the ids' way to the host ends the work of the device."""
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    ids = run()
    return time.perf_counter() - start, ids


def equal_share(a: list[list[int]], b: list[list[int]]) -> float:
    """Share of tokens before the first difference of each row."""
    same = total = 0
    for x, y in zip(a, b, strict=True):
        total += len(x)
        same += next((i for i, (p, q) in enumerate(zip(x, y)) if p != q), len(x))
    return same / total


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """The figures. In float32 the ids must be equal; in half precision near ties may flip, so the share is reported."""
    model = model_of(options)
    prompts = prompts_of(model, options)
    runs: dict[str, Callable[[], list[list[int]]]] = {
        "loop": lambda: loop(model, prompts, options.new),
        "generate": lambda: generate(model, prompts, options.new),
    }
    ids = {name: run() for name, run in runs.items()}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(options.rounds):
        for name, run in runs.items():
            took, found = timed(run, options.device)
            seconds[name].append(took)
            assert found == ids[name] or options.dtype != "float32", f"{name} does not repeat itself"
    share = equal_share(ids["loop"], ids["generate"])
    assert share == 1.0 or options.dtype != "float32", "the loop's ids differ from generate()'s"
    tokens = options.batch * options.new
    rate = {name: tokens / statistics.median(took) for name, took in seconds.items()}
    return {
        "arch": options.arch, "shape": options.shape, "dtype": options.dtype, "device": options.device,
        "batch": options.batch, "prompt": options.prompt, "new": options.new, "rounds": options.rounds,
        "loop_tokens_s": round(rate["loop"], 1), "generate_tokens_s": round(rate["generate"], 1),
        "ratio": round(rate["loop"] / rate["generate"], 2), "equal_ids": round(share, 4),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", default="llama")
    parser.add_argument("--shape", choices=sorted(SHAPES), default="small")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--prompt", type=int, default=64)
    parser.add_argument("--new", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    options = parser.parse_args()
    found = compare(options)
    if options.json:
        print(json.dumps(found))
        return
    print(f"{found['arch']} {found['shape']} {found['dtype']} on {found['device']}: batch {found['batch']}, "
          f"prompt {found['prompt']}, {found['new']} new tokens, median of {found['rounds']} rounds")  # fmt: skip
    print(f"  decode loop   {found['loop_tokens_s']:>10} tokens/s")
    print(f"  generate()    {found['generate_tokens_s']:>10} tokens/s")
    print(f"  ratio         {found['ratio']:>10}      equal ids {found['equal_ids']:.2%}")


if __name__ == "__main__":
    main()
