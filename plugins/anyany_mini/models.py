"""What the miniature's encoder, adapters, language model and image head are: their configs, and modules of these.

Only transformers and diffusers classes and plain torch layers; `weights/README.md` describes every file.
Shapes: B batch, D width, C conditioning width, H W picture sides.
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
TO_IMAGE: dict[str, Any] = {"class": "mlp", "in": 128, "hidden": 256, "out": 64, "act": "gelu"}
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
        self.transformer = PixArtTransformer2DModel(**config["config"])
        self.text_encoder = BertModel(BertConfig(**text["config"]), add_pooling_layer=text["add_pooling_layer"])
        self.null_conditioning = nn.Parameter(torch.zeros(*config["conditioning"]))


def save(name: str, module: nn.Module, config: Mapping[str, Any], folder: Path) -> None:
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
