"""`anyany convert` on fakes with the official layouts: what is released as pickles loads after it."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import torch
from anyany_tokenizers import parity, parity_multiscale, parity_seed

from anyany.cli import main
from anyany.registry import default_registry
from anyany.testing.harness import bench
from anyany.testing.parity_pack import PackFile

GOLDEN = Path(__file__).parents[3] / "shared" / "golden"
packs = pytest.mark.skipif(not GOLDEN.is_dir(), reason="the golden packs are not beside the repository")


def official(pack: str) -> tuple[dict[str, torch.Tensor], dict]:
    """A small checkpoint under its official names, and its config."""
    file = PackFile(GOLDEN / f"{pack}.safetensors")
    return {name: file.read("weights", name) for name in file.names("weights")}, file.config


def converted(tmp_path: Path, checkpoint: dict, *options: str, file: str = "old.pth") -> Path:
    torch.save(checkpoint, tmp_path / file)
    assert main(["convert", str(tmp_path / file), str(tmp_path / "new.safetensors"), *options]) == 0
    return tmp_path / "new.safetensors"


def loaded(component: str, options: dict, path: Path) -> torch.nn.Module:
    return bench(default_registry().card(component), options).build(f"file:{path}").component


@packs
@pytest.mark.parametrize("options", [(), ("--drop", "loss.*")])
def test_a_lightning_checkpoint_of_vqgan_loads_and_its_loss_is_left(tmp_path, capsys, options):
    state, config = official("vqvae/vqgan_vqmodel")
    loss = {
        "loss.perceptual_loss.lin0.model.1.weight": torch.zeros(1),
        "loss.discriminator.main.0.bias": torch.zeros(4),
    }
    checkpoint = {"epoch": 1, "state_dict": state | loss, "optimizer_states": [{"state": {}}], "lr_schedulers": []}
    path = converted(tmp_path, checkpoint, *options, file="last.ckpt")
    assert ("left: loss.perceptual_loss" in capsys.readouterr().out) == bool(options)
    model = loaded("tokenizers/vq", parity._vqgan(config), path)
    assert torch.equal(model.quantize.table, state["quantize.embedding.weight"])


@packs
def test_seeds_plain_state_dict_loads(tmp_path):
    state, config = official("seed/seed2_tokenizer")
    path = converted(tmp_path, {name: tensor.half() for name, tensor in state.items()}, file="seed_quantizer.pt")
    model = loaded("tokenizers/seed", parity_seed._options(config, 2), path)
    assert torch.equal(model.query_tokens, state["query_tokens"].half().float())


@packs
def test_seed_1_is_joined_from_its_two_files(tmp_path):
    state, config = official("seed/seed1_tokenizer")
    first = {
        n: t for n, t in state.items() if n.startswith(("visual_encoder.", "ln_vision.", "Qformer.", "query_tokens"))
    }
    torch.save({"model": first}, tmp_path / "causal_qformer.pth")
    torch.save({"model": {n: t for n, t in state.items() if n not in first}}, tmp_path / "seed_tokenizer.pth")
    files = [str(tmp_path / name) for name in ("causal_qformer.pth", "seed_tokenizer.pth", "new.safetensors")]
    assert main(["convert", *files]) == 0
    model = loaded("tokenizers/seed", parity_seed._options(config, 1), tmp_path / "new.safetensors")
    assert torch.equal(model.reverse_tokens, state["reverse_tokens"])


@packs
def test_vars_tokenizer_loads_from_its_plain_file(tmp_path):
    state, config = official("var/vqvae_multiscale")
    path = converted(tmp_path, state, file="vae_ch160v4096z32.pth")
    model = loaded("tokenizers/multiscale-vq", parity_multiscale.options(config, config["v_patch_nums"]), path)
    assert torch.equal(model.quantize.embedding.weight, state["quantize.embedding.weight"])


@packs
def test_mars_autoencoder_loads_from_under_model(tmp_path):
    state, config = official("mar/klvae")
    path = converted(tmp_path, {"model": state}, file="kl16.ckpt")
    model = loaded("tokenizers/kl-vae", parity._klvae(config), path)
    assert torch.equal(model.model.quant_conv.weight, state["quant_conv.weight"])


def test_mars_average_is_told_of_and_taken_with_ema(tmp_path, capsys):
    """MAR saves `model`, `model_ema`, the optimiser and argparse's options side by side."""
    model, average = {"fake_latent": torch.zeros(1, 4)}, {"fake_latent": torch.ones(1, 4)}
    checkpoint = {"model": model, "model_ema": average, "optimizer": {"state": {0: {"exp_avg": torch.zeros(4)}}},
                  "epoch": 3, "scaler": {"scale": 1.0}, "args": argparse.Namespace(lr=1e-4)}  # fmt: skip
    converted(tmp_path, checkpoint)
    assert "also in the file: model_ema; take one with --key" in capsys.readouterr().out
    path = converted(tmp_path, checkpoint, "--ema")
    from safetensors.torch import load_file

    assert bool(load_file(path)["fake_latent"].all())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["none.pt", "new.safetensors"], "E453"),
        (["old.pt", "new.bin"], "does not end in .safetensors"),
        (["old.pt", "new.safetensors", "--key", "a", "--ema"], "both say what to take"),
        (["old.pt", "new.safetensors", "--ema"], "no moving average"),
    ],
)
def test_wrong_calls_are_told_without_a_traceback(tmp_path, monkeypatch, capsys, arguments, told):
    monkeypatch.chdir(tmp_path)
    torch.save({"a": torch.zeros(1)}, "old.pt")
    assert main(["convert", *arguments]) == 2
    shown = capsys.readouterr()
    assert told in shown.out + shown.err and "Traceback" not in shown.out + shown.err
