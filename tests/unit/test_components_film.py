"""video/diffusion against diffusers' own pipelines, alone against in a batch, and through MP4 files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from anyany_video.diffusion import VideoDiffusion
from anyany_video.generate_cards import DIFFUSION, VideoDiffusionConfig

from anyany import media
from anyany.api.torch import Assets, Build, Context, Rows
from anyany.engine.noise import Noise
from anyany.testing.harness import bench

VAE = {
    "in_channels": 3, "out_channels": 3, "latent_channels": 4, "block_out_channels": [8, 16], "norm_num_groups": 4,
    "down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2,
}  # fmt: skip
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def context(items: Sequence[str], options: Sequence[Mapping[str, Any]] | None = None) -> Context:
    return Context(
        node="film", call="video", keys=[(i,) for i in range(len(items))], noise=Noise(0, items), options=options,
        device=torch.device("cpu"), dtype=torch.float32,
    )  # fmt: skip


def filmed(component: Any, items: Sequence[str], cond: Any, options: Any = None, **ports: Any) -> list[Any]:
    with torch.inference_mode():
        return component.video(context(items, options), Rows(list(cond)), **ports)["video"].list()


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def loaded(config: VideoDiffusionConfig, folder: Path) -> VideoDiffusion:
    """The component with the weights of a folder, as the engine loads it."""
    from anyany.weights.locate import Reach
    from anyany.weights.sources import parse_sources
    from anyany.weights.store import open_sources

    build = Build(node="film", assets=Assets(folder))
    with torch.device("meta"):
        made = VideoDiffusion(config, build)
    made.load(open_sources(list(parse_sources([f"file:{folder}"], base="")), Reach()), build)
    return made.eval().requires_grad_(False)


# against diffusers -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("scheduler", ["DDIM", "DPMSolverMultistep"])
def test_a_modelscope_folder_films_what_its_pipeline_films(tmp_path: Path, scheduler: str) -> None:
    import diffusers
    import transformers

    torch.manual_seed(0)
    text = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1}
    pipe = diffusers.TextToVideoSDPipeline(
        vae=diffusers.AutoencoderKL(**VAE), tokenizer=None,
        scheduler=getattr(diffusers, f"{scheduler}Scheduler")(**BETAS),
        text_encoder=transformers.CLIPTextModel(transformers.CLIPTextConfig(vocab_size=99, **text)),
        unet=diffusers.UNet3DConditionModel(
            block_out_channels=(8, 16), layers_per_block=1, sample_size=8, cross_attention_dim=8, norm_num_groups=4,
            attention_head_dim=4, down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
            up_block_types=("UpBlock3D", "CrossAttnUpBlock3D")),
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    pipe.save_pretrained(tmp_path)
    component = loaded(VideoDiffusionConfig(steps=3, guidance=9.0, frames=3, fps=4.0), tmp_path)
    cond, negative = normal(2, 5, 8), normal(2, 5, 8, seed=1)
    expected = pipe(
        prompt_embeds=cond, negative_prompt_embeds=negative, latents=context(["a", "b"]).normal((4, 3, 8, 8)),
        num_inference_steps=3, guidance_scale=9.0, num_frames=3, output_type="pt",
    ).frames  # fmt: skip
    films = filmed(component, ["a", "b"], cond, negative=Rows(list(negative)))
    assert [f.fps for f in films] == [4.0, 4.0] and films[0].frames.shape == (3, 3, 16, 16)
    torch.testing.assert_close(torch.stack([f.frames for f in films]), expected, atol=1e-4, rtol=1e-4)


def test_a_latte_folder_films_what_its_pipeline_films(tmp_path: Path) -> None:
    import diffusers
    import transformers

    torch.manual_seed(0)
    transformer = diffusers.LatteTransformer3DModel(
        sample_size=8, num_layers=1, patch_size=2, attention_head_dim=8, num_attention_heads=2, caption_channels=8,
        in_channels=4, cross_attention_dim=16, out_channels=8, attention_bias=True, num_embeds_ada_norm=1000,
        activation_fn="gelu-approximate", norm_type="ada_norm_single", norm_elementwise_affine=False, video_length=2,
    )  # fmt: skip
    torch.nn.init.normal_(transformer.proj_out.weight, 0, 0.1)
    sizes = {"d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2, "vocab_size": 30}
    pipe = diffusers.LattePipeline(
        tokenizer=None, text_encoder=transformers.T5EncoderModel(transformers.T5Config(**sizes)),
        vae=diffusers.AutoencoderKL(**VAE), transformer=transformer.eval(), scheduler=diffusers.DDIMScheduler(**BETAS),
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    pipe.save_pretrained(tmp_path)
    component = loaded(VideoDiffusionConfig(steps=3, guidance=7.5), tmp_path)
    cond, negative = normal(1, 5, 8), normal(1, 5, 8, seed=1)
    expected = pipe(
        prompt_embeds=cond, negative_prompt_embeds=negative, latents=context(["a"]).normal((4, 2, 8, 8)),
        num_inference_steps=3, guidance_scale=7.5, video_length=2, height=16, width=16, output_type="pt",
        mask_feature=False, decode_chunk_size=2, negative_prompt=None,
    ).frames  # fmt: skip
    [film] = filmed(component, ["a"], cond, negative=Rows(list(negative)))
    assert film.fps == 8.0
    torch.testing.assert_close(film.frames, expected[0], atol=1e-4, rtol=1e-4)


# noise, batches, options -------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def tiny() -> Any:
    return bench(DIFFUSION, {"preset": "tiny", "cond": 8, "n": 4}).build().component


def test_an_item_gets_the_same_film_alone_and_among_seven(tiny: Any) -> None:
    items, cond = [f"i{n}" for n in range(7)], normal(7, 4, 8)
    own = [{"steps": 2 + n % 2, "guidance": 1.0 + n % 3, "fps": 5.0 + n} for n in range(7)]
    together = filmed(tiny, items, cond, own)
    for row, item in enumerate(items):
        [alone] = filmed(tiny, [item], cond[row : row + 1], own[row : row + 1])
        torch.testing.assert_close(alone.frames, together[row].frames, atol=1e-5, rtol=1e-5)
        assert alone.fps == together[row].fps == 5.0 + row
    [again] = filmed(tiny, ["another"], cond[:1], own[:1])
    assert float((again.frames - together[0].frames).abs().max()) > 1e-2


def test_films_of_a_unet_have_as_many_frames_as_each_item_asks_for() -> None:
    options = {"preset": "tiny", "arch": "unet3d", "channels": 8, "height": 32, "width": 16, "cond": 8, "n": 4}
    component = bench(DIFFUSION, options).build().component
    cond, own = normal(3, 4, 8), [{"frames": 1}, {"frames": 3}, {}]
    together = filmed(component, "abc", cond, own)
    assert [tuple(f.frames.shape) for f in together] == [(1, 3, 32, 16), (3, 3, 32, 16), (4, 3, 32, 16)]
    [alone] = filmed(component, "b", cond[1:2], own[1:2])
    torch.testing.assert_close(alone.frames, together[1].frames, atol=1e-4, rtol=1e-4)


def test_a_film_moves_and_is_finite(tiny: Any) -> None:
    [film] = filmed(tiny, ["a"], normal(1, 4, 8))
    assert film.frames.shape == (4, 3, 16, 16) and bool(torch.isfinite(film.frames).all())
    assert float((film.frames[1:] - film.frames[:-1]).abs().max()) > 1e-3


def test_captions_become_the_conditioning(tiny: Any) -> None:
    with torch.inference_mode():
        found = tiny.embed(context(["a", "b"]), Rows(["a dog", "a much longer caption of a dog"]))["features"].list()
    assert [tuple(f.shape) for f in found] == [(4, 8), (4, 8)] and not torch.allclose(found[0], found[1])


# refused -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "words"),
    [({"height": 18, "cond": 8}, "patch that divides"), ({"arch": "unet3d", "channels": 8, "width": 20, "cond": 8},
                                                         "no multiples of 8"), ({}, "nothing fixes the width")],
)  # fmt: skip
def test_sizes_that_cannot_be_are_refused(options: dict[str, Any], words: str) -> None:
    tiny_options = {"height": 16, "width": 16, "frames": 4, "patch": 4, "channels": 16, "layers": 1, "heads": 2}
    with pytest.raises(ValueError, match=words):
        VideoDiffusion(VideoDiffusionConfig(**{**tiny_options, **options}), Build(node="film"))


@pytest.mark.parametrize("shape", [(4, 7), (0, 8), (8,)])
def test_conditioning_of_another_width_is_refused(tiny: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"on features \[N,8\], not"):
        filmed(tiny, ["a"], [normal(*shape)])


def test_a_length_that_the_transformer_did_not_learn_is_refused(tiny: Any) -> None:
    with pytest.raises(ValueError, match="films of 4 frames, not of 7"):
        filmed(tiny, ["a"], normal(1, 4, 8), [{"frames": 7}])


def test_a_pipeline_that_makes_no_films_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text("{}")
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet/config.json").write_text('{"_class_name": "UNet2DConditionModel"}')
    with pytest.raises(ValueError, match="made of UNet2DConditionModel; films are made by UNet3D"):
        VideoDiffusion(VideoDiffusionConfig(), Build(node="film", assets=Assets(tmp_path)))


# on disk -----------------------------------------------------------------------------------------------------------
def test_a_made_film_is_written_as_mp4_and_read_back(tiny: Any, tmp_path: Path) -> None:
    [film] = filmed(tiny, ["a"], normal(1, 4, 8), [{"fps": 12.5}])
    path = media.save("video", film, tmp_path / "f")
    back = media.load("video", path)
    assert path.endswith(".mp4") and back.fps == pytest.approx(12.5) and back.frames.shape == (4, 3, 16, 16)
    brightness = torch.tensor([0.299, 0.587, 0.114])[:, None, None]  # colours are kept at half the resolution
    gap = ((media.to_float(back.frames) - film.frames) * brightness).sum(1).abs().mean()
    assert float(gap) < 0.05
