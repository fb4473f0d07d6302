"""From a parsed source to files on this machine: one function for hub:, file: and bundle:.

`Reach` says what may be used on the way: plugins' folders, the lock, the network, pickles.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from .headers import Header, header_of_layout, read_layout
from .layout import Layout
from .lock import Lock
from .sources import HubSource, RandomSource, Resolver, Source


def default_cache() -> str:
    """anyany's own cache folder (facts, listings): ANYANY_CACHE, or anyany below the user's cache folder."""
    own = os.environ.get("ANYANY_CACHE")
    if own:
        return os.path.expanduser(own)
    return os.path.join(os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or "~/.cache"), "anyany")


@dataclass(frozen=True, kw_only=True, repr=False)
class Reach:
    """What may be used to find weights.

    resolver: from a plugin's namespace to its folder. lock: pins of the spec, added to as commits resolve.
    cache: anyany's cache folder (the hub's own cache is where HF_HOME puts it). offline: no network at all.
    """

    resolver: Resolver | None = None
    lock: Lock = field(default_factory=Lock)
    cache: str = field(default_factory=default_cache)
    offline: bool = False
    allow_pickle: bool = False

    def __post_init__(self) -> None:
        # huggingface_hub's own switch means the same; it reads it only once, at its import.
        if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
            object.__setattr__(self, "offline", True)


@dataclass(frozen=True, kw_only=True, repr=False)
class Located:
    """Weights on this machine: layout names files relative to root."""

    source: Source
    root: str
    layout: Layout

    @property
    def folder(self) -> str:
        """Where the assets (config.json, tokenizer.json, ...) lie."""
        return os.path.join(self.root, self.layout.folder) if self.layout.folder else self.root or "."

    @property
    def header(self) -> Header:
        """All tensors' names, shapes and dtypes, without the source's prefix. Not for pickles."""
        return header_of_layout(self.layout, self.root).under(getattr(self.source, "prefix", ""))


def locate(source: Source, reach: Reach, *, weights: bool = True) -> Located:
    """Finds (or downloads) the files of a source; weights=False fetches the small assets alone.

    WeightsError E452 to E455 and E464 to E470 say what is missing and what to do.
    """
    assert not isinstance(source, RandomSource), "random weights have no files"
    if isinstance(source, HubSource):
        from .hub import fetch

        return Located(source=source, **fetch(source, reach, weights=weights))
    path = source.location if hasattr(source, "location") else source.locate(reach.resolver)
    layout, root = read_layout(path, allow_pickle=reach.allow_pickle)
    return Located(source=source, root=root, layout=layout)
