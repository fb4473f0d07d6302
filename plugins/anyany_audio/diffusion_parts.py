"""What a sound diffusion model is made of, read from a pipeline's small files or from options.

Three ways of being conditioned: `labels` (AudioLDM: one vector, as a class is), `cross` (features by cross-attention),
`pair` (AudioLDM2: features made by a language model, and the words' own). Nothing is loaded here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from anyany.api.torch import Build, Part, Text, pipeline_parts, random_text
from anyany_audio.hifi_gan import part_of, small

FLOW = {"class": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 1.0}
DDIM = {
    "class": "DDIMScheduler", "beta_start": 0.0015, "beta_end": 0.0195, "beta_schedule": "scaled_linear",
    "clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1,
}  # fmt: skip
PAIRED = "AudioLDM2UNet2DConditionModel"
TEXT_PARTS = ("text_encoder", "text_encoder_2", "projection_model", "language_model")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """parts: networks by their name in the weights, `unet` among them; without `vae` the UNet makes spectrograms
    themselves, without `vocoder` Griffin-Lim makes them sound. text: of captions, for weights without a tokenizer."""

    parts: Mapping[str, Part]
    scheduler: Mapping[str, Any]
    steps: int
    guidance: float
    text: Text | None = None

    @property
    def way(self) -> str:
        """`labels`, `cross` or `pair`."""
        unet = self.parts["unet"]
        if unet.short == PAIRED:
            return "pair"
        return "labels" if unet.config.get("class_embed_type") else "cross"

    @property
    def factor(self) -> int:
        """Frames, and mel bands, of one latent."""
        vae = self.parts.get("vae")
        return 1 if vae is None else 2 ** (len(vae.config["block_out_channels"]) - 1)


def read(config: Any, build: Build) -> Plan:
    """The plan of a node. Raises ValueError where the files or options do not make one."""
    return _from_folder(build) if build.assets.json("model_index.json") is not None else _from_options(config, build)


def _from_folder(build: Build) -> Plan:
    """A pipeline of AudioLDM's or AudioLDM2's, as diffusers saves it."""
    parts = pipeline_parts(build.assets, ("unet", "vae", "vocoder", *TEXT_PARTS))
    if "unet" not in parts:
        raise ValueError("the pipeline has no unet folder; sound is made by AudioLDM's and AudioLDM2's")
    paired = parts["unet"].short == PAIRED
    scheduler = build.assets.json("scheduler/scheduler_config.json") or DDIM
    return Plan(parts=parts, scheduler=scheduler, steps=200 if paired else 10, guidance=3.5 if paired else 2.5)


def _from_options(config: Any, build: Build) -> Plan:
    """Random weights: AudioLDM's sizes with `arch: audioldm`, else a small UNet that attends to features."""
    cond = build.facts.get("cond") or config.cond or build.sizes.get("cond")
    if cond is None:
        raise ValueError(f"nothing fixes the width of {build.node}'s conditioning; give `with: {{cond: …}}`")
    n = config.n or build.sizes.get("n") or 1
    parts = {"unet": _unet(config, cond), "vocoder": part_of(_vocoder(config))}
    if config.latent:
        parts["vae"] = _vae(config)
    if config.vocoder == "griffin-lim":
        del parts["vocoder"]
    text = random_text(n, cond)
    known = config.arch == "audioldm"
    return Plan(parts={**parts, "text_encoder": text.part}, scheduler=DDIM if known else FLOW, text=text,
                steps=10 if known else 20, guidance=2.5 if known else 2.0)  # fmt: skip


def _unet(config: Any, cond: int) -> Part:
    times = (1, 2, 3, 5) if config.arch == "audioldm" else (1, 2)
    blocks = [config.width * t for t in times]
    cross = ["CrossAttnDownBlock2D"] * (len(times) - 1)
    channels = config.latent or 1
    shared = {
        "in_channels": channels, "out_channels": channels, "block_out_channels": blocks,
        "layers_per_block": config.layers, "down_block_types": ["DownBlock2D", *cross],
        "up_block_types": [*(c.replace("Down", "Up") for c in cross), "UpBlock2D"],
        "norm_num_groups": config.groups, "sample_size": 128, "attention_head_dim": 8,
    }  # fmt: skip
    own: dict[str, Any] = {"cross_attention_dim": cond}
    if config.arch == "audioldm":
        own = {
            "cross_attention_dim": blocks, "class_embed_type": "simple_projection", "class_embeddings_concat": True,
            "projection_class_embeddings_input_dim": cond,
        }  # fmt: skip
    return Part(name="UNet2DConditionModel", config={**shared, **own})


def _vae(config: Any) -> Part:
    blocks = [config.vae_width * t for t in (1, 2, 4)[: 3 if config.arch == "audioldm" else 2]]
    sizes = {
        "in_channels": 1, "out_channels": 1, "latent_channels": config.latent, "block_out_channels": blocks,
        "norm_num_groups": config.groups, "down_block_types": ["DownEncoderBlock2D"] * len(blocks),
        "up_block_types": ["UpDecoderBlock2D"] * len(blocks), "layers_per_block": config.layers,
        "scaling_factor": 0.9227914214134216,
    }  # fmt: skip
    return Part(name="AutoencoderKL", config=sizes)


def _vocoder(config: Any) -> dict[str, Any]:
    found = small(config.mels, config.rate, config.vocoder_width, config.upsample)
    if config.arch != "audioldm":
        return found
    return {
        **found, "resblock_kernel_sizes": [3, 7, 11], "resblock_dilation_sizes": [[1, 3, 5]] * 3,
        "upsample_kernel_sizes": [16, 16, 8, 4, 4] if len(config.upsample) == 5 else found["upsample_kernel_sizes"],
        "normalize_before": False,
    }  # fmt: skip
