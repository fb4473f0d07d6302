"""Parity cases of VAR's tokenizer: the quantiser alone, and the whole autoencoder."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from anyany_tokenizers.multiscale_vq import MultiscaleQuantiser


def options(c: Mapping[str, Any], scales: Any) -> dict[str, Any]:
    """A tokenizer's options from a pack's config or a released one."""
    return {
        "channels": c["ch"], "multipliers": c["ch_mult"], "blocks": c["num_res_blocks"], "latent": c["z_channels"],
        "dim": c["z_channels"], "codes": c["vocab_size"], "scales": list(scales), "phis": c["share_quant_resi"],
        "residual": c["quant_resi"], "cosine": c.get("using_znorm", False), "beta": c.get("beta", 0.25),
        "kernel": c.get("quant_conv_ks", 3), "resolution": scales[-1] * 2 ** (len(c["ch_mult"]) - 1),
    }  # fmt: skip


def _walked(book: MultiscaleQuantiser, feature: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    found = list(book.walk(feature))
    return [ids for ids, _ in found], [so_far for _, so_far in found]


def quantizer(pack: Any) -> dict[str, Any]:
    """VectorQuantizer2 on a given feature map."""
    c = pack.config
    sizes = SimpleNamespace(
        scales=c["v_patch_nums"], beta=c["beta"], residual=c["quant_resi"], cosine=c["using_znorm"],
        codes=c["vocab_size"], dim=c["z_channels"], phis=c["share_quant_resi"],
    )  # fmt: skip
    holder = nn.Module()
    holder.quantize = MultiscaleQuantiser(sizes)
    book = pack.module(holder).quantize
    ids, maps = _walked(book, pack.inputs["feature"])
    scales = len(book.sides)
    outputs = {f"idx.{k}": v for k, v in enumerate(ids)} | {f"fhat.{k}": v for k, v in enumerate(maps)}
    outputs |= {f"next_input.{k}": book.next_input(v, k) for k, v in enumerate(maps)}
    return {
        **outputs, "var_input": book.inputs(maps), "embed_to_fhat_last": book.grown(ids)[-1],
        "phi_index": torch.tensor([book.quant_resi.index(k, scales) if sizes.phis > 1 else 0 for k in range(scales)]),
        "vq_loss": book(pack.inputs["feature"])[1].mean(),
    }  # fmt: skip


def whole(pack: Any) -> dict[str, Any]:
    """The autoencoder from pixels to pixels."""
    c, image = pack.config, pack.inputs["image"]
    model = pack.component("tokenizers/multiscale-vq", options(c, c["v_patch_nums"])).component
    feature = model.features(image)
    ids, maps = _walked(model.quantize, feature)
    through, loss, _ = model.quantize(feature)
    raw = model.pixels(maps[-1])
    outputs = {f"idx.{k}": v for k, v in enumerate(ids)} | {f"fhat.{k}": v for k, v in enumerate(maps)}
    outputs |= {f"recon_per_scale.{k}": model.pixels(v).clamp(-1, 1) for k, v in enumerate(maps)}
    return {
        **outputs, "encoder_feature": feature, "decoder_raw": raw, "train_forward_recon": model.pixels(through),
        "recon": model.pixels(model.quantize.grown(ids)[-1]).clamp(-1, 1), "train_vq_loss": loss.mean(),
        "var_input": model.quantize.inputs(maps),
    }  # fmt: skip


def layout(released: Any) -> None:
    """The released tokenizer."""
    released.take("tokenizers/multiscale-vq", options(released.config, released.config["patch_nums"]))


CASES = {("var", "quantizer"): quantizer, ("var", "vqvae_multiscale"): whole}
TOLERANCES = {("var", family): {"*": 3e-5} for family in ("quantizer", "vqvae_multiscale")}
