"""The convolutional encoder and decoder of latent diffusion (Rombach et al. 2022, arXiv 2112.10752), on diffusers'.

VQGAN, VAR's tokenizer, MAR's and Stable Diffusion's autoencoders are this network. Their official names become
diffusers' by `ldm_layout`. Shapes: image [B,3,H,W] <-> latent [B,C,H/f,W/f], f = 2 ** (levels - 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diffusers.models.autoencoders.vae import Decoder, Encoder

from anyany.api.torch import Layout

OLD_ATTENTION = tuple(
    Layout(rf"(.*attentions\.\d+)\.{old}\.(\w+)", rf"\1.{new}.\2")
    for old, new in (("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("proj_attn", "to_out.0"))
)
"""diffusers' names of attention before its version 0.14."""


def attended(nominal: int, multipliers: Sequence[int], places: Sequence[int]) -> list[bool]:
    """For each level, whether it has attention: those whose side is among `places` when a picture's is `nominal`."""
    return [nominal // 2**level in places for level in range(len(multipliers))]


def sizes(config: Any, down: Sequence[bool], up: Sequence[bool]) -> dict[str, Any]:
    """What diffusers' autoencoders call the sizes of a config; down, up: attention at each level, from the finest."""
    return {
        "block_out_channels": [config.channels * m for m in config.multipliers],
        "down_block_types": ["AttnDownEncoderBlock2D" if a else "DownEncoderBlock2D" for a in down],
        "up_block_types": ["AttnUpDecoderBlock2D" if a else "UpDecoderBlock2D" for a in reversed(up)],
        "layers_per_block": config.blocks, "norm_num_groups": config.groups,
    }  # fmt: skip


def coders(config: Any, down: Sequence[bool], up: Sequence[bool], middle: bool = True) -> tuple[Encoder, Decoder]:
    """(encoder to `config.latent` channels, decoder from them). middle: attention between the two halves of each."""
    found = {**sizes(config, down, up), "mid_block_add_attention": middle}
    ups, downs = found.pop("up_block_types"), found.pop("down_block_types")
    return (
        Encoder(in_channels=3, out_channels=config.latent, down_block_types=downs, double_z=False, **found),
        Decoder(in_channels=config.latent, out_channels=3, up_block_types=ups, **found),
    )


def ldm_layout(widths: Sequence[int]) -> list[Layout]:
    """Official names as diffusers' ones; widths: channels of each level, from the finest.

    Attention there is made of 1×1 convolutions q, k, v or one qkv; here of linear layers.
    """
    rules = []
    last = len(widths) - 1
    for level, width in enumerate(widths):
        rules += _level(rf"encoder\.down\.{level}", f"encoder.down_blocks.{level}", width)
        rules += _level(rf"decoder\.up\.{level}", f"decoder.up_blocks.{last - level}", width)
    for side in ("encoder", "decoder"):
        rules += _attention(rf"{side}\.mid\.attn_1", f"{side}.mid_block.attentions.0", widths[-1])
        for block in (1, 2):
            rules.append(Layout(rf"{side}\.mid\.block_{block}\.(.+)", rf"{side}.mid_block.resnets.{block - 1}.\1"))
        rules.append(Layout(rf"{side}\.norm_out\.(\w+)", rf"{side}.conv_norm_out.\1"))
    return rules


def _level(old: str, new: str, width: int) -> list[Layout]:
    return [
        Layout(rf"{old}\.block\.(\d+)\.nin_shortcut\.(\w+)", rf"{new}.resnets.\1.conv_shortcut.\2"),
        Layout(rf"{old}\.block\.(\d+)\.(.+)", rf"{new}.resnets.\1.\2"),
        Layout(rf"{old}\.(down|up)sample\.conv\.(\w+)", rf"{new}.\1samplers.0.conv.\2"),
        *_attention(rf"{old}\.attn\.(\d+)", rf"{new}.attentions.\1", width),
    ]


def _attention(old: str, new: str, width: int) -> list[Layout]:
    bias = r"\2" if r"\1" in new else r"\1"
    rules = [Layout(rf"{old}\.norm\.(\w+)", rf"{new}.group_norm.{bias}")]
    parts = {"q": ("to_q",), "k": ("to_k",), "v": ("to_v",), "proj_out": ("to_out.0",), "qkv": ("to_q", "to_k", "to_v")}
    for name, into in parts.items():
        weights, biases = (tuple(f"{new}.{part}.{kind}" for part in into) for kind in ("weight", "bias"))
        rules.append(Layout(rf"{old}\.{name}\.weight", weights, reshape=(width, width)))
        rules.append(Layout(rf"{old}\.{name}\.bias", biases))
    return rules


def is_ldm(names: Any) -> bool:
    """Whether a checkpoint has the official names."""
    return any(name.startswith(("encoder.down.", "decoder.up.", "encoder.mid.")) for name in names)
