"""Weights from the hub: a commit resolved once and pinned, only the needed files, each verified.

Downloads go through huggingface_hub into its own cache; HF_ENDPOINT, HF_HOME and HF_TOKEN count.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from . import access
from .errors import WeightsError
from .headers import parse_index
from .hub_errors import explain, hub_failures, offline_miss
from .layout import Layout, choose
from .lock import LockedFile, write_atomically
from .sources import HubSource

if TYPE_CHECKING:
    from .locate import Reach

DOWNLOADS = 4  # files at a time; more only makes them slower
Listing = Mapping[str, LockedFile]


def hub_cache() -> str:
    """huggingface_hub's cache folder, computed as it does, without importing it."""
    folder = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if not folder:
        home = os.environ.get("HF_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
        folder = os.path.join(home, "hub")
    return os.path.expandvars(os.path.expanduser(folder))


def endpoint() -> str | None:
    """HF_ENDPOINT as it is now: huggingface_hub reads it only once, at its import."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or None


def repo_folder(repo: str) -> str:
    """Where the hub's cache keeps a model repository."""
    return os.path.join(hub_cache(), "models--" + repo.replace("/", "--"))


def known_commit(source: HubSource, reach: Reach) -> str | None:
    """The commit of a source as far as this machine knows it: written, locked, or (offline) last seen."""
    if source.is_commit:
        return source.revision
    locked = reach.lock.sources.get(source.key)
    if locked is not None:
        return locked.commit
    return last_seen_commit(source, reach.cache) if reach.offline else None


def _ref_file(source: HubSource, cache: str) -> str:
    ref = (source.revision or "main").replace("/", "--")
    return os.path.join(cache, "commits", source.repo.replace("/", "--"), ref)


def last_seen_commit(source: HubSource, cache: str) -> str | None:
    """The commit last seen behind a branch or tag, by us or by huggingface_hub, or None."""
    ref = source.revision or "main"
    for path in (_ref_file(source, cache), os.path.join(repo_folder(source.repo), "refs", ref)):
        try:
            with open(path, encoding="ascii") as file:
                commit = file.read().strip()
        except (OSError, ValueError):
            continue
        if len(commit) == 40:
            return commit
    return None


def remember_commit(source: HubSource, commit: str, cache: str) -> None:
    """Keeps what a branch or tag stood for, so that it can be used offline."""
    if not source.is_commit and last_seen_commit(source, cache) != commit:
        write_atomically(_ref_file(source, cache), commit.encode())


def resolve_commit(source: HubSource, reach: Reach) -> str:
    """The commit to use, pinned in the lock: a branch is asked for once and never again."""
    commit = known_commit(source, reach)
    if commit is None and reach.offline:
        raise offline_miss(source, "")
    if commit is None:
        from huggingface_hub import HfApi

        try:
            commit = HfApi(endpoint=endpoint()).model_info(source.repo, revision=source.revision or "main").sha
        except hub_failures() as error:
            raise explain(error, source) from None
    if not isinstance(commit, str) or len(commit) != 40:
        raise WeightsError("E468", f"{source}: the hub gave no commit.", "check that HF_ENDPOINT is a hub")
    remember_commit(source, commit, reach.cache)
    reach.lock.pin(source.key, commit)
    return commit


def listing(source: HubSource, commit: str, reach: Reach) -> Listing:
    """All files of a commit with sizes and hashes. A commit never changes: its listing is kept for good."""
    kept = os.path.join(reach.cache, "listings", source.repo.replace("/", "--"), f"{commit}.json")
    try:
        with open(kept, encoding="utf-8") as file:
            return {name: LockedFile(bytes=size, hash=hash) for name, (size, hash) in json.load(file).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        pass  # absent, or damaged: asked for again
    if reach.offline:
        return _listing_from_cache(source, commit)
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    files: dict[str, LockedFile] = {}
    try:
        for entry in HfApi(endpoint=endpoint()).list_repo_tree(source.repo, recursive=True, revision=commit):
            # A name that climbs out of its folder could make us touch (and, being "damaged", delete) other files.
            if isinstance(entry, RepoFile) and is_plain(entry.path):
                hash = f"sha256:{entry.lfs.sha256}" if entry.lfs else f"git:{entry.blob_id}"
                files[entry.path] = LockedFile(bytes=entry.size, hash=hash)
    except hub_failures() as error:
        if not isinstance(error, OSError) or not os.path.isdir(_snapshot(source, commit)) or _gone(error):
            raise explain(error, source, commit=commit) from None
        # No network, but a snapshot from an earlier day: it may well hold all that is needed.
        return _listing_from_cache(source, commit)
    table = {name: [file.bytes, file.hash] for name, file in files.items()}
    write_atomically(kept, json.dumps(table).encode())
    return files


def is_plain(name: str) -> bool:
    """Whether a file's name in a repository stays inside it."""
    return not name.startswith("/") and "\\" not in name and not {"", ".", ".."} & set(name.split("/"))


def _gone(error: BaseException) -> bool:
    """Whether the hub itself answered (so that an old copy must not stand in for its answer)."""
    return getattr(error, "response", None) is not None


def _snapshot(source: HubSource, commit: str) -> str:
    return os.path.join(repo_folder(source.repo), "snapshots", commit)


def _listing_from_cache(source: HubSource, commit: str) -> Listing:
    root = _snapshot(source, commit)
    files: dict[str, LockedFile] = {}
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.exists(path):
                inside = os.path.relpath(path, root).replace(os.sep, "/")
                files[inside] = LockedFile(bytes=os.path.getsize(path), hash="")
    if not files:
        raise offline_miss(source, "")
    return files


def fetch(source: HubSource, reach: Reach, *, weights: bool = True) -> dict[str, Any]:
    """Downloads what a source needs into the hub's cache, and records it in the lock.

    Returns {root, layout}. weights=False stops at the small assets. Nothing is asked of the network that the
    cache holds already.
    """
    commit = resolve_commit(source, reach)
    files = listing(source, commit, reach)
    _check_path(source, files)
    layout = choose(files, source.path, where=str(source), allow_pickle=reach.allow_pickle)
    root = _snapshot(source, commit)
    names = [*layout.assets, *(leaf.index for _, leaf in layout.leaves if leaf.index)]
    _download(source, commit, names, files, reach)
    if weights:
        shards = [name for _, leaf in layout.leaves for name in (_shards(leaf, root) if leaf.index else leaf.weights)]
        absent = [name for name in shards if name not in files]
        if absent:
            if reach.offline:
                raise offline_miss(source, absent[0])
            raise WeightsError(
                "E458",
                f"{source}: its index names shards that the repository lacks: {', '.join(absent[:5])}.",
                "choose another commit of the repository",
            )
        _download(source, commit, shards, files, reach)
        names += shards
    reach.lock.add_files(source.key, {name: files[name] for name in names if files[name].hash})
    return {"root": root, "layout": layout}


def _check_path(source: HubSource, files: Listing) -> None:
    if not source.path or any(name == source.path or name.startswith(source.path + "/") for name in files):
        return
    from anyany.errors.suggest import did_you_mean

    folders = {name.rsplit("/", 1)[0] for name in files if "/" in name}
    weights = {name for name in files if name.endswith(".safetensors")}
    hint = did_you_mean(source.path, folders | weights)
    known = ", ".join(sorted(folders | weights)[:8])
    raise WeightsError(
        "E465",
        f"{source}: the repository has no {source.path}.",
        hint or (f"it has {known}" if known else "it holds no weights in safetensors at all"),
    )


def _shards(layout: Layout, root: str) -> tuple[str, ...]:
    path = os.path.join(root, layout.index)
    placed = parse_index(access.read_bytes(path), path)
    folder = f"{layout.folder}/" if layout.folder else ""
    return tuple(dict.fromkeys(folder + shard for shard in placed.values()))


def _download(source: HubSource, commit: str, names: Sequence[str], files: Listing, reach: Reach) -> None:
    """Brings each named file into the cache unless it is there in its right size; new ones are verified."""
    root = _snapshot(source, commit)
    absent = []
    for name in names:
        path = os.path.join(root, name)
        if not os.path.exists(path):
            absent.append(name)
        elif os.path.getsize(path) != files[name].bytes:
            _forget(path)
            absent.append(name)
    if not absent:
        return
    if reach.offline:
        raise offline_miss(source, absent[0])
    # Imported here: it brings logging, and `check` must start fast.
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(max_workers=DOWNLOADS) as pool:
        # list() waits for all and raises the first failure.
        list(pool.map(lambda name: _download_one(source, commit, name, files[name]), absent))


def _download_one(source: HubSource, commit: str, name: str, expected: LockedFile) -> None:
    from huggingface_hub import hf_hub_download

    try:
        path = hf_hub_download(source.repo, name, revision=commit, cache_dir=hub_cache(), endpoint=endpoint())
    except hub_failures() as error:
        raise explain(error, source, commit=commit, name=name) from None
    if expected.hash and not _matches(path, expected):
        _forget(path)
        raise WeightsError(
            "E470",
            f"{source}: {name} arrived damaged: its hash is not the one that the hub announced.",
            "run again to fetch it anew; if it happens again, the hub's copy or a proxy is at fault",
        )


def _matches(path: str, expected: LockedFile) -> bool:
    """Whether a file has its size and hash. git: hashes are of the blob, "blob SIZE\\0" and the bytes."""
    import hashlib

    if os.path.getsize(path) != expected.bytes:
        return False
    kind, _, value = expected.hash.partition(":")
    digest = hashlib.sha256() if kind == "sha256" else hashlib.sha1(b"blob %d\0" % expected.bytes)
    with open(path, "rb") as handle:
        while block := handle.read(1 << 22):
            digest.update(block)
    return digest.hexdigest() == value


def _forget(path: str) -> None:
    """Removes a cached file and the blob behind its link, so that it is fetched anew."""
    blob = os.path.realpath(path)
    for victim in {path, blob}:
        if os.path.lexists(victim):
            os.unlink(victim)


def read_remote(source: HubSource, name: str, *, start: int = 0, length: int | None = None) -> tuple[bytes, int, str]:
    """Reads a byte range of a file on the hub without downloading the rest.

    Returns the bytes, the whole file's size (-1 where the server does not tell) and the commit it belongs to.
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        build_hf_headers,
        get_session,
        hf_raise_for_status,
    )

    url = hf_hub_url(source.repo, name, revision=source.revision or "main", endpoint=endpoint())
    headers = build_hf_headers() | {"Accept-Encoding": "identity"}
    if length is not None:
        headers["Range"] = f"bytes={start}-{start + length - 1}"
    data = b""
    try:
        with get_session().stream("GET", url, headers=headers, timeout=20, follow_redirects=True) as response:
            hf_raise_for_status(response)
            # A server that ignores Range sends all with status 200: stop once enough has come.
            skip = start if response.status_code == 200 else 0
            wanted = None if length is None else skip + length
            for block in response.iter_bytes(1 << 16):
                data += block
                if wanted is not None and len(data) >= wanted:
                    break
            total = _total(response.headers, response.status_code)
            commit = _commit_of(response)
    except hub_failures() as error:
        raise explain(error, source, name=name) from None
    return data[skip : None if length is None else skip + length], total, commit


def _total(headers: Mapping[str, str], status: int) -> int:
    text = headers.get("content-range", "").rpartition("/")[2] if status == 206 else headers.get("content-length", "")
    return int(text) if text.isdecimal() else -1


def _commit_of(response: Any) -> str:
    """The hub names the commit in its own answer, which may have been a redirect to a CDN."""
    for answer in (*response.history, response):
        commit = answer.headers.get("x-repo-commit")
        if commit:
            return str(commit)
    return ""
