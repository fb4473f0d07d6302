"""Classifiers of transformers as a component, and NFNet: names, processors, published sizes, standardised kernels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForImageClassification, ViTImageProcessor

from anyany.api.torch import Rows
from anyany.engine.build import build_on_meta
from anyany.engine.component import Assets
from anyany.registry import default_registry
from anyany.testing.harness import bench, call

PICTURE = torch.randint(0, 256, (3, 40, 30), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
ARCHS: dict[str, dict[str, Any]] = {
    "vit": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
            "image_size": 24, "patch_size": 8},
    "resnet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]},
    "convnext": {"hidden_sizes": [8, 16, 16, 16], "depths": [1, 1, 1, 1], "image_size": 64},
}  # fmt: skip


@pytest.mark.parametrize("arch", ARCHS)
def test_a_checkpoint_names_its_classes_and_brings_its_processor(arch: str, tmp_path: Path) -> None:
    names = {0: "chart", 1: "photo", 2: "drawing"}
    side = 64 if arch != "vit" else 24
    torch.manual_seed(1)
    config = AutoConfig.for_model(arch, id2label=names, label2id={v: k for k, v in names.items()}, **ARCHS[arch])
    model = AutoModelForImageClassification.from_config(config).eval()
    model.save_pretrained(tmp_path)
    processor = ViTImageProcessor(size={"height": side, "width": side}, image_mean=[0.4] * 3, image_std=[0.3] * 3)
    processor.save_pretrained(tmp_path)
    made = bench(default_registry().card("vision/classify"), {}).build(f"file:{tmp_path}")
    found = call(made, "classify", {"image": Rows([PICTURE])}, [0])
    pixels = processor(Image.fromarray(PICTURE.permute(1, 2, 0).numpy()), return_tensors="pt").pixel_values
    with torch.inference_mode():
        expected = model(pixels).logits.softmax(-1)[0].tolist()
    assert found["scores"][0] == pytest.approx(dict(zip(names.values(), expected)), abs=1e-5)
    assert found["label"][0] == max(found["scores"][0], key=found["scores"][0].__getitem__)


def test_names_that_are_not_as_many_as_the_classes_are_refused(tmp_path: Path) -> None:
    AutoModelForImageClassification.from_config(AutoConfig.for_model("resnet", num_labels=3, **ARCHS["resnet"])
                                                ).save_pretrained(tmp_path)  # fmt: skip
    with pytest.raises(Exception, match="2 names, but 3 classes"):
        bench(default_registry().card("vision/classify"), {"names": ["a", "b"]}).build(f"file:{tmp_path}")


def test_an_architecture_that_does_not_exist_is_told() -> None:
    with pytest.raises(Exception, match="no architecture 'vittt'"):
        bench(default_registry().card("vision/classify"), {"arch": "vittt"}).build()


# NFNet ---------------------------------------------------------------------------------------------------------------
PUBLISHED = {0: 71.5, 1: 132.6, 2: 193.8, 3: 254.9, 4: 316.1, 5: 377.2, 6: 438.4}


def nfnet(size: int, **options: Any) -> Any:
    made = bench(default_registry().card("vision/nfnet"), {"size": size, **options})
    return build_on_meta(made.node("encode", ("random:0",)), torch.device("meta"), torch.float32, Assets(None))


@pytest.mark.parametrize("size", PUBLISHED)
def test_nfnets_have_the_published_number_of_parameters(size: int) -> None:
    count = sum(p.numel() for p in nfnet(size, classes=1000).parameters())
    assert round(count / 1e6, 1) == PUBLISHED[size]


def test_f0_costs_what_was_published() -> None:
    """12.38 G multiply-adds at 256 pixels."""
    model = nfnet(0)
    with FlopCounterMode(display=False) as counter:
        model.map(torch.empty(1, 3, 256, 256, device="meta"))
    assert counter.get_total_flops() / 2 == pytest.approx(12.38e9, rel=0.01)


def test_names_are_those_of_released_checkpoints() -> None:
    names = nfnet(6, classes=1000).state_dict()
    wanted = ["stem.conv1.gain", "stages.3.20.conv2b.weight", "stages.2.0.downsample.conv.bias", "final_conv.gain",
              "stages.0.0.attn_last.fc1.weight", "stages.1.3.skipinit_gain", "head.fc.bias"]  # fmt: skip
    assert [n for n in wanted if n not in names] == []
    assert names["stages.1.3.skipinit_gain"].shape == () and names["stem.conv1.gain"].shape == (16, 1, 1, 1)


def test_kernels_have_no_mean_and_the_variance_of_their_gain() -> None:
    from anyany_vision.nfnet import StandardConv

    conv = StandardConv(8, 4, 3)
    torch.nn.init.normal_(conv.weight, 3.0, 2.0)
    conv.gain.data = torch.tensor([1.0, 2.0, 0.5, 0.0]).view(4, 1, 1, 1)
    torch.nn.init.zeros_(conv.bias)
    found = conv(torch.eye(72).view(72, 8, 3, 3))[:, :, 1, 1]  # each tap of each kernel, at the place in the middle
    torch.testing.assert_close(found.mean(0), torch.zeros(4), atol=1e-6, rtol=0)
    expected = torch.tensor([1.0, 2.0, 0.5, 0.0]) ** 2 / 72
    torch.testing.assert_close(found.var(0, correction=0), expected, atol=1e-6, rtol=1e-4)


def test_a_map_has_a_place_for_every_32_pixels_begun() -> None:
    made = bench(default_registry().card("vision/nfnet"), "tiny").build()
    with torch.inference_mode():
        assert made.component.map(torch.randn(1, 3, 65, 32)).shape == (1, 64, 3, 1)


def test_a_checkpoint_with_a_head_is_taken_by_an_encoder_without_one(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    options = {"preset": "tiny", "classes": 3}
    whole = bench(default_registry().card("vision/nfnet"), options).build()
    save_file(whole.component.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "dm_nfnet_f0"}))
    alone = bench(default_registry().card("vision/nfnet"), "tiny").build(f"file:{tmp_path}")
    found = [call(made, "encode", {"image": Rows([PICTURE])}, [0])["pooled"].dense() for made in (whole, alone)]
    assert torch.equal(*found)
