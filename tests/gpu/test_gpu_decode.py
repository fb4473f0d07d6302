"""The decode loop on CUDA: the same tokens as on the CPU, through a graph, without the host ever waiting for a step.

Tiny models: what is shown is behaviour. `benchmarks/decode_loop.py` measures speed.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from anyany.api.torch import Decoder, Generated, Limits, Rules, Sampler, span_rules

VOCAB, WIDTH, NEW = 97, 32, 24
IMAGE = [90, 91, 92, 93]


def model_of(arch: str, device: str) -> nn.Module:
    sizes = {
        "hidden_size": WIDTH, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "n_embd": WIDTH, "num_key_value_heads": 2, "vocab_size": VOCAB, "max_position_embeddings": 256,
        "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "n_layer": 2, "n_head": 4, "n_positions": 256,
    }  # fmt: skip
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(arch, **sizes)).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, 0, 0.3)
    return model.requires_grad_(False).to(device)


def run(model: nn.Module, device: str, rules: Rules | None = None, check: object = None, temperature: float = 0.0,
        new: int = NEW) -> list[Generated]:  # fmt: skip
    generator = torch.Generator().manual_seed(1)
    prompts = [torch.randn(n, WIDTH, generator=generator).to(device) for n in (5, 13, 2)]
    words = torch.tensor([[11, 5], [17, 7], [23, 9]], device=device)
    sampler = Sampler.of([temperature] * 3, [20] * 3, [0.95] * 3, words)
    return Decoder(model).run(prompts, Limits(max_new=[new] * 3, stop_ids=[2]), sampler, rules, check=check)


@pytest.fixture
def no_waiting() -> Iterator[object]:
    """A function that, once called, makes every synchronisation of the host with the device an error."""
    yield lambda: torch.cuda.set_sync_debug_mode("error")
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("arch", ["llama", "qwen2", "gpt2", "gpt_neox", "phi3", "mamba"])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_cuda_gives_the_tokens_of_the_cpu_in_float32(arch: str, temperature: float) -> None:
    here = run(model_of(arch, "cpu"), "cpu", temperature=temperature)
    there = run(model_of(arch, "cuda"), "cuda", temperature=temperature)
    assert [row.ids for row in there] == [row.ids for row in here]


def test_spans_and_their_states_are_those_of_the_cpu() -> None:
    rules = span_rules(VOCAB, {"image": IMAGE})
    rules.next_SC[0, 0] = -1  # nothing but spans
    here = run(model_of("llama", "cpu"), "cpu", rules, new=8)
    there = run(model_of("llama", "cuda"), "cuda", rules, new=8)
    assert [row.ids for row in there] == [IMAGE * 2] * 3
    for a, b in zip(here, there):
        torch.testing.assert_close(torch.stack(b.hidden).cpu(), torch.stack(a.hidden), atol=1e-3, rtol=1e-3)


def test_the_host_never_waits_inside_the_loop(no_waiting: object) -> None:
    """From the first step on, whatever synchronises raises."""
    rules = span_rules(VOCAB, {"image": IMAGE})
    rows = run(model_of("llama", "cuda"), "cuda", rules, check=no_waiting, temperature=0.8)
    torch.cuda.set_sync_debug_mode("default")
    assert all(row.ids for row in rows)


def test_a_second_batch_is_not_disturbed_by_the_first_ones_graph() -> None:
    model = model_of("llama", "cuda")
    first = run(model, "cuda")
    run(model, "cuda", new=7)
    assert [row.ids for row in run(model, "cuda")] == [row.ids for row in first]
