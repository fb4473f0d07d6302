"""Overlays: later stores override, LoRA adapters are merged exactly as peft merges them."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from anyany.weights.errors import WeightsError
from anyany.weights.load import load_strict, memory_store, open_source, overlay


@pytest.fixture
def base():
    torch.manual_seed(0)
    return nn.ModuleDict({"q": nn.Linear(6, 4), "e": nn.Embedding(7, 6), "c": nn.Conv2d(3, 5, 3)})


def test_a_later_store_overrides_and_the_rest_stays(base):
    store = overlay([memory_store(base.state_dict()), memory_store({"q.bias": torch.full((4,), 9.0)})])
    loaded = load_strict(base, store)
    assert loaded["q"].bias.tolist() == [9, 9, 9, 9]
    assert len(store.keys()) == len(base.state_dict())


def test_an_overlay_of_other_shapes_or_names_is_refused(base):
    below = memory_store(base.state_dict(), origin="hub:a/b")
    with pytest.raises(WeightsError, match=r"q\.bias: \[5\] over \[4\]") as caught:
        overlay([below, memory_store({"q.bias": torch.zeros(5)})])
    assert caught.value.code == "E460"
    with pytest.raises(WeightsError, match="none of its 1 tensors has the name of one below"):
        overlay([below, memory_store({"x": torch.zeros(5)})])


@pytest.mark.parametrize("options", [{}, {"use_rslora": True}, {"alpha_pattern": {"q": 3}, "rank_pattern": {"q": 2}}])
def test_an_adapter_saved_by_peft_is_merged_as_peft_merges_it(base, tmp_path, options):
    from peft import LoraConfig, get_peft_model

    original = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    config = LoraConfig(r=4, lora_alpha=10, target_modules=["q", "e", "c"], init_lora_weights=False, **options)
    model = get_peft_model(base, config)
    model.save_pretrained(tmp_path)
    merged = model.merge_and_unload().state_dict()
    store = overlay([memory_store(original), open_source(f"file:{tmp_path}")])
    for name, expected in merged.items():
        assert torch.allclose(store.get(name), expected, atol=1e-6), name
    assert not torch.equal(store.get("q.weight"), original["q.weight"])


def test_an_adapter_of_a_bf16_model_is_added_in_float32():
    weight = torch.randn(4, 6).bfloat16()
    a, b = torch.randn(2, 6), torch.randn(4, 2)
    adapter = {"x.lora_A.weight": a, "x.lora_B.weight": b, "x.alpha": torch.tensor(2.0)}
    merged = overlay([memory_store({"x.weight": weight}), memory_store(adapter)]).get("x.weight")
    assert merged.dtype == torch.bfloat16
    assert torch.equal(merged, (weight.float() + b @ a).bfloat16())


def test_names_of_trainers_are_understood():
    adapter = {
        "unet.x.lora_A.weight": torch.ones(1, 6),
        "unet.x.lora_B.weight": torch.ones(4, 1),
        "unet.x.alpha": torch.tensor(1.0),
    }
    merged = overlay([memory_store({"x.weight": torch.zeros(4, 6)}), memory_store(adapter)])
    assert merged.get("x.weight").unique().tolist() == [1]


def test_an_adapter_for_other_weights_lists_what_does_not_fit(tmp_path):
    tensors = {}
    for target, inputs in (("y", 6), ("x", 5)):
        tensors[f"base_model.model.{target}.lora_A.weight"] = torch.ones(2, inputs)
        tensors[f"base_model.model.{target}.lora_B.weight"] = torch.ones(4, 2)
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 2, "lora_alpha": 2}))
    with pytest.raises(WeightsError) as caught:
        overlay([memory_store({"x.weight": torch.zeros(4, 6)}), open_source(f"file:{tmp_path}")])
    assert caught.value.code == "E461"
    assert "base_model.model.y" in caught.value.message
    assert "x.weight: [4, 2] x [2, 5] over [4, 6]" in caught.value.message


def test_an_adapter_that_does_not_say_its_strength_is_refused():
    adapter = {"x.lora_A.weight": torch.ones(2, 6), "x.lora_B.weight": torch.ones(4, 2)}
    with pytest.raises(WeightsError, match="does not say how strong it is"):
        overlay([memory_store({"x.weight": torch.zeros(4, 6)}), memory_store(adapter)])
