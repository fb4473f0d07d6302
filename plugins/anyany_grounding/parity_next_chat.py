"""Parity with NExT-Chat: the codec around a language model with its losses, and SAM driven by prompt tokens.

Suffixes: B rows, L tokens, D width of the language model.
"""

from __future__ import annotations

import json
from typing import Any

import torch
import torch.nn.functional as F

from anyany.api.torch import last_hidden
from anyany_grounding.box_codec import box_loss, weighted

TOWER, PROJECTOR, SAM = "model.vision_tower.", "model.mm_projector.", "sam.model."
HEADS = ("loc_encoder.*", "loc_decoder.*")
LAYER = -2
"""Features are those of the last but one layer of CLIP, unless a pack says otherwise."""


# the language model with its codec ---------------------------------------------------------------------------------
def codec(pack: Any) -> dict[str, Any]:
    """Encoder, decoder, logits with boxes spliced in, and the losses; the last row of a list weighs 1e-10."""
    given, marks = pack.inputs, pack.config["tokens"]
    heads = pack.component("grounding/box-codec", {"width": pack.config["llama"]["hidden_size"]},
                           leave=("lm_head.*", "model.*")).component  # fmt: skip
    ids_BL, locs = given["input_ids"], given["loc_inputs"]
    loc_embeds = heads.loc_encoder(locs)
    model = _language(pack)
    embeds_BLD = _spliced(model, ids_BL, _features(pack), loc_embeds, marks)
    with last_hidden(model.model) as caught:
        logits = model.model(inputs_embeds=embeds_BLD, attention_mask=given["attention_mask"], use_cache=False).logits
    at_hidden = caught[0][ids_BL == marks["at_token"]]
    pred_locs = heads.loc_decoder(at_hidden)
    mask_BL = given["attention_mask"]
    return {
        "at_hidden": at_hidden, "inputs_embeds": embeds_BLD, "loc_embeds": loc_embeds, "logits": (logits, mask_BL),
        "pred_locs": pred_locs, "pred_loc_embeds": heads.loc_encoder(pred_locs),
        "cycle_decode_of_inputs": heads.loc_decoder(loc_embeds),
        "box_loss": box_loss(given["loss_pred"], given["loss_target"], _but_last(given["loss_pred"]))[None],
        "total_loss": _total(heads, given, marks, logits, caught[0], loc_embeds)[None],
    }  # fmt: skip


def _total(heads: Any, given: Any, marks: Any, logits: Any, hidden_BLD: Any, loc_embeds: Any) -> torch.Tensor:
    labels = given["labels"].masked_fill(given["labels"] == marks["box_token"], -100)
    language = F.cross_entropy(logits[:-1, :-1].flatten(0, 1), labels[:-1, 1:].flatten(), ignore_index=-100)
    learned = hidden_BLD[(given["input_ids"] == marks["at_token"]) & (labels > 0)]
    targets = given["loc_targets"]
    cycle = weighted(
        F.l1_loss(heads.loc_decoder(loc_embeds), given["loc_inputs"], reduction="none"), _but_last(loc_embeds)
    )
    return language + heads.loss(learned, targets, _but_last(targets)) + cycle


def _but_last(rows: torch.Tensor) -> torch.Tensor:
    weights = torch.ones(len(rows))
    weights[-1] = 1e-10
    return weights


def _features(pack: Any) -> torch.Tensor:
    """[B,N,D] of CLIP's last but one layer, projected."""
    v = pack.config["vision"]
    clip = pack.component("vision/clip", {
        "towers": "image", "projection": False,
        "layer": pack.config.get("mm_vision_select_layer", LAYER), "patch": v["patch_size"],
        "resolution": v["image_size"],
        "width": v["hidden_size"], "layers": v["num_hidden_layers"], "heads": v["num_attention_heads"],
        "mlp": v["intermediate_size"], "act": v["hidden_act"], "eps": v["layer_norm_eps"],
    }, prefix=TOWER).component  # fmt: skip
    patches = clip.patches(clip.hidden(pack.inputs["images"], clip.depth))
    depth, width = pack.config["mm_depth"], pack.config["llama"]["hidden_size"]
    options = {"inputs": v["hidden_size"], "outputs": width}
    card = "adapters/linear" if depth <= 1 else "adapters/mlp"
    more = {} if depth <= 1 else {"depth": depth}
    projected: torch.Tensor = pack.component(card, {**options, **more}, prefix=PROJECTOR).component.layers(patches)
    return projected


def _language(pack: Any) -> Any:
    sizes = pack.config["llama"]
    assets = {
        "config.json": json.dumps({"model_type": "llama", **sizes}),
        "tokenizer.json": _words(sizes["vocab_size"]),
    }
    options = {"width": sizes["hidden_size"], "template": "plain"}
    leave = (f"{TOWER}*", f"{PROJECTOR}*", *HEADS)
    return pack.component("language/causal-lm", options, leave=leave, assets=assets).component


def _words(count: int) -> str:
    """A tokenizer.json whose words t0, t1, … are ids 0, 1, …"""
    from tokenizers import Tokenizer, models, pre_tokenizers

    raw = Tokenizer(models.WordLevel(vocab={f"t{i}": i for i in range(count)}, unk_token="t0"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return str(raw.to_str())


def _spliced(model: Any, ids_BL: Any, patches_BND: Any, loc_embeds: Any, marks: Any) -> torch.Tensor:
    """[B,L,D]: tokens embedded, patches in their run of places, box embeddings at the box tokens, in order."""
    embeds = model.model.get_input_embeddings()(ids_BL).clone()
    pictures = iter(patches_BND)
    for row, ids in zip(embeds, ids_BL):
        at = (ids == marks["im_patch_token"]).nonzero().flatten()
        if len(at):
            row[at] = next(pictures)
    embeds[ids_BL == marks["box_token"]] = loc_embeds
    return embeds


# SAM --------------------------------------------------------------------------------------------------------------
def sam_prompt(pack: Any) -> dict[str, Any]:
    """Prompt tokens from hidden states by `adapters/mlp`, boxes after them, one picture a prompt."""
    c, given = pack.config, pack.inputs
    outputs, hidden = pack.file.read("weights", "seg_prompt_mlp.2.weight").shape
    mlp = pack.component("adapters/mlp", {
        "inputs": c["hidden"], "outputs": outputs, "hidden": hidden, "act": "relu",
    }, prefix="seg_prompt_mlp.").component  # fmt: skip
    sam = pack.component("grounding/sam", _sam_options(pack), prefix=SAM).component
    prompts = mlp.layers(given["at_hidden"]).unflatten(-1, (-1, c["prompt_dim"]))
    maps = sam.embedding(given["images_sam"])
    boxes = sam.box_tokens(given["boxes_pixels"])
    cut = [sam.logits(maps[i : i + 1], torch.cat([prompts[i], boxes[i]])[None]) for i in range(c["n"])]
    return {
        "prompt_states": prompts, "image_embeddings": maps, "box_prompt_embeddings": boxes,
        "dense_pe": sam.positions(), "masks": torch.stack([m for m, _ in cut]),
        "iou_predictions": torch.stack([s for _, s in cut]),
    }  # fmt: skip


def _sam_options(pack: Any) -> dict[str, Any]:
    """Sizes: the pack's config, and what only its tensors tell."""
    c = pack.config

    def rows(name: str) -> int:
        return int(pack.file.read("weights", SAM + name).shape[0])

    layers = {n.split(".")[5] for n in pack.weights if n.startswith(f"{SAM}mask_decoder.transformer.layers.")}
    return {
        "resolution": c["image_size"], "patch": c["patch"], "encoder_width": c["embed"], "layers": c["depth"],
        "heads": c["heads"], "window": c["window"], "wide_layers": c["global"], "width": c["prompt_dim"],
        "mlp": rows("image_encoder.blocks.0.mlp.lin1.weight"), "decoder_heads": c["dec_heads"],
        "decoder_layers": len(layers), "mask_channels": rows("prompt_encoder.mask_downscaling.3.weight"),
        "decoder_mlp": rows("mask_decoder.transformer.layers.0.mlp.lin1.weight"),
        "iou_width": rows("mask_decoder.iou_prediction_head.layers.0.weight"),
    }  # fmt: skip


def layout(released: Any) -> None:
    """NExT-Chat's own heads, and its SAM."""
    c = released.config
    if "hidden" in c:
        released.take("grounding/box-codec", {"width": c["hidden"]}, leave=("seg_prompt_mlp.*",))
        released.take("adapters/mlp", {"inputs": c["hidden"], "outputs": 4 * c["sam_prompt"], "hidden": c["hidden"],
                                       "act": "relu"}, prefix="seg_prompt_mlp.")  # fmt: skip
        return
    released.take("grounding/sam", {
        "encoder_width": c["embed"], "layers": c["depth"], "heads": c["heads"], "wide_layers": c["global_blocks"],
        "window": c["window"],
    }, prefix=SAM)  # fmt: skip


CASES = {
    ("coordinate_heads", "nextchat_loc_codec"): codec,
    ("coordinate_heads", "nextchat_sam_prompt"): sam_prompt,
}
LAYOUTS = {"coordinate_heads": layout}
TOLERANCES = {("coordinate_heads", "nextchat_loc_codec"): {"logits": 2e-5}}
"""Logits: 2e-5 (README of the packs)."""
