"""Component and Build: what an implementation is made from, and the base class it may use.

Source: DESIGN sections 4 and 6. A component is structure only in `__init__` (meta-device safe); weights come after.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn


class Assets:
    """Small files that travel with a checkpoint: config.json, tokenizer.json, preprocessor and scheduler files."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def path(self, name: str) -> Path | None:
        """The file's path, or None when the checkpoint has none of that name."""
        if self.folder is None:
            return None
        path = self.folder / name
        return path if path.exists() else None

    def json(self, name: str) -> dict[str, Any] | None:
        """The file's content, or None when there is none."""
        import json

        path = self.path(name)
        return None if path is None else json.loads(path.read_text("utf-8"))


@dataclass(frozen=True, kw_only=True)
class Build:
    """What the engine tells a component at construction.

    sizes:  solved variables of its ports (None: no end knows). facts: values read from the checkpoint.
    assets: small files beside the weights. device and dtype are where the weights will live (never move them yourself).
    skip: globs of the spec over names of tensors that may be left in the file (for components with a `load`).
    """

    node: str
    sizes: Mapping[str, int | None] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    assets: Assets = field(default_factory=lambda: Assets(None))
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.float32
    skip: tuple[str, ...] = ()


class Component(nn.Module):
    """Base class of components. Optional overrides:

    `load(stores, build)`: weights by another road than the strict default (transformers, diffusers); `stores` is the
    list of opened sources, base first. `rename(name)`: a checkpoint's name as this component's (None: not wanted),
    where official names differ and the strict default loads. `init_random(seed)`: for `random:` weights; the default
    draws every parameter
    from a generator seeded by (seed, its name). `init_buffers()`: fill buffers that no checkpoint carries.
    """

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__()
        self.config = config
        self.build = build

    def init_buffers(self) -> None:
        """Fill buffers that no checkpoint carries (nothing by default)."""
