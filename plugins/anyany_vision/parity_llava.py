"""Parity with LLaVA and MMVP: towers at any layer, projectors, preprocessing, tiles, splicing into the language model.

Packs: `llava` and `mmvp_mof`. Names: `model.vision_tower.`, `model.mm_projector.`, `model.dino_tower.`, LLaMA's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F

TOWER, PROJECTOR = "model.vision_tower.vision_tower.", "model.mm_projector."
MARK = -200
NOT_LANGUAGE = ("model.vision_tower.*", "model.mm_projector.*", "model.image_newline", "model.dino_*")


# parts ----------------------------------------------------------------------------------------------------------
def tower(pack: Any) -> Any:
    """The CLIP tower of a pack."""
    sizes = pack.config["vision"]
    return pack.component("vision/clip", {
        "towers": "image", "projection": False, "layer": pack.config["select_layer"], "resolution": sizes["image_size"],
        "patch": sizes["patch_size"], "width": sizes["hidden_size"], "layers": sizes["num_hidden_layers"],
        "heads": sizes["num_attention_heads"], "mlp": sizes["intermediate_size"], "act": sizes["hidden_act"],
        "eps": sizes["layer_norm_eps"],
    }, prefix=TOWER).component  # fmt: skip


def projector(pack: Any, prefix: str = PROJECTOR) -> Any:
    """The projector of a pack: linear, or `mlpNx_gelu`, N layers with GELU between them."""
    linear = pack.config["projector"] == "linear"
    rows, columns = pack.file.read("weights", f"{prefix}weight" if linear else f"{prefix}0.weight").shape
    options = {"inputs": columns, "outputs": rows}
    if not linear:
        options["depth"] = int(pack.config["projector"].removeprefix("mlp").split("x")[0])
    return pack.component("adapters/linear" if linear else "adapters/mlp", options, prefix=prefix).component


def language(pack: Any) -> Any:
    """The language model of a pack. Packs that stop before it hold its embeddings alone: the rest is then zeros."""
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = pack.config["llama"]
    extra = {}
    if "lm_head.weight" not in pack.weights:
        with torch.device("meta"):
            shapes = {n: t.shape for n, t in LlamaForCausalLM(LlamaConfig(**sizes)).state_dict().items()}
        extra = {n: torch.zeros(s) for n, s in shapes.items() if n not in pack.weights}
        if sizes.get("tie_word_embeddings"):
            extra.pop("lm_head.weight", None)
    card = json.dumps({"model_type": "llama", **sizes})
    assets = {"config.json": card, "tokenizer.json": _words(sizes["vocab_size"])}
    options = {"width": sizes["hidden_size"], "template": "plain"}
    built = pack.component("language/causal-lm", options, leave=NOT_LANGUAGE, extra=extra, assets=assets)
    return built.component


def _words(count: int) -> str:
    """A tokenizer.json whose words t0, t1, … are ids 0, 1, …"""
    from tokenizers import Tokenizer, models, pre_tokenizers

    raw = Tokenizer(models.WordLevel(vocab={f"t{i}": i for i in range(count)}, unk_token="t0"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return str(raw.to_str())


def rows_of(pack: Any, features: Iterator[torch.Tensor], strip: bool = True) -> tuple[list[list[Any]], list[list[int]]]:
    """(runs of ids and features of each row, labels of its ids): padding off, each mark takes the next features.

    A row without a picture passes over one, as the reference does.
    """
    found, wanted = [], []
    ids_BL = pack.inputs["input_ids"]
    mask_BL = pack.inputs.get("attention_mask", torch.ones_like(ids_BL))
    labels_BL = pack.inputs.get("labels", torch.full_like(ids_BL, -100))
    for ids, kept, labels in zip(ids_BL, mask_BL, labels_BL):
        real = kept.bool() | (not strip)
        runs: list[Any] = [[]]
        for one in ids[real].tolist():
            if one == MARK:
                runs += [next(features), []]
            else:
                runs[-1].append(one)
        if len(runs) == 1:
            next(features)
        found.append(runs)
        wanted.append([label for one, label in zip(ids[real].tolist(), labels[real].tolist()) if one != MARK])
    return found, wanted


# cases ----------------------------------------------------------------------------------------------------------
def vision_projector(pack: Any) -> dict[str, Any]:
    """Family `vision_projector`: patches of two layers, with and without the class token, and the projection."""
    clip, mlp = tower(pack), projector(pack)
    states = clip.hidden(pack.inputs["images"], clip.count)
    patches_BND = clip.patches(states)
    return {
        "features_patch": patches_BND, "features_cls_patch": states[clip.depth], "projected": mlp.layers(patches_BND),
        "features_last_layer": states[-1][:, 1:],
    }  # fmt: skip


def splice(pack: Any) -> dict[str, Any]:
    """Families `splice` and `anyres_spatial_unpad`."""
    clip, mlp, model = tower(pack), projector(pack), language(pack)
    views_BND = mlp.layers(clip.patches(clip.hidden(pack.inputs["images"], clip.depth)))
    pictures = merged(pack, views_BND) if "tiles" in pack.config else list(views_BND)
    rows, labels = rows_of(pack, iter(pictures))
    extra = pack.config["extra"]
    batch = model.splice(rows, labels, left=extra["tokenizer_padding_side"] == "left",
                         limit=extra.get("tokenizer_model_max_length"))  # fmt: skip
    out = {"inputs_embeds": batch.embeds, "labels": batch.labels, "attention_mask": batch.mask.long(),
           "position_ids": batch.positions}  # fmt: skip
    if "logits" in pack.expected:
        logits = logits_of(model, batch, batch.mask)
        out |= {"logits": (logits, batch.mask), "loss": _loss(logits, batch.labels)}
    return {name: out[name] for name in pack.expected if name in out}


def logits_of(model: Any, batch: Any, mask_BL: torch.Tensor) -> torch.Tensor:
    """[B,L,V] of the language model on spliced rows."""
    logits: torch.Tensor = model.model(
        inputs_embeds=batch.embeds, attention_mask=mask_BL.long(), position_ids=batch.positions, use_cache=False
    ).logits
    return logits


def _loss(logits_BLV: torch.Tensor, labels_BL: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits_BLV[:, :-1].flatten(0, 1), labels_BL[:, 1:].flatten(), ignore_index=-100)[None]


def merged(pack: Any, views_BND: torch.Tensor) -> list[torch.Tensor]:
    """Tiles of each picture merged, their places from vision/tiles on a picture of that size."""
    config = pack.config
    join = pack.component("adapters/anyres", {"width": views_BND.shape[-1]}, prefix="model.image_newline").component
    cut = pack.plain("vision/tiles", {
        "size": config["vision"]["image_size"], "grids": config["extra"]["image_grid_pinpoints"],
    }).component  # fmt: skip
    out, at = [], 0
    for count, (width, height) in zip(config["tiles"], config["image_sizes"]):
        _, places = cut.tiles(torch.zeros(3, height, width, dtype=torch.uint8))
        views = list(views_BND[at : at + count])
        out.append(join.merged(views, places if count > 1 else places[:1]))
        at += count
    return out


def preprocess(pack: Any) -> dict[str, Any]:
    """Family `preprocess`: square, pad and anyres."""
    size = pack.config["size"]
    shape = {"preset": "tiny", "resolution": size, "patch": 14, "towers": "image"}
    clips = {f: pack.plain("vision/clip", {**shape, "fit": f}) for f in ("crop", "pad")}
    cut = pack.plain("vision/tiles", {"size": size, "grids": pack.config["pinpoints"]}).component
    out: dict[str, Any] = {}
    for name, pixels in pack.inputs.items():
        image = pixels.permute(2, 0, 1)
        out[f"{name}_square"] = clips["crop"].component.ready([image])
        out[f"{name}_pad"] = clips["pad"].component.ready([image])
        out[f"{name}_anyres"] = clips["crop"].component.ready(cut.tiles(image)[0])
    return out


def dino_tower(pack: Any) -> Any:
    """MMVP's DINOv2: un-normalised, fed with what CLIP is fed with."""
    sizes = pack.config["dino"]
    return pack.component("vision/dino", {
        "native": sizes["img_size"], "resolution": pack.config["vision"]["image_size"], "patch": sizes["patch_size"],
        "width": sizes["embed_dim"], "layers": sizes["depth"], "heads": sizes["num_heads"],
        "mlp_ratio": sizes["mlp_ratio"], "normed": False,
    }, prefix="model.dino_tower.vision_tower.").component  # fmt: skip


def mixture(pack: Any) -> dict[str, Any]:
    """Family `mixture_of_features`: additive where the pack gives an alpha, else interleaved."""
    clip, dino, mlp = tower(pack), dino_tower(pack), projector(pack)
    images = pack.inputs["images"]
    seen_BND = clip.patches(clip.hidden(images, clip.depth))
    felt_BND = dino.states(images)[-1][:, dino.first :]
    out = {"clip_features": seen_BND, "dino_features": felt_BND}
    if "alpha" in pack.config:
        mix = pack.plain("adapters/feature-mixture", {"how": "additive", "alpha": pack.config["alpha"]}).component
        mixed_BND = torch.stack([mix.mixed(list(pair)) for pair in zip(seen_BND, felt_BND)])
        return {**out, "mixed": mixed_BND, "projected": mlp.layers(mixed_BND)}
    second = projector(pack, "model.dino_mm_projector.")
    mix = pack.plain("adapters/feature-mixture", {}).component
    one, two = mlp.layers(seen_BND), second.layers(felt_BND)
    rows, labels = rows_of(pack, iter([mix.mixed(list(pair)) for pair in zip(one, two)]), strip=False)
    model = language(pack)
    batch = model.splice(rows, labels)
    mask_BL = widened(pack.inputs["attention_mask"], batch.mask)
    return {
        **out, "clip_projected": one, "dino_projected": two, "inputs_embeds": batch.embeds, "labels": batch.labels,
        "logits": (logits_of(model, batch, mask_BL), mask_BL), "attention_mask": mask_BL,
    }  # fmt: skip


def widened(given_BT: torch.Tensor, real_BL: torch.Tensor) -> torch.Tensor:
    """[B,L] the given mask with ones for the features put before it, as the reference does, wherever they stand."""
    out_BL = torch.zeros_like(real_BL, dtype=given_BT.dtype)
    for row, given, real in zip(out_BL, given_BT, real_BL):
        length = int(real.sum())
        row[: length - len(given)] = 1
        row[length - len(given) : length] = given
    return out_BL


# layouts --------------------------------------------------------------------------------------------------------
VIT_L = {"towers": "image", "projection": False, "patch": 14, "width": 1024, "layers": 24, "heads": 16}


def llava_layout(released: Any) -> None:
    """Projectors, the tower, the newline of released LLaVA models."""
    shapes = released.shapes
    if f"{PROJECTOR}weight" in shapes or f"{PROJECTOR}0.weight" in shapes:
        take_projector(released, PROJECTOR)
    elif "model.image_newline" in shapes:
        (width,) = shapes["model.image_newline"]
        released.take("adapters/anyres", {"width": width}, prefix="model.image_newline")
    else:
        sizes = released.config
        released.take("vision/clip", {**VIT_L, "resolution": sizes["image"], "width": sizes["width"],
                                      "layers": sizes["layers"], "heads": sizes["heads"]}, prefix=TOWER)  # fmt: skip


def take_projector(released: Any, prefix: str) -> None:
    """A linear or two-layer projector, its widths read off the shapes."""
    linear = f"{prefix}weight" in released.shapes
    outputs, inputs = released.shapes[f"{prefix}weight" if linear else f"{prefix}0.weight"]
    card = "adapters/linear" if linear else "adapters/mlp"
    released.take(card, {"inputs": inputs, "outputs": outputs}, prefix=prefix)


def mixture_layout(released: Any) -> None:
    """MMVP's visual part, with the second copy of CLIP that its class holds and never uses."""
    for prefix in ("model.mm_projector.", "model.dino_mm_projector."):
        take_projector(released, prefix)
    for prefix in (TOWER, "model.dino_tower.clip_vision_tower."):
        if any(n.startswith(prefix) for n in released.shapes):
            released.take("vision/clip", {**VIT_L, "resolution": 336}, prefix=prefix)
    released.take("vision/dino", {"preset": "large", "native": 518}, prefix="model.dino_tower.vision_tower.")


CASES = {
    ("llava", "vision_projector"): vision_projector,
    ("llava", "splice"): splice,
    ("llava", "anyres_spatial_unpad"): splice,
    ("llava", "preprocess"): preprocess,
    ("mmvp_mof", "mixture_of_features"): mixture,
}
LAYOUTS = {"llava": llava_layout, "mmvp_mof": mixture_layout}
TOLERANCES = {
    ("llava", "splice"): {"logits": 2e-5},
    ("mmvp_mof", "mixture_of_features"): {"logits": 2e-5},
}
"""Logits: 2e-5 (README of the packs)."""
