"""Parity of vision/vit with timm: features, logits, attention maps, mean attention distance in both forms.

Packs: component `vit`. timm gives sizes in `config.model`.
"""

from __future__ import annotations

from typing import Any

import torch


def attention_maps(pack: Any) -> dict[str, Any]:
    """Family `attention_maps`."""
    sizes = pack.config["model"]
    built = pack.component("vision/vit", {
        "resolution": sizes["img_size"], "patch": sizes["patch_size"], "width": sizes["embed_dim"],
        "layers": sizes["depth"], "heads": sizes["num_heads"], "mlp": int(sizes["embed_dim"] * sizes["mlp_ratio"]),
        "classes": sizes["num_classes"],
    })  # fmt: skip
    vit, pixels = built.component, pack.inputs["image"]
    maps_BAHTT = vit.attention(pixels)
    tokens_BTD = vit.tokens(pixels)
    far, far_renormalised = vit.distance(maps_BAHTT), vit.distance(maps_BAHTT, renormalise=True)
    outputs: dict[str, torch.Tensor] = {"features": tokens_BTD, "logits": vit.logits(tokens_BTD)}
    for layer in range(maps_BAHTT.shape[1]):
        outputs[f"attention_{layer}"] = maps_BAHTT[:, layer]
        outputs[f"mean_attention_distance_{layer}"] = far[:, layer]
        outputs[f"mean_attention_distance_renormalised_{layer}"] = far_renormalised[:, layer]
    return outputs


def timm_layout(released: Any) -> None:
    """timm's classifiers: sizes read off the names and shapes."""
    shapes = released.shapes
    width, _, patch, _ = shapes["patch_embed.proj.weight"]
    side = round((shapes["pos_embed"][1] - 1) ** 0.5)
    released.take("vision/vit", {
        "resolution": side * patch, "patch": patch, "width": width, "heads": width // 64,
        "layers": 1 + max(int(n.split(".")[1]) for n in shapes if n.startswith("blocks.")),
        "mlp": shapes["blocks.0.mlp.fc1.weight"][0], "classes": shapes["head.weight"][0],
    })  # fmt: skip


CASES = {("vit", "attention_maps"): attention_maps}
LAYOUTS = {"vit": timm_layout}
