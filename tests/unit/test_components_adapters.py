"""adapters/linear and adapters/mlp: LLaVA's names and numbers, ragged rows without padding, widths from anywhere.

Shapes: features [N,D] of any length, embeddings [D].
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from anyany_adapters.linear import LinearAdapter
from anyany_adapters.mlp import MlpAdapter
from anyany_adapters.plugin import LinearConfig, MlpConfig
from torch import nn

from anyany.api.torch import Build, Context, Rows
from anyany.engine.noise import Noise


def projected(component: Any, rows: Rows) -> Rows:
    keys = [(i,) for i in range(len(rows))]
    ctx = Context(node="see", call="project", keys=keys, noise=Noise(0),
                  device=torch.device("cpu"), dtype=torch.float32)  # fmt: skip
    with torch.inference_mode():
        return component.project(ctx, rows)["features"]


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def mlp() -> MlpAdapter:
    torch.manual_seed(0)
    return MlpAdapter(MlpConfig(inputs=12, hidden=20, outputs=7), Build(node="see"))


def test_mlp_has_the_names_and_numbers_of_llava(mlp: MlpAdapter) -> None:
    llava = nn.Sequential(nn.Linear(12, 20), nn.GELU(), nn.Linear(20, 7))
    mlp.load_state_dict(llava.state_dict(), strict=True)
    x = normal(2, 5, 12)
    torch.testing.assert_close(projected(mlp, Rows(x)).dense(), llava(x))


def test_linear_is_torchs_linear() -> None:
    component, layer = LinearAdapter(LinearConfig(inputs=12, outputs=7), Build(node="see")), nn.Linear(12, 7)
    component.load_state_dict(layer.state_dict(), strict=True)
    x = normal(2, 5, 12)
    torch.testing.assert_close(projected(component, Rows(x)).dense(), layer(x))
    bare = LinearAdapter(LinearConfig(inputs=12, outputs=7, bias=False), Build(node="see"))
    assert [n for n, _ in bare.named_parameters()] == ["weight"]


def test_ragged_rows_alone_and_packed_and_listed_agree(mlp: MlpAdapter) -> None:
    values = [normal(n, 12, seed=n) for n in (1, 6, 3)]
    listed = projected(mlp, Rows(values))
    packed = projected(mlp, Rows(torch.cat(values), [0, 1, 7, 10]))
    assert listed.lengths == packed.lengths == [1, 6, 3]
    for row, value in enumerate(values):
        alone = projected(mlp, Rows(value[None]))[0]
        torch.testing.assert_close(listed[row], alone, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(packed[row], alone, atol=1e-5, rtol=1e-5)


def test_embeddings_stay_one_vector_each(mlp: MlpAdapter) -> None:
    dense, listed = normal(4, 12), [normal(12, seed=i) for i in range(4)]
    assert projected(mlp, Rows(dense)).dense().shape == (4, 7)
    assert [tuple(v.shape) for v in projected(mlp, Rows(listed))] == [(7,)] * 4


def test_depth_adds_layers_under_even_names() -> None:
    component = MlpAdapter(MlpConfig(inputs=4, hidden=6, outputs=5, depth=3), Build(node="see"))
    shapes = {name: tuple(p.shape) for name, p in component.named_parameters() if name.endswith("weight")}
    assert shapes == {"0.weight": (6, 4), "2.weight": (6, 6), "4.weight": (5, 6)}


@pytest.mark.parametrize(("config", "build"), [
    (MlpConfig(inputs=8, outputs=6), {}),
    (MlpConfig(), {"facts": {"inputs": 8, "hidden": 6, "outputs": 6}}),
    (MlpConfig(), {"sizes": {"inputs": 8, "outputs": 6}}),
    (MlpConfig(inputs=8), {"sizes": {"inputs": 99, "outputs": 6}}),
])  # fmt: skip
def test_widths_come_from_options_then_checkpoint_then_neighbours(config: MlpConfig, build: dict[str, Any]) -> None:
    component = MlpAdapter(config, Build(node="see", **build))
    assert projected(component, Rows(normal(1, 2, 8)))[0].shape == (2, 6)


def test_a_width_that_nothing_fixes_is_said() -> None:
    with pytest.raises(ValueError, match="nothing fixes the outputs width of see"):
        MlpAdapter(MlpConfig(inputs=8), Build(node="see"))
