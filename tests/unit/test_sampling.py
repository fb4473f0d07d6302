"""Choosing the next token: draws follow the softmax, top-k and top-p cut where they say, bad options fail.

Draws come from counter noise: a test that passes once passes always.
"""

from __future__ import annotations

import pytest
import torch

from anyany.api.torch import Sampler, span_rules
from anyany.engine.noise import Noise

DRAWS = 20_000
LOGITS = torch.tensor([2.0, 1.0, 0.5, 0.0, -1.0, -3.0])


def draw(temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, step: int = 0, seed: int = 0) -> torch.Tensor:
    """How often each token comes out in DRAWS rows of the same logits."""
    words = Noise(seed).words([(i,) for i in range(DRAWS)], "think.generate")
    sampler = Sampler.of([temperature] * DRAWS, [top_k] * DRAWS, [top_p] * DRAWS, words)
    tokens = sampler.pick(LOGITS.expand(DRAWS, -1), step)
    return torch.bincount(tokens, minlength=len(LOGITS)).double()


def chi_square(counts: torch.Tensor, probabilities: torch.Tensor) -> float:
    expected = probabilities.double() * DRAWS
    kept = expected > 0
    assert bool((counts[~kept] == 0).all()), "a token that may not come came"
    return float(((counts[kept] - expected[kept]) ** 2 / expected[kept]).sum())


# The 99.9 % points of chi-square with 1 to 5 degrees of freedom.
LIMIT = {1: 10.8, 2: 13.8, 3: 16.3, 4: 18.5, 5: 20.5}


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("step", [0, 1, 1000])
def test_draws_follow_the_softmax(temperature: float, step: int) -> None:
    assert chi_square(draw(temperature, step=step), (LOGITS / temperature).softmax(0)) < LIMIT[5]


def test_top_k_draws_among_the_k_likeliest_in_their_proportions() -> None:
    kept = LOGITS.clone()
    kept[3:] = float("-inf")
    assert chi_square(draw(top_k=3), kept.softmax(0)) < LIMIT[2]


@pytest.mark.parametrize(("top_p", "count"), [(0.01, 1), (0.55, 1), (0.6, 2), (0.8, 3), (0.89, 3), (0.95, 4)])
def test_top_p_keeps_the_smallest_set_that_reaches_its_mass(top_p: float, count: int) -> None:
    mass = LOGITS.softmax(0).cumsum(0)
    assert int((mass < top_p).sum()) + 1 == count, "the test's own table"
    kept = LOGITS.clone()
    kept[count:] = float("-inf")
    assert chi_square(draw(top_p=top_p), kept.softmax(0)) < LIMIT.get(count - 1, 1e-9)


def test_top_p_counts_the_mass_that_top_k_left() -> None:
    kept = LOGITS[:2].softmax(0)
    assert float(kept[0]) > 0.7, "the test's own table"
    assert draw(top_k=2, top_p=0.7)[1:].sum() == 0
    assert draw(top_p=0.7)[1] > 0


def test_consecutive_steps_are_independent() -> None:
    """Of rows that drew the likeliest token at one step, as many draw it at the next as of all rows."""
    words = Noise(0).words([(i,) for i in range(DRAWS)], "think.generate")
    sampler = Sampler.of([1.0] * DRAWS, [0] * DRAWS, [1.0] * DRAWS, words)
    now, then = (sampler.pick(LOGITS.expand(DRAWS, -1), step) == 0 for step in (4, 5))
    p = float(LOGITS.softmax(0)[0])
    together = float((now & then).double().mean())
    assert abs(together - p * p) < 4 * (p * p * (1 - p * p) / DRAWS) ** 0.5


def test_a_step_in_a_tensor_draws_what_the_number_draws() -> None:
    words = Noise(3).words([(i,) for i in range(64)], "think.generate")
    sampler = Sampler.of([1.0] * 64, [0] * 64, [1.0] * 64, words)
    logits = LOGITS.expand(64, -1)
    assert torch.equal(sampler.pick(logits, 7), sampler.pick(logits, torch.tensor(7)))


def test_zero_temperature_takes_the_likeliest() -> None:
    assert draw(temperature=0.0)[0] == DRAWS


def test_rows_keep_their_own_settings() -> None:
    words = Noise(0).words([(i,) for i in range(3)], "x")
    mixed = Sampler.of([0.0, 1.0, 1.0], [0, 1, 0], [1.0, 1.0, 1e-6], words)
    assert mixed.pick(LOGITS.expand(3, -1), 0).tolist() == [0, 0, 0]


def test_draws_never_take_an_illegal_token() -> None:
    """Rules and sampling together: -inf stays -inf through temperature, top-k and top-p."""
    rules = span_rules(6, {"image": [0, 1]})
    words = Noise(0).words([(i,) for i in range(DRAWS)], "x")
    sampler = Sampler.of([5.0] * DRAWS, [4] * DRAWS, [0.99] * DRAWS, words)
    state, left = torch.zeros(DRAWS, dtype=torch.int64), torch.ones(DRAWS, dtype=torch.int64)
    tokens = sampler.pick(rules.mask(LOGITS.expand(DRAWS, -1), state, left), 0)
    assert set(tokens.tolist()) == {2, 3, 4, 5}


@pytest.mark.parametrize("bad", [{"temperature": -0.1}, {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.5}])
def test_settings_out_of_range_are_refused(bad: dict[str, float]) -> None:
    good = {"temperature": 1.0, "top_k": 0, "top_p": 1.0} | bad
    with pytest.raises(ValueError, match="top_p"):
        Sampler.of([good["temperature"]], [int(good["top_k"])], [good["top_p"]], torch.zeros(1, 2, dtype=torch.int64))
