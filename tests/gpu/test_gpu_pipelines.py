"""Whole pipelines on CUDA: the quickstart in bfloat16 beside the CPU, and a NExT-GPT of the size of 7B beside its plan.

The big one has random weights: what counts is that it runs and takes the memory that was predicted.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import anyany
from anyany.api.torch import to_float
from anyany.api.v1 import Media, Message
from anyany.engine.predict import predict

ROOT = Path(__file__).parents[2]
SCENES = sorted((ROOT / "examples").glob("scene-*.png"))
ASKED = [["describe it ", scene] for scene in SCENES] + [
    ["draw a big red circle on the left"], ["draw a small blue star at the top and a big green square at the bottom"],
    ["hello"], ["what shapes do you know?"],
]  # fmt: skip
LLAMA_7B = {"width": 4096, "layers": 32, "heads": 32, "mlp": 11008, "vocab": 32000}


def nextgpt(think: Mapping[str, Any], device: str) -> dict[str, Any]:
    """A message in, a message out, pictures both ways; every node random."""
    return {
        "anyany": 1,
        "name": "nextgpt",
        "inputs": {"prompt": "message"},
        "nodes": {
            "look": {"use": "vision/vit", "weights": "random:0", "in": "prompt.image"},
            "see": {"use": "adapters/linear", "weights": "random:1", "in": "look"},
            "think": {
                "use": "language/causal-lm", "weights": "random:2", "in": {"message": "prompt", "image": "see"},
                "with": {"arch": "llama", "signals": {"image": 4}, "max_new_tokens": 32, **think},
            },
            "to_image": {"use": "adapters/mlp", "weights": "random:3", "with": {"hidden": 512}, "in": "think.image"},
            "draw": {
                "use": "image_heads/diffusion", "weights": "random:4", "with": {"n": 4, "cond": 768}, "in": "to_image",
            },
        },
        "outputs": {"reply": {"fill": "think.reply", "image": "draw"}},
        "profiles": {"here": {"*": {"device": device, "dtype": "bfloat16"}}},
    }  # fmt: skip


def said(message: Message) -> tuple[str, list[Tensor]]:
    """The text and the pictures of a message, in 0..1 on the CPU."""
    pictures = [p.value for p in message.parts if isinstance(p, Media)]
    return "".join(p for p in message.parts if isinstance(p, str)), [to_float(v).float().cpu() for v in pictures]


def test_the_quickstart_in_bfloat16_answers_as_on_the_cpu() -> None:
    spec = ROOT / "pipelines/quickstart.yaml"
    here, there = anyany.load(spec, device="cpu"), anyany.load(spec, profile="one-gpu")
    items = [{"id": str(n), "prompt": parts} for n, parts in enumerate(ASKED)]
    pairs = [(said(a.outputs["reply"]), said(b.outputs["reply"])) for a, b in zip(here.map(items), there.map(items))]
    assert all(len(a[1]) == len(b[1]) for a, b in pairs), "another modality was chosen"
    same = sum(a[0] == b[0] for a, b in pairs)
    assert same >= 0.9 * len(pairs), f"{same} of {len(pairs)} texts are the CPU's"
    for (_, mine), (_, theirs) in pairs:
        for a, b in zip(mine, theirs):
            assert float((a - b).abs().mean()) < 0.05


def test_a_nextgpt_of_7b_takes_the_memory_that_was_predicted() -> None:
    if torch.cuda.get_device_properties(0).total_memory < 24e9:
        pytest.skip("a 7B model in bfloat16 wants 24 GB")
    pipe = anyany.load(nextgpt(LLAMA_7B, "cuda"), profile="here")
    table = {p.node: p.bytes or 0 for p in predict(pipe.plan, pipe.components.reach())}
    assert table["think"] > 13e9
    taken = {}
    for node in table:
        gc.collect()
        before = torch.cuda.memory_allocated()
        pipe.components.get(node)
        taken[node] = torch.cuda.memory_allocated() - before
    total = sum(taken.values())
    assert abs(table["think"] - taken["think"]) < 0.1 * taken["think"], (table, taken)
    assert abs(sum(table.values()) - total) < 0.1 * total, (table, taken)
    reply = pipe(prompt=["What is this? ", SCENES[0]])["reply"]
    assert isinstance(reply, Message)
