"""A stage's module shared by several processes: copies with summed gradients (DDP), or shards (FSDP).

FSDP is torch's `fully_shard` over the whole stage, on any device; accelerate's own does not run on the CPU. Values of
sharded parameters are DTensors: `full` gathers them, on all processes together.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from anyany.weights.save import full


def sharded(accelerator: Any) -> bool:
    """Whether `accelerate launch` was asked for FSDP."""
    return os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true" and accelerator.num_processes > 1


def share(model: nn.Module, accelerator: Any) -> nn.Module:
    """The module to call: itself sharded in place, a DDP wrapper around it, or itself."""
    if not sharded(accelerator):
        prepared: nn.Module = accelerator.prepare(model)
        return prepared
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    fully_shard(model, mesh=mesh)
    return model


@contextlib.contextmanager
def unsynced(prepared: nn.Module, accelerator: Any) -> Iterator[None]:
    """Inside, gradients stay on their process: more parts of the step follow."""
    if not sharded(accelerator):
        with accelerator.no_sync(prepared):
            yield
        return
    prepared.set_requires_gradient_sync(False)  # type: ignore[operator]
    try:
        yield
    finally:
        prepared.set_requires_gradient_sync(True)  # type: ignore[operator]


@contextlib.contextmanager
def whole(model: nn.Module) -> Iterator[None]:
    """Inside, every process holds all parameters whole; all must enter together."""
    if not hasattr(model, "unshard"):
        yield
        return
    model.unshard()  # type: ignore[operator]
    try:
        yield
    finally:
        model.reshard()  # type: ignore[operator]


def gathered(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """All of them whole, on the CPU."""
    return {name: full(t).to("cpu") for name, t in tensors.items()}


def like(value: torch.Tensor, example: torch.Tensor) -> torch.Tensor:
    """A whole tensor placed, and sharded, as another one is."""
    if not hasattr(example, "full_tensor"):
        return value.to(example.device)
    from torch.distributed.tensor import distribute_tensor

    mesh: Any = example.device_mesh  # type: ignore[attr-defined]
    placed: torch.Tensor = distribute_tensor(value.to(mesh.device_type), mesh, example.placements)  # type: ignore[attr-defined]
    return placed
