"""Finding entry points of group `anyany.v1` without importlib.metadata, which costs 15 ms and more at start.

One `scandir` an entry of `sys.path`, and one small file a distribution; both are skipped where the folder's
modification time is the one of the cache. Formats: PyPA "Recording installed projects", "Entry points".
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from anyany.registry.types import Entry

GROUP = "anyany.v1"
_INFO = re.compile(r"(.+?)-([^-]+?)(?:-py[0-9.]+)?\.(?:dist|egg)-info$|(.+)\.egg-info$")


def _parse(text: str) -> list[tuple[str, str]]:
    """(name, value) of the group's lines in an `entry_points.txt`."""
    found, inside = [], False
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("["):
            inside = line[1:-1].strip() == GROUP
        elif inside and "=" in line and not line.startswith(("#", ";")):
            name, _, value = line.partition("=")
            found.append((name.strip(), value.split("[")[0].strip()))
    return found


def _version(folder: str) -> str:
    """The version in METADATA or PKG-INFO, for folders whose name does not carry it."""
    for name in ("METADATA", "PKG-INFO"):
        try:
            with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as file:
                for line in file:
                    if line.startswith("Version:"):
                        return line[8:].strip()
                    if not line.strip():
                        break
        except OSError:
            continue
    return ""


def _scan(folder: str) -> list[list[Any]]:
    """[[dist, version, [[namespace, module], ...]], ...] of a folder; only dists with our group."""
    found: list[list[Any]] = []
    try:
        names = sorted(e.name for e in os.scandir(folder) if e.name.endswith((".dist-info", ".egg-info")))
    except OSError:
        return found
    for name in names:
        info = os.path.join(folder, name)
        try:
            with open(os.path.join(info, "entry_points.txt"), encoding="utf-8", errors="replace") as file:
                text = file.read()
        except OSError:
            continue
        points = _parse(text) if GROUP in text else []
        match = _INFO.fullmatch(name)
        if points and match:
            dist = match[1] or match[3]
            found.append([dist, match[2] or _version(info), [list(p) for p in points]])
    return found


def _stamp(folder: str) -> int | None:
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return None


def normal(dist: str) -> str:
    """A distribution's name as PyPI compares it."""
    return re.sub(r"[-_.]+", "-", dist).lower()


def discover(
    path: Iterable[str] | None = None, known: Mapping[str, Any] | None = None
) -> tuple[list[Entry], dict[str, Any]]:
    """All entry points along `sys.path`, and the scan to keep for next time (folder -> [stamp, dists]).

    A distribution found twice counts once, where `sys.path` has it first, as for Python's own import.
    """
    scans: dict[str, Any] = {}
    entries: list[Entry] = []
    seen: set[str] = set()
    for folder in sys.path if path is None else path:
        folder = os.path.abspath(folder or ".")
        if folder in scans:
            continue
        stamp = _stamp(folder)
        if stamp is None or os.path.isfile(folder):
            continue
        old = (known or {}).get(folder)
        dists = old[1] if old and old[0] == stamp else _scan(folder)
        scans[folder] = [stamp, dists]
        for dist, version, points in dists:
            if normal(dist) in seen:
                continue
            seen.add(normal(dist))
            entries += [Entry(namespace=n, module=m, dist=dist, version=version) for n, m in points]
    return entries, scans


def find_module(module: str, path: Iterable[str] | None = None) -> str | None:
    """The source file of a module, found along `sys.path` without an import; None when not found."""
    parts = module.split(".")
    for folder in sys.path if path is None else path:
        base = os.path.join(folder or ".", *parts)
        for file in (base + ".py", os.path.join(base, "__init__.py")):
            if os.path.isfile(file):
                return os.path.abspath(file)
    return None
