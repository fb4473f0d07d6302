"""The autoencoders behind latent heads, as diffusers' networks under latent-diffusion names too (Rombach et al. 2022).

Pixels [B,3,H,W] in -1..1 <-> latents [B,Z,h,w], scaled to about unit variance. Names: CompVis's (also MAR's and VAR's:
`encoder.down.0.block.0`) or diffusers'. Suffixes: B rows, Z latent channels, h w sides of the latent map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import diffusers  # tables that it makes at import must not be made on meta
import torch
from torch import nn

from anyany.api.torch import Build, Layout, Part, load_strict, network_of, relayout


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the sources of a head hold: the network (with all else), the autoencoder, the features' projection."""

    model: Any
    vae: Any | None
    features: Any


def parts_of(stores: Sequence[Any]) -> Found:
    """The autoencoder is a source of its own (it has a decoder's first convolution), or lies under `vae.`."""
    mine, others = [], []
    for store in stores:
        (others if "decoder.conv_in.weight" in store else mine).append(store)
    if not mine:
        raise ValueError("these weights hold an autoencoder alone; name the head's own file first")
    whole = relayout(mine, ())
    vae = relayout(others, ()) if others else whole.under("vae.")
    return Found(model=whole, vae=vae if len(vae) else None, features=whole.under("features."))


class Autoencoder(nn.Module):
    """Base of autoencoders: `body` is what a checkpoint fills, `widths` the channels of each level."""

    qkv = False
    otherwise = ", or give `with: {autoencoder: false}` and decode elsewhere"

    @property
    def body(self) -> nn.Module:
        return self

    @property
    def widths(self) -> Sequence[int]:
        """Channels of each level."""
        raise NotImplementedError

    @property
    def factor(self) -> int:
        """Pixels a latent position."""
        return 2 ** (len(self.widths) - 1)

    def load(self, store: Any | None, build: Build, node: str) -> None:
        """Fill it, strictly. Raises ValueError where the weights of the node hold no autoencoder."""
        if store is None:
            raise ValueError(f"the weights of {node} hold no autoencoder: name its file too, as a second source"
                             f"{self.otherwise}")  # fmt: skip
        known = relayout(store, ldm_layouts(self.widths, self.qkv))
        names = {name: name for name in known}
        translate = getattr(self.body, "_fix_state_dict_keys_on_load", None)
        if translate is not None:
            translate(names)
        new = {old: name for name, old in names.items()}
        load_strict(self.body, known, rename=lambda name: self.rename(new[name]), skip=build.skip, dtype=build.dtype,
                    device=build.device)  # fmt: skip

    def rename(self, name: str) -> str | None:
        """None for what a checkpoint holds beyond the network."""
        return name


class KlAutoencoder(Autoencoder):
    """AutoencoderKL; `sizes` gives its config, `scale` what latents are multiplied by."""

    def __init__(self, sizes: Mapping[str, Any], scale: float) -> None:
        super().__init__()
        self.net = network_of(Part(name="AutoencoderKL", config=sizes))
        self.scale = scale

    @property
    def body(self) -> nn.Module:
        return self.net

    @property
    def widths(self) -> Sequence[int]:
        return list(self.net.config.block_out_channels)

    def encode(self, pixels_B3HW: torch.Tensor) -> torch.Tensor:
        """[B,Z,h,w]: the mean of the code, scaled."""
        return self.net.encode(pixels_B3HW).latent_dist.mode() * self.scale

    def decode(self, latents_BZhw: torch.Tensor) -> torch.Tensor:
        """[B,3,H,W] in about -1..1."""
        return self.net.decode(latents_BZhw / self.scale, return_dict=False)[0]


class VqAutoencoder(Autoencoder):
    """VQModel: pixels <-> codes [B,h,w]. `config` gives codes, latents and the `vae_` sizes."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        count = len(config.vae_levels)
        self.net = network_of(Part(name="VQModel", config={
            "in_channels": 3, "out_channels": 3, "latent_channels": config.latents, "vq_embed_dim": config.latents,
            "num_vq_embeddings": config.codes, "layers_per_block": config.vae_blocks,
            "block_out_channels": [config.vae_width * m for m in config.vae_levels],
            "norm_num_groups": min(32, config.vae_width),
            "down_block_types": ["DownEncoderBlock2D"] * (count - 1) + ["AttnDownEncoderBlock2D"],
            "up_block_types": ["AttnUpDecoderBlock2D"] + ["UpDecoderBlock2D"] * (count - 1),
        }))  # fmt: skip

    @property
    def body(self) -> nn.Module:
        return self.net

    @property
    def widths(self) -> Sequence[int]:
        return list(self.net.config.block_out_channels)

    def rename(self, name: str) -> str | None:
        """The losses in taming-transformers' files are left."""
        return None if name.startswith("loss.") else name

    def encode(self, pixels_B3HW: torch.Tensor) -> torch.Tensor:
        """[B,h,w]: the nearest codes."""
        z_BZhw = self.net.encode(pixels_B3HW).latents
        table, z_MZ = self.net.quantize.embedding.weight, z_BZhw.movedim(1, 3).flatten(0, 2)
        found = torch.addmm(table.square().sum(1), z_MZ, table.T, alpha=-2).argmin(1)
        return found.view(len(z_BZhw), *z_BZhw.shape[2:])

    def decode(self, ids_Bhw: torch.Tensor) -> torch.Tensor:
        """[B,3,H,W] in about -1..1."""
        z_BZhw = self.net.quantize.embedding(ids_Bhw).movedim(3, 1).contiguous()
        return self.net.decode(z_BZhw, force_not_quantize=True, return_dict=False)[0]


def kl_sizes(width: int, levels: Sequence[int], blocks: int, latents: int, attention: bool) -> dict[str, Any]:
    """AutoencoderKL's config. attention: also after each block of the encoder's last level (nominal resolution 16)."""
    count = len(levels)
    last = "AttnDownEncoderBlock2D" if attention else "DownEncoderBlock2D"
    return {
        "in_channels": 3, "out_channels": 3, "latent_channels": latents, "layers_per_block": blocks,
        "block_out_channels": [width * m for m in levels], "norm_num_groups": min(32, width),
        "down_block_types": ["DownEncoderBlock2D"] * (count - 1) + [last],
        "up_block_types": ["UpDecoderBlock2D"] * count,
    }  # fmt: skip


def ldm_layouts(widths: Sequence[int], qkv: bool = False) -> list[Layout]:
    """CompVis's names as diffusers'; those of diffusers match no rule. qkv: one convolution makes all three."""
    last, wide = len(widths) - 1, widths[-1]
    flat = (wide, wide)
    rules = []
    sides = [("encoder", rf"down\.{i}", f"down_blocks.{i}", "down") for i in range(last + 1)]
    sides += [("decoder", rf"up\.{i}", f"up_blocks.{last - i}", "up") for i in range(last + 1)]
    sides += [(side, "mid", "mid_block", "") for side in ("encoder", "decoder")]
    for side, old, new, way in sides:
        head, into = rf"{side}\.{old}\.", f"{side}.{new}."
        if way:
            block, attn = r"block\.(\d+)\.", r"attn\.(\d+)\."
            rules.append(Layout(rf"{head}{way}sample\.conv\.(\w+)", rf"{into}{way}samplers.0.conv.\1"))
            where = r"\1"
            rules.append(Layout(rf"{head}{block}nin_shortcut\.(\w+)", rf"{into}resnets.{where}.conv_shortcut.\2"))
            rules.append(Layout(rf"{head}{block}(norm\d|conv\d)\.(\w+)", rf"{into}resnets.{where}.\2.\3"))
            rules += _attention(head + attn, rf"{into}attentions.{where}.", flat, qkv)
        else:
            for number in (1, 2):
                rules.append(Layout(rf"{head}block_{number}\.(\w+)\.(\w+)", rf"{into}resnets.{number - 1}.\1.\2"))
            rules += _attention(head + r"attn_(1)\.", f"{into}attentions.0.", flat, qkv)
    return [*rules, Layout(r"(encoder|decoder)\.norm_out\.(\w+)", r"\1.conv_norm_out.\2")]


def _attention(head: str, into: str, flat: tuple[int, int], qkv: bool) -> list[Layout]:
    """1x1 convolutions as linear layers."""
    rules = [
        Layout(head + r"norm\.(\w+)", into + r"group_norm.\2"),
        Layout(head + r"proj_out\.weight", into + "to_out.0.weight", reshape=flat),
        Layout(head + r"proj_out\.bias", into + "to_out.0.bias"),
    ]
    if qkv:
        split = tuple(f"{into}to_{letter}." for letter in "qkv")
        return [
            *rules,
            Layout(head + r"qkv\.weight", tuple(s + "weight" for s in split), reshape=flat),
            Layout(head + r"qkv\.bias", tuple(s + "bias" for s in split)),
        ]
    for letter in "qkv":
        rules.append(Layout(head + rf"{letter}\.weight", f"{into}to_{letter}.weight", reshape=flat))
        rules.append(Layout(head + rf"{letter}\.bias", f"{into}to_{letter}.bias"))
    return rules


assert diffusers.AutoencoderKL  # imported for what its import does
