"""Parity cases of the Q-Former: LAVIS stages 1 and 2, and transformers' retrieval model with its tower.

Suffixes as in `qformer.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from anyany_adapters.qformer import caption_loss
from anyany_adapters.qformer_captions import Captioner


def _options(c: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "inputs": c["encoder_width"], "queries": c["n_query"], "width": c["hidden"], "layers": c["layers"],
        "heads": c["heads"], "mlp": c["inter"], "every": c["cross_freq"], "vocab": c["vocab"],
        "positions": c["max_pos"], "embed": c["embed"],
    }  # fmt: skip


def stage1(pack: Any) -> dict[str, Any]:
    """ITC, ITM and ITG of LAVIS's stage 1."""
    c, given = pack.config, pack.inputs
    model = pack.component("adapters/qformer", {**_options(c), "text": True, "project": False}).component
    ids, real = given["input_ids"], given["attention_mask"].bool()
    image = model.see(given["vision_features"])
    alone = model.run(True, image_BND=image, output_hidden_states=True)
    masked = model.run(True, image_BND=image, image_BN=given["image_attention_mask"]).last_hidden_state
    text = model.run(False, ids, real).last_hidden_state
    image_feats, text_feat = model.image_vectors(alone.last_hidden_state), model.text_vectors(ids, real)
    both = model.run(True, ids, real, image).last_hidden_state
    begun = torch.cat([torch.full_like(ids[:, :1], c["bos_id"]), ids[:, 1:]], 1)
    logits, writer = model.caption_logits(begun, real, image), Captioner(model, image, None)
    one_by_one = torch.stack([writer.next(ids_B) for ids_B in begun.T], 1)
    target = ids.masked_fill(ids == c["pad_id"], -100)[:, 1:]
    counts = (target != -100).sum(1)
    loss = (caption_loss(logits, ids, ids != c["pad_id"]) * counts).sum() / counts.sum()
    i2t = torch.einsum("iqp,tp->itq", image_feats, text_feat).amax(-1) / model.temp
    queries = torch.ones(ids.shape[0], c["n_query"], dtype=torch.bool)
    return {
        "image_feats": image_feats, "text_feat": text_feat, "itc_sim_i2t": i2t, "itc_sim_t2i": i2t.T,
        "itg_logits_joint": (logits, real), "itg_logits_cached": (one_by_one, real), "itg_loss": loss[None],
        "itm_hidden": (both, torch.cat([queries, real], 1)), "itm_logits": model.match_logits(both),
        "query_hidden_layer1": alone.hidden_states[1], "query_output": alone.last_hidden_state,
        "query_output_masked_image": masked, "text_output": (text, real),
    }  # fmt: skip


def stage2(pack: Any) -> dict[str, Any]:
    """Queries and the projection to the language model, with the attention of the first layer."""
    c, given = pack.config, pack.inputs
    options = {**_options({**c, "embed": 1}), "outputs": c["llm_dim"]}
    built = pack.component("adapters/qformer", options)
    model = built.component
    seen = model.run(True, image_BND=model.see(given["vision_features"]), output_attentions=True)
    found = pack.call(built, "encode", features=given["vision_features"])
    return {
        "cross_attention_0": seen.cross_attentions[0], "self_attention_0": seen.attentions[0],
        "query_output": seen.last_hidden_state, "llm_inputs": found["queries"].dense(),
    }  # fmt: skip


def retrieval(pack: Any) -> dict[str, Any]:
    """transformers' image-text retrieval: the EVA tower and the Q-Former under their names there."""
    c, given = pack.config, pack.inputs
    q, v = c["qformer"], c["vision"]
    tower = pack.component("vision/eva", {
        "resolution": v["image_size"], "patch": v["patch_size"], "width": v["hidden_size"],
        "mlp": v["intermediate_size"], "layers": v["num_hidden_layers"], "heads": v["num_attention_heads"],
    }, prefix="vision_model.").component  # fmt: skip
    model = pack.component("adapters/qformer", {
        "layout": "transformers", "text": True, "project": False, "inputs": v["hidden_size"], "queries": c["n_query"],
        "width": q["hidden_size"], "layers": q["num_hidden_layers"], "heads": q["num_attention_heads"],
        "mlp": q["intermediate_size"], "every": q["cross_attention_frequency"], "vocab": q["vocab_size"],
        "positions": q["max_position_embeddings"], "embed": c["embed"],
    }, leave=("vision_model.*",)).component  # fmt: skip
    ids, real = given["input_ids"], given["attention_mask"].bool()
    image = tower.tokens(given["pixel_values"])
    image_embeds = model.image_vectors(model.run(True, image_BND=image).last_hidden_state)
    text_embeds = model.text_vectors(ids, real)
    both = model.run(True, ids, real, image).last_hidden_state
    queries = torch.ones(ids.shape[0], c["n_query"], dtype=torch.bool)
    return {
        "image_embeds": image_embeds, "text_embeds": text_embeds, "vision_last_hidden": image,
        "itc_logits_per_image": torch.einsum("iqp,tp->itq", image_embeds, text_embeds).amax(-1),
        "itm_hidden": (both, torch.cat([queries, real], 1)), "itm_logits": model.match_logits(both),
    }  # fmt: skip


def layout(released: Any) -> None:
    """A released configuration of LAVIS, the tower and the language model left out."""
    c, shapes = released.config, released.shapes
    text = "itm_head.weight" in shapes
    tokens = shapes["query_tokens"]
    options: dict[str, Any] = {"inputs": c["encoder_width"], "queries": tokens[1], "width": tokens[2], "text": text,
                               "project": not text, "outputs": c.get("llm")}  # fmt: skip
    released.take("adapters/qformer", options)


CASES = {
    ("qformer", "lavis_stage1_itc_itm_itg"): stage1,
    ("qformer", "lavis_stage2"): stage2,
    ("qformer", "hf_blip2_itm_itc"): retrieval,
}
LAYOUTS = {"qformer": layout}
TOLERANCES = {("qformer", name): {"itc_*": 5e-5} for name in ("lavis_stage1_itc_itm_itg", "hf_blip2_itm_itc")}
