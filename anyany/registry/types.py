"""What the registry speaks of: entry points, loaded plugins, quarantined ones, unknown names.

Plain frozen data; nothing is imported from plugins here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from anyany.api.v1 import Card, Kind


class PluginWarning(UserWarning):
    """A plugin could not be used; only specs that name it fail."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Entry:
    """One entry point of group `anyany.v1`: a namespace and the plugin module of a distribution."""

    namespace: str
    module: str
    dist: str
    version: str


@dataclass(frozen=True, kw_only=True, repr=False)
class Quarantine:
    """Why a namespace cannot be used. `last_line` ends the traceback, `where` is its innermost file:line."""

    namespace: str
    reason: str
    dist: str = ""
    last_line: str = ""
    where: str = ""
    advice: str = ""
    code: str = "E801"


@dataclass(frozen=True, kw_only=True, repr=False)
class Loaded:
    """An imported plugin: its cards by name and major, the kinds and specs it brings, remarks."""

    namespace: str
    module: ModuleType | Any
    cards: Mapping[str, Mapping[int, Card]]
    kinds: Mapping[str, Kind]
    specs: tuple[str, ...] = ()
    dist: str = ""
    version: str = ""
    remarks: tuple[str, ...] = ()
    seconds: float = field(default=0.0, compare=False)


class UnknownCard(LookupError):
    """No card has this name. `suggestions` are near names, `reason` says what is missing or broken.

    `code` is the catalogue's: E101 component, E102 namespace, E103 form, E104 major, E801… broken plugin.
    """

    def __init__(
        self, name: str, suggestions: tuple[str, ...], reason: str, help: str = "", code: str = "E101"
    ) -> None:
        self.name, self.suggestions, self.reason = name, suggestions, reason
        self.help, self.code = help, code
        super().__init__(f"{name}: {reason}")
