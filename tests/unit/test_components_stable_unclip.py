"""image_heads/stable-unclip against diffusers' own pipeline, and what SEED's codes become.

Suffixes: B rows, D embedding, N words, W their width.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from anyany.api.torch import Context, DrawnNoise, Rows
from anyany.engine.build import build_component
from anyany.engine.noise import Noise
from anyany.registry import default_registry
from anyany.testing.harness import bench

UNET = {
    "sample_size": 8, "in_channels": 4, "out_channels": 4, "layers_per_block": 1, "block_out_channels": [16, 32],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"], "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
    "cross_attention_dim": 32, "attention_head_dim": 4, "norm_num_groups": 8, "class_embed_type": "projection",
    "projection_class_embeddings_input_dim": 24,
}  # fmt: skip
VAE = {
    "in_channels": 3, "out_channels": 3, "latent_channels": 4, "block_out_channels": [16, 32], "norm_num_groups": 8,
    "down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2, "sample_size": 16,
}  # fmt: skip


def context(items: list[str], options: Any = None) -> Context:
    return Context(node="draw", call="image", keys=[(i,) for i in range(len(items))], noise=Noise(0, items),
                   options=options, device=torch.device("cpu"), dtype=torch.float32)  # fmt: skip


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """Stable unCLIP of diffusers at tiny sizes, and its folder."""
    import diffusers
    from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 1}
    normalizer = StableUnCLIPImageNormalizer(embedding_dim=12)
    torch.nn.init.normal_(normalizer.mean)
    torch.nn.init.uniform_(normalizer.std, 0.5, 2.0)
    betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    pipe = diffusers.StableUnCLIPImg2ImgPipeline(
        vae=diffusers.AutoencoderKL(**VAE), unet=diffusers.UNet2DConditionModel(**UNET), tokenizer=None,
        text_encoder=CLIPTextModel(CLIPTextConfig(vocab_size=99, **sizes)), feature_extractor=None,
        image_encoder=CLIPVisionModelWithProjection(CLIPVisionConfig(projection_dim=12, image_size=16, patch_size=8,
                                                                     **sizes)),
        image_normalizer=normalizer, image_noising_scheduler=diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        scheduler=diffusers.DDIMScheduler(**betas, prediction_type="v_prediction", clip_sample=False),
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    folder = tmp_path_factory.mktemp("unclip")
    pipe.save_pretrained(folder)
    return pipe, folder


@pytest.mark.parametrize("level", [0, 300])
def test_a_folder_draws_what_its_pipeline_draws(pipeline: tuple[Any, Path], level: int) -> None:
    """Words and their absence given, noise that is ours."""
    pipe, folder = pipeline
    made = bench(default_registry().card("image_heads/stable-unclip"), {"steps": 4, "guidance": 5.0})
    component = build_component(made.node("image", (f"file:{folder}",))).component
    generator = torch.Generator().manual_seed(1)
    embed_BD = torch.randn(2, 12, generator=generator)
    words_BNW, other_BNW = (torch.randn(2, 7, 32, generator=generator) for _ in range(2))
    ctx = context(["a", "b"], [{"noise_level": level}] * 2)
    noise_BD = ctx.within("embedding", ctx.device, ctx.dtype).normal((12,))
    with DrawnNoise(lambda shape, step: noise_BD if shape == (12,) else ctx.normal(shape, 0)):
        expected = pipe(
            image_embeds=embed_BD, prompt_embeds=words_BNW, negative_prompt_embeds=other_BNW, noise_level=level,
            num_inference_steps=4, guidance_scale=5.0, output_type="pt", latents=ctx.normal((4, 8, 8)),
        ).images  # fmt: skip
    with torch.inference_mode():
        found = component.image(ctx, Rows(embed_BD), negative=Rows(other_BNW), words=Rows(words_BNW))["image"].data
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_the_noise_of_an_embedding_is_its_items_own() -> None:
    made = bench(
        default_registry().card("image_heads/stable-unclip"), {"preset": "tiny", "cond": 12, "noise_level": 200}
    )
    component = made.build().component
    embed_BD = torch.randn(3, 12, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        together = component.image(context(["a", "b", "c"]), Rows(embed_BD))["image"].data
        alone = component.image(context(["c"]), Rows(embed_BD[2:]))["image"].data[0]
        shared = component.image(context(["a", "b"]), Rows(embed_BD[:1].expand(2, -1)))["image"].data
    torch.testing.assert_close(alone, together[2], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(shared[0], shared[1])


@pytest.mark.parametrize("value", [torch.zeros(11), torch.zeros(0, 12), torch.zeros(2, 13)])
def test_an_embedding_of_another_width_is_an_error(value: torch.Tensor) -> None:
    component = (
        bench(default_registry().card("image_heads/stable-unclip"), {"preset": "tiny", "cond": 12}).build().component
    )
    with pytest.raises(ValueError, match="draws embeddings of 12"):
        component.image(context(["a"]), Rows([value]))
