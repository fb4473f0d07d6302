"""What the miniature's image heads are taught with: pictures without unseen pairs, and mixed conditioning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from anyany_mini import drawings, world
from anyany_mini.drawing_cards import DrawingsConfig

from anyany.api.torch import Assets, Build, Context, Rows
from anyany.engine.noise import Noise
from anyany.registry import default_registry
from anyany.testing.harness import bench


def source(**options: Any) -> drawings.Drawings:
    return drawings.Drawings(DrawingsConfig(**options), Build(node="data", sizes={}, facts={}, assets=Assets(None)))


def blend(rows: int = 2, seed: int = 0, noise: float = 0.0, **fields: Any) -> torch.Tensor:
    """[rows,8,4] of ones and threes mixed by a quarter, the second slot blank."""
    component = bench(default_registry().card("mini/blend"), {"noise": noise}).build().component
    given = {"cond": torch.ones(rows, 8, 4), "other": torch.full((rows, 8, 4), 3.0),
             "share": torch.full((rows, 1), 0.25), "blank": torch.eye(8)[1].expand(rows, -1)}  # fmt: skip
    context = Context(node="mixed", call="blend", keys=[(i,) for i in range(rows)], device=torch.device("cpu"),
                      noise=Noise(seed, [f"row {i}" for i in range(rows)]), dtype=torch.float32)  # fmt: skip
    found = component.blend(context, **{n: Rows(v) for n, v in (given | fields).items()})
    return torch.stack(list(found["features"]))


def test_a_record_is_the_same_every_time_and_another_by_number_and_seed() -> None:
    one, again, other = source().record(3), source().record(3), source(seed=1).record(3)
    assert all(np.array_equal(one[n], again[n]) for n in one)
    assert not np.array_equal(one["picture"], other["picture"])
    assert not np.array_equal(one["picture"], source().record(4)["picture"])


def test_no_lesson_shows_an_unseen_pair() -> None:
    palette = np.array(world.RGB)
    rng = np.random.default_rng(0)
    for _ in range(300):
        scene = drawings.lesson(rng, jitter=0.25, mixed=0.5, strange=0.5, blank=0.0).scene
        for thing in scene.things:
            nearest = int(((palette - np.array(thing.rgb)) ** 2).sum(1).argmin())
            assert thing.shape == world.OTHER or not world.is_unseen(nearest, thing.shape)


def test_a_shade_is_told_by_a_second_caption_that_differs_in_one_colour() -> None:
    records = [source(mixed=1.0, strange=0.0).record(n) for n in range(40)]
    mixed = [r for r in records if r["share"][0] > 0 and r["other"] != r["caption"]]
    assert len(mixed) > 20
    for record in mixed:
        assert record["share"][0] <= 0.5
        here, there = (world.parse_caption(record[n]) for n in ("caption", "other"))
        assert here is not None and there is not None
        assert sum(a != b for one, two in zip(here, there, strict=True) for a, b in zip(one, two, strict=True)) == 1


def test_what_is_outside_the_palette_has_a_blank_slot() -> None:
    records = [source(mixed=0.0, strange=1.0, blank=0.0).record(n) for n in range(20)]
    assert all(r["blank"].sum() in (1, 2) for r in records)
    assert all(world.parse_caption(r["caption"]) for r in records)


def test_a_crowd_has_six_things_or_more() -> None:
    scene = drawings.crowd(np.random.default_rng(0), jitter=0.25, mixed=0.4, strange=0.2)
    assert len(scene.things) >= 6
    assert set(source(crowd=True).record(0)) == {"picture"}


def test_slots_are_mixed_by_the_share_and_blank_ones_are_zeros() -> None:
    found = blend()
    assert torch.equal(found[:, 1], torch.zeros(2, 4))
    assert torch.allclose(found[:, [0, *range(2, 8)]], torch.tensor(1.5))


def test_noise_on_slots_is_each_rows_own_whatever_is_beside_it() -> None:
    seven, one = blend(rows=7, noise=0.1), blend(rows=1, noise=0.1)
    assert torch.equal(seven[:1], one)
    assert not torch.equal(seven[0], seven[1])
    assert 0.05 < float((seven - blend(rows=7)).std()) < 0.2


def test_conditionings_of_unlike_shapes_are_refused_with_both_shapes() -> None:
    with pytest.raises(ValueError, match=r"mixed mixes slots of one shape.*\[8, 4\] and \[7, 4\] with \[8\]"):
        blend(other=torch.ones(2, 7, 4))
    with pytest.raises(ValueError, match=r"with \[3\]"):
        blend(blank=torch.zeros(2, 3))
