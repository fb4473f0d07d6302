"""The image heads' training calls: what learns and what stays as it is, and that a few steps on one picture help."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from anyany_image_heads.diffusion import Diffusion
from anyany_image_heads.plugin import DiffusionConfig
from safetensors.torch import save_file

from anyany.api.torch import Assets, Build, Context, Rows, init_random
from anyany.engine.noise import Noise
from anyany.registry import default_registry
from anyany.testing.harness import bench

LATENT = ("dit", "mar", "var", "vq-ar")
HEADS = (*LATENT, "gan", "vae", "diffusion")
UNET = {
    "sample_size": 4, "in_channels": 4, "out_channels": 4, "layers_per_block": 1, "block_out_channels": [8],
    "down_block_types": ["CrossAttnDownBlock2D"], "up_block_types": ["CrossAttnUpBlock2D"], "mid_block_type": None,
    "cross_attention_dim": 8, "attention_head_dim": 4, "norm_num_groups": 4,
}  # fmt: skip
VAE = {
    "in_channels": 3, "out_channels": 3, "latent_channels": 4, "block_out_channels": [8, 8], "norm_num_groups": 4,
    "down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2, "sample_size": 8,
}  # fmt: skip


def context(rows: int, step: int) -> Context:
    return Context(node="draw", call="loss", keys=[(i,) for i in range(rows)], device=torch.device("cpu"),
                   noise=Noise(step, [f"row {i}" for i in range(rows)]), dtype=torch.float32)  # fmt: skip


def made(head: str, **options: Any) -> Any:
    card = default_registry().card(f"image_heads/{head}")
    component = bench(card, {"preset": "tiny", "classes": 5, **options}).build().component
    return component.train().requires_grad_(True)


def latent_diffusion(folder: Path) -> Any:
    """A UNet with an autoencoder, as a config.json tells it."""
    parts = {"class": "diffusers.UNet2DConditionModel", "config": UNET, "conditioning": [1, 8],
             "vae": {"class": "diffusers.AutoencoderKL", "config": VAE}}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(parts))
    component = Diffusion(DiffusionConfig(), Build(node="draw", assets=Assets(folder)))
    component.to_empty(device="cpu").init_buffers()
    init_random(component, 0, dtype=torch.float32, device=torch.device("cpu"))
    return component.train().requires_grad_(True)


def lost(component: Any, cond: Any, step: int = 0) -> torch.Tensor:
    """The mean loss of four pictures, one colour each."""
    colours = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.8, 0.2], [0.2, 0.2, 0.9], [0.5, 0.5, 0.5]])
    pictures = colours[:, :, None, None].expand(-1, -1, 20, 24).contiguous()
    return component.loss(context(4, step), cond=Rows(cond), image=Rows(pictures))["loss"].data.mean()


@pytest.mark.parametrize("head", LATENT)
def test_the_loss_of_a_latent_head_leaves_its_autoencoder_alone(head: str) -> None:
    component = made(head)
    lost(component, ["0", "1", "2", "3"]).backward()
    assert [n for n, p in component.vae.named_parameters() if p.grad is not None] == []
    assert any(float(p.grad.abs().max()) > 0 for p in component.model.parameters() if p.grad is not None)


def test_the_loss_of_latent_diffusion_leaves_its_autoencoder_alone(tmp_path: Path) -> None:
    component = latent_diffusion(tmp_path)
    lost(component, torch.randn(4, 3, 8, generator=torch.Generator().manual_seed(0))).backward()
    assert [n for n, p in component.vae.named_parameters() if p.grad is not None] == []
    assert all(p.grad is not None for p in component.unet.parameters())


def test_the_vae_learns_its_autoencoder() -> None:
    component = made("vae")
    lost(component, ["0", "1", "2", "3"]).backward()
    assert all(p.grad is not None for p in component.vae.parameters())


@pytest.mark.parametrize("head", [h for h in HEADS if h != "gan"])
def test_a_few_steps_bring_the_loss_down(head: str) -> None:
    component, classes = made(head, drop=0.0), ["0", "1", "2", "3"]
    optim = torch.optim.Adam([p for p in component.parameters() if p.requires_grad], lr=3e-3)
    losses = []
    for step in range(60):
        loss = lost(component, classes, step)
        optim.zero_grad()
        loss.backward()
        optim.step()
        losses.append(float(loss))
    assert sum(losses[-20:]) < 0.9 * sum(losses[:20])


def test_each_side_of_the_gan_learns_from_its_own_loss_alone() -> None:
    """A critic's step lowers the critic's loss, and gradients of the generator come from fooling it, not from it."""
    component = made("gan")
    cond = component.vectors(["0", "1", "2", "3"], context(4, 0))
    pixels = torch.zeros(4, 3, component.side(), component.side())
    noise = context(4, 0).normal((component.config.noise,), 1)
    whole = component.teach(context(4, 0), cond, pixels).sum()
    made_now = component.model.generator(torch.cat([noise, cond], 1))
    fooled = torch.nn.functional.softplus(-component.model.critic(made_now, cond)).sum()
    parameters = list(component.model.generator.parameters())
    mine = torch.autograd.grad(whole, parameters, retain_graph=True)
    for a, b in zip(mine, torch.autograd.grad(fooled, parameters)):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("head", LATENT)
def test_a_head_without_its_autoencoder_says_that_it_cannot_learn_pictures(head: str) -> None:
    with pytest.raises(ValueError, match="no autoencoder"):
        lost(made(head, autoencoder=False), ["0", "1", "2", "3"])


@pytest.mark.parametrize("whole", [True, False])
def test_var_without_its_tokenizers_file_is_told_what_it_needs_it_for(whole: bool, tmp_path: Path) -> None:
    card, options = default_registry().card("image_heads/var"), {"preset": "tiny", "classes": 5, "autoencoder": whole}
    weights = bench(card, options).build().component.checkpoint()
    kept = {n: t.contiguous() for n, t in weights.items() if not n.startswith("vae.")}
    save_file(kept, tmp_path / "var.safetensors")
    with pytest.raises(ValueError, match=r"name its file too, as a second source \(VAR draws with the codes in it"):
        bench(card, options).build(f"file:{tmp_path / 'var.safetensors'}")
