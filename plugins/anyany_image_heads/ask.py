"""One pass of a diffusers denoiser of pictures, whatever its class calls its inputs.

Shape suffixes: B rows, C channels, H W sides, N conditioning length, D its width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def ask_network(network: nn.Module, channels: int, dtype: torch.dtype) -> Any:
    """One pass of a diffusers denoiser as `ask(x [B,C,H,W], timestep [B], cond)`, whatever its class calls its inputs.

    Of networks that give mean and variance (twice the `channels`) the mean is kept.
    """
    name = type(network).__name__

    def ask(x_BCHW: torch.Tensor, t_B: torch.Tensor, cond: torch.Tensor) -> torch.Tensor:
        x = x_BCHW.to(dtype)
        if name == "DiTTransformer2DModel":
            out = network(x, timestep=t_B, class_labels=cond, return_dict=False)[0]
        elif name.startswith("UNet"):
            out = network(x, t_B, encoder_hidden_states=cond.to(dtype), return_dict=False)[0]
        else:
            told = {"encoder_hidden_states": cond.to(dtype), "timestep": t_B, **_sizes(network, x)}
            out = network(x, return_dict=False, **told)[0]
        return out[:, :channels]

    return ask


def _sizes(network: nn.Module, x: torch.Tensor) -> dict[str, Any]:
    """PixArt-alpha at 1024 pixels is also told the size and shape of the picture."""
    if not getattr(network, "use_additional_conditions", False):
        return {}
    side = x.new_tensor([8 * x.shape[2], 8 * x.shape[3]]).expand(len(x), 2)
    return {"added_cond_kwargs": {"resolution": side, "aspect_ratio": side[:, :1] / side[:, 1:]}}
