"""The parity runner: what passes, what fails and how it says so, on packs made here.

A pack is made by the component itself at a size of its own; then it is bent, and the runner must see each bend.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from anyany.testing.parity import Table, main, run, table
from anyany.testing.parity_bench import Pack
from anyany.testing.parity_pack import PackFile, gap

SIZES = {"depth": 1, "embed_dim": 16, "img_size": 16, "mlp_ratio": 2, "num_classes": 3, "num_heads": 2, "patch_size": 8}
META = {"component": "vit", "family": "attention_maps", "case": "own", "config": json.dumps({"model": SIZES})}


def weights() -> dict[str, torch.Tensor]:
    """A ViT of timm's names, drawn here."""
    g = torch.Generator().manual_seed(3)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=g) * 0.3

    block = {
        "norm1.weight": (16,), "norm1.bias": (16,), "attn.qkv.weight": (48, 16), "attn.qkv.bias": (48,),
        "attn.proj.weight": (16, 16), "attn.proj.bias": (16,), "norm2.weight": (16,), "norm2.bias": (16,),
        "mlp.fc1.weight": (32, 16), "mlp.fc1.bias": (32,), "mlp.fc2.weight": (16, 32), "mlp.fc2.bias": (16,),
    }  # fmt: skip
    rest = {
        "cls_token": (1, 1, 16), "pos_embed": (1, 5, 16), "patch_embed.proj.weight": (16, 3, 8, 8),
        "patch_embed.proj.bias": (16,), "norm.weight": (16,), "norm.bias": (16,), "head.weight": (3, 16),
        "head.bias": (3,),
    }  # fmt: skip
    return {n: drawn(*s) for n, s in {**{f"blocks.0.{k}": v for k, v in block.items()}, **rest}.items()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """All tensors of a pack that passes."""
    tensors = {f"weights/{n}": w for n, w in weights().items()}
    tensors["inputs/image"] = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(4))
    path = tmp_path_factory.mktemp("whole") / "own.safetensors"
    save_file(tensors, path, metadata=META)
    with torch.inference_mode():
        outputs = table().cases[("vit", "attention_maps")](Pack(PackFile(path)))
    return {**tensors, **{f"outputs/{n}": o.contiguous() for n, o in outputs.items()}}


def written(folder: Path, tensors: dict[str, torch.Tensor], **meta: str) -> str:
    path = folder / "own.safetensors"
    save_file({n: t.clone() for n, t in tensors.items()}, path, metadata={**META, **meta})
    return str(path)


def only(path: str) -> Any:
    (line,) = run([path])
    return line


def test_a_pack_that_agrees_passes(whole: dict[str, torch.Tensor], tmp_path: Path) -> None:
    line = only(written(tmp_path, whole))
    assert line.ok and line.what == "vit/own" and line.absolute == 0
    assert main([str(tmp_path)]) == 0


def test_an_output_that_differs_beyond_the_tolerance_fails(whole: dict[str, torch.Tensor], tmp_path: Path) -> None:
    size = float(whole["outputs/features"].abs().max())
    near = {**whole, "outputs/features": whole["outputs/features"] + 0.5e-5 * size}
    assert only(written(tmp_path, near)).ok
    far = {**whole, "outputs/features": whole["outputs/features"] + 3e-5 * size}
    line = only(written(tmp_path, far))
    assert not line.ok and "features: off by" in line.note and line.relative == pytest.approx(3e-5, rel=0.1)
    assert main([str(tmp_path)]) == 1


@pytest.mark.parametrize(
    ("bend", "said"),
    [
        (lambda t: t.pop("outputs/logits"), "logits is no output of the pack"),
        (lambda t: t.update({"outputs/more": torch.ones(2)}), "more was not produced"),
        (lambda t: t.update({"outputs/logits": torch.ones(2, 4)}), "shape [2, 3], expected [2, 4]"),
        (lambda t: t.pop("weights/norm.weight"), "1 missing"),
        (lambda t: t.update({"weights/stray": torch.ones(2)}), "stray"),
        (lambda t: t.update({"weights/head.bias": torch.ones(4)}), "[4] in the file, [3] expected"),
        (lambda t: t.pop("inputs/image"), "KeyError"),
        (lambda t: t.update({"outputs/logits": torch.full((2, 3), float("nan"))}), "logits: off by nan"),
    ],
)
def test_a_bent_pack_fails_and_says_why(whole: dict[str, torch.Tensor], tmp_path: Path, bend: Any, said: str) -> None:
    tensors = dict(whole)
    bend(tensors)
    line = only(written(tmp_path, tensors))
    assert not line.ok and said in line.note


def test_a_pack_that_nothing_can_run_fails(whole: dict[str, torch.Tensor], tmp_path: Path) -> None:
    assert "no case for family 'unheard'" in only(written(tmp_path, whole, family="unheard")).note
    save_file({"weights/x": torch.ones(1)}, tmp_path / "own.safetensors")
    assert "metadata lacks component" in only(str(tmp_path / "own.safetensors")).note
    (tmp_path / "own.safetensors").write_bytes(b"no pack at all")
    assert "cannot be read" in only(str(tmp_path / "own.safetensors")).note
    assert "cannot be read" in only(str(tmp_path / "missing.safetensors")).note


def test_a_folder_without_packs_fails(tmp_path: Path) -> None:
    assert main([str(tmp_path)]) == 1


def test_layouts_fail_for_missing_left_over_and_misshapen_names(tmp_path: Path) -> None:
    shapes = {n: list(w.shape) for n, w in weights().items()}
    shapes["pos_embed"] = [1, 5, 16]
    wide = {n: [64 if x == 16 else 192 if x == 48 else x for x in s] for n, s in shapes.items()}
    folder = tmp_path / "vit"
    folder.mkdir()

    def told(tensors: dict[str, list[int]]) -> Any:
        (folder / "official_layouts.json").write_text(json.dumps({"own": {"config": {}, "tensors": tensors}}))
        (line,) = run([], [str(tmp_path)])
        return line

    assert told(wide).ok
    assert "1 missing" in told({n: s for n, s in wide.items() if n != "norm.bias"}).note
    assert "stray" in told({**wide, "stray": [3]}).note
    assert "of another shape" in told({**wide, "norm.bias": [5]}).note


def test_plugins_share_the_released_files_of_one_component_by_globs() -> None:
    known = Table(layouts={"own": print, "own/vae_*": repr, "other/*": len})  # type: ignore[dict-item]
    assert known.layout("own", "vae_ch16") is repr and known.layout("own", "d16") is print
    assert known.layout("other", "x") is len and known.layout("none", "x") is None


def test_the_command_prints_a_json_object_a_line(
    whole: dict[str, torch.Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = written(tmp_path, whole), tmp_path / "bad.safetensors"
    bad.write_bytes(b"")
    assert main([good, str(bad), "--json"]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["ok"] for line in lines] == [True, False]
    assert {"what", "absolute", "relative", "tolerance", "note", "path"} <= set(lines[0])


def test_whole_numbers_are_compared_exactly_and_padding_not_at_all() -> None:
    assert gap(torch.tensor([1, 2]), torch.tensor([1, 2]), 1e-5).fault == ""
    assert "1 of 2 differ" in gap(torch.tensor([1, 3]), torch.tensor([1, 2]), 1e9).fault
    mask = torch.tensor([[1, 0]])
    assert gap((torch.tensor([[[1.0], [9.0]]]), mask), torch.tensor([[[1.0], [2.0]]]), 1e-5).fault == ""
    assert gap((torch.tensor([[[9.0], [2.0]]]), mask), torch.tensor([[[1.0], [2.0]]]), 1e-5).fault


def test_a_tolerance_may_be_absolute() -> None:
    assert gap(torch.tensor([100.5]), torch.tensor([100.0]), ("absolute", 1.0)).fault == ""
    assert gap(torch.tensor([1.5]), torch.tensor([0.0]), ("absolute", 1.0)).fault
