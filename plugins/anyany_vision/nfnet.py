"""NFNet-F0 to F6: residual networks without normalisation (Brock et al. 2021, arXiv 2102.06171); F6 is Flamingo's eye.

image: B pictures -> patches [N,D], the last map's places, and their mean [D]. Names: timm's of DeepMind's weights
(`stages.S.N.conv1.gain` …). Suffixes: B rows, C channels, H and W places, D = 2 C of the last stage, K classes.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from anyany.api.torch import Build, Component, Context, Rows
from anyany_vision.images import square_batch
from anyany_vision.pictures import chances

GAMMA = 1.7015043497085571  # keeps the variance of a unit normal through GELU
ALPHA = 0.2  # of every residual branch
DEPTHS = (1, 2, 6, 3)  # of F0; F1 has twice as many, and so on


def act(x: torch.Tensor) -> torch.Tensor:
    """GELU that keeps the variance."""
    return F.gelu(x) * GAMMA


class StandardConv(nn.Conv2d):
    """A convolution whose kernels are standardised and scaled by a learned gain; padded as TensorFlow does ("same")."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups)
        self.gain = nn.Parameter(torch.empty(outputs, 1, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat = self.weight.flatten(1)[None]
        scale = self.gain.flatten() * flat.shape[-1] ** -0.5
        kernels = F.batch_norm(flat, None, None, scale, training=True, eps=1e-5).view_as(self.weight)
        size, step = self.kernel_size[0], self.stride[0]
        over = [max((-(-n // step) - 1) * step + size - n, 0) for n in x.shape[-2:]]
        padded = F.pad(x, (over[1] // 2, over[1] - over[1] // 2, over[0] // 2, over[0] - over[0] // 2))
        return F.conv2d(padded, kernels, self.bias, self.stride, 0, self.dilation, self.groups)


class SqueezeExcite(nn.Module):
    """Every channel scaled by what the means of all channels say (Hu et al. 2018, arXiv 1709.01507)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(channels, channels // 2, 1), nn.Conv2d(channels // 2, channels, 1)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        mean_BC11 = x_BCHW.mean((2, 3), keepdim=True)
        return x_BCHW * self.fc2(self.fc1(mean_BC11).relu()).sigmoid()


class Downsample(nn.Module):
    """The shortcut of a block that changes size or width."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv = StandardConv(inputs, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.stride > 1:
            x = F.avg_pool2d(x, 2, self.stride, ceil_mode=True, count_include_pad=False)
        return self.conv(x)


class Block(nn.Module):
    """x + alpha * gain * branch(beta * act(x)); beta is one over the standard deviation that x is expected to have."""

    def __init__(self, inputs: int, outputs: int, stride: int, group: int, beta: float) -> None:
        super().__init__()
        self.beta = beta
        groups = max(1, outputs // 2 // group)
        wide = groups * group if outputs // 2 >= group else outputs // 2
        self.downsample = Downsample(inputs, outputs, stride) if inputs != outputs or stride > 1 else None
        self.conv1 = StandardConv(inputs, wide)
        self.conv2 = StandardConv(wide, wide, 3, stride, groups)
        self.conv2b = StandardConv(wide, wide, 3, 1, groups)
        self.conv3 = StandardConv(wide, outputs)
        self.attn_last = SqueezeExcite(outputs)
        self.skipinit_gain = nn.Parameter(torch.empty(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        begun = act(x) * self.beta
        shortcut = x if self.downsample is None else self.downsample(begun)
        branch = self.conv2b(act(self.conv2(act(self.conv1(begun)))))
        branch = 2.0 * self.attn_last(self.conv3(act(branch)))
        return branch * self.skipinit_gain * ALPHA + shortcut


class NfNet(Component):
    """Options: `NfNetConfig`."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        stem = config.stem
        widths = (stem // 8, stem // 4, stem // 2, stem)
        self.stem = nn.ModuleDict({
            f"conv{i + 1}": StandardConv(before, after, 3, stride)
            for i, (before, after, stride) in enumerate(zip((3, *widths), widths, (2, 1, 1, 2)))
        })  # fmt: skip
        self.stages = nn.ModuleList()
        before, variance = stem, 1.0
        for index, (depth, channels) in enumerate(zip(DEPTHS, config.channels)):
            blocks = nn.ModuleList()
            for place in range(depth * (config.size + 1)):
                stride = 2 if place == 0 and index else 1
                blocks.append(Block(before, channels, stride, config.group, variance**-0.5))
                variance = (1.0 if place == 0 else variance) + ALPHA**2
                before = channels
            self.stages.append(blocks)
        self.final_conv = StandardConv(before, 2 * before)
        self.head = nn.ModuleDict({"fc": nn.Linear(2 * before, config.classes)}) if config.classes else None

    def map(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        """[B,D,H/32,W/32] after the last activation."""
        x = pixels_BCHW
        for index, conv in enumerate(self.stem.values()):
            x = conv(act(x) if index else x)
        for blocks in self.stages:
            for block in blocks:  # type: ignore[attr-defined]
                x = block(x)
        return act(self.final_conv(x))

    def pixels(self, ctx: Context, image: Rows) -> torch.Tensor:
        """[B,3,S,S]: pictures as the network wants them."""
        side, mean, std = self.config.resolution, self.config.mean, self.config.std
        return square_batch(image.list(), side, mean, std, ctx.device, ctx.dtype)

    def encode(self, ctx: Context, image: Rows) -> dict[str, Rows]:
        """image: B pictures. patches: [B,N,D], row by row; pooled: [B,D], their mean."""
        patches_BND = self.map(self.pixels(ctx, image)).flatten(2).transpose(1, 2)
        return {"patches": ctx.rows(patches_BND), "pooled": ctx.rows(patches_BND.mean(1))}

    def classify(self, ctx: Context, image: Rows) -> dict[str, Rows]:
        """label: the likeliest class; scores: probabilities."""
        assert self.head is not None
        label, scores = chances(self._logits(self.map(self.pixels(ctx, image))), self.config.names)
        return {"label": ctx.rows(label), "scores": ctx.rows(scores)}

    def _logits(self, map_BDHW: torch.Tensor) -> torch.Tensor:
        assert self.head is not None
        found: torch.Tensor = self.head["fc"](map_BDHW.mean((2, 3)))
        return found
