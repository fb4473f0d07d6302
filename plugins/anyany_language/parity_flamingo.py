"""Parity cases of Flamingo: masked cross-attention, the gated block, whole OpenFlamingo, vision tower.

Suffixes as in `gated_block.py`; the resampler's cases are in `adapters`.
"""

from __future__ import annotations

from typing import Any

import torch

from anyany.api.torch import Decoder, Limits, Sampler
from anyany_language.gated_block import GatedBlock, MaskedCrossAttention, Seen


def _seen(media_BTNV: torch.Tensor, times_BL: torch.Tensor | None, immediate: bool = True) -> Seen:
    rows, media, tokens = media_BTNV.shape[:3]
    owner = (torch.arange(media) + 1).repeat_interleave(tokens).expand(rows, -1)
    return Seen(media_BKV=media_BTNV.flatten(1, 2), owner_BK=owner, time_BL=times_BL, immediate=immediate)


def masked_attention(pack: Any) -> dict[str, Any]:
    """The attention branch alone, in every mode."""
    m, given = pack.config["model"], pack.inputs
    attention = pack.module(MaskedCrossAttention(m["dim"], m["dim_visual"], m["dim_head"], m["heads"]))
    media, x, step = given["media"], given["x"], given["x_step"]
    times = given["media_locations"].cumsum(1)
    total = times[:, -1:].expand(-1, step.shape[1])
    return {
        "out_immediate": attention(x, _seen(media, times)),
        "out_all_previous": attention(x, _seen(media, times, immediate=False)),
        "out_immediate_cached": attention(step, _seen(media, total)),
        "out_all_previous_cached": attention(step, _seen(media, total, immediate=False)),
        "out_no_locations": attention(x, _seen(media, None)),
    }


def gated_block(pack: Any) -> dict[str, Any]:
    """The block with its gates, and with one or both closed."""
    m, given = pack.config["model"], pack.inputs
    block = pack.module(GatedBlock(m["dim"], m["dim_visual"], m["dim_head"], m["heads"], m["ff_mult"]))
    x, seen = given["x"], _seen(given["media"], given["media_locations"].cumsum(1), m["only_attend_immediate_media"])
    outputs = {"block_out": block(x, seen)}
    block.ff_gate.zero_()
    outputs["block_out_ff_gate_zero"] = block(x, seen)
    block.attn_gate.zero_()
    outputs["block_out_gates_zero"] = block(x, seen)
    if not torch.equal(outputs["block_out_gates_zero"], x):
        raise ValueError("closed gates change something")
    return outputs


def full_model(pack: Any) -> dict[str, Any]:
    """OpenFlamingo over GPT-NeoX: resampler, blocks, logits, greedy ids."""
    c, given = pack.config, pack.inputs
    p, lm = c["perceiver"], c["lm"]
    resampler = pack.component("adapters/resampler", {
        "inputs": c["vis_dim"], "depth": p["depth"], "dim_head": p["dim_head"], "heads": p["heads"],
        "latents": p["num_latents"],
    }, prefix="perceiver.").component  # fmt: skip
    model = pack.component("language/gated-xattn", {
        "arch": "gpt_neox", "settings": lm, "vocab": lm["vocab_size"], "width": lm["hidden_size"],
        "layers": lm["num_hidden_layers"],
        "heads": lm["num_attention_heads"], "context": lm["max_position_embeddings"], "visual": c["vis_dim"],
        "every": c["cross_attn_every_n_layers"], "xattn_heads": c["xattn"]["heads"], "dim_head": c["xattn"]["dim_head"],
    }, leave=("perceiver.*",)).component  # fmt: skip
    latents = resampler.media(given["vision_tokens"].squeeze(4))
    ids, mask = given["input_ids"], given["attention_mask"]
    times = (ids == c["media_token_id"]).cumsum(1)
    embeds = model.model.get_input_embeddings()(ids)
    with model.looking(_seen(latents, times)):
        logits = model.model(inputs_embeds=embeds, attention_mask=mask, use_cache=False).logits
    length = int(mask[0].sum())
    sampler = Sampler.of([0.0], [0], [1.0], torch.zeros(1, 2, dtype=torch.int64))
    limits = Limits(max_new=[c["greedy_steps"]], stop_ids=[])
    with model.looking(_seen(latents[:1], times[:1, :length])):
        (made,) = Decoder(model.model).run([embeds[0, :length]], limits, sampler)
    greedy = torch.cat([ids[:1, :length], torch.tensor([made.ids])], 1)
    return {"logits": (logits, mask), "greedy_ids": greedy}


def vision_tokens(pack: Any) -> dict[str, Any]:
    """OpenCLIP's tower: patch tokens without the last norm, and the projected class token."""
    m = pack.config["model"]
    clip = pack.component("vision/clip", {
        "towers": "image", "resolution": m["image_size"], "patch": m["patch_size"], "width": m["width"],
        "layers": m["layers"], "heads": m["heads"], "mlp": int(m["width"] * m["mlp_ratio"]),
        "shared": m["output_dim"], "act": "quick_gelu" if pack.config["quick_gelu"] else "gelu",
    }).component  # fmt: skip
    states = clip.hidden(pack.inputs["image"], clip.count)
    return {"tokens": clip.patches(states), "pooled": clip.pooled(states)[1]}


def layout(released: Any) -> None:
    """OpenFlamingo's resampler and gated blocks at their released sizes; the tower is CLIP's."""
    c, shapes = released.config, released.shapes
    if "num_latents" in c:
        released.take("adapters/resampler", {
            "inputs": c["dim"], "depth": c["depth"], "dim_head": c["dim_head"], "heads": c["heads"],
            "latents": c["num_latents"],
        }, prefix="perceiver.")  # fmt: skip
        return
    if "image_size" in c:
        released.take("vision/clip", {
            "towers": "image", "resolution": c["image_size"], "patch": c["patch_size"], "width": c["width"],
            "layers": c["layers"], "heads": c["heads"], "shared": c["output_dim"],
        }, prefix="vision_encoder.")  # fmt: skip
        return
    if "image_size" in c:
        released.take("vision/clip", {
            "towers": "image", "resolution": c["image_size"], "patch": c["patch_size"], "width": c["width"],
            "layers": c["layers"], "heads": c["heads"], "shared": c["output_dim"],
        })  # fmt: skip
        return
    first = next(n for n in shapes if n.endswith("attn_gate"))
    prefix = first.removesuffix("attn_gate")
    released.module(lambda: GatedBlock(c["dim"], c["dim_visual"], c["dim_head"], c["heads"], 4), prefix=prefix)


CASES = {
    ("flamingo", "masked_cross_attention"): masked_attention,
    ("flamingo", "gated_cross_attention_block"): gated_block,
    ("flamingo", "full_model_gptneox"): full_model,
    ("flamingo", "openclip_vision_tokens"): vision_tokens,
}
LAYOUTS = {"flamingo": layout}
