"""objectives/probes against cross-entropy in plain torch, alone as in a batch, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from anyany_objectives.batch_cards import PROBES, ProbesConfig

from anyany.api.torch import Context, Rows
from anyany.engine.noise import Noise
from anyany.testing.harness import bench


def context(names: list[str]) -> Context:
    return Context(node="probe", call="loss", keys=[(i,) for i in range(len(names))], noise=Noise(0, names),
                   device=torch.device("cpu"), dtype=torch.float32)  # fmt: skip


@pytest.fixture(scope="module")
def probes() -> Any:
    return bench(PROBES, {"classes": (3, 4), "inputs": 6}).build().component


def test_the_loss_is_cross_entropy_of_what_is_asked_by_position(probes: Any) -> None:
    x = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0))
    wanted = torch.tensor([[[0, 3], [2, -1], [-1, -1], [1, 1], [-1, 0]]] * 2).float()
    found = probes.loss(context(["a", "b"]), Rows(x), Rows(wanted))["loss"].data
    a, b = (probe(x[0]) for probe in probes.probes)
    by_hand = F.cross_entropy(a[[0, 1, 3]], torch.tensor([0, 2, 1]), reduction="sum")
    by_hand = by_hand + F.cross_entropy(b[[0, 3, 4]], torch.tensor([3, 1, 0]), reduction="sum")
    torch.testing.assert_close(found[0], by_hand / 5)


def test_a_few_steps_teach_features_to_hold_their_classes(probes: Any) -> None:
    x = torch.zeros(3, 4, 6).normal_(generator=torch.Generator().manual_seed(1)).requires_grad_(True)
    wanted = torch.randint(0, 3, (3, 4, 2), generator=torch.Generator().manual_seed(2)).float()
    optim = torch.optim.Adam([x], lr=0.3)
    for _ in range(30):
        given = probes.loss(context(["a", "b", "c"]), Rows(x), Rows(wanted))
        optim.zero_grad()
        given["loss"].data.mean().backward()
        optim.step()
    assert given["accuracy"].data.tolist() == [1, 1, 1]


def test_noise_is_each_items_own() -> None:
    noisy = bench(PROBES, {"classes": (3,), "inputs": 6, "noise": 0.5}).build().component
    x, wanted = torch.randn(2, 5, 6), torch.zeros(2, 5, 1)
    both = noisy.loss(context(["a", "b"]), Rows(x), Rows(wanted))["loss"].data
    alone = noisy.loss(context(["b"]), Rows(x[1:]), Rows(wanted[1:]))["loss"].data
    torch.testing.assert_close(alone[0], both[1])


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ([[3.0, 0.0]], "is none of them"),
        ([[float("nan"), 0.0]], "none of"),
        ([[0.0]], "asks 2 things"),
        ([[0.0, 0.0]] * 2, "of 1 positions"),
    ],
)
def test_classes_that_are_none_are_refused(probes: Any, wanted: list[list[float]], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        probes.loss(context(["a"]), Rows(torch.randn(1, 1, 6)), Rows(torch.tensor([wanted])))


def test_a_probe_tells_two_classes_apart_at_least() -> None:
    with pytest.raises(ValueError, match="from 2"):
        ProbesConfig(classes=(1,))
