"""Parity of vision/clip with Pic2Word's CLIP, of adapters/im2text, and of vision/dino with DINOv2.

Packs: components `dinov2` and `pic2word`.
"""

from __future__ import annotations

from typing import Any

import torch


def dinov2(pack: Any) -> dict[str, Any]:
    """Family `dinov2_vit`: three sizes of picture, masked patches, intermediate layers."""
    sizes = pack.config["model"]
    dino = pack.component("vision/dino", {
        "native": sizes["img_size"], "resolution": sizes["img_size"], "patch": sizes["patch_size"],
        "width": sizes["embed_dim"], "layers": sizes["depth"], "heads": sizes["num_heads"],
        "mlp_ratio": int(sizes["mlp_ratio"]), "registers": sizes.get("num_register_tokens", 0),
            "offset": sizes.get("interpolate_offset"), "antialias": sizes.get("interpolate_antialias"),
        "ffn": "swiglu" if sizes["ffn_layer"].startswith("swiglu") else "mlp",
    }).component  # fmt: skip
    out: dict[str, Any] = {}
    for size in ("native", "other", "wide"):
        pixels = pack.inputs[f"image_{size}"]
        last_BTD = dino.states(pixels)[-1]
        normed_BTD = dino.norm(last_BTD)
        out |= {
            f"{size}_pos_embed": dino.positions(*pixels.shape[-2:]), f"{size}_x_prenorm": last_BTD,
            f"{size}_x_norm_clstoken": normed_BTD[:, 0], f"{size}_x_norm_patchtokens": normed_BTD[:, dino.first :],
        }  # fmt: skip
        if dino.registers:
            out[f"{size}_x_norm_regtokens"] = normed_BTD[:, 1 : dino.first]
    pixels = pack.inputs["image_native"]
    states = [dino.norm(s) for s in dino.states(pixels)]
    masked = dino.norm(dino.states(pixels, pack.inputs["patch_mask"])[-1])
    return out | {
        "forward_cls": states[-1][:, 0], "intermediate_0_cls": states[-2][:, 0],
        "intermediate_0_patches": states[-2][:, dino.first :], "intermediate_1_patches": states[-1][:, dino.first :],
        "masked_x_norm_patchtokens": masked[:, dino.first :],
    }  # fmt: skip


def dinov2_layout(released: Any) -> None:
    """The eight released models."""
    sizes = released.config
    released.take("vision/dino", {
        "native": 518, "width": sizes["width"], "layers": sizes["layers"], "heads": sizes["heads"],
        "ffn": "swiglu" if sizes["ffn"].startswith("swiglu") else "mlp", "registers": sizes["registers"],
    })  # fmt: skip


def pic2word(pack: Any) -> dict[str, Any]:
    """Family `im2text_and_pseudo_token`. The star's place comes from row 0 for all rows, as in the reference."""
    sizes, words = pack.config["clip"], pack.config["im2text"]
    clip = pack.component("vision/clip", {
        "resolution": sizes["image_resolution"], "patch": sizes["vision_patch_size"], "width": sizes["vision_width"],
        "layers": sizes["vision_layers"], "heads": sizes["vision_width"] // 64, "shared": sizes["embed_dim"],
        "text_width": sizes["transformer_width"], "text_layers": sizes["transformer_layers"],
        "text_heads": sizes["transformer_heads"], "vocab": sizes["vocab_size"], "context": sizes["context_length"],
    }, prefix="clip.").component  # fmt: skip
    im2text = pack.component("adapters/im2text", {
        "inputs": words["embed_dim"], "outputs": words["output_dim"], "middle": words["middle_dim"],
        "layers": words["n_layer"],
    }, prefix="im2text.").component  # fmt: skip
    images = pack.inputs["images"]
    seen_BE = clip.pooled(clip.hidden(images, clip.count))[1]
    said_BD = im2text.word(seen_BE)
    star, last = pack.config["star_id"], sizes["vocab_size"] - 1
    many = pack.inputs["star_prompts_ids"].tolist()
    one = pack.inputs["star_prompt_ids"].tolist() * len(images)
    two = pack.inputs["two_star_ids"].tolist()[0]

    def read(rows: list[list[int]], places: list[int], fill: list[list[torch.Tensor]]) -> torch.Tensor:
        embeds = [_filled(clip.embed(ids), places, f) for ids, f in zip(rows, fill)]
        result: torch.Tensor = clip.read(embeds, [ids.index(last) for ids in rows])[1]
        return result

    prompt = pack.inputs["prompt_ids"].tolist()[0]
    end = prompt.index(last)
    longer = [torch.cat([e[:end], word[None], e[end:-1]]) for word in said_BD for e in (clip.embed(prompt),)]
    return {
        "image_features": seen_BE, "pseudo_tokens": said_BD, "plain_text": read(many, [], [[]] * len(many)),
        "retrieval_one_prompt": read(one, [one[0].index(star)], [[w] for w in said_BD]),
        "retrieval_per_sample": read(many, [many[0].index(star)], [[w] for w in said_BD]),
        "train_prompt_features": clip.read(longer, [end + 1] * len(longer))[1],
        "two_stars": read([two] * len(images), [i for i, t in enumerate(two) if t == star],
                          [[a, b] for a, b in zip(said_BD, said_BD.flip(0))]),
    }  # fmt: skip


def _filled(embeds_TD: torch.Tensor, places: list[int], words: list[torch.Tensor]) -> torch.Tensor:
    """Words put in the place of tokens."""
    filled = embeds_TD.clone()
    for at, word in zip(places, words):
        filled[at] = word
    return filled


def pic2word_layout(released: Any) -> None:
    """The mapping network and the CLIP beside it."""
    sizes = released.config
    if "fc_out.weight" in released.shapes:
        released.take("adapters/im2text", {
            "inputs": sizes["embed_dim"], "outputs": sizes["output_dim"], "middle": sizes["middle_dim"],
            "layers": sizes["n_layer"],
        })  # fmt: skip
        return
    width, layers, patch = sizes["vision"]
    text_width, text_layers, text_heads = sizes["text"]
    released.take("vision/clip", {
        "resolution": sizes["image"], "patch": patch, "width": width, "layers": layers, "heads": width // 64,
        "shared": sizes["embed_dim"], "text_width": text_width, "text_layers": text_layers, "text_heads": text_heads,
    })  # fmt: skip


CASES = {
    ("dinov2", "dinov2_vit"): dinov2,
    ("pic2word", "im2text_and_pseudo_token"): pic2word,
}
LAYOUTS = {"dinov2": dinov2_layout, "pic2word": pic2word_layout}
