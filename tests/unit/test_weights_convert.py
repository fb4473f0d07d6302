"""Old checkpoints become safetensors once; what would run code is refused."""

from __future__ import annotations

import argparse
import os
import pickle
import sys
import types

import pytest
import torch
from safetensors.torch import load_file

from anyany.weights.convert import convert
from anyany.weights.errors import WeightsError

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.bfloat16)}


@pytest.mark.parametrize("wrap", [(), ("state_dict",), ("model",), ("model", "module"), ("weird",)])
def test_tensors_are_found_under_the_usual_wrappers(tmp_path, wrap):
    checkpoint = dict(TENSORS)
    for key in reversed(wrap):
        checkpoint = {key: checkpoint, "epoch": 3}
    torch.save(checkpoint, tmp_path / "old.pt")
    report = convert(tmp_path / "old.pt", tmp_path / "new.safetensors")
    written = load_file(tmp_path / "new.safetensors")
    assert written.keys() == TENSORS.keys()
    assert all(torch.equal(written[name], TENSORS[name]) for name in TENSORS)
    assert (report.tensors, report.unwrapped) == (2, wrap)


def test_shared_and_strided_tensors_are_written_whole(tmp_path):
    weight = torch.randn(4, 3)
    torch.save(
        {"in": weight, "out": weight, "turned": weight.T, "part": weight[1:3], "step": 7},
        tmp_path / "old.bin",
    )
    report = convert(tmp_path / "old.bin", tmp_path / "new.safetensors")
    written = load_file(tmp_path / "new.safetensors")
    assert torch.equal(written["out"], weight) and torch.equal(written["turned"], weight.T)
    assert torch.equal(written["part"], weight[1:3])
    assert report.shared == (("in", "out", "turned"),)
    assert report.dropped == ("step",)


class Evil:
    def __reduce__(self):
        return os.mkdir, ("evil-was-here",)


def test_a_checkpoint_that_would_run_code_is_refused_and_runs_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, write in (("zip", torch.save), ("plain", lambda x, f: f.write_bytes(pickle.dumps(x)))):
        write({"a": Evil()}, tmp_path / f"{name}.pt")
        with pytest.raises(WeightsError, match="run code") as caught:
            convert(tmp_path / f"{name}.pt", tmp_path / "new.safetensors")
        assert caught.value.code == "E473"
    assert sorted(os.listdir(tmp_path)) == ["plain.pt", "zip.pt"]


@pytest.mark.parametrize("data", [b"", b"nonsense", b"PK\x03\x04 broken"])
def test_a_broken_checkpoint_is_said_to_be_none(tmp_path, data):
    (tmp_path / "old.pt").write_bytes(data)
    with pytest.raises(WeightsError) as caught:
        convert(tmp_path / "old.pt", tmp_path / "new.safetensors")
    assert caught.value.code == "E473"
    assert not (tmp_path / "new.safetensors").exists()


def test_several_candidates_are_named_and_one_can_be_chosen(tmp_path):
    torch.save({"gen": TENSORS, "disc": {"x": torch.zeros(1)}, "step": 1}, tmp_path / "old.pt")
    with pytest.raises(WeightsError, match="no map from names to tensors") as caught:
        convert(tmp_path / "old.pt", tmp_path / "new.safetensors")
    assert "gen, disc, step" in caught.value.help
    assert convert(tmp_path / "old.pt", tmp_path / "new.safetensors", key="disc").tensors == 1
    with pytest.raises(WeightsError, match="has no entry dsic"):
        convert(tmp_path / "old.pt", tmp_path / "new.safetensors", key="dsic")


def test_maps_deep_inside_are_named_by_the_key_that_takes_them(tmp_path):
    """VAR's trainer saves its networks so."""
    trainer = {"var_wo_ddp": TENSORS, "vae_local": TENSORS, "var_optim": {"state": {}}}
    torch.save({"epoch": 3, "trainer": trainer}, tmp_path / "ar-ckpt.pth")
    with pytest.raises(WeightsError) as told:
        convert(tmp_path / "ar-ckpt.pth", tmp_path / "new.safetensors")
    assert "epoch, trainer.var_wo_ddp, trainer.vae_local; name one" in told.value.help
    convert(tmp_path / "ar-ckpt.pth", tmp_path / "new.safetensors", key="trainer.var_wo_ddp")
    assert load_file(tmp_path / "new.safetensors").keys() == TENSORS.keys()


def test_the_paths_are_checked(tmp_path):
    torch.save(TENSORS, tmp_path / "old.pt")
    with pytest.raises(WeightsError, match="there is no file"):
        convert(tmp_path / "none.pt", tmp_path / "new.safetensors")
    with pytest.raises(WeightsError, match=r"does not end in \.safetensors"):
        convert(tmp_path / "old.pt", tmp_path / "new.pt")
    with pytest.raises(WeightsError, match="cannot be written"):
        convert(tmp_path / "old.pt", tmp_path / "no" / "folder" / "new.safetensors")


@pytest.fixture
def lightning(monkeypatch):
    """A class of a training framework that is not installed, picklable by its name."""
    name = "pytorch_lightning.callbacks.model_checkpoint"
    for stop in (17, 27, len(name)):
        monkeypatch.setitem(sys.modules, name[:stop], types.ModuleType(name[:stop]))
    kind = type("ModelCheckpoint", (), {"__module__": name})
    sys.modules[name].ModelCheckpoint = kind
    return kind


def test_a_training_frameworks_bookkeeping_is_left_without_its_code(tmp_path, lightning, monkeypatch):
    checkpoint = {"state_dict": TENSORS, "callbacks": {lightning: {"best": 1.0}}, "hyper": lightning(),
                  "args": argparse.Namespace(lr=1e-4), "epoch": 3}  # fmt: skip
    torch.save(checkpoint, tmp_path / "last.ckpt")
    monkeypatch.delitem(sys.modules, lightning.__module__)
    report = convert(tmp_path / "last.ckpt", tmp_path / "new.safetensors")
    assert report.tensors == 2 and report.unwrapped == ("state_dict",)
    assert lightning.__module__ not in sys.modules


def test_the_moving_average_is_taken_when_asked_for_and_told_of_when_not(tmp_path):
    average = {name: tensor + 1 for name, tensor in TENSORS.items()}
    moments = {"state": {0: {"exp_avg": torch.zeros(2)}}}
    torch.save({"model": TENSORS, "model_ema": average, "optimizer": moments, "epoch": 1}, tmp_path / "old.pth")
    plain = convert(tmp_path / "old.pth", tmp_path / "new.safetensors")
    assert plain.others == ("model_ema",)
    taken = convert(tmp_path / "old.pth", tmp_path / "ema.safetensors", ema=True)
    assert taken.others == ("model",)
    assert torch.equal(load_file(tmp_path / "ema.safetensors")["b"], TENSORS["b"] + 1)
    torch.save({"model": TENSORS}, tmp_path / "none.pth")
    with pytest.raises(WeightsError, match="no moving average"):
        convert(tmp_path / "none.pth", tmp_path / "new.safetensors", ema=True)


@pytest.mark.parametrize("around", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_names_are_those_of_before_pytorchs_wrappers(tmp_path, around):
    torch.save({"state_dict": {around + name: t for name, t in TENSORS.items()}}, tmp_path / "old.pth")
    convert(tmp_path / "old.pth", tmp_path / "new.safetensors")
    assert load_file(tmp_path / "new.safetensors").keys() == TENSORS.keys()


def test_a_prefix_of_some_names_alone_is_no_wrapper(tmp_path):
    torch.save({"module.a": torch.zeros(1), "b": torch.zeros(1)}, tmp_path / "old.pth")
    convert(tmp_path / "old.pth", tmp_path / "new.safetensors")
    assert load_file(tmp_path / "new.safetensors").keys() == {"module.a", "b"}


@pytest.mark.parametrize("base", ["", "model."])
def test_averages_among_the_weights_are_left_or_taken_in_their_place(tmp_path, base):
    """Latent diffusion's, of all weights or of those under `model.`; what has no average stays."""
    weights = {f"{base}unet.0.weight": torch.zeros(2), f"{base}unet.0.bias": torch.zeros(1), "vae.scale": torch.ones(1)}
    averages = {"model_ema.unet0weight": torch.ones(2), "model_ema.unet0bias": torch.full((1,), 2.0),
                "model_ema.decay": torch.tensor(0.99), "model_ema.num_updates": torch.tensor(7)}  # fmt: skip
    torch.save({"state_dict": weights | averages, "epoch": 1}, tmp_path / "old.ckpt")
    plain = convert(tmp_path / "old.ckpt", tmp_path / "new.safetensors")
    assert load_file(tmp_path / "new.safetensors").keys() == weights.keys() and plain.others == ("model_ema",)
    convert(tmp_path / "old.ckpt", tmp_path / "ema.safetensors", ema=True)
    taken = load_file(tmp_path / "ema.safetensors")
    assert taken.keys() == weights.keys() and bool(taken["vae.scale"].eq(1).all())
    assert bool(taken[f"{base}unet.0.weight"].eq(1).all()) and bool(taken[f"{base}unet.0.bias"].eq(2).all())


def test_several_files_become_one_and_unwanted_names_are_left(tmp_path):
    torch.save({"model": {"a": torch.zeros(1), "b": torch.zeros(2)}}, tmp_path / "first.pth")
    torch.save({"model": {"b": torch.ones(2), "loss.vgg": torch.ones(3)}}, tmp_path / "second.pth")
    sources = [tmp_path / "first.pth", tmp_path / "second.pth"]
    report = convert(sources, tmp_path / "new.safetensors", drop=["loss.*"])
    written = load_file(tmp_path / "new.safetensors")
    assert written.keys() == {"a", "b"} and bool(written["b"].all())
    assert report.dropped == ("loss.vgg",)
    with pytest.raises(WeightsError, match="all were dropped"):
        convert(sources, tmp_path / "new.safetensors", drop=["*"])
