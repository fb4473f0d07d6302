"""random:SEED: the same weights from the same seed and names, whatever the order, dtype or device they are made in."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from anyany.weights.random_init import init_random


class Block(nn.Module):
    def __init__(self, flip: bool = False) -> None:
        super().__init__()
        parts = [
            ("a", nn.Linear(64, 64)),
            ("n", nn.LayerNorm(64)),
            ("c", nn.Conv1d(64, 64, 3)),
            ("e", nn.Embedding(9, 64)),
        ]
        for name, part in reversed(parts) if flip else parts:
            self.add_module(name, part)
        self.token = nn.Parameter(torch.zeros(1, 5, 64))
        self.gamma = nn.Parameter(torch.zeros(64))
        self.register_buffer("position_ids", torch.arange(5)[None])
        self.register_buffer("table", torch.zeros(3), persistent=False)

    def init_buffers(self) -> None:
        self.table.fill_(2)


def drawn(seed: int = 0, flip: bool = False, meta: bool = True, dtype: torch.dtype | None = None) -> Block:
    with torch.device("meta" if meta else "cpu"):
        module = Block(flip)
    return init_random(module, seed, dtype=dtype)


def test_the_same_seed_gives_the_same_weights_in_any_order_of_building():
    one, two = drawn().state_dict(), drawn(flip=True).state_dict()
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_module_on_meta_gets_what_a_real_one_gets():
    one, two = drawn().state_dict(), drawn(meta=False).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_another_seed_or_name_gives_other_weights():
    assert not torch.equal(drawn(0).a.weight, drawn(1).a.weight)
    two = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
    init_random(two, 0)
    assert not torch.equal(two[0].weight, two[1].weight)


def test_the_global_generator_is_neither_used_nor_moved():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    one = drawn()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    assert torch.equal(drawn().a.weight, one.a.weight)


def test_bfloat16_weights_are_the_rounded_float32_ones():
    assert torch.equal(drawn(dtype=torch.bfloat16).a.weight, drawn().a.weight.bfloat16())


def test_signals_keep_their_scale_through_the_layers():
    block = drawn()
    x = torch.randn(200, 64)
    assert 0.7 < float(block.a(x).std().detach()) < 1.4
    assert 0.7 < float(block.c(torch.randn(20, 64, 30)).std().detach()) < 1.4
    assert torch.equal(block.n.weight, torch.ones(64))
    assert torch.equal(block.gamma, torch.ones(64))
    assert 0 < float(block.a.bias.detach().abs().max()) < 0.2
    assert block.position_ids.tolist() == [[0, 1, 2, 3, 4]]
    assert block.table.tolist() == [2, 2, 2]


@pytest.mark.parametrize("depth", [24])
def test_a_deep_residual_network_stays_finite_and_alive(depth):
    layers = nn.ModuleList(
        nn.Sequential(nn.LayerNorm(32), nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32)) for _ in range(depth)
    )
    init_random(layers, 3)
    x = torch.randn(10, 32)
    for layer in layers:
        x = x + layer(x)
    assert bool(x.isfinite().all()) and 0.1 < float(x.std().detach()) < 100
    assert float(x.detach().std(dim=0).mean()) > 0.1


def test_ties_stay_tied():
    embed, head = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
    head.weight = embed.weight
    pair = init_random(nn.ModuleList([embed, head]), 0)
    assert pair[0].weight is pair[1].weight
