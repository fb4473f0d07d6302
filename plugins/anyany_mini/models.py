"""The modules of the bundled pipeline, built from the config files beside their weights.

Only transformers and diffusers classes and plain torch layers; `weights/README.md` describes every file.
Shapes: B batch, N patches, L text length, D width, C conditioning width, H W picture sides.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

WEIGHTS = Path(__file__).parent / "weights"

LOOK: dict[str, Any] = {
    "class": "transformers.ViTModel",
    "add_pooling_layer": False,
    "config": {
        "image_size": 96, "patch_size": 32, "num_channels": 3, "hidden_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "intermediate_size": 384, "hidden_act": "gelu", "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0, "layer_norm_eps": 1e-6, "qkv_bias": True,
    },
    "stem": {"type": "conv", "channels": [32, 48, 64, 96, 128], "kernel": 3, "stride": 2, "padding": 1, "act": "gelu"},
    "image": {"size": 96, "resample": "bilinear", "antialias": False, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
    "patches": 9,
}  # fmt: skip
SEE: dict[str, Any] = {"class": "mlp", "in": 128, "hidden": 256, "out": 128, "act": "gelu"}
THINK: dict[str, Any] = {
    "class": "transformers.LlamaForCausalLM",
    "config": {
        "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None,
        "vocab_size": 496, "hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 32, "max_position_embeddings": 1024,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    },
    "signals": {"image": ["[IMG0]", "[IMG1]", "[IMG2]", "[IMG3]", "[IMG4]", "[IMG5]", "[IMG6]", "[IMG7]"]},
    "image_token": "<image>",
}  # fmt: skip
TO_IMAGE: dict[str, Any] = {"class": "mlp", "in": 128, "hidden": 256, "out": 64, "act": "gelu"}
DRAW: dict[str, Any] = {
    "class": "diffusers.PixArtTransformer2DModel",
    "config": {
        "num_attention_heads": 5, "attention_head_dim": 32, "in_channels": 3, "out_channels": 3, "num_layers": 6,
        "cross_attention_dim": 160, "sample_size": 64, "patch_size": 8, "caption_channels": 64, "attention_bias": True,
        "activation_fn": "gelu-approximate", "norm_type": "ada_norm_single", "norm_elementwise_affine": False,
        "norm_eps": 1e-6, "use_additional_conditions": False, "interpolation_scale": 1,
    },
    "text_encoder": {
        "class": "transformers.BertModel", "add_pooling_layer": False,
        "prefix": ["[IMG0]", "[IMG1]", "[IMG2]", "[IMG3]", "[IMG4]", "[IMG5]", "[IMG6]", "[IMG7]"], "pad": "<pad>",
        "config": {
            "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 256,
            "vocab_size": 496, "max_position_embeddings": 64, "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0, "layer_norm_eps": 1e-6, "type_vocab_size": 1,
        },
    },
    "scheduler": {"class": "diffusers.FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 1.0},
    "prediction_type": "sample", "sigma_min": 0.05, "steps": 20, "guidance": 1.5,
    "conditioning": [8, 64], "picture": [3, 64, 64],
}  # fmt: skip


class ConvStem(nn.Sequential):
    """A Sequential that also shows a `weight`, because ViTModel reads its dtype from the patch projection."""

    @property
    def weight(self) -> Tensor:
        return cast(Tensor, self[0].weight)


def conv_stem(stem: Mapping[str, Any], channels: int) -> ConvStem:
    """Strided convolutions with an activation between them (Xiao et al. 2021): [B, 3, H, W] -> [B, D, H/s, W/s]."""
    layers: list[nn.Module] = []
    for index, width in enumerate(stem["channels"]):
        if index:
            layers.append(nn.GELU())
        layers.append(nn.Conv2d(channels, width, stem["kernel"], stem["stride"], stem["padding"]))
        channels = width
    return ConvStem(*layers)


def build_look(config: Mapping[str, Any]) -> nn.Module:
    """ViTModel whose patch projection is the conv stem; takes pixels [B, 3, 96, 96] in -1..1."""
    from transformers import ViTConfig, ViTModel

    model = ViTModel(ViTConfig(**config["config"]), add_pooling_layer=config["add_pooling_layer"])
    if config.get("stem"):
        stem = conv_stem(config["stem"], config["config"]["num_channels"])
        model.embeddings.patch_embeddings.projection = stem
    return cast(nn.Module, model)


def build_mlp(config: Mapping[str, Any]) -> nn.Sequential:
    """Linear, GELU, Linear."""
    return nn.Sequential(
        nn.Linear(config["in"], config["hidden"]), nn.GELU(), nn.Linear(config["hidden"], config["out"])
    )


def build_think(config: Mapping[str, Any]) -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    return cast(nn.Module, LlamaForCausalLM(LlamaConfig(**config["config"])))


class Draw(nn.Module):
    """The image head: denoiser, caption encoder and the conditioning that stands for "no caption" [8, C]."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        from diffusers import PixArtTransformer2DModel
        from transformers import BertConfig, BertModel

        text = config["text_encoder"]
        self.config = dict(config)
        self.transformer = PixArtTransformer2DModel(**config["config"])
        self.text_encoder = BertModel(BertConfig(**text["config"]), add_pooling_layer=text["add_pooling_layer"])
        self.null_conditioning = nn.Parameter(torch.zeros(*config["conditioning"]))

    def embed(self, ids_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """Conditioning [B, 8, C] of captions whose ids begin with the 8 signal tokens."""
        output = self.text_encoder(input_ids=ids_BL, attention_mask=mask_BL)
        return cast(Tensor, output.last_hidden_state[:, : self.config["conditioning"][0]])

    def clean(self, noisy_B3HW: Tensor, sigma_B: Tensor, conditioning_B8C: Tensor) -> Tensor:
        """The clean picture [B, 3, H, W] in -1..1 that the network expects under noise of level sigma (0..1)."""
        output = self.transformer(
            noisy_B3HW, encoder_hidden_states=conditioning_B8C, timestep=sigma_B * 1000, return_dict=False
        )
        return cast(Tensor, output[0])

    @torch.no_grad()
    def sample(self, conditioning_B8C: Tensor, noise_B3HW: Tensor, steps: int = 0, guidance: float = 0.0) -> Tensor:
        """Pictures [B, 3, H, W] in -1..1 by Euler steps from sigma 1 to 0 with classifier-free guidance."""
        from diffusers import FlowMatchEulerDiscreteScheduler

        steps, guidance = steps or self.config["steps"], guidance or self.config["guidance"]
        options = {k: v for k, v in self.config["scheduler"].items() if k != "class"}
        scheduler = FlowMatchEulerDiscreteScheduler(**options)
        scheduler.set_timesteps(sigmas=[1 - i / steps for i in range(steps)])
        picture, count = noise_B3HW, len(noise_B3HW)
        null = self.null_conditioning.expand_as(conditioning_B8C)
        both = torch.cat([conditioning_B8C, null]) if guidance != 1 else conditioning_B8C
        for index, timestep in enumerate(scheduler.timesteps):
            sigma = scheduler.sigmas[index]
            found = self.clean(picture.repeat(len(both) // count, 1, 1, 1), sigma.expand(len(both)), both)
            if guidance != 1:
                found = found[count:] + guidance * (found[:count] - found[count:])
            velocity = (picture - found) / sigma.clamp(min=self.config["sigma_min"])
            picture = scheduler.step(velocity, timestep, picture, return_dict=False)[0]
        return picture.clamp(-1, 1)


def pixels(pictures: Any) -> Tensor:
    """uint8 [B, H, W, 3] to float [B, 3, H, W] in -1..1."""
    return torch.as_tensor(pictures).permute(0, 3, 1, 2).float().div_(127.5).sub_(1).contiguous()


def to_look(pixels_B3HW: Tensor, size: int = 96) -> Tensor:
    """Resize to the encoder's square, bilinear, half-pixel centres."""
    return nn.functional.interpolate(pixels_B3HW, (size, size), mode="bilinear", align_corners=False)


BUILD = {"look": build_look, "see": build_mlp, "think": build_think, "to_image": build_mlp, "draw": Draw}


def save(name: str, module: nn.Module, config: Mapping[str, Any], folder: Path = WEIGHTS) -> None:
    """Write `model.safetensors` (float16, tied tensors once) and `config.json` of a node."""
    from safetensors.torch import save_file

    target = folder / name
    target.mkdir(parents=True, exist_ok=True)
    tensors = {k: v.detach().to(torch.float16).contiguous() for k, v in module.state_dict().items()}
    if config.get("config", {}).get("tie_word_embeddings"):
        tensors.pop("lm_head.weight")
    # The sincos table of diffusers' PatchEmbed and BERT's index buffers are computed, not learnt.
    tensors = {k: v for k, v in tensors.items() if not k.endswith(("position_ids", "token_type_ids"))}
    partial = target / "model.safetensors.partial"
    save_file(tensors, partial, metadata={"format": "pt"})
    partial.chmod(0o644)
    partial.replace(target / "model.safetensors")
    (target / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def load(name: str, folder: Path = WEIGHTS) -> tuple[nn.Module, dict[str, Any]]:
    """Build a node from its folder in float32, every tensor accounted for; returns it with its config."""
    from safetensors.torch import load_file

    config = json.loads((folder / name / "config.json").read_text())
    module = BUILD[name](config)
    missing, unexpected = module.load_state_dict(load_file(folder / name / "model.safetensors"), strict=False)
    tied = {"lm_head.weight"} if config.get("config", {}).get("tie_word_embeddings") else set()
    if set(missing) - tied or unexpected:
        raise ValueError(f"{name}: missing {sorted(set(missing) - tied)}, unexpected {sorted(unexpected)}")
    return module.float().eval(), config
