"""Parity cases of VAR's transformer with its tokenizer's codes and decoder. Suffixes as in `var.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F

from anyany_image_heads.head import shown
from anyany_image_heads.var import COMPUTED, filtered
from anyany_image_heads.var_transformer import VarTransformer


def _options(c: Mapping[str, Any]) -> dict[str, Any]:
    vae = c["vae"]
    return {
        "depth": c["depth"], "width": c["embed_dim"], "heads": c["num_heads"], "shared": c["shared_aln"],
        "unit_attention": c["attn_l2_norm"], "scales": c["patch_nums"], "classes": c["num_classes"],
        "ratio": c.get("mlp_ratio", 4.0), "codes": vae["vocab_size"], "latents": vae["z_channels"],
        "smoothings": vae["share_quant_resi"], "smoothing": vae["quant_resi"], "vae_width": vae["ch"],
        "vae_levels": vae["ch_mult"], "vae_blocks": vae["num_res_blocks"], "unit_codes": vae.get("using_znorm", False),
    }  # fmt: skip


def var(pack: Any) -> dict[str, Any]:
    """Teacher forcing, generation at several guidances, the sampler's filter."""
    c, given = pack.config, pack.inputs
    head = pack.component("image_heads/var", _options(c), prefix=("var/", "vae/")).component
    ids = [given[f"gt_idx.{k}"] for k in range(len(c["patch_nums"]))]
    cond, null = head.look_up(given["labels"]), head.null_C().expand(len(given["labels"]), -1)
    inputs, _ = head.vae.quantize.grown(ids)
    dropped = torch.where((given["label_drop_uniform"] < 0.1)[:, None], null, cond)
    logits = head.model.teacher_forced(dropped, inputs)
    found = {
        "x_BLCv_wo_first_l": inputs, "logits": logits, "attn_allowed": head.model.allowed(),
        "train_loss": F.cross_entropy(logits.flatten(0, 1), torch.cat(ids, 1).flatten()),
    }  # fmt: skip
    for cfg in c["cfgs"]:
        found |= _generated(head, cond, null, cfg)
    for name in pack.expected:
        if name.startswith("sampler_k"):
            top_k, top_p = name[len("sampler_k") :].removesuffix("_probs").split("_p")
            found[name] = filtered(given["sampler_logits"], int(top_k), float(top_p)).softmax(-1)
    return found


def _generated(head: Any, cond: torch.Tensor, null: torch.Tensor, cfg: float) -> dict[str, Any]:
    name, told = f"cfg{cfg:g}", {}

    def pick(logits: torch.Tensor, scale: int) -> torch.Tensor:
        told[f"{name}_logits.{scale}"] = logits
        return logits.argmax(-1)

    scale = torch.full((len(cond),), float(cfg))
    ids, f = head.grow(cond, null if cfg != head.neutral else None, scale, pick)
    told |= {f"{name}_idx.{k}": v for k, v in enumerate(ids)}
    return {**told, f"{name}_fhat": f, f"{name}_image": shown(head.vae.decode(f))}


def layout(released: Any) -> None:
    """A released transformer; the tokenizer is a file of its own."""
    from types import SimpleNamespace

    c = released.config
    config = SimpleNamespace(
        depth=c["depth"], width=c["embed_dim"], heads=c["num_heads"], ratio=c["mlp_ratio"], shared=c["shared_aln"],
        unit_attention=c["attn_l2_norm"], scales=c["patch_nums"], codes=released.shapes["head.weight"][0],
        latents=released.shapes["word_embed.weight"][1],
    )  # fmt: skip

    def make() -> VarTransformer:
        model = VarTransformer(config)
        model.class_emb = torch.nn.Embedding(c["num_classes"] + 1, c["embed_dim"])
        return model

    released.module(make, rename=lambda name: None if name.rpartition(".")[2] in COMPUTED else name)


CASES = {("var", "var"): var}
LAYOUTS = {"var/var_*": layout}
TOLERANCES = {("var", "var"): {"*": 3e-5}}
