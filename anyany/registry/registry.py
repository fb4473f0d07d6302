"""Registry: namespaces from entry points, cards on first use, did-you-mean over all names, the quarantine.

A namespace is imported only when its card is asked for; lists of names come from the cache where it is valid.
"""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from anyany.api.v1 import Card, Kind
from anyany.kinds.builtin import KINDS
from anyany.registry.cache import Cache, file_stamp, unchanged
from anyany.registry.discover import discover, find_module, normal
from anyany.registry.types import Entry, Loaded, PluginWarning, Quarantine, UnknownCard

if TYPE_CHECKING:
    from pathlib import Path

FIRST_PARTY = "anyany"


class Registry:
    """All plugins of an environment. `path` is what to scan (default `sys.path`; `()` for none, as in tests).

    `cache` False keeps nothing on disk.
    """

    def __init__(self, path: Iterable[str] | None = None, *, cache: bool = True) -> None:
        self._lock = threading.RLock()
        self._path = None if path is None else tuple(path)
        self._use_cache = cache and self._path != ()
        self._cache: Cache | None = None
        self._entries: dict[str, Entry] | None = None
        self._scans: dict[str, Any] = {}
        self._loaded: dict[str, Loaded] = {}
        self._quarantined: dict[str, Quarantine] = {}
        self._described: dict[str, dict[str, Any]] = {}
        self._warned: set[str] = set()
        self._manager: Any = None

    # finding ----------------------------------------------------------------------------------------------
    @property
    def entries(self) -> Mapping[str, Entry]:
        """Entry points by namespace, without those that two distributions claim."""
        with self._lock:
            if self._entries is None:
                self._entries = self._discover()
            return self._entries

    def _discover(self) -> dict[str, Entry]:
        if self._use_cache:
            self._cache = Cache()
        known = self._cache.scans if self._cache else None
        found, self._scans = discover(self._path, known)
        claims: dict[str, list[Entry]] = {}
        for entry in found:
            claims.setdefault(entry.namespace, []).append(entry)
        entries: dict[str, Entry] = {}
        for namespace, rivals in claims.items():
            ours = [e for e in rivals if normal(e.dist) == FIRST_PARTY]
            if len(rivals) == 1 or ours:
                entries[namespace] = (ours or rivals)[0]
            for rival in rivals if len(rivals) > 1 else ():
                if rival not in ours:
                    self._refuse_rival(rival, rivals, bool(ours))
        if self._cache and any(known.get(f) != s for f, s in self._scans.items()):  # type: ignore[union-attr]
            self._cache.save(self._scans, self._cache.namespaces)
        return entries

    def _refuse_rival(self, rival: Entry, rivals: list[Entry], ours: bool) -> None:
        dists = sorted({e.dist for e in rivals})
        key = f"{rival.namespace}@{rival.dist}" if ours else rival.namespace
        self._quarantined[key] = Quarantine(
            namespace=key, dist=rival.dist if ours else ", ".join(dists),
            reason=f"namespace `{rival.namespace}` is claimed by {' and '.join(dists)}",
            advice=f"uninstall all but one of them: `pip uninstall {rival.dist}`", code="E802",
        )  # fmt: skip

    def namespaces(self) -> tuple[str, ...]:
        """All namespaces that may be named, sorted."""
        with self._lock:
            return tuple(sorted({*self.entries, *self._loaded}))

    def quarantined(self) -> Mapping[str, Quarantine]:
        """Broken plugins found so far, by namespace; `describe()` looks at all of them."""
        with self._lock:
            _ = self.entries
            return dict(self._quarantined)

    # loading ----------------------------------------------------------------------------------------------
    def add(self, namespace: str, plugin: Any) -> None:
        """Register a plugin of this process (a module or object with hooks); it replaces that namespace.

        Raises ValueError with the reason when the plugin breaks the API.
        """
        from anyany.registry.loading import read

        result = read(namespace, lambda: plugin, dist="(this process)")
        if isinstance(result, Quarantine):
            raise ValueError(f"plugin `{namespace}`: {result.reason}")
        with self._lock:
            self._quarantined.pop(namespace, None)
            self._keep(result)

    def remove(self, namespace: str) -> None:
        """Forget a plugin that `add` registered; nothing happens where there is none."""
        with self._lock:
            if self._loaded.pop(namespace, None) is not None and self._manager is not None:
                self._manager.unregister(name=namespace)
            self._described.pop(namespace, None)

    def _keep(self, loaded: Loaded) -> None:
        old = self._loaded.pop(loaded.namespace, None)
        self._loaded[loaded.namespace] = loaded
        self._described.pop(loaded.namespace, None)
        if self._manager is not None:
            if old is not None:
                self._manager.unregister(name=old.namespace)
            self._manager.register(loaded.module, name=loaded.namespace)

    @property
    def manager(self) -> Any:
        """The pluggy manager with every plugin that is loaded, for `hook.anyany_events(event=…)`."""
        with self._lock:
            if self._manager is None:
                from anyany.registry.loading import new_manager

                self._manager = new_manager()
                for loaded in self._loaded.values():
                    self._manager.register(loaded.module, name=loaded.namespace)
            return self._manager

    def load(self, namespace: str) -> Loaded | Quarantine | None:
        """Import a namespace's plugin (once); None when no distribution has it."""
        with self._lock:
            if namespace in self._loaded:
                return self._loaded[namespace]
            entry = self.entries.get(namespace)
            if namespace in self._quarantined:
                return self._quarantined[namespace]
            if entry is None:
                return None
            from anyany.registry.loading import load

            result = load(entry)
            if isinstance(result, Quarantine):
                self._quarantined[namespace] = result
            else:
                self._keep(result)
            if self._cached(namespace) is None:
                self._remember(entry, result)
                self._save()
            return result

    def card(self, name: str) -> Card:
        """The card of `namespace/name`, or of major version `namespace/name@2` (without one: the highest).

        Raises `UnknownCard`.
        """
        bare, at, wanted = name.partition("@")
        namespace, slash, _ = bare.partition("/")
        if not slash or bare.count("/") != 1 or not namespace:
            reason = "a component is named `namespace/name`, such as `vision/vit`"
            raise self._unknown(name, bare, reason, "E103")
        loaded = self.load(namespace)
        if isinstance(loaded, Quarantine):
            reason = f"its plugin `{namespace}` is broken: {loaded.reason}"
            help = f"{loaded.advice}; `anyany plugins doctor` tells more"
            raise UnknownCard(name, (), reason, help, loaded.code)
        if loaded is None:
            reason = f"no installed plugin has the namespace `{namespace}`"
            raise self._unknown(name, bare, reason, "E102")
        majors = loaded.cards.get(bare)
        if majors is None:
            reason = f"the plugin `{namespace}` has no component of that name"
            raise self._unknown(name, bare, reason, "E101")
        if not at:
            return majors[max(majors)]
        if not wanted.isdecimal() or int(wanted) not in majors:
            have = tuple(f"{bare}@{m}" for m in sorted(majors))
            reason = f"`{bare}` has no major version `{wanted}`"
            raise UnknownCard(name, have, reason, f"there is {', '.join(have)}", "E104")
        return majors[int(wanted)]

    def _unknown(self, name: str, bare: str, reason: str, code: str) -> UnknownCard:
        from anyany.errors.suggest import did_you_mean, suggest

        names = self.names()
        help = did_you_mean(bare, names) or "`anyany plugins` lists all components"
        return UnknownCard(name, tuple(suggest(bare, names)), reason, help, code)

    # lists ------------------------------------------------------------------------------------------------
    def names(self) -> list[str]:
        """The names of all cards, sorted."""
        return sorted({c["name"] for d in self.describe().values() for c in d["cards"]})

    def kinds(self) -> Mapping[str, Kind]:
        """Built-in kinds and those of plugins that are loaded or in the cache. Imports nothing."""
        from anyany.registry.describe import kind_from

        with self._lock:
            found = dict(KINDS)
            for namespace in self.entries:
                for data in (self._cached(namespace) or {}).get("kinds", ()):
                    found.setdefault(data["name"], kind_from(data))
            for loaded in self._loaded.values():
                found.update({k: v for k, v in loaded.kinds.items() if k not in KINDS})
            return found

    def describe(self) -> Mapping[str, dict[str, Any]]:
        """namespace -> {dist, version, cards, kinds, specs, remarks} as JSON (see `registry.describe`).

        Plugins whose cache entry is stale are imported; a broken one is set aside with one warning.
        """
        with self._lock:
            changed = False
            for namespace in self.namespaces():
                if namespace not in self._described:
                    changed |= self._describe(namespace)
            if changed:
                self._save()
            return {n: self._described[n] for n in self.namespaces() if n in self._described}

    def _describe(self, namespace: str) -> bool:
        """Fill in one description; True when the cache wants saving."""
        entry = self.entries.get(namespace)
        loaded = self._loaded.get(namespace)
        if loaded is not None and (entry is None or loaded.dist != entry.dist):
            self._described[namespace] = _description(loaded)
            return False
        assert entry is not None
        data = self._cached(namespace)
        if data is not None and "quarantine" not in data:
            self._described[namespace] = data
            return False
        if data is not None:
            self._quarantined.setdefault(namespace, Quarantine(**data["quarantine"]))
            return False
        from anyany.registry.loading import load

        result = loaded or self._quarantined.get(namespace) or load(entry)
        self._remember(entry, result)
        if isinstance(result, Quarantine):
            self._quarantined[namespace] = result
            self._warn(result)
        else:
            self._keep(result)
            self._described[namespace] = self._memory()[namespace]
        return True

    def _warn(self, broken: Quarantine) -> None:
        if broken.namespace not in self._warned:
            self._warned.add(broken.namespace)
            text = f"plugin `{broken.namespace}` is set aside: {broken.reason} (see `anyany plugins doctor`)"
            warnings.warn(text, PluginWarning, stacklevel=4)

    # cache ------------------------------------------------------------------------------------------------
    def _memory(self) -> dict[str, Any]:
        if self._cache is None:
            self._local: dict[str, Any] = getattr(self, "_local", {})
            return self._local
        return self._cache.namespaces

    def _cached(self, namespace: str) -> dict[str, Any] | None:
        """The cache's entry of a namespace where distribution, version and source files are those of now."""
        entry = self.entries.get(namespace)
        data: dict[str, Any] | None = self._memory().get(namespace)
        if data is None or entry is None or data.get("key") != [entry.module, entry.dist, entry.version]:
            return None
        if "quarantine" in data:  # believed only while nothing at all was installed
            return data if data.get("scan") == self._scan_stamp() else None
        return data if data["files"] and all(unchanged(f) for f in data["files"]) else None

    def _scan_stamp(self) -> list[list[Any]]:
        return [[folder, scan[0]] for folder, scan in sorted(self._scans.items())]

    def _remember(self, entry: Entry, result: Loaded | Quarantine) -> None:
        data: dict[str, Any] = {"key": [entry.module, entry.dist, entry.version]}
        if isinstance(result, Quarantine):
            data.update(quarantine=asdict(result), scan=self._scan_stamp())
        else:
            data.update(_description(result), files=_source_files(entry.module))
        self._memory()[entry.namespace] = data

    def _save(self) -> None:
        if self._cache is not None:
            self._cache.save(self._scans, self._cache.namespaces)

    # folders ----------------------------------------------------------------------------------------------
    def folder(self, namespace: str) -> Path:
        """The folder of a plugin's package (where `weights/` lies), found without an import where possible.

        Raises LookupError when there is none.
        """
        with self._lock:
            if namespace in self._loaded:
                file = getattr(self._loaded[namespace].module, "__file__", None)
            else:
                entry = self.entries.get(namespace)
                file = find_module(entry.module, self._path) if entry else None
                if entry and file is None:
                    loaded = self.load(namespace)
                    file = loaded.module.__file__ if isinstance(loaded, Loaded) else None
        if not file:
            raise LookupError(f"no installed plugin with a folder has the namespace `{namespace}`")
        from pathlib import Path

        return Path(file).resolve().parent


def _description(loaded: Loaded) -> dict[str, Any]:
    from anyany.registry.describe import describe_card, describe_kind

    cards = [describe_card(c) for majors in loaded.cards.values() for c in majors.values()]
    return {
        "dist": loaded.dist, "version": loaded.version, "cards": cards, "specs": list(loaded.specs),
        "kinds": [describe_kind(k) for k in loaded.kinds.values()], "remarks": list(loaded.remarks),
    }  # fmt: skip


def _source_files(module: str) -> list[list[Any]]:
    """Stamps of the plugin module and of every module of its package that came with it."""
    top = module.partition(".")[0]
    files: set[str] = set()
    for name, found in list(sys.modules.items()):
        if name == top or name.startswith(top + "."):
            file = getattr(found, "__file__", None)
            if file and os.path.isfile(file):
                files.add(file)
    return [s for s in map(file_stamp, sorted(files)) if s is not None]


_default: Registry | None = None
_default_lock = threading.Lock()


def default_registry() -> Registry:
    """The registry of this process."""
    global _default
    with _default_lock:
        if _default is None:
            _default = Registry()
        return _default
