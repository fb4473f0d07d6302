"""Parity cases of SEED's tokenizers, and their released layouts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anyany_tokenizers.seed_parts import causal_mask


def _options(c: Mapping[str, Any], version: int) -> dict[str, Any]:
    options = {
        "version": version, "resolution": c["image_size"], "patch": c["patch_size"], "vision_width": c["vit_width"],
        "vision_layers": c["vit_depth"], "vision_heads": c["vit_heads"], "width": c["hidden"], "layers": c["layers"],
        "heads": c["heads"], "mlp": c["intermediate"], "queries": c["num_query"], "code_dim": c["code_dim"],
        "codes": c["n_embed"],
    }  # fmt: skip
    if version == 1:
        return {**options, "outputs": c.get("text_features_dim", 768), "reverse_layers": c.get("reverse_layers"),
                "length": c.get("reverse_tokens")}  # fmt: skip
    return {**options, "depth": c["decode_depth"], "outputs": c["image_features_dim"],
            "branch": "qformer" if c["use_qformer_image"] else "mlp"}  # fmt: skip


def seed1(pack: Any) -> dict[str, Any]:
    """SEED-1 from pixels to the text conditioning."""
    model = pack.component("tokenizers/seed", _options(pack.config, 1)).component
    seen = model.see(pack.inputs["image"])
    z = model.vectors(seen)
    ids = model.quantize.search(z.flatten(0, 1)).view(z.shape[:2])
    return {
        "image_embeds": seen, "query_output": model.query(seen).last_hidden_state, "code_space": z, "ids": ids,
        "generation_embedding": model.conditioning(model.quantize.table[ids]),
    }  # fmt: skip


def seed2(pack: Any) -> dict[str, Any]:
    """SEED-2 from pixels to CLIP's image embedding, with everything between."""
    model = pack.component("tokenizers/seed", _options(pack.config, 2)).component
    seen = model.see(pack.inputs["image"])
    asked = model.query(seen, output_hidden_states=True)
    z = model.vectors(seen)
    found = model.quantize(z.flatten(0, 1))
    quant, ids = found.codes_MD.view(z.shape), found.ids_M.view(z.shape[:2])
    decoded = model.decode_task_layer(quant)
    table, half = model.quantize.table, pack.config["num_query"] // 2
    changed = model.query_tokens.clone()
    changed[:, half:] = changed[:, half:].flip(-1)
    mask = causal_mask(pack.config["num_query"], z)
    outputs = {f"qformer_hidden.{k}": v for k, v in enumerate(asked.hidden_states)}
    return {
        **outputs, "image_embeds": seen, "query_output": asked.last_hidden_state, "code_space": z, "quant": quant,
        "vq_loss": found.loss_M.mean(), "ids": ids, "decoded_queries": decoded,
        "self_attention_mask": mask.expand(len(z), -1, -1, -1), "generation_blocks": model.spread(decoded),
        "reconstruction_blocks": model.recovered(decoded), "image_embedding": model.conditioning(table[ids])[:, 0],
        "image_embedding_from_codes": model.conditioning(table[pack.inputs["codes"]])[:, 0],
        "query_output_late_queries_changed": model.query(seen, changed).last_hidden_state,
    }  # fmt: skip


def training(pack: Any) -> dict[str, Any]:
    """SEED-2's three losses."""
    model = pack.component("tokenizers/seed", _options(pack.config, 2)).component
    parts, _ = model.losses(model.see(pack.inputs["image"]), pack.inputs["clip_image_embeds"])
    codes, distance, recovery = (parts[name].mean() for name in ("codes", "distance", "recovery"))
    return {"loss": codes + distance + recovery, "loss_embed": codes, "loss_distil_image": distance,
            "loss_recon_s": recovery}  # fmt: skip


def layout(released: Any) -> None:
    """Released tokenizers, and the training class."""
    released.take("tokenizers/seed", _options(released.config, 1 if released.name.endswith("-1") else 2))


CASES = {
    ("seed", "seed1_tokenizer"): seed1,
    ("seed", "seed2_tokenizer"): seed2,
    ("seed", "seed2_reverse_qformer"): seed2,
    ("seed", "seed2_training_losses"): training,
}
LAYOUTS = {"seed": layout}
TOLERANCES = {key: {"*": 2e-5} for key in CASES}
