"""vision/vit: transformers' numbers, pictures of any size in one batch, what is refused.

Shapes: pictures [C,H,W] uint8 or float in 0..1; patches [N,D]; cls [D].
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from anyany_vision.plugin import VIT, VitConfig
from anyany_vision.vit import Vit

from anyany.api.torch import Build, Context, Rows
from anyany.engine.noise import Noise
from anyany.testing.harness import bench


def encoded(component: Any, pictures: list[torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Patches and class tokens of each picture."""
    keys = [(i,) for i in range(len(pictures))]
    ctx = Context(node="look", call="encode", keys=keys, noise=Noise(0),
                  device=torch.device("cpu"), dtype=torch.float32)  # fmt: skip
    with torch.inference_mode():
        out = component.encode(ctx, image=Rows(pictures))
    return out["patches"].list(), out["cls"].list()


def picture(height: int, width: int, channels: int = 3, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (channels, height, width), generator=generator, dtype=torch.uint8)


@pytest.fixture(scope="module")
def tiny() -> Vit:
    return bench(VIT).build().component


def test_it_is_transformers_vit_on_normalised_pixels(tiny: Vit) -> None:
    image = picture(32, 32)
    patches, cls = encoded(tiny, [image])
    with torch.inference_mode():
        expected = tiny.model(image[None].float() / 127.5 - 1).last_hidden_state[0]
    torch.testing.assert_close(patches[0], expected[1:], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(cls[0], expected[0], atol=1e-5, rtol=1e-5)
    assert patches[0].shape == (16, 32)


def test_pictures_of_very_different_sizes_give_in_one_batch_what_they_give_alone(tiny: Vit) -> None:
    pictures = [picture(h, w, seed=i) for i, (h, w) in enumerate([(32, 32), (500, 7), (1, 1), (33, 240), (4, 4)])]
    together = encoded(tiny, pictures)
    for row, image in enumerate(pictures):
        alone = encoded(tiny, [image])
        for both, one in zip(together, alone):
            torch.testing.assert_close(both[row], one[0], atol=1e-5, rtol=1e-5)


def test_bytes_and_floats_of_one_picture_are_the_same(tiny: Vit) -> None:
    image = picture(40, 25)
    torch.testing.assert_close(encoded(tiny, [image])[1][0], encoded(tiny, [image.float() / 255])[1][0])


def test_a_conv_stem_gives_the_same_tokens_a_picture() -> None:
    component = bench(VIT, {"preset": "tiny", "stem": "conv"}).build().component
    assert encoded(component, [picture(50, 20)])[0][0].shape == (16, 32)


def test_grey_pictures_where_the_encoder_is_grey() -> None:
    component = bench(VIT, {"preset": "tiny", "channels": 1}).build().component
    assert encoded(component, [picture(9, 9, channels=1)])[1][0].shape == (32,)


@pytest.mark.parametrize(("options", "words"), [
    ({"resolution": 8, "patch": 16}, "smaller than a patch"),
    ({"resolution": 24, "patch": 12, "stem": "conv"}, "power of two"),
])  # fmt: skip
def test_sizes_that_cannot_be_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Vit(VitConfig(**options), Build(node="look"))


def test_the_bundled_encoder_sees_as_its_training_module() -> None:
    import anyany_mini
    from anyany_mini import models

    from anyany.api.torch import Assets
    from anyany.weights.store import open_source

    folder = next(iter(anyany_mini.__path__)) + "/weights/look"
    with torch.device("meta"):
        component = Vit(VitConfig(), Build(node="look", assets=Assets(models.WEIGHTS / "look")))
    component.load([open_source(f"file:{folder}")], Build(node="look"))
    component.eval()
    module, config = models.load("look")
    image = picture(64, 64)
    with torch.inference_mode():
        pixels = models.to_look((image.float() / 127.5 - 1)[None], config["image"]["size"])
        expected = module(pixels).last_hidden_state[0]
    torch.testing.assert_close(encoded(component, [image])[0][0], expected[1:], atol=1e-4, rtol=1e-4)
