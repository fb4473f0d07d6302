"""The registry's cache on disk: what `sys.path` was scanned to hold, and every plugin's cards as JSON.

One file an environment under `$ANYANY_CACHE`, else the user's cache folder. It is only ever a shortcut:
unreadable, unwritable or foreign, it is ignored; entries whose plugin or distribution changed are read anew.
"""

from __future__ import annotations

import json
import os
import sys
import zlib
from collections.abc import Mapping
from typing import Any

from anyany.api import v1

FORMAT = 1


def cache_folder() -> str:
    """Where anyany keeps caches: `$ANYANY_CACHE`, else the platform's folder for them."""
    given = os.environ.get("ANYANY_CACHE")
    if given:
        return given
    home = os.path.expanduser("~")
    if sys.platform == "win32":
        return os.path.join(os.environ.get("LOCALAPPDATA", home), "anyany", "cache")
    if sys.platform == "darwin":
        return os.path.join(home, "Library", "Caches", "anyany")
    return os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache"), "anyany")


def _core_stamp() -> list[Any]:
    """Changes when the code that writes descriptions does, so that no old shape of them is ever read."""
    from anyany import __version__

    here = os.path.dirname(os.path.abspath(__file__))
    files = (os.path.join(here, "describe.py"), os.path.join(here, "options.py"), v1.__file__)
    stats = [os.stat(file) for file in files]
    return [__version__, sys.version_info[:2], *[(s.st_mtime_ns, s.st_size) for s in stats]]


def file_stamp(path: str) -> list[Any] | None:
    """[path, modification time, size, hash of the content], or None when it cannot be read."""
    import hashlib  # 5 ms, and only needed where something changed

    try:
        stat = os.stat(path)
        with open(path, "rb") as file:
            digest = hashlib.blake2b(file.read(), digest_size=12).hexdigest()
    except OSError:
        return None
    return [path, stat.st_mtime_ns, stat.st_size, digest]


def unchanged(stamp: list[Any]) -> bool:
    """True where the file still has the stamped content; time and size are trusted, else the hash decides."""
    path, mtime, size, digest = stamp
    try:
        stat = os.stat(path)
    except OSError:
        return False
    if stat.st_size != size:
        return False
    if stat.st_mtime_ns == mtime:
        return True
    fresh = file_stamp(path)
    return fresh is not None and fresh[3] == digest


class Cache:
    """The cache of this environment; `scans` and `namespaces` are what it held when opened."""

    def __init__(self, folder: str | None = None) -> None:
        key = f"{zlib.crc32(sys.prefix.encode('utf-8', 'surrogateescape')):08x}"
        self.path = os.path.join(folder or cache_folder(), f"registry-{key}.json")
        self.scans: dict[str, Any] = {}
        self.namespaces: dict[str, Any] = {}
        self._core = json.loads(json.dumps(_core_stamp()))
        self._read()

    def _read(self) -> None:
        try:
            with open(self.path, encoding="utf-8") as file:
                data = json.load(file)
        except (OSError, ValueError):  # none yet, or damaged: it will be written anew
            return
        if not isinstance(data, dict) or data.get("format") != FORMAT or data.get("core") != self._core:
            return
        if isinstance(data.get("scans"), dict) and isinstance(data.get("namespaces"), dict):
            self.scans, self.namespaces = data["scans"], data["namespaces"]

    def save(self, scans: Mapping[str, Any], namespaces: Mapping[str, Any]) -> None:
        """Write it, whole or not at all. Folders of other `sys.path`s are kept, up to a few hundred."""
        merged = {**dict(list(self.scans.items())[-200:]), **scans}
        data = {"format": FORMAT, "core": self._core, "scans": merged, "namespaces": dict(namespaces)}
        temporary = f"{self.path}.{os.getpid()}.tmp"
        try:
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
            with open(temporary, "w", encoding="utf-8") as file:
                file.write(json.dumps(data))  # `dump` would take the slow pure-Python encoder
            os.replace(temporary, self.path)
        except OSError:  # a read-only home or a full disk: go on without a cache
            if os.path.exists(temporary):
                os.unlink(temporary)
            return
        self.scans, self.namespaces = merged, dict(namespaces)
