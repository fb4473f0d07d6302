"""Media as files and as values: sniff, load, meet, save, preview. Names load on first use.

`sniff(path)` tells what a file is; `load(kind, path)` decodes it; `save(kind, value, stem)` writes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anyany.media.errors import CODES, MediaError
from anyany.media.limits import Limits

if TYPE_CHECKING:
    from anyany.media.loading import load, meet, resolve
    from anyany.media.previews import preview
    from anyany.media.saving import companions, message_parts, save
    from anyany.media.sniffing import Sniffed, sniff
    from anyany.media.values import Audio, Video, to_float, to_uint8

__all__ = [
    "CODES", "Audio", "Limits", "MediaError", "Sniffed", "Video", "companions", "load", "meet", "message_parts",
    "preview", "resolve", "save", "sniff", "to_float", "to_uint8",
]  # fmt: skip

_WHERE = {
    "load": "loading", "meet": "loading", "resolve": "loading", "preview": "previews", "save": "saving",
    "companions": "saving", "message_parts": "saving", "Sniffed": "sniffing", "sniff": "sniffing", "Audio": "values",
    "Video": "values",    "to_float": "values", "to_uint8": "values",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'anyany.media' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"anyany.media.{_WHERE[name]}"), name)
    globals()[name] = value
    return value
