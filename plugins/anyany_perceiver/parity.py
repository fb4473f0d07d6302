"""Parity cases of this family: how each golden pack is run by the components here, and released layouts taken.

A case gets a pack (config, inputs, `component`, `call`) and returns its outputs by name. Tables: CASES, LAYOUTS.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from anyany_perceiver import fields_parity
from anyany_perceiver.flow import neighbourhoods
from anyany_perceiver.fourier import fourier, grid, steps
from anyany_perceiver.input_widths import fourier_width

DECODERS = ("*decoder.*",)
INPUTS = ("*input_preprocessor.*",)
CORE = ("perceiver.embeddings.*", "perceiver.encoder.*")


def latent_options(c: Mapping[str, Any]) -> dict[str, Any]:
    """Options of an encoder from transformers' names of them."""
    names = {
        "num_latents": "latents", "d_latents": "width", "num_blocks": "blocks", "num_self_attends_per_block": "layers",
        "num_self_attention_heads": "heads", "num_cross_attention_heads": "cross_heads", "qk_channels": "qk",
        "v_channels": "values", "cross_attention_shape_for_attention": "attention",
        "self_attention_widening_factor": "widening", "cross_attention_widening_factor": "cross_widening",
        "use_query_residual": "residual",
    }  # fmt: skip
    return {new: c[old] for old, new in names.items() if old in c}


def positions(pack: Any) -> dict[str, Any]:
    """Fourier features of dense grids and of chosen places."""
    out = {}
    for i, (shape, bands, resolution, more) in enumerate(pack.config["dense"]):
        out[f"dense_{i}"] = fourier(grid(shape), bands, resolution, more["concat_pos"], more["sine_only"])
    for i, (shape, bands, resolution, more) in enumerate(pack.config["subsampled"]):
        places = steps(pack.inputs[f"points_{i}"], shape)
        out[f"subsampled_{i}"] = fourier(places, bands, resolution, more["concat_pos"], more["sine_only"])
    return out


def image_options(prep: Mapping[str, Any], size: Any) -> dict[str, Any]:
    """Options of `perceiver/image` from transformers' names of them."""
    kinds = {"pixels": "pixels", "conv": "conv", "conv1x1": "learned", "patches": "patches"}
    bands = prep.get("fourier_position_encoding_kwargs") or {}
    found = {"prep": kinds[prep["prep_type"]], "size": list(size), "channels": prep.get("out_channels", 64),
             "norm": prep.get("conv2d_use_batchnorm", True),
             "places": prep.get("project_pos_dim")}  # fmt: skip
    if bands:
        found |= {"bands": bands["num_bands"], "resolution": list(bands["max_resolution"])}
    return found


def classification(pack: Any) -> dict[str, Any]:
    """Pictures to classes, with the weights that each query gave."""
    c, p = pack.config, pack.config["perceiver"]
    image = pack.component("perceiver/image", image_options(c["prep"], c["hw"]), leave=(*DECODERS, *CORE)).component
    encoder = pack.component("perceiver/encoder", {**latent_options(p), "inputs": p["d_model"]},
                             leave=(*DECODERS, *INPUTS)).component  # fmt: skip
    array, looks = image.array(pack.inputs["pixel_values"]), []
    latents = encoder.core(array, weights=looks)
    out = {"preprocessed": array, "encoder_cross_attention": looks[0], "latents": latents}
    for name, residual in (("logits", True), ("logits_no_query_residual", False)):
        if name not in pack.expected:
            continue
        options = {"latents": p["d_latents"], "classes": p["num_labels"], "residual": residual,
                   "attention": p.get("cross_attention_shape_for_attention", "kv")}  # fmt: skip
        head = pack.component("perceiver/classify", options, leave=(*INPUTS, *CORE)).component
        out[name], weights = head.logits(latents)
        if residual:
            out["decoder_cross_attention"] = weights
    return out


def masked_lm(pack: Any) -> dict[str, Any]:
    """Bytes and masks to logits at every position."""
    p = pack.config["perceiver"]
    options = {"latents": p["d_latents"], "width": p["d_model"], "vocab": p["vocab_size"],
               "positions": p["max_position_embeddings"]}  # fmt: skip
    words = pack.component("perceiver/bytes", options, leave=CORE).component
    encoder = pack.component("perceiver/encoder", {**latent_options(p), "inputs": p["d_model"]},
                             leave=(*INPUTS, "*decoder.*")).component  # fmt: skip
    ids, real = pack.inputs["input_ids"], pack.inputs["attention_mask"].bool()
    latents = encoder.core(words.array(ids), real)
    every = torch.arange(ids.shape[1]).expand(len(ids), -1)
    hidden = words.hidden(latents, every)
    found = words.ids(pack.config["texts"])
    for row, place in pack.config.get("masked", []):
        found[row][place] = words.words.mask_token_id
    if any(ids[i, : len(row)].tolist() != row for i, row in enumerate(found)):
        raise ValueError("the texts are other tokens here")
    return {"latents": latents, "decoder_hidden": hidden, "logits": words.logits(hidden)}


def optical_flow(pack: Any) -> dict[str, Any]:
    """Two pictures to the motion of each pixel."""
    c, p = pack.config, pack.config["perceiver"]
    options = {**latent_options(p), "size": p["train_size"], "bands": c["bands"], "channels": c["out_channels"],
               "chunk": 7}  # fmt: skip
    model = pack.component("perceiver/flow", options).component
    frames = neighbourhoods(pack.inputs["raw_images"])
    if not torch.equal(frames, pack.inputs["frames"]):
        raise ValueError("the neighbourhoods are others here")
    array = model.array(frames)
    return {"preprocessed": array, "latents": model.core(array), "flow": model.of_size(frames).permute(0, 2, 3, 1)}


def multimodal_options(c: Mapping[str, Any]) -> dict[str, Any]:
    """Options of `perceiver/io` from transformers' names of them."""
    names = {
        "num_frames": "frames", "image_size": "side", "audio_samples_per_frame": "samples_per_frame",
        "samples_per_patch": "samples", "num_labels": "classes", "output_num_channels": "outputs",
        "_label_trainable_num_channels": "label_width",
    }  # fmt: skip
    return {**latent_options(c), **{new: c[old] for old, new in names.items() if old in c}, "chunk": 4}


def autoencoding(pack: Any) -> dict[str, Any]:
    """Film, sound and a hidden class, asked for at chosen places."""
    c, given = pack.config, pack.inputs
    options = {**multimodal_options(c["perceiver"]), "audio_bands": c["audio_bands"], "video_bands": c["video_bands"],
               "patch": c["spatial_downsample"]}  # fmt: skip
    model = pack.component("perceiver/io", options).component
    media = {"video": given["image"], "audio": given["audio"][..., 0], "label": given["label"]}
    array = model.input_preprocessor(media, ("label",))
    latents, count = model.core(array), len(array)
    asked = {"audio": given["audio_points"], "video": given["image_points"], "label": torch.zeros(1, dtype=torch.long)}
    asked = {name: index.expand(count, -1) for name, index in asked.items()}
    queries = torch.cat([model.decoder.query(name, index) for name, index in asked.items()], 1)
    found = {name: model.answers(name, index, latents) for name, index in asked.items()}
    return {
        "preprocessed": array, "latents": latents, "decoder_queries": queries, "image": found["video"],
        "audio": found["audio"].flatten(1), "label": found["label"][:, 0],
    }  # fmt: skip


def krasserm(pack: Any) -> dict[str, Any]:
    """The original Perceiver: repeated looks, blocks shared or not, in krasserm's names."""
    c, e, d = pack.config, pack.config["encoder"], pack.config["decoder"]
    height, width, colours = e["image_shape"]
    size = {"prep": "pixels", "size": [height, width], "bands": e["num_frequency_bands"]}
    image = pack.component("perceiver/image", size, prefix="0.input_adapter.").component
    encoder = pack.component("perceiver/encoder", {
        "latents": c["num_latents"], "width": c["num_latent_channels"], "blocks": e["num_self_attention_blocks"],
        "layers": e["num_self_attention_layers_per_block"], "heads": e["num_self_attention_heads"],
        "cross_heads": e["num_cross_attention_heads"], "looks": e["num_cross_attention_layers"],
        "share_looks": e["first_cross_attention_layer_shared"],
        "share_blocks": e["first_self_attention_block_shared"], "inputs": colours + fourier_width(2, size["bands"]),
    }, leave=("1.*", "0.input_adapter.*")).component  # fmt: skip
    head = pack.component("perceiver/classify", {
        "width": d["num_output_query_channels"], "classes": d["num_classes"], "attention": "q",
        "heads": d["num_cross_attention_heads"], "residual": d["cross_attention_residual"],
        "latents": c["num_latent_channels"],
    }, leave=("0.*",)).component  # fmt: skip
    latents = encoder.core(image.array(pack.inputs["image"].permute(0, 3, 1, 2)))
    return {"latents": latents, "logits": head.logits(latents)[0]}


CASES = {
    ("perceiver", "fourier_position_encoding"): positions,
    ("perceiver", "image_classification"): classification,
    ("perceiver", "masked_lm_bytes"): masked_lm,
    ("perceiver", "optical_flow"): optical_flow,
    ("perceiver", "multimodal_autoencoding"): autoencoding,
    ("perceiver", "krasserm_repeated_cross_attention"): krasserm,
    ("perceiver", "krasserm_shared_blocks"): krasserm,
    **fields_parity.CASES,
}


def layout(released: Any) -> None:
    """Released configurations, by what they can do; each part takes its share of the names."""
    c = released.config
    latents, head = latent_options(c), {"latents": c["d_latents"]}
    if "train_size" in c:
        released.take("perceiver/flow", {**latents, "size": c["train_size"]})
    elif "num_frames" in c:
        released.take("perceiver/io", multimodal_options(c))
    else:
        released.take("perceiver/encoder", {**latents, "inputs": c["d_model"]}, leave=(*DECODERS, *INPUTS))
        if "num_labels" in c:
            released.take("perceiver/classify", {**head, "classes": c["num_labels"]}, leave=(*CORE, *INPUTS))
            released.take("perceiver/image", _prep(released), leave=(*CORE, *DECODERS))
        else:
            options = {**head, "width": c["d_model"], "vocab": c["vocab_size"],
                       "positions": c["max_position_embeddings"]}  # fmt: skip
            released.take("perceiver/bytes", options, leave=CORE)


def _prep(released: Any) -> dict[str, Any]:
    """Which preprocessing a picture classifier has, by the names that only one of them has."""
    side, names = released.config["image_size"], " ".join(released.shapes)
    if "convnet_1x1" in names:
        return {"preset": "learned", "size": [side, side]}
    return {"preset": "conv", "size": [side, side]} if "convnet.conv" in names else {"size": [side, side]}


LAYOUTS = {"perceiver": layout, **fields_parity.LAYOUTS}
