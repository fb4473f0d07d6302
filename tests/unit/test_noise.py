"""The promise on noise, clause by clause, as far as a CPU can: identity, independence, and the distributions."""

from __future__ import annotations

import math

import pytest
import torch

from anyany.engine.context import Context
from anyany.engine.noise import Noise

N = 20_000
KEY = [(0,)]


def ks(sample: torch.Tensor, cdf: torch.Tensor) -> float:
    """The Kolmogorov-Smirnov statistic times sqrt(n); above 1.95 one in a thousand honest samples falls."""
    n = len(sample)
    steps = torch.arange(1, n + 1, dtype=torch.float64) / n
    cdf = cdf.double()
    return float(torch.maximum((steps - cdf).abs().max(), (cdf - steps + 1 / n).abs().max())) * math.sqrt(n)


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    """Pearson's correlation times sqrt(n): a standard normal number for independent samples."""
    a, b = a.double().flatten(), b.double().flatten()
    return float(torch.corrcoef(torch.stack([a, b]))[0, 1]) * math.sqrt(len(a))


def test_an_item_has_the_same_noise_alone_and_in_any_batch() -> None:
    together = Noise(7, ["a", "b", "c"]).normal([(0,), (1,), (2,)], (4, 5), "draw.image")
    alone = Noise(7, ["c"]).normal(KEY, (4, 5), "draw.image")
    assert torch.equal(together[2:], alone)


@pytest.mark.parametrize("other", [
    {"seed": 8}, {"item": "b"}, {"where": "draw.embed"}, {"where": "sing.image"}, {"key": (0, 1)}, {"step": 1},
])  # fmt: skip
def test_each_part_of_the_name_gives_other_and_uncorrelated_noise(other: dict[str, object]) -> None:
    def draw(
        seed: int = 7, item: str = "a", where: str = "draw.image", key: tuple[int, ...] = (0, 0), step: int = 0
    ) -> torch.Tensor:
        return Noise(seed, [item]).normal([key], (N,), where, step)[0]

    assert abs(correlation(draw(), draw(**other))) < 4.0  # type: ignore[arg-type]


def test_normal_numbers_are_standard_normal() -> None:
    x = Noise(0, ["a"]).normal(KEY, (N,), "n")[0]
    assert abs(float(x.mean())) < 4 / math.sqrt(N)
    assert abs(float(x.var()) - 1) < 4 * math.sqrt(2 / N)
    assert ks(x.sort().values, torch.special.ndtr(x.sort().values)) < 1.95


def test_uniform_numbers_are_uniform_and_inside_the_open_interval() -> None:
    u = Noise(0, ["a"]).uniform(KEY, (N,), "n")[0]
    assert float(u.min()) > 0 and float(u.max()) < 1
    assert ks(u.sort().values, u.sort().values) < 1.95


def test_successive_numbers_steps_and_places_are_uncorrelated() -> None:
    noise = Noise(3, ["a"])
    x = noise.normal(KEY, (N + 1,), "n")[0]
    assert abs(correlation(x[:-1], x[1:])) < 4
    steps = torch.stack([noise.normal(KEY, (64,), "n", s)[0] for s in range(256)])
    assert abs(correlation(steps[:-1], steps[1:])) < 4
    places = noise.normal([(0, i) for i in range(256)], (64,), "n")
    assert abs(correlation(places[:-1], places[1:])) < 4


def test_over_many_items_the_first_number_is_still_normal() -> None:
    ids = [f"item-{i}" for i in range(4000)]
    first = Noise(0, ids).normal([(i,) for i in range(4000)], (2,), "n")[:, 0].sort().values
    assert ks(first, torch.special.ndtr(first)) < 1.95


def test_gumbel_maximum_samples_the_softmax() -> None:
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0])
    rows = 8000
    noise = Noise(1, [str(i) for i in range(rows)])
    u = noise.uniform([(i,) for i in range(rows)], (4,), "n")
    drawn = (logits - torch.log(-torch.log(u))).argmax(-1)
    found = torch.bincount(drawn, minlength=4) / rows
    spread = 4 * torch.sqrt(logits.softmax(-1) * (1 - logits.softmax(-1)) / rows)
    assert bool(((found - logits.softmax(-1)).abs() < spread).all())


def test_a_context_names_its_noise_by_node_and_call() -> None:
    def ctx(node: str, call: str) -> Context:
        return Context(node=node, call=call, keys=KEY, noise=Noise(5, ["x"]), device=torch.device("cpu"),
                       dtype=torch.float32)  # fmt: skip

    assert torch.equal(ctx("a", "b").normal((3,)), Noise(5, ["x"]).normal(KEY, (3,), "a.b"))
    assert not torch.equal(ctx("a", "b").normal((3,)), ctx("a", "c").normal((3,)))
