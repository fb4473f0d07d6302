"""Networks and schedulers named in a checkpoint's small files, from diffusers and transformers alone.

A name is looked up in these libraries and nowhere else, so that a config file can name no other code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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


def scheduler_of(settings: Mapping[str, Any], steps: int | None = None, device: Any = None, own: bool = False) -> Any:
    """A fresh scheduler (they hold state): `class` or `_class_name`, and its settings.

    steps: so many are set; flow matching with Euler's steps goes from pure noise down in equal parts, where the
    scheduler's own list (`own`) would stop short of the last. Raises ValueError for a class that diffusers does not
    have, and for a number of steps that it cannot go.
    """
    import diffusers

    name = str(settings.get("class", settings.get("_class_name"))).rpartition(".")[2]
    found = getattr(diffusers, name, None)
    if not isinstance(found, type) or not issubclass(found, diffusers.SchedulerMixin):
        raise ValueError(f"diffusers has no scheduler called {name}")
    scheduler: Any = found.from_config({k: v for k, v in settings.items() if k != "class" and not k.startswith("_")})
    if steps is None:
        return scheduler
    try:
        if name == "FlowMatchEulerDiscreteScheduler" and not own:
            scheduler.set_timesteps(sigmas=[1 - i / steps for i in range(steps)], device=device)
        else:
            scheduler.set_timesteps(steps, device=device)
    except (ValueError, IndexError, RuntimeError) as error:
        raise ValueError(f"{name} cannot go {steps} steps ({error}); ask for other `steps`") from error
    return scheduler


def pipeline_parts(assets: Any, names: Iterable[str]) -> dict[str, Part]:
    """The networks of a diffusers pipeline folder that are among `names`, by the config.json of each."""
    parts: dict[str, Part] = {}
    for name in names:
        settings = assets.json(f"{name}/config.json")
        if settings is None:
            continue
        if "_class_name" in settings:
            parts[name] = Part(name=settings["_class_name"], config=plain_config(settings))
        else:
            kept = {k: v for k, v in settings.items() if k not in ("architectures", "model_type")}
            parts[name] = Part(name=f"transformers.{settings['architectures'][0]}", config=kept)
    return parts


def plain_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config of diffusers without its private entries."""
    return {k: v for k, v in config.items() if not k.startswith("_")}


def load_network(part: Part, stores: Any, build: Any, *, prefix: str = "") -> nn.Module:
    """The network of a part with its weights, through its own library's loader: ties and old names are theirs.

    prefix: of its tensors' names in the stores, with its dot. Raises WeightsError E459.
    """
    from anyany.weights.pretrained import load_diffusers, load_transformers

    kind: Any = part.found()
    if hasattr(kind, "config_class"):
        found: nn.Module = load_transformers(kind, kind.config_class(**part.config), stores, build, prefix=prefix,
                                             **part.extra)  # fmt: skip
    else:
        found = load_diffusers(kind, part.config, stores, build, prefix=prefix)
    return found


def load_parts(module: nn.Module, parts: Mapping[str, Part], stores: Any, build: Any) -> None:
    """Fill the submodules `parts` of a component from a pipeline's weights, where each lies under its own name.

    Raises WeightsError E459 for tensors under no part's name, too.
    """
    from anyany.weights.load import mismatch
    from anyany.weights.lora import overlay

    store = overlay(stores)
    spare = store.matching(build.skip)
    left = sorted(n for n in store if n.partition(".")[0] not in parts and n not in spare)
    if left:
        raise mismatch(store.origin, type(module).__name__, unexpected=left)
    for name, part in parts.items():
        setattr(module, name, load_network(part, store, build, prefix=f"{name}."))
