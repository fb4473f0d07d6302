"""image_heads/diffusion against diffusers' own pipelines, the bundled head against plain torch, and alone
against in a batch, with schedulers that draw noise while they step, and options that differ from item to item.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from anyany_image_heads.diffusion import Diffusion
from anyany_image_heads.plugin import DIFFUSION, DiffusionConfig
from plugins_for_tests.mini_draw import Drawing

from anyany.api.torch import Assets, Build, Context, Rows
from anyany.engine.folding import DrawnNoise
from anyany.engine.noise import Noise
from anyany.testing.harness import bench

MINI = Path(__file__).parents[2] / "plugins/anyany_mini/weights/draw"
UNET = {
    "sample_size": 8, "in_channels": 4, "out_channels": 4, "layers_per_block": 1, "block_out_channels": [16, 32],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"], "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
    "cross_attention_dim": 32, "attention_head_dim": 4, "norm_num_groups": 8,
}  # fmt: skip
VAE = {
    "in_channels": 3, "out_channels": 3, "latent_channels": 4, "block_out_channels": [16, 32], "norm_num_groups": 8,
    "down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2, "sample_size": 16,
}  # fmt: skip
DIT = {
    "num_attention_heads": 2, "attention_head_dim": 16, "in_channels": 4, "out_channels": 8, "num_layers": 2,
    "sample_size": 8, "patch_size": 2, "num_embeds_ada_norm": 1000,
}  # fmt: skip


def context(items: Sequence[str], options: Sequence[Mapping[str, Any]] | None = None) -> Context:
    return Context(
        node="draw", call="image", keys=[(i,) for i in range(len(items))], noise=Noise(0, items), options=options,
        device=torch.device("cpu"), dtype=torch.float32,
    )  # fmt: skip


def drawn(component: Diffusion, items: Sequence[str], cond: Any, options: Any = None, **ports: Any) -> torch.Tensor:
    with torch.inference_mode():
        return component.image(context(items, options), Rows(cond), **ports)["image"].data


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def filled(component: Diffusion, **parts: Any) -> Diffusion:
    """The component with the numbers of some networks."""
    component.to_empty(device="cpu").init_buffers()
    for name, part in parts.items():
        getattr(component, name).load_state_dict(part.state_dict())
    return component.eval().requires_grad_(False)


def from_config(folder: Path, **config: Any) -> Diffusion:
    """The component of a config.json, with random numbers."""
    folder.joinpath("config.json").write_text(json.dumps(config))
    component = Diffusion(DiffusionConfig(), Build(node="draw", assets=Assets(folder)))
    component.to_empty(device="cpu").init_buffers()
    generator = torch.Generator().manual_seed(0)
    for parameter in component.parameters():
        parameter.data.normal_(0, 0.1, generator=generator)
    return component.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def tiny() -> Diffusion:
    return bench(DIFFUSION, {"preset": "tiny", "cond": 32, "n": 4}).build().component


# against diffusers ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("scheduler", ["DDIM", "PNDM", "EulerDiscrete", "DPMSolverMultistep"])
def test_a_stable_diffusion_folder_draws_what_its_pipeline_draws(tmp_path: Path, scheduler: str) -> None:
    import diffusers
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 1}
    betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    pipe = diffusers.StableDiffusionPipeline(
        vae=diffusers.AutoencoderKL(**VAE), unet=diffusers.UNet2DConditionModel(**UNET), tokenizer=None,
        text_encoder=CLIPTextModel(CLIPTextConfig(vocab_size=99, **sizes)), feature_extractor=None,
        scheduler=getattr(diffusers, f"{scheduler}Scheduler")(**betas), safety_checker=None,
        requires_safety_checker=False,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    pipe.save_pretrained(tmp_path)
    component = filled(
        Diffusion(DiffusionConfig(steps=5, guidance=7.5), Build(node="draw", assets=Assets(tmp_path))),
        unet=pipe.unet, vae=pipe.vae, text_encoder=pipe.text_encoder,
    )  # fmt: skip
    cond, negative = normal(2, 7, 32), normal(2, 7, 32, seed=1)
    expected = pipe(
        prompt_embeds=cond, negative_prompt_embeds=negative, latents=context(["a", "b"]).normal((4, 8, 8)),
        num_inference_steps=5, guidance_scale=7.5, output_type="pt",
    ).images  # fmt: skip
    found = drawn(component, ["a", "b"], cond, negative=Rows(negative))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_a_dit_folder_draws_what_its_pipeline_draws(tmp_path: Path) -> None:
    """DDIM, class labels, learned variance; the pipeline's noise is ours."""
    import diffusers

    torch.manual_seed(0)
    pipe = diffusers.DiTPipeline(
        transformer=diffusers.DiTTransformer2DModel(**DIT), vae=diffusers.AutoencoderKL(**VAE),
        scheduler=diffusers.DDIMScheduler(clip_sample=False),
    )  # fmt: skip
    pipe.transformer.eval()  # in training it forgets some labels
    torch.nn.init.normal_(pipe.transformer.proj_out_2.weight, 0, 0.1)
    pipe.set_progress_bar_config(disable=True)
    pipe.save_pretrained(tmp_path)
    component = Diffusion(DiffusionConfig(steps=4), Build(node="draw", assets=Assets(tmp_path)))
    filled(component, transformer=pipe.transformer, vae=pipe.vae)
    ctx = context(["a", "b"])
    with DrawnNoise(lambda shape, step: ctx.normal(shape, 0)):
        expected = pipe(class_labels=[3, 7], num_inference_steps=4, guidance_scale=4.0, output_type="np").images
    found = drawn(component, ["a", "b"], [3, 7])
    torch.testing.assert_close(found, torch.from_numpy(expected).permute(0, 3, 1, 2), atol=1e-4, rtol=1e-4)


def test_flow_matching_is_diffusers_scheduler_loop(tiny: Diffusion) -> None:
    import diffusers

    cond, network = normal(2, 4, 32), tiny.network
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=1.0)
    scheduler.set_timesteps(sigmas=[1.0, 0.75, 0.5, 0.25])
    x = context(["a", "b"]).normal((3, 16, 16))
    with torch.inference_mode():
        for t in scheduler.timesteps:
            answers = [network(x, encoder_hidden_states=c, timestep=t.expand(2)).sample
                       for c in (cond, tiny.null_conditioning.expand(2, -1, -1))]  # fmt: skip
            x = scheduler.step(answers[1] + 3.0 * (answers[0] - answers[1]), t, x).prev_sample
    expected = (x.clamp(-1, 1) + 1) / 2
    found = drawn(tiny, ["a", "b"], cond, [{"guidance": 3.0}] * 2)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


# the bundled head against plain torch ----------------------------------------------------------------------------
@pytest.fixture(scope="module")
def bundled() -> tuple[Diffusion, Any]:
    from safetensors.torch import load_file

    with torch.device("meta"):
        component = Diffusion(DiffusionConfig(steps=6), Build(node="draw", assets=Assets(MINI)))
    component.to_empty(device="cpu").init_buffers()
    component.load_state_dict({k: v.float() for k, v in load_file(MINI / "model.safetensors").items()}, strict=False)
    return component.eval().requires_grad_(False), Drawing()


def test_the_bundled_head_draws_as_plain_torch_does(bundled: tuple[Diffusion, Any]) -> None:
    component, module = bundled
    cond, noise = normal(2, 8, 64), context(["a", "b"]).normal((3, 64, 64))
    expected = (module.sample(cond, noise, steps=6) + 1) / 2
    torch.testing.assert_close(drawn(component, ["a", "b"], cond), expected, atol=1e-4, rtol=0)


def test_the_bundled_text_encoder_embeds_as_plain_torch_does(bundled: tuple[Diffusion, Any]) -> None:
    component, module = bundled
    captions = ["a big red circle on the left", "a small blue star at the top and a big green square at the bottom"]
    with torch.inference_mode():
        found = component.embed(context(["a", "b"]), Rows(captions))["features"]
        expected = module.embed(captions)
    torch.testing.assert_close(found.dense(), expected, atol=1e-5, rtol=1e-5)


# noise, batches, options ---------------------------------------------------------------------------------------------
def test_an_item_gets_the_same_picture_alone_and_in_a_batch(tiny: Diffusion) -> None:
    items, cond = [f"item-{i}" for i in range(7)], normal(7, 4, 32)
    together = drawn(tiny, items, cond)
    for row, item in enumerate(items):
        torch.testing.assert_close(drawn(tiny, [item], cond[row : row + 1])[0], together[row], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("scheduler", ["DDPMScheduler", "EulerAncestralDiscreteScheduler", "LCMScheduler"])
def test_schedulers_that_draw_noise_draw_the_items_own(tmp_path: Path, scheduler: str) -> None:
    parts = {"class": "diffusers.UNet2DConditionModel", "config": UNET, "scheduler": {"class": scheduler}}
    component = from_config(tmp_path, **parts, steps=4)
    cond = normal(3, 5, 32)
    together = drawn(component, ["a", "b", "c"], cond)
    torch.testing.assert_close(drawn(component, ["c"], cond[2:])[0], together[2], atol=1e-5, rtol=1e-5)
    assert torch.equal(drawn(component, ["a", "b", "c"], cond), together)
    same = drawn(component, ["a", "b"], torch.cat([cond[:1], cond[:1]]))
    assert float((same[0] - same[1]).abs().max()) > 1e-3


def test_steps_and_guidance_of_each_item_are_its_own(tiny: Diffusion) -> None:
    items, cond = ["a", "b", "c", "d"], normal(4, 4, 32)
    options = [{"steps": 2}, {"guidance": 1.0}, {"steps": 2, "guidance": 5.0}, {}]
    together = drawn(tiny, items, cond, options)
    for row, item in enumerate(items):
        alone = drawn(tiny, [item], cond[row : row + 1], options[row : row + 1])
        torch.testing.assert_close(alone[0], together[row], atol=1e-5, rtol=1e-5)
    plain = drawn(tiny, items, cond)
    assert [bool(torch.allclose(plain[i], together[i], atol=1e-4)) for i in range(4)] == [False, False, False, True]


def test_conditioning_of_any_length_where_the_null_has_none(tiny: Diffusion) -> None:
    """Rows of unlike lengths run apart, but none is padded into another."""
    component = bench(DIFFUSION, {"preset": "tiny", "cond": 32}).build().component
    component.null_conditioning = torch.nn.Parameter(component.null_conditioning[:1])
    rows = [normal(n, 32, seed=n) for n in (3, 9, 3)]
    together = drawn(component, ["a", "b", "c"], rows)
    torch.testing.assert_close(drawn(component, ["b"], rows[1:2])[0], together[1], atol=1e-5, rtol=1e-5)


def test_a_negative_takes_the_place_of_the_null_conditioning(tiny: Diffusion) -> None:
    cond, null = normal(2, 4, 32), tiny.null_conditioning.detach()
    same = drawn(tiny, ["a", "b"], cond, negative=Rows(null.expand(2, -1, -1).contiguous()))
    assert torch.equal(same, drawn(tiny, ["a", "b"], cond))
    longer = drawn(tiny, ["a", "b"], cond, negative=Rows(normal(2, 6, 32, seed=3)))
    assert not torch.allclose(longer, same, atol=1e-3)


def test_classes_are_drawn_by_number() -> None:
    component = bench(DIFFUSION, {"preset": "tiny", "classes": 5}).build().component
    pictures = drawn(component, ["a", "a"], [0, 4])
    assert pictures.shape == (2, 3, 16, 16) and not torch.equal(pictures[0], pictures[1])
    for wrong in (5, -1, "red", True, 1.5):
        with pytest.raises(ValueError, match="classes 0 to 4"):
            drawn(component, ["a"], [wrong])


# what is refused -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"class": "os.system", "config": {}}, "has a network called system"),
        ({"class": "diffusers.PixArtTransformer3D", "config": {}}, "has a network called PixArtTransformer3D"),
        ({"model_type": "bert"}, "names no diffusers class"),
    ],
)
def test_a_config_file_names_only_networks_of_the_libraries(tmp_path: Path, config: dict[str, Any], words: str) -> None:
    tmp_path.joinpath("config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=words):
        Diffusion(DiffusionConfig(), Build(node="draw", assets=Assets(tmp_path)))


def test_guidance_without_anything_to_contrast_asks_for_a_negative(tmp_path: Path) -> None:
    component = from_config(tmp_path, **{"class": "diffusers.UNet2DConditionModel", "config": UNET, "guidance": 4.0})
    with pytest.raises(ValueError, match="wants a `negative`"):
        drawn(component, ["a"], normal(1, 5, 32))


def test_a_width_that_nothing_fixes_is_said() -> None:
    with pytest.raises(ValueError, match="nothing fixes the width"):
        Diffusion(DiffusionConfig(), Build(node="draw"))


def test_a_size_that_the_patches_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="patch that divides it"):
        Diffusion(DiffusionConfig(size=20, patch=8, cond=8), Build(node="draw"))


def test_a_caption_beyond_the_text_encoder_is_refused(tiny: Diffusion) -> None:
    with pytest.raises(ValueError, match="reads at most"):
        tiny.embed(context(["a"]), Rows(["x" * 2000]))


# probing -------------------------------------------------------------------------------------------------------------
def test_one_step_is_counted_on_meta_without_weights() -> None:
    """FLOPs of the transformer alone: every token passes each matrix of the blocks at least once."""
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        config = DiffusionConfig(size=16, patch=4, width=32, layers=2, heads=2, cond=16, n=4)
        component = Diffusion(config, Build(node="draw"))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        component.probe("image")()
    tokens, block = 16, 32 * 32 * (4 + 2 + 8)  # self-attention, the queries' side of cross-attention, feed-forward
    assert counter.get_total_flops() > 2 * tokens * 2 * block
