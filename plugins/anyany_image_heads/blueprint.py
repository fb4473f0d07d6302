"""What a diffusion checkpoint is made of, read from its small files: denoiser, scheduler, autoencoder, text encoder.

Three layouts: one file of weights with a config.json that holds every part (`class`, `config`, `scheduler`, …); a
diffusers pipeline folder (a folder a part); options alone, for `random:` weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from anyany.api.torch import Build, Part, Text, plain_config, random_text
from anyany.api.torch import network_of as network

__all__ = ["Blueprint", "Part", "Text", "network", "read"]

DENOISERS = ("transformer", "unet")
FLOW = {"class": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 1.0}


@dataclass(frozen=True, kw_only=True)
class Blueprint:
    """All of a diffusion model but its numbers.

    attribute: "transformer" or "unet", the denoiser's name in the weights. prediction: "sample" when a flow-matching
    network gives the clean picture (sigma_min bounds the division), "scheduler" when the scheduler knows what it gives.
    null: shape of the stored null conditioning [n, C], or None. folders: weights lie in a folder a part.
    """

    denoiser: Part
    scheduler: Mapping[str, Any]
    attribute: str = "transformer"
    vae: Part | None = None
    text: Text | None = None
    prediction: str = "scheduler"
    sigma_min: float = 0.0
    steps: int = 20
    guidance: float = 1.0
    null: tuple[int, int] | None = None
    folders: bool = False


def read(config: Any, build: Build) -> Blueprint:
    """The blueprint of a node. Raises ValueError where the files or options do not make a diffusion model."""
    whole = build.assets.json("config.json")
    if build.assets.json("model_index.json") is not None:
        return from_folder(build)
    if whole is not None:
        return _from_config(whole)
    return _from_options(config, build)


def _from_config(whole: Mapping[str, Any]) -> Blueprint:
    """Every part in one config.json; or the config.json of a diffusers denoiser alone."""
    if "_class_name" in whole:
        return Blueprint(denoiser=Part(name=whole["_class_name"], config=plain_config(whole)), scheduler=FLOW)
    if "class" not in whole or "config" not in whole:
        raise ValueError("config.json names no diffusers class: expected `class` and `config`, or `_class_name`")
    text = whole.get("text_encoder")
    pair = whole.get("conditioning")
    vae = whole.get("vae")
    return Blueprint(
        denoiser=Part(name=whole["class"], config=whole["config"]),
        scheduler=whole.get("scheduler", FLOW),
        attribute="unet" if "UNet" in whole["class"] else "transformer",
        vae=None if vae is None else Part(name=vae["class"], config=vae["config"]),
        text=None if text is None else _text(text),
        prediction="sample" if whole.get("prediction_type") == "sample" else "scheduler",
        sigma_min=float(whole.get("sigma_min", 0.0)),
        steps=int(whole.get("steps", 20)),
        guidance=float(whole.get("guidance", 1.0)),
        null=None if pair is None else (int(pair[0]), int(pair[1])),
    )


def _text(text: Mapping[str, Any]) -> Text:
    extra = {k: text[k] for k in ("add_pooling_layer",) if k in text}
    return Text(
        part=Part(name=text["class"], config=text["config"], extra=extra), prefix=tuple(text.get("prefix", ())),
        pad=text.get("pad", "<pad>"), length=int(text.get("length", 0)),
    )  # fmt: skip


def from_folder(build: Build) -> Blueprint:
    """A pipeline as diffusers saves it."""
    for attribute in DENOISERS:
        network = build.assets.json(f"{attribute}/config.json")
        if network is not None:
            break
    else:
        raise ValueError("the pipeline has neither a transformer nor a unet folder")
    vae = build.assets.json("vae/config.json") or build.assets.json("movq/config.json")
    text = build.assets.json("text_encoder/config.json")
    scheduler = dict(build.assets.json("scheduler/scheduler_config.json") or FLOW)
    scheduler["class"] = scheduler.pop("_class_name", FLOW["class"])
    return Blueprint(
        denoiser=Part(name=network["_class_name"], config=plain_config(network)), scheduler=plain_config(scheduler),
        attribute=attribute, vae=None if vae is None else Part(name=vae["_class_name"], config=plain_config(vae)),
        text=None if text is None else Text(part=Part(name=text["architectures"][0], config=text), folder="tokenizer"),
        steps=50, guidance=4.0 if "DiT" in network["_class_name"] else 7.5, folders=True,
    )  # fmt: skip


def _from_options(config: Any, build: Build) -> Blueprint:
    """A small pixel-space transformer with random weights, PixArt's, or DiT's for classes."""
    size = config.size or 64
    if size % config.patch:
        raise ValueError(f"size {size} wants a patch that divides it, not {config.patch}")
    shared = {
        "num_attention_heads": config.heads, "attention_head_dim": config.width // config.heads, "in_channels": 3,
        "out_channels": 3, "num_layers": config.layers, "sample_size": size, "patch_size": config.patch,
    }  # fmt: skip
    if config.classes:
        denoiser = Part(name="DiTTransformer2DModel", config={**shared, "num_embeds_ada_norm": config.classes})
        return Blueprint(denoiser=denoiser, scheduler=FLOW, guidance=2.0)
    cond = build.facts.get("cond") or config.cond or build.sizes.get("cond")
    if cond is None:
        raise ValueError(f"nothing fixes the width of {build.node}'s conditioning; give `with: {{cond: …}}`")
    n = config.n or build.sizes.get("n") or 1
    own = {"caption_channels": cond, "cross_attention_dim": config.width, "use_additional_conditions": False}
    return Blueprint(
        denoiser=Part(name="PixArtTransformer2DModel", config={**shared, **own}),
        scheduler=FLOW, guidance=2.0, null=(n, cond), text=random_text(n, cond),
    )  # fmt: skip
