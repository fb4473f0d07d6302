"""SPEC.lock: the commits, file hashes, facts, plugin versions and seed that a spec was last used with.

JSON beside the spec (`talk.yaml` -> `talk.yaml.lock`), read strictly, written atomically.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass, field
from typing import Any

from .errors import WeightsError

FORMAT = 1
_COMMIT = re.compile(r"[0-9a-f]{40}")
_HASH = re.compile(r"(?:sha256|git):[0-9a-f]{40,64}")
Fact = int | float | str


@dataclass(frozen=True, kw_only=True, repr=False)
class LockedFile:
    """One file of a pinned repository. hash: `sha256:...`, or `git:...` (a blob id) for small files."""

    bytes: int
    hash: str


@dataclass(kw_only=True)
class LockedSource:
    """A pinned repository: the commit, and those of its files that are used, by name."""

    commit: str
    files: dict[str, LockedFile] = field(default_factory=dict)


@dataclass(kw_only=True)
class Lock:
    """The contents of a lock file. sources and facts are keyed by `HubSource.key` and source string.

    changed tells whether anything was added since it was read.
    """

    plugins: dict[str, str] = field(default_factory=dict)
    sources: dict[str, LockedSource] = field(default_factory=dict)
    facts: dict[str, dict[str, Fact]] = field(default_factory=dict)
    seed: int | None = None
    changed: bool = field(default=False, compare=False)

    def pin(self, key: str, commit: str) -> None:
        """Records the commit of a repository. E472 where another one is pinned already."""
        known = self.sources.get(key)
        if known is not None and known.commit != commit:
            raise WeightsError(
                "E472",
                f"the lock pins {key} to {known.commit}, not to {commit}.",
                f"remove {key} from the lock to move it",
            )
        if known is None:
            self.sources[key] = LockedSource(commit=commit)
            self.changed = True

    def add_files(self, key: str, files: dict[str, LockedFile]) -> None:
        """Records files of a pinned repository."""
        known = self.sources[key].files
        if any(known.get(name) != file for name, file in files.items()):
            known.update(files)
            self.changed = True

    def add_facts(self, source: str, facts: dict[str, Fact]) -> None:
        """Records facts of a source, by their expression."""
        known = self.facts.setdefault(source, {})
        if any(known.get(name) != value for name, value in facts.items()):
            known.update(facts)
            self.changed = True

    def unpin(self, key: str) -> None:
        """Forgets a repository's commit, files and facts, so that the next use pins what is there then."""
        self.sources.pop(key, None)
        for source in [source for source in self.facts if _belongs(source, key)]:
            del self.facts[source]
        self.changed = True


def _belongs(source: str, key: str) -> bool:
    """Whether facts recorded for a source string come from the pinned repository key."""
    from .sources import HubSource, SourceSyntaxError, parse_source

    try:
        parsed = parse_source(source)
    except SourceSyntaxError:
        return False
    return isinstance(parsed, HubSource) and parsed.key == key


def lock_path(spec: str | os.PathLike[str]) -> str:
    """Where the lock of a spec file lies."""
    return os.fspath(spec) + ".lock"


def read_lock(path: str | os.PathLike[str]) -> Lock:
    """Reads a lock file; an absent one is an empty lock. E471 where it is not one."""
    name = os.fspath(path)
    try:
        with open(name, "rb") as handle:
            blob = handle.read()
    except FileNotFoundError:
        return Lock()
    except OSError as error:
        raise WeightsError("E471", f"{name} cannot be read: {error.strerror}.", "check its permissions") from None
    try:
        raw = json.loads(blob)
    except (ValueError, RecursionError) as error:
        raise _malformed(name, f"it is not JSON ({error})") from None
    return _parse(raw, name)


def _parse(raw: Any, name: str) -> Lock:
    if not isinstance(raw, dict) or "anyany_lock" not in raw:
        raise _malformed(name, "it has no anyany_lock")
    if raw["anyany_lock"] != FORMAT:
        raise WeightsError(
            "E471",
            f"{name} has format {raw['anyany_lock']!r}; this version reads format {FORMAT}.",
            "upgrade anyany, or delete the file to pin anew",
        )
    odd = sorted(set(raw) - {"anyany_lock", "plugins", "sources", "facts", "seed"})
    if odd:
        raise _malformed(name, f"it has unknown entries: {', '.join(odd)}")
    plugins, facts, seed = raw.get("plugins", {}), raw.get("facts", {}), raw.get("seed")
    if not _table(plugins, lambda value: isinstance(value, str)):
        raise _malformed(name, "plugins is not a map from names to versions")
    if not _table(facts, lambda value: _table(value, lambda fact: type(fact) in (int, float, str))):
        raise _malformed(name, "facts is not a map from sources to facts")
    if seed is not None and type(seed) is not int:
        raise _malformed(name, "seed is not a whole number")
    sources = raw.get("sources", {})
    if not isinstance(sources, dict):
        raise _malformed(name, "sources is not a map")
    parsed = {key: _source(key, value, name) for key, value in sources.items()}
    return Lock(plugins=plugins, sources=parsed, facts=facts, seed=seed)


def _table(value: Any, good: Any) -> bool:
    return isinstance(value, dict) and all(good(entry) for entry in value.values())


def _source(key: str, raw: Any, name: str) -> LockedSource:
    if not isinstance(raw, dict) or set(raw) - {"commit", "files"}:
        raise _malformed(name, f"sources.{key} is not {{commit, files}}")
    commit, files = raw.get("commit"), raw.get("files", {})
    if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
        raise _malformed(name, f"sources.{key}.commit is not a full commit (40 hexadecimal digits)")
    if not isinstance(files, dict):
        raise _malformed(name, f"sources.{key}.files is not a map")
    parsed = {}
    for file, entry in files.items():
        good = isinstance(entry, dict) and set(entry) == {"bytes", "hash"}
        if not good or type(entry["bytes"]) is not int or not _HASH.fullmatch(str(entry["hash"])):
            raise _malformed(name, f"sources.{key}.files.{file} is not {{bytes, hash}}")
        parsed[file] = LockedFile(bytes=entry["bytes"], hash=entry["hash"])
    return LockedSource(commit=commit, files=parsed)


def _malformed(name: str, what: str) -> WeightsError:
    return WeightsError("E471", f"{name} is not a lock file: {what}.", "restore it, or delete it to pin anew")


def write_lock(path: str | os.PathLike[str], lock: Lock) -> None:
    """Writes a lock atomically: a reader sees the old file or the new one, never a part."""
    table: dict[str, Any] = {"anyany_lock": FORMAT}
    if lock.seed is not None:
        table["seed"] = lock.seed
    table["plugins"] = dict(sorted(lock.plugins.items()))
    table["sources"] = {key: asdict(value) for key, value in sorted(lock.sources.items())}
    table["facts"] = {key: dict(sorted(value.items())) for key, value in sorted(lock.facts.items())}
    write_atomically(os.fspath(path), (json.dumps(table, indent=2, ensure_ascii=False) + "\n").encode())
    lock.changed = False


def write_atomically(path: str, data: bytes) -> None:
    """Writes data under a temporary name in the same folder, then renames. E475 where that is refused."""
    # The process id alone is not enough: threads of one process may write the same file.
    temporary = f"{path}.{os.getpid()}.{os.urandom(4).hex()}.tmp"
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(temporary, "wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise WeightsError(
            "E475",
            f"{path} cannot be written: {error.strerror or error}.",
            "free space, or check the folder's permissions",
        ) from None
