"""Weights attacked: one file for two nodes, tensors that nobody takes, files cut short, widths that do not fit.

Silent random initialisation is the worst bug of this field, so each of these must be loud, and name its tensor.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import anyany
from anyany.errors import AnyanyError

LINEAR = {"weight": torch.eye(4), "bias": torch.zeros(4)}
MLP = {"0.weight": torch.eye(4), "0.bias": torch.zeros(4), "2.weight": torch.eye(4), "2.bias": torch.zeros(4)}
SPEC = """anyany: 1
inputs: {{x: features}}
nodes:
  a: {{use: adapters/linear, weights: "file:{0}", with: {{inputs: 4, outputs: 4}}, in: x}}
  b: {{use: adapters/mlp, weights: "file:{1}", with: {{inputs: 4, hidden: 4, outputs: 4}}, in: a}}
outputs: {{o: b}}
"""


def run(folder: Path, first: str, second: str, **options: Any) -> torch.Tensor:
    """The answer of two adapters over ones, their weights being files of the folder."""
    spec = folder / "spec.yaml"
    spec.write_text(SPEC.format(first, second))
    answer: torch.Tensor = anyany.load(spec, **options)(x=torch.ones(3, 4))["o"]
    return answer


def test_two_nodes_that_name_one_file_share_its_tensors(tmp_path: Path) -> None:
    save_file({**LINEAR, **MLP}, tmp_path / "both.safetensors")
    assert run(tmp_path, "both.safetensors", "both.safetensors").shape == (3, 4)


def test_a_tensor_that_neither_of_two_nodes_takes_is_an_error_that_names_it(tmp_path: Path) -> None:
    save_file({**LINEAR, **MLP, "forgotten": torch.ones(2)}, tmp_path / "both.safetensors")
    with pytest.raises(AnyanyError, match="forgotten"):
        run(tmp_path, "both.safetensors", "both.safetensors")


def test_slices_of_one_file_are_claimed_on_their_own(tmp_path: Path) -> None:
    tensors = {f"see.{k}": v for k, v in LINEAR.items()} | {f"hear.{k}": v for k, v in MLP.items()}
    save_file(tensors, tmp_path / "both.safetensors")
    assert run(tmp_path, "both.safetensors#see.", "both.safetensors#hear.").shape == (3, 4)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"weight": torch.eye(5)}, "weight"),
        ({"extra": torch.ones(1)}, "extra"),
        ({"bias": None}, "bias"),
    ],
)
def test_tensors_that_are_missing_unexpected_or_of_another_shape_are_named(
    tmp_path: Path, change: dict[str, torch.Tensor | None], named: str
) -> None:
    changed = {k: v for k, v in {**LINEAR, **change}.items() if v is not None}
    save_file(changed, tmp_path / "a.safetensors")
    save_file(MLP, tmp_path / "b.safetensors")
    with pytest.raises(AnyanyError, match=named):
        run(tmp_path, "a.safetensors", "b.safetensors")


def test_a_file_cut_short_is_refused_before_anything_runs(tmp_path: Path) -> None:
    save_file(LINEAR, tmp_path / "a.safetensors")
    whole = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "a.safetensors").write_bytes(whole[:-7])
    save_file(MLP, tmp_path / "b.safetensors")
    with pytest.raises(AnyanyError, match=r"a\.safetensors"):
        run(tmp_path, "a.safetensors", "b.safetensors")
