"""Weights on their way to disk: under the names that loading wants, ties once, written whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch


def checkpoint_of(component: Any) -> dict[str, torch.Tensor]:
    """The tensors to save, under the names that loading wants: `checkpoint()` where the component has one.

    A component with a `load` of its own and a single part `model` keeps the names of that library's model.
    """
    if hasattr(component, "checkpoint"):
        tensors = component.checkpoint()
    elif hasattr(component, "load") and [n for n, _ in component.named_children()] == ["model"]:
        tensors = component.model.state_dict()
    else:
        tensors = component.state_dict()
    seen: set[int] = set()
    own = {}
    wholes = {name: full(held) for name, held in tensors.items()}  # kept together: no two share a place by chance
    for name, tensor in wholes.items():
        if tensor.data_ptr() in seen and tensor.numel():
            continue  # a tie: the file holds it once
        seen.add(tensor.data_ptr())
        own[name] = tensor.detach().contiguous().clone()
    return own


def full(tensor: torch.Tensor) -> torch.Tensor:
    """The whole of a tensor that may be sharded (a DTensor); all processes must ask together."""
    gather = getattr(tensor, "full_tensor", None)
    found: torch.Tensor = tensor.detach() if gather is None else gather().detach()
    return found


def write_safetensors(
    tensors: Mapping[str, torch.Tensor], path: Path, metadata: Mapping[str, str] | None = None
) -> None:
    """Write a file under a temporary name, flush it to the disk, and rename it. Raises OSError."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    partial = path.with_name(path.name + ".partial")
    held = {name: t.detach().to("cpu").contiguous() for name, t in tensors.items()}
    try:
        save_file(held, partial, metadata=dict(metadata or {}))
    except SafetensorError as error:  # no space left, a folder that takes no files, ...
        raise OSError(errno.EIO, str(error), str(partial)) from error
    flush(partial)
    os.replace(partial, path)


def flush(path: Path) -> None:
    """Make sure a file or folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
