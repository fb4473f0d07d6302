"""The registry: plugins found by entry point, their cards and options, the quarantine of broken ones.

Torch-free. `default_registry()` is the one of this process; everything loads on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anyany.registry.options import OptionIssue, make_config
    from anyany.registry.registry import Registry, default_registry
    from anyany.registry.types import PluginWarning, Quarantine, UnknownCard

__all__ = [
    "OptionIssue", "PluginWarning", "Quarantine", "Registry", "UnknownCard", "default_registry",
    "make_config",
]  # fmt: skip

_HOMES = {
    "OptionIssue": "options", "make_config": "options", "Registry": "registry",
    "default_registry": "registry", "PluginWarning": "types", "Quarantine": "types", "UnknownCard": "types",
}  # fmt: skip


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'anyany.registry' has no attribute {name!r}")
    import importlib

    value: object = getattr(importlib.import_module(f"anyany.registry.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
