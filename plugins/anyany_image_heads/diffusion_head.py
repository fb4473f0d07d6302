"""MAR's diffusion head (Li et al. 2024, arXiv 2406.11838): a small network that draws a continuous token.

Takes conditions z [N,C]; gives tokens [N,D]. What depends on condition and step alone (every shift, scale and gate) is
one product a block for all steps, before the loop. Suffixes: N rows, D numbers a token, C condition, W width, S steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from anyany_image_heads import gaussian
from anyany_image_heads.transformer_parts import Linear, TimeEmbedding, modulated, modulation

EPS = 1e-6
MOST = 1 << 25
"""Numbers of modulations held at once (128 MiB in float32)."""
Modulations = tuple[list[tuple[torch.Tensor, ...]], tuple[torch.Tensor, ...]]


class ResBlock(nn.Module):
    """Layer norm, shift and scale, two linear layers, gate: [N,W] -> [N,W]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.in_ln = nn.LayerNorm(width, eps=EPS)
        self.mlp = nn.Sequential(Linear(width, width), nn.SiLU(), Linear(width, width))
        self.adaLN_modulation = modulation(width, 3)

    def modulations(self, active: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(shift, scale, gate) [...,W] with the norm's own weights inside; `active` is SiLU of time and condition."""
        shift, scale, gate = self.adaLN_modulation[1](active).chunk(3, -1)
        scale = scale + 1
        return torch.addcmul(shift, scale, self.in_ln.bias), scale * self.in_ln.weight, gate

    def forward(self, x_NW: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
        normed = torch.addcmul(shift, F.layer_norm(x_NW, x_NW.shape[-1:], eps=EPS), scale)
        return torch.addcmul(x_NW, gate, self.mlp(normed))


class FinalLayer(nn.Module):
    """[N,W] -> noise and variance [N,2D]."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.linear = Linear(width, outputs)
        self.adaLN_modulation = modulation(width, 2)

    def forward(self, x_NW: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return self.linear(modulated(x_NW, shift, scale))


class AdaMlp(nn.Module):
    """The network: [N,D], timesteps [N], conditions [N,C] -> [N,2D]."""

    def __init__(self, channels: int, cond: int, width: int, depth: int) -> None:
        super().__init__()
        self.time_embed = TimeEmbedding(width)
        self.cond_embed = Linear(cond, width)
        self.input_proj = Linear(channels, width)
        self.res_blocks = nn.ModuleList(ResBlock(width) for _ in range(depth))
        self.final_layer = FinalLayer(width, 2 * channels)

    def forward(self, x_ND: torch.Tensor, t_N: torch.Tensor, z_NC: torch.Tensor) -> torch.Tensor:
        blocks, final = self.modulations(self.time_embed(t_N) + self.cond_embed(z_NC))
        x_NW = self.input_proj(x_ND)
        for block, given in zip(self.res_blocks, blocks):
            x_NW = block(x_NW, *given)
        return self.final_layer(x_NW, *final)

    def modulations(self, y: torch.Tensor) -> Modulations:
        """Of each block, and of the last layer, for any time and condition y [...,W]."""
        active = F.silu(y)
        shift, scale = self.final_layer.adaLN_modulation[1](active).chunk(2, -1)
        return [block.modulations(active) for block in self.res_blocks], (shift, scale)

    def over_steps(self, timesteps: Sequence[int], z_NC: torch.Tensor) -> Iterator[Modulations]:
        """The modulations of every step, in order; many steps to a product, as memory allows."""
        time_SW = self.time_embed(torch.tensor(timesteps, device=z_NC.device))
        cond_NW = self.cond_embed(z_NC)
        numbers = cond_NW.numel() * (3 * len(self.res_blocks) + 2)
        for times in time_SW.split(max(1, MOST // max(1, numbers))):
            blocks, final = self.modulations(times[:, None] + cond_NW)
            for step in range(len(times)):
                yield [tuple(m[step] for m in given) for given in blocks], tuple(m[step] for m in final)


class DiffusionHead(nn.Module):
    """The network with its diffusion: a loss for training, a loop for drawing."""

    def __init__(self, channels: int, cond: int, width: int, depth: int) -> None:
        super().__init__()
        self.channels = channels
        self.net = AdaMlp(channels, cond, width, depth)
        self.process = gaussian.process("cosine")

    def losses(self, clean_ND: torch.Tensor, z_NC: torch.Tensor, t_N: torch.Tensor,
               noise_ND: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
        """([N] squared error of the noise, [N] bound that teaches the variance) at the training steps t."""
        noised = gaussian.noised(self.process, clean_ND, t_N, noise_ND)
        out = self.net(noised.to(z_NC.dtype), t_N, z_NC).float()
        return gaussian.losses(self.process, out, clean_ND, t_N, noise_ND)

    def sample(self, z_NC: torch.Tensor, steps: gaussian.Steps, noise: Callable[[int], torch.Tensor],
               guidance_N: torch.Tensor | None = None) -> torch.Tensor:  # fmt: skip
        """Tokens [N,D] float32 of conditions [N,C], or of [2N,C] with the null conditions behind and a guidance a row.

        noise(0) [N,D] begins; noise(i + 1) is of step i. Guidance acts on the noise; variances are those of the
        condition.
        """
        x_ND, net, rows = noise(0), self.net, len(z_NC)
        half = rows // 2 if guidance_N is not None else rows
        for index, (blocks, final) in enumerate(net.over_steps(steps.timesteps, z_NC)):
            x_NW = net.input_proj(x_ND.to(z_NC.dtype))
            x_NW = x_NW if half == rows else torch.cat([x_NW, x_NW])
            for block, given in zip(net.res_blocks, blocks):
                x_NW = block(x_NW, *given)
            out = net.final_layer(x_NW, *final).float()
            eps = out[:half, : self.channels]
            if guidance_N is not None:
                eps = torch.lerp(out[half:, : self.channels], eps, guidance_N[:, None])
            drawn = noise(index + 1) if steps.draws(index) else None
            x_ND = steps(index, x_ND, eps, out[:half, self.channels :], drawn)
        return x_ND
