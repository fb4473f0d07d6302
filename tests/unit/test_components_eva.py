"""EVA's tower under LAVIS's names gives what transformers' conversion of the same weights gives; strictly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from anyany.api.torch import Rows
from anyany.registry import default_registry
from anyany.testing.harness import bench, call
from anyany.weights.errors import WeightsError

WIDE, LAYERS = 32, 2


def lavis(seed: int = 0, layers: int = LAYERS) -> dict[str, torch.Tensor]:
    """Weights of the tiny tower under LAVIS's names, as its visual encoder has them."""
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, WIDE), "pos_embed": (1, 5, WIDE), "patch_embed.proj.weight": (WIDE, 3, 14, 14),
        "patch_embed.proj.bias": (WIDE,),
    }  # fmt: skip
    for i in range(layers):
        shapes |= {
            f"blocks.{i}.{name}": shape
            for name, shape in {
                "norm1.weight": (WIDE,), "norm1.bias": (WIDE,), "attn.q_bias": (WIDE,), "attn.v_bias": (WIDE,),
                "attn.qkv.weight": (3 * WIDE, WIDE), "attn.proj.weight": (WIDE, WIDE), "attn.proj.bias": (WIDE,),
                "norm2.weight": (WIDE,), "norm2.bias": (WIDE,), "mlp.fc1.weight": (64, WIDE), "mlp.fc1.bias": (64,),
                "mlp.fc2.weight": (WIDE, 64), "mlp.fc2.bias": (WIDE,),
            }.items()
        }  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) * 0.3 for name, shape in shapes.items()}


def converted(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """As transformers' conversion names and joins them; the last norm does nothing."""
    out = {
        "embeddings.class_embedding": weights["cls_token"], "embeddings.position_embedding": weights["pos_embed"],
        "embeddings.patch_embedding.weight": weights["patch_embed.proj.weight"],
        "embeddings.patch_embedding.bias": weights["patch_embed.proj.bias"],
        "post_layernorm.weight": torch.ones(WIDE), "post_layernorm.bias": torch.zeros(WIDE),
    }  # fmt: skip
    for i in range(LAYERS):
        mine = {n.removeprefix(f"blocks.{i}."): t for n, t in weights.items() if n.startswith(f"blocks.{i}.")}
        bias = torch.cat([mine.pop("attn.q_bias"), torch.zeros(WIDE), mine.pop("attn.v_bias")])
        names = {"norm1": "layer_norm1", "norm2": "layer_norm2", "attn.qkv": "self_attn.qkv",
                 "attn.proj": "self_attn.projection"}  # fmt: skip
        for name, tensor in mine.items():
            head, tail = name.rsplit(".", 1)
            out[f"encoder.layers.{i}.{names.get(head, head)}.{tail}"] = tensor
        out[f"encoder.layers.{i}.self_attn.qkv.bias"] = bias
    return out


def tower(path: Path, tensors: dict[str, torch.Tensor], layout: str) -> Any:
    save_file(tensors, path)
    options = {"preset": "tiny", "layout": layout}
    return bench(default_registry().card("vision/eva"), options).build(f"file:{path}")


@pytest.mark.parametrize("prefix", ["", "visual_encoder."])
def test_lavis_names_give_what_their_conversion_gives(prefix: str, tmp_path: Path) -> None:
    weights = lavis()
    named = {prefix + n: t for n, t in weights.items()}
    if prefix:
        named["query_tokens"] = torch.zeros(1)  # another node's
    mine = tower(tmp_path / "lavis.safetensors", named, "lavis")
    theirs = tower(tmp_path / "theirs.safetensors", converted(weights), "transformers")
    theirs.component.model.post_layernorm = torch.nn.Identity()
    picture = torch.randint(0, 256, (3, 40, 30), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    found = [call(made, "encode", {"image": Rows([picture])}, [0])["tokens"][0] for made in (mine, theirs)]
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("missing", ["blocks.1.attn.q_bias", "blocks.0.attn.v_bias", "pos_embed"])
def test_a_missing_tensor_is_told_by_name(missing: str, tmp_path: Path) -> None:
    weights = lavis()
    del weights[missing]
    with pytest.raises(WeightsError, match="1 missing"):
        tower(tmp_path / "it.safetensors", weights, "lavis")


def test_blocks_beyond_the_tower_are_left_only_where_the_spec_says_so(tmp_path: Path) -> None:
    """EVA's own file has 40 blocks, a norm and a head; BLIP-2's tower is the first 39 blocks."""
    from anyany.engine.build import build_component

    weights = {**lavis(layers=3), "head.weight": torch.zeros(2, WIDE)}
    with pytest.raises(WeightsError, match="unexpected"):
        tower(tmp_path / "it.safetensors", weights, "lavis")
    made = bench(default_registry().card("vision/eva"), {"preset": "tiny", "layout": "lavis"})
    node = made.node("encode", (f"file:{tmp_path}/it.safetensors",))
    object.__setattr__(node, "skip", ("blocks.2.*", "head.*"))
    assert build_component(node).component is not None
