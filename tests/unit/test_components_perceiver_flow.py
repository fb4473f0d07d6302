"""Perceiver IO's optical flow: pictures of any size in tiles, the parts against the whole.

Shapes: pictures [3,H,W], uint8.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from anyany.api.torch import Rows
from anyany.registry import default_registry
from anyany.testing.harness import bench, call

TINY = {"weights": "random:0", "with": "tiny"}


def made(name: str, **options: Any) -> Any:
    return bench(default_registry().card(name), {"preset": "tiny", **options}).build()


def picture(height: int, width: int, seed: int = 0) -> torch.Tensor:
    made = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), generator=made, dtype=torch.uint8)


def test_flow_has_the_size_of_the_pictures_whatever_was_trained_on() -> None:
    sizes = [(8, 10), (30, 24), (5, 7), (3, 40)]
    pictures = Rows([picture(*s, seed=i) for s in sizes for i in (0, 1)], counts=[2] * 4)
    found = call(made("perceiver/flow"), "flow", {"images": pictures}, range(4))["flow"].list()
    assert [tuple(f.shape) for f in found] == [(2, *s) for s in sizes]
    assert all(bool(f.isfinite().all()) for f in found)


def test_the_parts_of_flow_give_what_the_whole_gives() -> None:
    built = made("perceiver/flow")
    pictures = {"images": Rows([picture(16, 20, 1), picture(16, 20, 2)], counts=[2])}
    array = call(built, "pair", pictures, [0])["features"]
    latents = Rows(built.component.core(array.dense()).detach())
    parts = call(built, "decode", {"latents": latents, "queries": array}, [0])["flow"].dense()
    torch.testing.assert_close(parts[0], call(built, "flow", pictures, [0])["flow"][0], atol=1e-6, rtol=0)


@pytest.mark.parametrize(("sizes", "told"), [
    ([(8, 10)], "not 1"), ([(8, 10)] * 3, "not 3"), ([(8, 10), (10, 8)], "10x8 and 8x10"),
])  # fmt: skip
def test_what_is_no_pair_of_pictures_is_told(sizes: list[tuple[int, int]], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        images = Rows([picture(*s) for s in sizes], counts=[len(sizes)])
        call(made("perceiver/flow"), "flow", {"images": images}, [0])


@pytest.mark.parametrize(
    ("size", "tile", "overlap"), [((30, 24), (8, 10), 2), ((8, 10), (8, 10), 5), ((9, 11), (8, 10), 0)]
)
def test_tiles_cover_every_pixel_overlap_enough_and_blend_to_what_they_agree_on(
    size: tuple[int, int], tile: tuple[int, int], overlap: int
) -> None:
    from anyany_perceiver.tiles import blended, corners

    places = corners(size, tile, overlap)
    tops = sorted({top for top, _ in places})
    assert tops[0] == 0 and tops[-1] == size[0] - tile[0]
    assert all(b - a <= tile[0] - overlap for a, b in itertools.pairwise(tops))
    truth = torch.randn(2, *size, generator=torch.Generator().manual_seed(0))
    cut = [truth[:, y : y + tile[0], x : x + tile[1]] for y, x in places]
    torch.testing.assert_close(blended(cut, places, size), truth)


def test_tiles_that_cannot_overlap_are_told() -> None:
    from anyany_perceiver.tiles import corners

    with pytest.raises(ValueError, match="cannot overlap by 8"):
        corners((30, 30), (8, 8), 8)
