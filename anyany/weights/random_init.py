"""`random:SEED`: every parameter drawn from a generator seeded by (seed, its name), so in any order of building.

Scales are those of healthy networks: fan-in normal for matrices and kernels, ones for norms, small biases.
Bit-equal on one kind of device; the CPU and CUDA draw differently.
"""

from __future__ import annotations

import hashlib
import math

import torch
from torch import nn

from .load import Slot, fill_unsaved_buffers, slots_of

SMALL = 0.02
_GAINS = ("gamma", "scale", "layer_scale", "lambda1", "logit_scale")


def generator_for(seed: int, name: str, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator of one named tensor (or node), independent of every other."""
    digest = hashlib.sha256(f"{seed}\0{name}".encode()).digest()
    return torch.Generator(device=device).manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def init_random(
    module: nn.Module, seed: int, *, dtype: torch.dtype | None = None, device: torch.device | str = "cpu"
) -> nn.Module:
    """Fills a module (built on meta, or not) with random weights, in place, and returns it.

    dtype: of floating parameters (None: as built). Values are drawn in float32 and rounded, so that a bfloat16
    module holds the rounded values of the float32 one. Buffers come from `init_buffers()`; saved ones that were
    built on meta get what their names say (running statistics, position ids), or zeros.
    """
    target = torch.device(device)
    for slot in slots_of(module):
        built = slot.tensor
        if not slot.is_parameter and not built.is_meta:
            slot.fill(built.to(target))
            continue
        wanted = dtype if dtype is not None and built.is_floating_point() else built.dtype
        slot.fill(_draw(slot, generator_for(seed, slot.names[0], target), target).to(wanted))
    fill_unsaved_buffers(module, target)
    return module


def _draw(slot: Slot, generator: torch.Generator, device: torch.device) -> torch.Tensor:
    name, shape = slot.names[0].rpartition(".")[2], tuple(slot.tensor.shape)
    if not slot.is_parameter or not slot.tensor.is_floating_point():
        return _buffer(name, shape, device)
    owner = slot.places[0][0]
    if _is_gain(owner, name, shape):
        return torch.ones(shape, device=device)
    std = SMALL if "bias" in name or len(shape) < 2 else 1 / math.sqrt(_fan_in(owner, name, shape))
    return torch.empty(shape, device=device).normal_(0.0, std, generator=generator)


def _is_gain(owner: nn.Module, name: str, shape: tuple[int, ...]) -> bool:
    """Whether a parameter multiplies a signal: a norm's weight, a layer scale, a temperature."""
    norm = "norm" in type(owner).__name__.lower()
    return (
        (norm and name in ("weight", "scale", "g") and len(shape) < 2)
        or (name in _GAINS and len(shape) < 2)
        or not shape
    )


def _fan_in(owner: nn.Module, name: str, shape: tuple[int, ...]) -> int:
    """How many values each output sums: what the variance must be divided by."""
    kind = type(owner).__name__
    if isinstance(owner, nn.Embedding):
        return shape[-1]
    if "ConvTranspose" in kind:
        return shape[0] * math.prod(shape[2:])
    if kind == "Conv1D":  # transformers' GPT-2 stores [in, out]
        return shape[0]
    if "weight" in name or "kernel" in name:
        return math.prod(shape[1:])
    return shape[-1]  # bare parameters: tokens, queries, position tables


def _buffer(name: str, shape: tuple[int, ...], device: torch.device) -> torch.Tensor:
    if name == "running_var":
        return torch.ones(shape, device=device)
    if name == "position_ids":
        return torch.arange(shape[-1], device=device).expand(shape).clone()
    return torch.zeros(shape, device=device)
