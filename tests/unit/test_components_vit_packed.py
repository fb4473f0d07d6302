"""Pictures of mixed sizes in one batch of a Vision Transformer: no padding, and each as if it were alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from anyany.api.torch import Rows
from anyany.registry import default_registry
from anyany.testing.harness import bench, call

SIZES = [(40, 24), (24, 40), (32, 32), (9, 31), (100, 20), (8, 8)]


def built(**options: Any) -> Any:
    return bench(default_registry().card("vision/vit"), {"preset": "tiny", "fit": "keep", **options}).build()


def pictures() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator) for size in SIZES]


def test_each_picture_has_as_many_patches_as_its_own_shape_gives() -> None:
    found = call(built(), "encode", {"image": Rows(pictures())}, range(6))["patches"]
    # the longest side becomes 32 pixels at most, patches are of 8: no smaller picture is enlarged
    assert found.lengths == [4 * 2, 2 * 4, 4 * 4, 1 * 4, 4 * 1, 1 * 1]


def test_a_picture_in_a_mixed_batch_is_as_if_it_were_alone() -> None:
    made = built(classes=3)
    together = call(made, "encode", {"image": Rows(pictures())}, range(6))
    named = call(made, "classify", {"image": Rows(pictures())}, range(6))["scores"].list()
    for i, one in enumerate(pictures()):
        alone = call(made, "encode", {"image": Rows([one])}, [i])
        for port in ("patches", "cls"):
            torch.testing.assert_close(together[port][i], alone[port][0], atol=1e-5, rtol=1e-5)
        by_itself = call(made, "classify", {"image": Rows([one])}, [i])["scores"][0]
        assert named[i] == pytest.approx(by_itself, abs=1e-5)


def test_a_square_of_the_native_size_gives_what_the_plain_model_gives() -> None:
    square = [p for p in pictures() if p.shape == (3, 32, 32)]
    plain = bench(default_registry().card("vision/vit"), "tiny").build()
    kept = built()
    kept.component.load_state_dict(plain.component.state_dict())
    found = [call(made, "encode", {"image": Rows(square)}, [0])["patches"][0] for made in (plain, kept)]
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-5)


def test_attention_maps_are_of_each_pictures_own_grid() -> None:
    seen = call(built(), "look", {"image": Rows(pictures())}, range(6))
    assert [m.shape[-1] for m in seen["maps"]] == [9, 9, 17, 5, 5, 2]
    for maps in seen["maps"]:
        torch.testing.assert_close(maps.sum(-1), torch.ones(maps.shape[:-1]), atol=1e-5, rtol=0)
    assert all(d.shape == (2, 2) and bool((d >= 0).all()) for d in seen["distance"])


def test_packing_costs_what_the_pictures_cost_apart() -> None:
    """No score between two pictures, and none for padding."""
    from torch.utils.flop_counter import FlopCounterMode

    made = built()

    def cost(images: list[torch.Tensor]) -> int:
        with FlopCounterMode(display=False) as counter:
            call(made, "encode", {"image": Rows(images)}, range(len(images)))
        return int(counter.get_total_flops())

    assert cost(pictures()) == sum(cost([one]) for one in pictures())


@pytest.mark.parametrize("positions", ["grid", "relative"])
def test_positions_of_one_size_do_not_go_with_it(positions: str) -> None:
    with pytest.raises(ValueError, match="learned positions, or none"):
        built(positions=positions)


def test_without_positions_any_size_goes() -> None:
    assert len(call(built(positions="none"), "encode", {"image": Rows(pictures())}, range(6))["patches"]) == 6
