"""A checkpoint that lacks a tensor of a component is refused, and the tensor is named, for every first-party card."""

from __future__ import annotations

import fnmatch
from pathlib import Path

import pytest
from safetensors.torch import save_file

from anyany.registry import default_registry
from anyany.testing.harness import bench
from anyany.weights.errors import WeightsError
from anyany.weights.save import checkpoint_of

WITH_WEIGHTS = [
    card["name"]
    for described in default_registry().describe().values()
    if described["dist"] == "anyany"
    for card in described["cards"]
    if default_registry().card(card["name"]).weights and default_registry().card(card["name"]).runtime == "torch"
]


@pytest.mark.parametrize("name", WITH_WEIGHTS)
def test_a_tensor_that_a_checkpoint_lacks_is_listed_by_name(name: str, tmp_path: Path) -> None:
    card = default_registry().card(name)
    made = bench(card)
    whole = checkpoint_of(made.build().component)
    needed = [n for n in whole if not any(fnmatch.fnmatchcase(n, pattern) for pattern in card.ignores)]
    if not needed:
        pytest.skip("its tiny preset has no tensors")
    left_out = needed[len(needed) // 2]
    save_file({n: t for n, t in whole.items() if n != left_out}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError) as caught:
        made.build(f"file:{tmp_path / 'model.safetensors'}")
    assert (caught.value.code, bool(caught.value.help)) == ("E459", True)
    listed = caught.value.message.split()
    # A component of several parts names a tensor as the part does.
    assert any(f".{left_out}".endswith(f".{word}") for word in listed), caught.value.message
