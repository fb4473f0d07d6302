"""Parity cases of this family: how each golden pack is run by the components here, and released layouts taken.

A case gets a pack (config, inputs, `component`, `call`) and returns its outputs by name. Tables: CASES, LAYOUTS.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from anyany_tokenizers import parity_frequency, parity_multiscale, parity_seed
from anyany_tokenizers.codebooks import DebiasedCodebook, EmaCodebook, GradientCodebook, Quantised, perplexity
from anyany_tokenizers.vq import flat, from_diffusers


def grad_of(loss: torch.Tensor, *of: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Gradients, outside the runner's inference mode."""
    return torch.autograd.grad(loss, of)


def _coder(c: Mapping[str, Any]) -> dict[str, Any]:
    return {"channels": c["ch"], "multipliers": c["ch_mult"], "blocks": c["num_res_blocks"], "fit": "none"}


def _vqgan(c: Mapping[str, Any]) -> dict[str, Any]:
    return {**_coder(c), "attention": c["attn_resolutions"], "nominal": c["resolution"], "latent": c["z_channels"],
            "dim": c["embed_dim"], "codes": c["n_embed"]}  # fmt: skip


def _grid(found: Quantised, z_BDHW: torch.Tensor) -> torch.Tensor:
    return found.codes_MD.view(z_BDHW.movedim(1, -1).shape).movedim(-1, 1)


def vqgan(pack: Any) -> dict[str, Any]:
    """taming-transformers' VQModel."""
    model = pack.component("tokenizers/vq", _vqgan(pack.config)).component
    z = model.vectors(pack.inputs["image"])
    found = model.quantised(z)
    quantised = _grid(found, z)
    entry = model.looked_up(found.ids_M.view(len(z), -1), *z.shape[2:])
    recon, loss = model.pixels(quantised), found.loss_M.mean()
    with torch.inference_mode(False), torch.enable_grad():
        book = GradientCodebook(*model.quantize.table.shape)
        book.embedding.weight.data.copy_(model.quantize.table)
        leaf = z.clone().requires_grad_()
        on_codes, on_z = grad_of(book(flat(leaf)).loss_M.mean(), book.embedding.weight, leaf)
    return {
        "pre_quant": z, "quantized": quantised, "indices": found.ids_M, "codebook_loss": loss, "recon": recon,
        "codebook_entry": entry, "recon_from_indices": model.pixels(entry), "forward_recon": recon,
        "forward_loss": loss, "grad_loss_wrt_codebook": on_codes, "grad_loss_wrt_pre_quant": on_z,
    }  # fmt: skip


def diffusers_vqmodel(pack: Any) -> dict[str, Any]:
    """diffusers' VQModel, whose `encode` stops before the codebook."""
    model = pack.component("tokenizers/vq", {**from_diffusers(pack.config), "fit": "none"}).component
    z = model.vectors(pack.inputs["image"])
    found = model.quantised(z)
    entry = model.looked_up(found.ids_M.view(len(z), -1), *z.shape[2:])
    return {
        "latents": z, "quantized": _grid(found, z), "indices": found.ids_M, "commit_loss": found.loss_M.mean(),
        "sample": model.pixels(_grid(found, z)), "sample_no_quant": model.pixels(z),
        "sample_from_indices": model.pixels(entry),
    }  # fmt: skip


def codebook_losses(pack: Any) -> dict[str, Any]:
    """Gradient codebooks with beta on either term, and their gradients."""
    c, outputs = pack.config, {}
    made = pack.module(GradientCodebook(c["n_embed"], c["embed_dim"]))
    for name, legacy in (("legacy", True), ("fixed", False), ("onehot", True)):
        with torch.inference_mode(False), torch.enable_grad():
            book = GradientCodebook(c["n_embed"], c["embed_dim"], c["beta"], legacy)
            book.embedding.weight.data.copy_(made.table)
            z = pack.inputs["z"].clone().requires_grad_()
            found = book(flat(z))
            on_codes, on_z = grad_of(found.loss_M.mean(), book.embedding.weight, z)
        outputs |= {
            f"{name}_z_q": _grid(found, z), f"{name}_indices": found.ids_M, f"{name}_loss": found.loss_M.mean(),
            f"{name}_grad_codebook": on_codes, f"{name}_grad_z": on_z,
        }  # fmt: skip
    outputs["onehot_perplexity"] = perplexity(found.ids_M, c["n_embed"])
    return outputs


def lucidrains(pack: Any) -> dict[str, Any]:
    """vector-quantize-pytorch's moving averages over three training steps."""
    c = pack.config
    book = pack.module(EmaCodebook(
        dim=c["dim"], codebook_size=c["codebook_size"], decay=c["decay"], eps=c["eps"],
        commitment_weight=c["commitment_weight"], use_cosine_sim=c["use_cosine_sim"],
    ))  # fmt: skip
    steps = [pack.inputs[f"x.{i}"] for i in range(len(pack.inputs))]
    shape = steps[0].shape
    found = book(steps[0].flatten(0, 1))
    outputs = {"eval_quantized": found.codes_MD.view(shape), "eval_indices": found.ids_M.view(shape[:2]),
               "eval_loss": torch.zeros(())}  # fmt: skip
    book.train()
    for i, x in enumerate(steps):
        found = book(x.flatten(0, 1))
        state = book._codebook
        outputs |= {
            f"step{i}_quantized": found.codes_MD.view(shape), f"step{i}_indices": found.ids_M.view(shape[:2]),
            f"step{i}_loss": found.loss_M.mean()[None], f"step{i}_cluster_size": state.cluster_size.clone(),
            f"step{i}_embed_avg": state.embed_avg.clone(), f"step{i}_embed": state.embed.detach().clone(),
        }  # fmt: skip
    return outputs


def sonnet(pack: Any) -> dict[str, Any]:
    """The original's debiased averages over three training steps, and its codebook without averages."""
    c = pack.config
    table = nn.Module()
    table.embeddings = nn.Parameter(torch.empty(c["embedding_dim"], c["num_embeddings"]))
    codes = pack.module(table).embeddings.detach()
    book = DebiasedCodebook(c["num_embeddings"], c["embedding_dim"], c["commitment_cost"], c["decay"])
    book.eval().epsilon = c["epsilon"]
    book.embeddings.data.copy_(codes)
    steps = [pack.inputs[f"x.{i}"] for i in range(len(pack.inputs))]
    x = flat(steps[0].movedim(-1, 1))
    outputs = {**_sonnet_state("initial", book), **_sonnet_found("eval", book(x), steps[0].shape, len(book.table))}
    # The distance as the original prints it, x² - 2xc + c².
    outputs["eval_distances"] = x.square().sum(1, keepdim=True) - 2 * x @ codes + codes.square().sum(0)[None]
    book.train()
    for i, step in enumerate(steps):
        found = book(step.flatten(0, -2))
        outputs |= _sonnet_found(f"step{i}", found, step.shape, len(book.table)) | _sonnet_state(f"step{i}", book)
    with torch.inference_mode(False), torch.enable_grad():
        plain = GradientCodebook(c["num_embeddings"], c["embedding_dim"], c["commitment_cost"], legacy=False)
        plain.embedding.weight.data.copy_(codes.clone().t())
        leaf = steps[0].clone().requires_grad_()
        found = plain(leaf.flatten(0, -2))
        on_codes, on_x = grad_of(found.loss_M.mean(), plain.embedding.weight, leaf)
    outputs |= _sonnet_found("plain", found, leaf.shape, len(plain.table))
    return {**outputs, "plain_grad_embeddings": on_codes.t(), "plain_grad_x": on_x}


def _sonnet_found(name: str, found: Quantised, shape: torch.Size, codes: int) -> dict[str, Any]:
    return {
        f"{name}_quantize": found.codes_MD.view(shape), f"{name}_encoding_indices": found.ids_M.view(shape[:-1]),
        f"{name}_loss": found.loss_M.mean()[None], f"{name}_perplexity": perplexity(found.ids_M, codes)[None],
    }  # fmt: skip


def _sonnet_state(name: str, book: DebiasedCodebook) -> dict[str, Any]:
    counts, sums = book.averages
    return {
        f"{name}_embeddings": book.embeddings.detach().clone(),
        f"{name}_ema_cluster_size_average": counts.clone(), f"{name}_ema_dw_average": sums.clone(),
        f"{name}_ema_cluster_size_hidden": book.ema_cluster_size_hidden.clone(),
        f"{name}_ema_dw_hidden": book.ema_dw_hidden.clone(),
        f"{name}_ema_cluster_size_counter": book.ema_counter.clone(),
        f"{name}_ema_dw_counter": book.ema_counter.clone(),
    }  # fmt: skip


def klvae(pack: Any) -> dict[str, Any]:
    """MAR's KL autoencoder."""
    c, given, scale = pack.config, pack.inputs, 0.2325
    model = pack.component("tokenizers/kl-vae", {**_klvae(c), "scale": scale}).component
    found = model.posterior(given["image"])
    sample = found.mean + found.std * given["eps"]
    return {
        "moments": found.parameters, "mean": found.mean, "logvar": found.logvar, "std": found.std, "kl": found.kl(),
        "sample": sample, "scaled_latent": model.scaled(sample),
        "decoded_mean": model.pixels(model.scaled(found.mean)), "decoded_scaled": model.pixels(model.scaled(sample)),
    }  # fmt: skip


def _klvae(c: Mapping[str, Any]) -> dict[str, Any]:
    return {**_coder(c), "latent": c["embed_dim"], "attention": c["encoder_attn_resolutions"],
            "nominal": c["resolution"]}  # fmt: skip


def kl_layout(released: Any) -> None:
    """MAR's released autoencoder."""
    c = released.config
    released.take("tokenizers/kl-vae", {**_coder(c), "latent": c["embed_dim"],
                                        "attention": [c["encoder_attention_at_resolution"]]})  # fmt: skip


def vq_layout(released: Any) -> None:
    """Released VQGANs."""
    released.take("tokenizers/vq", {**_vqgan(released.config), "codes": released.config["n_embed"]})


CASES = {
    ("vqvae", "vqgan_vqmodel"): vqgan,
    ("vqvae", "diffusers_vqmodel"): diffusers_vqmodel,
    ("vqvae", "codebook_losses"): codebook_losses,
    ("vqvae", "ema_lucidrains"): lucidrains,
    ("vqvae", "ema_sonnet"): sonnet,
    **parity_multiscale.CASES,
    **parity_seed.CASES,
    **parity_frequency.CASES,
    ("mar", "klvae"): klvae,
}
LAYOUTS = {
    "vqvae": vq_layout,
    "var/vae_*": parity_multiscale.layout,
    "mar/kl16": kl_layout,
    **parity_seed.LAYOUTS,
}
TOLERANCES: dict[tuple[str, str], dict[str, Any]] = {
    ("vqvae", "vqgan_vqmodel"): {"*": 2e-5},
    ("vqvae", "diffusers_vqmodel"): {"*": 2e-5},
    **parity_multiscale.TOLERANCES,
    **parity_seed.TOLERANCES,
    **parity_frequency.TOLERANCES,
    ("mar", "klvae"): {"*": 2e-5},
}
