"""A small hub on loopback: the protocol of the Hugging Face Hub, served from a folder ORG/NAME/files.

With commits, branches, gated repositories, LFS redirects, byte ranges, and faults to order; for tests.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

LFS_ENDINGS = (".safetensors", ".bin", ".pt", ".model")


@dataclass(kw_only=True)
class Repo:
    """A repository: each commit is a full set of files, branches point at commits."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    gated: bool = False


@dataclass(kw_only=True)
class Request:
    """One request as the server saw it; sent counts the bytes of the body that went out."""

    method: str
    path: str
    range: str = ""
    status: int = 0
    sent: int = 0


class HubServer:
    """Serves the repositories of a folder; a context manager. `endpoint` is what HF_ENDPOINT must say.

    faults: file name -> "corrupt" (one byte changed), "drop" (the connection ends midway, once),
    "die" (the whole server stops midway) or "no-range" (Range is ignored).
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self.repos: dict[str, Repo] = {}
        self.requests: list[Request] = []
        self.faults: dict[str, str] = {}
        server = self

        class Handler(_Handler):
            hub = server

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        if folder is not None:
            for path in sorted(Path(folder).glob("*/*")):
                self.commit("/".join(path.parts[-2:]), path)

    def __enter__(self) -> HubServer:
        self._thread.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self.stop()
        self._thread.join()

    def stop(self) -> None:
        """Stops listening at once; later connections are refused."""
        self._http.shutdown()
        self._http.server_close()

    def commit(self, repo: str, files: str | Path | dict[str, bytes], branch: str = "main") -> str:
        """Makes the files of a folder (or a dict) the newest commit of a branch; returns the commit."""
        if not isinstance(files, dict):
            root = Path(files)
            paths = sorted(path for path in root.rglob("*") if path.is_file())
            files = {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}
        entry = self.repos.setdefault(repo, Repo())
        digest = hashlib.sha1(f"{repo} {len(entry.commits)}".encode())
        for name, data in sorted(files.items()):
            digest.update(name.encode() + b"\0" + hashlib.sha1(data).digest())
        commit = digest.hexdigest()
        entry.commits[commit] = dict(files)
        entry.branches[branch] = commit
        return commit

    def bytes_sent(self, name: str = "") -> int:
        """Body bytes sent for requests whose path contains name."""
        return sum(request.sent for request in self.requests if name in request.path)


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *values: Any) -> None:
        """Tests read `HubServer.requests` instead of a log on stderr."""

    def do_HEAD(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        self._serve()

    def _serve(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self._request = Request(method=self.command, path=path, range=self.headers.get("Range", ""))
        self.hub.requests.append(self._request)
        api = re.fullmatch(r"/api/models/([^/]+/[^/]+?)(?:/(revision|tree)/(.+))?", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        blob = re.fullmatch(r"/cdn/([^/]+/[^/]+)/([0-9a-f]{40})/(.+)", path)
        if api:
            self._api(api.group(1), api.group(2) or "revision", api.group(3) or "main")
        elif file:
            self._resolve(*file.groups())
        elif blob:
            self._cdn(*blob.groups())
        else:
            self._fail(404, "", "no such page")

    def _find(self, repo: str, revision: str) -> tuple[Repo, str] | None:
        entry = self.hub.repos.get(repo)
        if entry is None:
            # The hub does not tell whether a private repository exists.
            self._fail(401, "RepoNotFound", "Repository not found")
            return None
        commit = entry.branches.get(revision, revision)
        if commit not in entry.commits:
            self._fail(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return None
        return entry, commit

    def _api(self, repo: str, what: str, revision: str) -> None:
        found = self._find(repo, revision)
        if found is None:
            return
        entry, commit = found
        files = entry.commits[commit]
        if what == "revision":
            siblings = [{"rfilename": name} for name in files]
            self._json(
                {
                    "id": repo,
                    "modelId": repo,
                    "sha": commit,
                    "siblings": siblings,
                    "private": False,
                    "tags": [],
                }
            )
            return
        tree: list[dict[str, Any]] = []
        for folder in sorted({name.rsplit("/", 1)[0] for name in files if "/" in name}):
            tree.append({"type": "directory", "path": folder, "size": 0, "oid": "0" * 40})
        for name, data in files.items():
            oid = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            item: dict[str, Any] = {"type": "file", "path": name, "size": len(data), "oid": oid}
            if name.endswith(LFS_ENDINGS):
                item["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
            tree.append(item)
        self._json(tree)

    def _resolve(self, repo: str, revision: str, name: str) -> None:
        found = self._find(repo, revision)
        if found is None:
            return
        entry, commit = found
        headers = {"X-Repo-Commit": commit}
        if entry.gated and "Authorization" not in self.headers:
            self._fail(401, "GatedRepo", f"Access to model {repo} is restricted", headers)
            return
        data = entry.commits[commit].get(name)
        if data is None:
            self._fail(404, "EntryNotFound", "Entry not found", headers)
        elif name.endswith(LFS_ENDINGS):
            etag = f'"{hashlib.sha256(data).hexdigest()}"'
            headers |= {"X-Linked-Etag": etag, "X-Linked-Size": str(len(data)), "Content-Length": "0"}
            self._start(302, headers | {"Location": f"{self.hub.endpoint}/cdn/{repo}/{commit}/{name}"})
        else:
            self._file(data, name, headers | {"ETag": f'"{hashlib.sha1(data).hexdigest()}"'})

    def _cdn(self, repo: str, commit: str, name: str) -> None:
        data = self.hub.repos[repo].commits[commit][name]
        # On the hub's own host clients follow the redirect and look for these headers here.
        etag = f'"{hashlib.sha256(data).hexdigest()}"'
        self._file(data, name, {"X-Repo-Commit": commit, "ETag": etag})

    def _file(self, data: bytes, name: str, headers: dict[str, str]) -> None:
        fault = self.hub.faults.get(name, "")
        if fault == "corrupt":
            data = data[:-1] + bytes([data[-1] ^ 1])
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self._request.range)
        status, body = 200, data
        if span and fault != "no-range":
            first = int(span.group(1))
            last = min(int(span.group(2) or len(data) - 1), len(data) - 1)
            status, body = 206, data[first : last + 1]
            headers = headers | {"Content-Range": f"bytes {first}-{last}/{len(data)}"}
        self._start(status, headers | {"Content-Length": str(len(body)), "Accept-Ranges": "bytes"})
        if self.command == "HEAD":
            return
        if fault in ("drop", "die"):
            self._cut(body, name, fault)
            return
        self._send(body)

    def _cut(self, body: bytes, name: str, fault: str) -> None:
        """Sends half of what was promised, then ends the connection; "die" ends the server too."""
        if fault == "drop":
            del self.hub.faults[name]
        else:
            self.hub.stop()
        self._send(body[: len(body) // 2])
        self.close_connection = True

    def _send(self, body: bytes) -> None:
        try:
            self.wfile.write(body)
            self._request.sent += len(body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client has had enough, as one reading only a header does

    def _start(self, status: int, headers: dict[str, str]) -> None:
        self._request.status = status
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()

    def _json(self, value: object) -> None:
        body = json.dumps(value).encode()
        self._start(200, {"Content-Type": "application/json", "Content-Length": str(len(body))})
        if self.command != "HEAD":
            self._send(body)

    def _fail(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        more = {"X-Error-Code": code, "X-Error-Message": message, "Content-Length": "0"}
        self._start(status, more | (headers or {}))
