"""transformers' and diffusers' own classes: loaded as strictly as ours, with their ties, buffers and renames."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from anyany.weights import access
from anyany.weights.errors import WeightsError
from anyany.weights.load import load_strict, memory_store, open_source
from anyany.weights.pretrained import (
    empty_diffusers,
    load_diffusers,
    load_transformers,
    random_diffusers,
    random_transformers,
)
from anyany.weights.random_init import init_random

CPU = SimpleNamespace(device=torch.device("cpu"), dtype=torch.float32)
HALF = SimpleNamespace(device=torch.device("cpu"), dtype=torch.bfloat16)
IDS = torch.tensor([[1, 5, 3]])


def llama_config(**options):
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=40,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        **options,
    )


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def llama(request, tmp_path):
    from transformers import LlamaForCausalLM

    torch.manual_seed(0)
    model = LlamaForCausalLM(llama_config(tie_word_embeddings=request.param)).eval()
    model.save_pretrained(tmp_path)
    return model, tmp_path


DIT = {
    "num_attention_heads": 2, "attention_head_dim": 8, "in_channels": 3, "out_channels": 3, "num_layers": 2,
    "sample_size": 8, "patch_size": 2, "cross_attention_dim": 16, "caption_channels": None, "norm_num_groups": 1,
    "num_embeds_ada_norm": 10,
}  # fmt: skip


@pytest.fixture
def pixart(tmp_path):
    from diffusers import PixArtTransformer2DModel

    torch.manual_seed(0)
    model = PixArtTransformer2DModel(**DIT).eval()
    model.save_pretrained(tmp_path)
    return model, tmp_path


def draw(model, dtype=torch.float32):
    return model(
        torch.linspace(-1, 1, 192, dtype=dtype).reshape(1, 3, 8, 8),
        encoder_hidden_states=torch.ones(1, 2, 16, dtype=dtype),
        timestep=torch.tensor([3]),
        added_cond_kwargs={"resolution": None, "aspect_ratio": None},
    ).sample


def test_a_language_model_answers_as_the_saved_one(llama):
    from transformers import LlamaForCausalLM

    model, folder = llama
    loaded = load_transformers(LlamaForCausalLM, model.config, open_source(f"file:{folder}"), CPU)
    assert torch.equal(loaded(IDS).logits, model(IDS).logits)
    assert not loaded.training
    assert (loaded.lm_head.weight is loaded.model.embed_tokens.weight) == model.config.tie_word_embeddings


def test_only_the_tensors_of_the_model_are_read_and_each_once(llama):
    from transformers import LlamaForCausalLM

    model, folder = llama
    store = open_source(f"file:{folder}")
    with access.watch() as reads:
        load_transformers(LlamaForCausalLM, model.config, store, CPU)
    assert reads.total == sum(value.numel() * 4 for value in load_file(folder / "model.safetensors").values())


def test_the_dtype_is_given_at_load_and_the_frequencies_stay_exact(llama):
    from transformers import LlamaForCausalLM

    model, folder = llama
    loaded = load_transformers(LlamaForCausalLM, model.config, open_source(f"file:{folder}"), HALF)
    assert loaded.lm_head.weight.dtype == torch.bfloat16
    assert torch.equal(loaded.model.rotary_emb.inv_freq, model.model.rotary_emb.inv_freq)


def test_what_transformers_would_draw_in_silence_is_an_error(llama, tmp_path, capsys):
    from transformers import LlamaForCausalLM

    model, folder = llama
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    tensors["model.layers.0.mlp.up_proj.weight"] = torch.zeros(3, 3)
    tensors["classifier.weight"] = torch.zeros(2)
    with pytest.raises(WeightsError) as caught:
        load_transformers(LlamaForCausalLM, model.config, memory_store(tensors, origin="file:w"), CPU)
    message = caught.value.message
    assert caught.value.code == "E459"
    assert "1 missing:\n    model.layers.1.mlp.up_proj.weight" in message
    assert "1 unexpected:\n    classifier.weight" in message
    assert "model.layers.0.mlp.up_proj.weight: [3, 3] in the file, [24, 16] expected" in message
    assert capsys.readouterr().err == ""


def test_unexpected_tensors_may_be_ignored_by_the_name_they_have_in_the_file(llama):
    from transformers import LlamaForCausalLM

    model, folder = llama
    tensors = load_file(folder / "model.safetensors") | {"classifier.weight": torch.zeros(2)}
    load_transformers(LlamaForCausalLM, model.config, memory_store(tensors), CPU, ignores=["classifier.*"])


def test_a_model_inside_a_larger_checkpoint_is_taken_by_its_prefix():
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2, image_size=16)
    torch.manual_seed(0)
    model = ViTModel(config, add_pooling_layer=False).eval()
    store = memory_store({f"vision.{name}": value for name, value in model.state_dict().items()})
    loaded = load_transformers(ViTModel, config, store, CPU, prefix="vision.", add_pooling_layer=False)
    x = torch.randn(1, 3, 16, 16)
    assert torch.equal(loaded(x).last_hidden_state, model(x).last_hidden_state)


def test_a_random_transformers_model_depends_on_seed_and_node_alone():
    from transformers import LlamaForCausalLM

    state = torch.get_rng_state()
    one = random_transformers(LlamaForCausalLM, llama_config(), 0, "think", CPU)
    assert torch.equal(torch.get_rng_state(), state)
    torch.randn(3)
    same = random_transformers(LlamaForCausalLM, llama_config(), 0, "think", CPU)
    other = random_transformers(LlamaForCausalLM, llama_config(), 0, "speak", CPU)
    assert torch.equal(one(IDS).logits, same(IDS).logits)
    assert not torch.equal(one(IDS).logits, other(IDS).logits)
    assert random_transformers(LlamaForCausalLM, llama_config(), 0, "think", HALF).dtype == torch.bfloat16


def test_a_transformers_model_on_meta_is_filled_with_its_own_buffers(llama):
    from transformers import LlamaForCausalLM

    model, _ = llama
    with torch.device("meta"):
        empty = LlamaForCausalLM(model.config).eval()
    load_strict(empty, memory_store(model.state_dict()))
    assert torch.equal(empty(IDS).logits, model(IDS).logits)
    with torch.device("meta"):
        empty = LlamaForCausalLM(model.config).eval()
    assert bool(init_random(empty, 0)(IDS).logits.isfinite().all())
    assert torch.equal(empty.model.rotary_emb.inv_freq, model.model.rotary_emb.inv_freq)


def test_a_vit_on_meta_gets_its_position_ids_but_keeps_its_loaded_parameters():
    from transformers import CLIPVisionConfig, CLIPVisionModel

    config = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=16,
        patch_size=8,
    )
    torch.manual_seed(0)
    model = CLIPVisionModel(config).eval()
    with torch.device("meta"):
        empty = CLIPVisionModel(config).eval()
    load_strict(empty, memory_store(model.state_dict()))
    x = torch.randn(1, 3, 16, 16)
    assert torch.equal(empty(x).last_hidden_state, model(x).last_hidden_state)


def test_a_diffusers_network_draws_as_the_saved_one(pixart):
    model, folder = pixart
    store = open_source(f"file:{folder}")
    loaded = load_diffusers(type(model), store.json("config.json"), store, CPU)
    assert torch.equal(draw(loaded), draw(model))
    assert not loaded.training
    half = load_diffusers(type(model), store.json("config.json"), store, HALF)
    assert bool(draw(half, torch.bfloat16).isfinite().all())


def test_an_incomplete_diffusers_network_is_an_error(pixart):
    model, folder = pixart
    tensors = load_file(folder / "diffusion_pytorch_model.safetensors")
    del tensors["proj_out.bias"]
    with pytest.raises(WeightsError, match=r"1 missing:\n    proj_out\.bias"):
        load_diffusers(type(model), DIT, memory_store(tensors), CPU)


def test_old_names_of_attention_blocks_are_translated(tmp_path):
    from diffusers import AutoencoderKL

    config = {"block_out_channels": [8], "norm_num_groups": 4, "latent_channels": 2}
    torch.manual_seed(0)
    model = AutoencoderKL(**config).eval()
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    tensors = {}
    for name, value in model.state_dict().items():
        for new, before in old.items():
            name = name.replace(f"attentions.0.{new}.", f"attentions.0.{before}.")
        tensors[name] = value
    assert any("proj_attn" in name for name in tensors)
    save_file(tensors, tmp_path / "vae.safetensors")
    loaded = load_diffusers(AutoencoderKL, config, open_source(f"file:{tmp_path}"), CPU)
    x = torch.randn(1, 3, 8, 8)
    assert torch.equal(loaded(x).sample, model(x).sample)


def test_a_random_diffusers_network_depends_on_seed_and_node_alone():
    from diffusers import PixArtTransformer2DModel as PixArt

    one, same, other = (random_diffusers(PixArt, DIT, seed, "draw", CPU) for seed in (0, 0, 1))
    assert torch.equal(draw(one), draw(same))
    assert not torch.equal(draw(one), draw(other))
    assert bool(draw(init_random(empty_diffusers(PixArt, DIT), 0)).isfinite().all())
