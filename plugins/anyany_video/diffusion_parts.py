"""What a film diffusion model is made of, read from a pipeline's small files or from options.

`unet`: UNet3D (ModelScope, zeroscope); `transformer`: Latte's space-time transformer. Nothing is loaded here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from anyany.api.torch import Build, Part, Text, pipeline_parts, random_text

FLOW = {"class": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 1.0}
DDIM = {
    "class": "DDIMScheduler", "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
    "clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1,
}  # fmt: skip
DENOISERS = {"UNet3DConditionModel": "unet", "LatteTransformer3DModel": "transformer"}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """parts: networks by their name in the weights; without `vae` films are denoised as they are."""

    parts: Mapping[str, Part]
    scheduler: Mapping[str, Any]
    steps: int
    guidance: float
    text: Text | None = None

    @property
    def denoiser(self) -> str:
        """`unet` or `transformer`."""
        return next(name for name in DENOISERS.values() if name in self.parts)

    @property
    def factor(self) -> int:
        """Pixels of a side of one latent."""
        vae = self.parts.get("vae")
        return 1 if vae is None else 2 ** (len(vae.config["block_out_channels"]) - 1)


def read(config: Any, build: Build) -> Plan:
    """The plan of a node. Raises ValueError where the files or options do not make one."""
    return _from_folder(build) if build.assets.json("model_index.json") is not None else _from_options(config, build)


def _from_folder(build: Build) -> Plan:
    """A text-to-video pipeline as diffusers saves it."""
    parts = pipeline_parts(build.assets, ("unet", "transformer", "vae", "text_encoder"))
    known = [name for name, part in parts.items() if DENOISERS.get(part.short) == name]
    if not known:
        found = ", ".join(part.short for part in parts.values()) or "nothing"
        raise ValueError(f"the pipeline is made of {found}; films are made by {' or '.join(DENOISERS)}")
    text = None if "text_encoder" not in parts else Text(part=parts["text_encoder"], folder="tokenizer")
    return Plan(parts=parts, scheduler=build.assets.json("scheduler/scheduler_config.json") or DDIM, text=text,
                steps=50, guidance=9.0 if "unet" in parts else 7.5)  # fmt: skip


def _from_options(config: Any, build: Build) -> Plan:
    """Random weights: a small space-time transformer on pixels, or zeroscope's UNet and autoencoder."""
    cond = build.facts.get("cond") or config.cond or build.sizes.get("cond")
    if cond is None:
        raise ValueError(f"nothing fixes the width of {build.node}'s conditioning; give `with: {{cond: …}}`")
    text = random_text(config.n or build.sizes.get("n") or 1, cond)
    parts = {"text_encoder": text.part}
    if config.arch == "unet3d":
        parts |= {"unet": _unet3d(config, cond), "vae": _vae(config)}
        return Plan(parts=parts, scheduler=DDIM, text=text, steps=50, guidance=9.0)
    parts["transformer"] = _latte(config, cond)
    return Plan(parts=parts, scheduler=FLOW, text=text, steps=20, guidance=2.0)


def _latte(config: Any, cond: int) -> Part:
    height, width = config.height or 64, config.width or 64
    if height % config.patch or width % config.patch or config.channels % config.heads:
        raise ValueError(f"{height} x {width} pixels want a patch that divides them, and {config.channels} channels "
                         f"heads that divide them; not {config.patch} and {config.heads}")  # fmt: skip
    sizes = {
        "num_attention_heads": config.heads, "attention_head_dim": config.channels // config.heads, "in_channels": 3,
        "out_channels": 3, "num_layers": config.layers, "cross_attention_dim": config.channels,
        "attention_bias": True, "sample_size": height, "patch_size": config.patch, "activation_fn": "gelu-approximate",
        "num_embeds_ada_norm": 1000, "norm_type": "ada_norm_single", "norm_elementwise_affine": False,
        "norm_eps": 1e-6, "caption_channels": cond, "video_length": config.frames or 16,
    }  # fmt: skip
    return Part(name="LatteTransformer3DModel", config=sizes)


def _unet3d(config: Any, cond: int) -> Part:
    times = (1, 2, 4, 4)
    sizes = {
        "block_out_channels": [config.channels * t for t in times], "cross_attention_dim": cond, "sample_size": 32,
        "layers_per_block": min(config.layers, 2), "norm_num_groups": min(32, config.channels // 2),
        "attention_head_dim": min(64, config.channels),
    }  # fmt: skip
    return Part(name="UNet3DConditionModel", config=sizes)


def _vae(config: Any) -> Part:
    blocks = [max(4, config.channels * 2 // 5) * t for t in (1, 2, 4, 4)]
    sizes = {
        "block_out_channels": blocks, "latent_channels": 4, "layers_per_block": min(config.layers, 2),
        "norm_num_groups": min(32, blocks[0]), "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4, "scaling_factor": 0.18215,
    }  # fmt: skip
    return Part(name="AutoencoderKL", config=sizes)
