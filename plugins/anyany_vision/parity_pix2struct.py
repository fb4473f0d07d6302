"""Parity of vision/pix2struct (patches, encoder) and of vision/quadrangle (a block).

Packs: components `pix2struct` and `quadrangle`.
"""

from __future__ import annotations

import json
from typing import Any

import torch.nn.functional as F

from anyany_vision.quadrangle import QuadrangleBlock


def patches(pack: Any) -> dict[str, Any]:
    """Family `variable_resolution_patches`; transformers' newer back end takes the sample deviation."""
    sample = "torchvision" in pack.file.meta.get("reference", "")
    out: dict[str, Any] = {}
    for most in pack.config["max_patches"]:
        built = pack.plain("vision/pix2struct", {
            "preset": "tiny", "patch": pack.config["patch"], "max_patches": most,
            "deviation": "sample" if sample else "population",
        }).component  # fmt: skip
        for name, image in pack.inputs.items():
            flat_NP = built.patches(image.permute(2, 0, 1))
            full = F.pad(flat_NP, (0, 0, 0, most - flat_NP.shape[0]))
            out[f"{name}_mp{most}_patches"] = full
            out[f"{name}_mp{most}_mask"] = (full.sum(-1) != 0).float()
    return out


def vision_encoder(pack: Any) -> dict[str, Any]:
    """Family `vision_encoder`: real positions of the states."""
    sizes = pack.config["model"]
    options = {"preset": "tiny", "patch": sizes["patch_size"]}
    built = pack.component("vision/pix2struct", options, assets={"config.json": json.dumps(sizes)}).component
    flat, mask = pack.inputs["flattened_patches"], pack.inputs["attention_mask"]
    return {"embeddings": built.model.embeddings(flat), "last_hidden_state": (built.run(flat, mask), mask)}


def pix2struct_layout(released: Any) -> None:
    """Base and large."""
    sizes = released.config
    released.take("vision/pix2struct", {
        "patch": round((sizes["patch_embed_hidden_size"] / 3) ** 0.5), "width": sizes["hidden_size"],
        "layers": sizes["num_hidden_layers"], "heads": sizes["num_attention_heads"], "head_width": sizes["d_kv"],
        "mlp": sizes["d_ff"], "table": sizes["seq_len"],
    }, prefix="encoder.")  # fmt: skip


def block(pack: Any) -> dict[str, Any]:
    """Family `block` of quadrangle attention, on maps that may not be whole windows."""
    config, x_BNC = pack.config, pack.inputs["x"]
    hidden = pack.file.read("weights", "mlp.fc1.weight").shape[0]
    part = pack.module(QuadrangleBlock(config["dim"], config["heads"], config["ws"], config["rpe"], hidden))
    x_BHWC = x_BNC.unflatten(1, tuple(config["res"]))
    out, weights, coords = part.attn.parts(x_BHWC)
    return {
        "attention_out": out.flatten(1, 2), "attention_probs": weights, "sample_coords": coords,
        "block_out": part(x_BHWC).flatten(1, 2),
    }  # fmt: skip


def quadrangle_layout(released: Any) -> None:
    """Tiny, small and base."""
    sizes = released.config
    released.take("vision/quadrangle", {
        "width": sizes["embed_dim"], "depths": sizes["depths"], "heads": sizes["heads"], "window": sizes["window"],
        "rpe": sizes["rpe"], "classes": released.shapes["head.weight"][0],
    })  # fmt: skip


CASES = {
    ("pix2struct", "variable_resolution_patches"): patches,
    ("pix2struct", "vision_encoder"): vision_encoder,
    ("quadrangle", "block"): block,
}
LAYOUTS = {"pix2struct": pix2struct_layout, "quadrangle": quadrangle_layout}
