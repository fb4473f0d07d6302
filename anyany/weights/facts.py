"""Facts of a checkpoint: sizes and settings that a card reads from its header or its JSON files.

Sought in order in the lock, in a cache keyed by repository and commit, on disk, and, when online, by two
small requests to the hub (a JSON file; the header by byte range). No tensor is ever read.
"""

from __future__ import annotations

import fnmatch
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from . import access, hub
from .errors import WeightsError
from .headers import Header, header_length, header_of_layout, parse_header, parse_index, unreadable
from .layout import Layout, choose
from .locate import Reach, locate
from .lock import Fact, Lock, write_atomically
from .sources import HubSource, RandomSource, Resolver, Source

FIRST_BYTES = 1 << 17  # one request usually brings the whole header
Lookup = Callable[[Any], "Fact | None"]


def resolve_facts(
    facts: Mapping[str, Sequence[object]],
    source: Source | Sequence[Source],
    lock: Lock | None,
    cache_dir: str,
    online: bool = False,
    *,
    resolver: Resolver | None = None,
    allow_pickle: bool = False,
) -> dict[str, Fact]:
    """Values of a card's facts for a source (of overlaid ones, for the base).

    facts: name -> places to look, tried in order; each has `.kind` "tensor" (`.pattern`, `.axis`) or "json"
    (`.key`, `.file`). A name whose value nobody knows is left out: it is a variable. Facts of a repository
    that the lock pins are added to the lock. WeightsError where a file is missing, corrupt or unusable.
    """
    base = source if not isinstance(source, Sequence) else source[0]
    if isinstance(base, RandomSource) or not facts:
        return {}
    pins = Lock() if lock is None else lock
    reach = Reach(resolver=resolver, lock=pins, cache=cache_dir, offline=not online, allow_pickle=allow_pickle)
    online = not reach.offline
    found: dict[str, Fact] = {}
    known = reach.lock.facts.get(str(base), {})
    _seek(facts, lambda fact: known.get(expression(fact)), found)
    if len(found) == len(facts):
        return found
    if isinstance(base, HubSource):
        _seek_hub(facts, base, reach, found, online)
    else:
        located = locate(base, reach)
        header = _once(lambda: located.header if not located.layout.pickle else None)
        _seek(facts, _on_disk(located.folder, header), found)
    return found


def expression(fact: Any) -> str:
    """A fact as text, its key in lock and cache: `tensor(*embed*, 0)` or `json(config.json: width)`."""
    if fact.kind == "tensor":
        return f"tensor({fact.pattern}, {fact.axis})"
    return f"json({fact.file}: {fact.key})"


def _seek(facts: Mapping[str, Sequence[Any]], look: Lookup, found: dict[str, Fact]) -> dict[str, Fact]:
    """Looks for what is not found yet; returns the new finds by expression."""
    new: dict[str, Fact] = {}
    for name, places in facts.items():
        for fact in places:
            value = None if name in found else look(fact)
            if value is not None:
                found[name] = new[expression(fact)] = value
    return new


def _once(make: Callable[[], Any]) -> Callable[[], Any]:
    """A function that computes once, when first needed: headers are read only if a fact asks for a tensor."""
    kept: list[Any] = []

    def get() -> Any:
        if not kept:
            kept.append(make())
        return kept[0]

    return get


def _seek_hub(
    facts: Mapping[str, Sequence[Any]], source: HubSource, reach: Reach, found: dict[str, Fact], online: bool
) -> None:
    cache = os.path.join(reach.cache, "facts", source.repo.replace("/", "--") + ".json")
    kept = _read_cache(cache)
    commit = hub.known_commit(source, reach) or ""
    if not commit and not online:
        commit = hub.last_seen_commit(source, reach.cache) or ""
    pinned = replace(source, revision=commit) if commit else source
    if commit:
        entry = kept.get(str(pinned), {})
        _seek(facts, lambda fact: entry.get(expression(fact)), found)
    new = _seek_snapshot(facts, pinned, found) if commit else {}
    if online and len(found) < len(facts):
        remote = _Remote(pinned, reach)
        new |= _seek(facts, remote.look, found)
        commit = commit or remote.commit
    if new and commit:
        hub.remember_commit(source, commit, reach.cache)
        kept.setdefault(str(replace(source, revision=commit)), {}).update(new)
        write_atomically(cache, json.dumps(kept, indent=1).encode())
        if source.key in reach.lock.sources:
            reach.lock.add_facts(str(source), new)


def _read_cache(path: str) -> dict[str, dict[str, Fact]]:
    """The cached facts of a repository, by source string with its commit."""
    try:
        with open(path, encoding="utf-8") as file:
            return {source: dict(facts) for source, facts in json.load(file).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}  # absent or damaged: a cache may always be made anew


def _seek_snapshot(facts: Mapping[str, Sequence[Any]], source: HubSource, found: dict[str, Fact]) -> dict[str, Fact]:
    """Looks into what the hub's cache holds of a commit, which may be the small files alone."""
    root = os.path.join(hub.repo_folder(source.repo), "snapshots", source.revision)
    if len(found) == len(facts) or not os.path.isdir(root):
        return {}
    names = [
        os.path.relpath(os.path.join(folder, name), root).replace(os.sep, "/")
        for folder, _, files in os.walk(root)
        for name in files
    ]

    def header() -> Header | None:
        try:
            layout = choose(names, source.path, where=str(source))
            return header_of_layout(layout, root).under(source.prefix)
        except WeightsError:
            return None  # only a part is cached; the network, or the download, will tell

    folder = os.path.dirname(source.path) if "." in os.path.basename(source.path) else source.path
    return _seek(facts, _on_disk(os.path.join(root, folder), _once(header)), found)


def _on_disk(folder: str, header: Callable[[], Header | None]) -> Lookup:
    tables: dict[str, Any] = {}

    def look(fact: Any) -> Fact | None:
        if fact.kind == "tensor":
            return _from_header(fact, header())
        if fact.file not in tables:
            path = os.path.join(folder, fact.file)
            try:
                tables[fact.file] = parse_asset(access.read_bytes(path), path) if os.path.exists(path) else None
            except OSError as error:
                raise unreadable(path, error) from None
        return _from_table(fact, tables[fact.file], folder)

    return look


def parse_asset(blob: bytes, where: str) -> Any:
    """A JSON file beside the weights. WeightsError E462 where it is not JSON."""
    try:
        return json.loads(blob)
    except (ValueError, RecursionError) as error:
        raise WeightsError(
            "E462", f"{where} is not JSON ({error}).", "restore it, or fetch the checkpoint again"
        ) from None


def _from_header(fact: Any, header: Header | None) -> Fact | None:
    if header is None:
        return None
    for name, info in header.tensors.items():
        if fnmatch.fnmatchcase(name, fact.pattern):
            if not -len(info.shape) <= fact.axis < len(info.shape):
                raise WeightsError(
                    "E463",
                    f"{expression(fact)}: the tensor {name} of {info.file} has {len(info.shape)} axes.",
                    "these weights are of another kind than the component expects",
                )
            return int(info.shape[fact.axis])
    return None


def _from_table(fact: Any, table: Any, where: str) -> Fact | None:
    for part in fact.key.split("."):
        if isinstance(table, list) and part.isdecimal() and int(part) < len(table):
            table = table[int(part)]
        elif isinstance(table, dict):
            table = table.get(part)
        else:
            return None
    if table is None:
        return None
    if isinstance(table, bool) or not isinstance(table, int | float | str):
        raise WeightsError(
            "E463",
            f"{os.path.join(where, fact.file)}: {fact.key} is {type(table).__name__}, no number and no text.",
            "these weights are of another kind than the component expects",
        )
    value: Fact = table
    return value


def _matches(name: str, prefix: str, pattern: str) -> bool:
    return name.startswith(prefix) and fnmatch.fnmatchcase(name[len(prefix) :], pattern)


class _Remote:
    """Looks for facts on the hub: JSON files whole, headers by byte range, each asked for once."""

    def __init__(self, source: HubSource, reach: Reach) -> None:
        self.source = source
        self.reach = reach
        self.commit = source.revision if source.is_commit else ""
        self._tables: dict[str, Any] = {}
        self._headers: dict[str, Header] = {}

    def look(self, fact: Any) -> Fact | None:
        if fact.kind == "json":
            if fact.file not in self._tables:
                self._tables[fact.file] = self._json(fact.file)
            return _from_table(fact, self._tables[fact.file], str(self.source))
        return _from_header(fact, self._header_with(fact.pattern))

    def _read(self, name: str, **span: int) -> tuple[bytes, int]:
        data, size, commit = hub.read_remote(self.source, name, **span)
        if commit and not self.commit:
            # All further reads are of the commit that answered first, even if the branch moves meanwhile.
            self.commit = commit
            self.source = replace(self.source, revision=commit)
        return data, size

    def _json(self, file: str) -> Any:
        path = self.source.path
        folder = path.rpartition("/")[0] if path.endswith((".safetensors", ".json")) else path
        name = f"{folder}/{file}" if folder else file
        try:
            return parse_asset(self._read(name)[0], f"{self.source}: {name}")
        except WeightsError as error:
            if error.code == "E465":
                return None
            raise

    def _header_with(self, pattern: str) -> Header | None:
        path = self.source.path
        guess = path if path.endswith(".safetensors") else f"{path}/model.safetensors".lstrip("/")
        try:
            return self._header(guess)
        except WeightsError as error:
            if error.code != "E465" or guess == path:
                raise
        return self._listed_header(pattern)

    def _listed_header(self, pattern: str) -> Header | None:
        """The header that holds a tensor, when the files have other names or are shards."""
        commit = self.commit or hub.resolve_commit(self.source, self.reach)
        layout = choose(hub.listing(self.source, commit, self.reach), self.source.path, where=str(self.source))
        prefix = self.source.prefix
        for head, leaf in layout.leaves:
            names = self._index(leaf) if leaf.index else None
            shards = set(names.values()) if names else set(leaf.weights)
            for shard in sorted(shards):
                held = [head + name for name, place in names.items() if place == shard] if names else None
                if held is not None and not any(_matches(name, prefix, pattern) for name in held):
                    continue
                header = self._header(shard, head)
                if any(fnmatch.fnmatchcase(name, pattern) for name in header.tensors):
                    return header
        return None

    def _index(self, leaf: Layout) -> dict[str, str]:
        """From tensor names to the repository's names of their shards."""
        if leaf.index not in self._tables:
            blob = self._read(leaf.index)[0]
            self._tables[leaf.index] = parse_index(blob, f"{self.source}: {leaf.index}")
        folder = f"{leaf.folder}/" if leaf.folder else ""
        return {name: folder + shard for name, shard in self._tables[leaf.index].items()}

    def _header(self, name: str, head: str = "") -> Header:
        if name not in self._headers:
            self._headers[name] = self._read_header(name).beneath(head).under(self.source.prefix)
        return self._headers[name]

    def _read_header(self, name: str) -> Header:
        where = f"{self.source}: {name}"
        data, size = self._read(name, start=0, length=FIRST_BYTES)
        known = size if size >= 0 else None
        length = header_length(data[:8], where, known)
        if len(data) < 8 + length:
            data += self._read(name, start=len(data), length=8 + length - len(data))[0]
        return parse_header(data[8 : 8 + length], where, data_bytes=None if known is None else known - 8 - length)
