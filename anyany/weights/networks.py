"""Networks and schedulers named in a checkpoint's small files, from diffusers and transformers alone.

A name is looked up in these libraries and nowhere else, so that a config file can name no other code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn


@dataclass(frozen=True, kw_only=True)
class Part:
    """One network: the name of its class and its config. `extra` are further arguments of its constructor."""

    name: str
    config: Mapping[str, Any]
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def short(self) -> str:
        """The class's name without its module."""
        return self.name.rpartition(".")[2]

    def found(self) -> type[nn.Module]:
        """Its class. Raises ValueError where neither library has a network of that name."""
        import diffusers
        import transformers

        libraries = (transformers,) if self.name.startswith("transformers.") else (diffusers, transformers)
        for library in libraries:
            found = getattr(library, self.short, None)
            if isinstance(found, type) and issubclass(found, nn.Module):
                return found
        raise ValueError(f"neither diffusers nor transformers has a network called {self.short}")


def network_of(part: Part) -> nn.Module:
    """The network of a part: parameters on meta, buffers real. Raises ValueError for a class that no library has."""
    import torch
    from accelerate import init_empty_weights

    kind: Any = part.found()
    with torch.device("cpu"), init_empty_weights(include_buffers=False):
        if hasattr(kind, "config_class"):  # transformers'
            network: nn.Module = kind(kind.config_class(**part.config), **part.extra)
        else:
            network = kind.from_config(dict(part.config), **part.extra)
    return network


def scheduler_of(settings: Mapping[str, Any]) -> Any:
    """A fresh scheduler (they hold state): `class` or `_class_name`, and its settings.

    Raises ValueError for a class that diffusers does not have.
    """
    import diffusers

    name = str(settings.get("class", settings.get("_class_name"))).rpartition(".")[2]
    found = getattr(diffusers, name, None)
    if not isinstance(found, type) or not issubclass(found, diffusers.SchedulerMixin):
        raise ValueError(f"diffusers has no scheduler called {name}")
    return found.from_config({k: v for k, v in settings.items() if k != "class" and not k.startswith("_")})


def plain_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config of diffusers without its private entries."""
    return {k: v for k, v in config.items() if not k.startswith("_")}
