"""Weights strings: `hub:ORG/NAME[/PATH][@COMMIT][#PREFIX]`, `file:PATH`, `bundle:SPACE/PATH`, `random:SEED`.

Parsed into frozen dataclasses whose `str()` is the canonical string; nothing is opened here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .errors import WeightsError

Resolver = Callable[[str], str]
"""From a plugin's namespace to the folder of its package; LookupError where none is installed."""

FORMS = "hub:ORG/NAME[/PATH][@COMMIT][#PREFIX], file:PATH[#PREFIX], bundle:NAMESPACE/PATH[#PREFIX] or random:SEED"
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?")
_BAD_REVISION = re.compile(r"[\s~^:?*\[\\]|\.\.")
_COMMIT = re.compile(r"[0-9a-f]{40}")


class SourceSyntaxError(ValueError):
    """A weights string that cannot be read. position: 0-based index of the offending character in text."""

    def __init__(self, text: str, position: int, message: str, help: str = "") -> None:
        super().__init__(f"{message} (at character {position + 1} of {text!r})")
        self.text = text
        self.position = position
        self.message = message
        self.help = help or f"write {FORMS}"


@dataclass(frozen=True, kw_only=True, repr=False)
class HubSource:
    """Weights in a repository of the hub. path: a file or folder in it; revision: a commit, branch or tag."""

    repo: str
    path: str = ""
    revision: str = ""
    prefix: str = ""

    @property
    def key(self) -> str:
        """The name under which the lock pins a commit: repository and revision as the spec writes them."""
        return f"hub:{self.repo}" + (f"@{self.revision}" if self.revision else "")

    @property
    def is_commit(self) -> bool:
        """Whether the revision is a full commit, which nothing can move."""
        return _COMMIT.fullmatch(self.revision) is not None

    def __str__(self) -> str:
        path = f"/{self.path}" if self.path else ""
        revision = f"@{self.revision}" if self.revision else ""
        return f"hub:{self.repo}{path}{revision}" + _tail(self.prefix)


@dataclass(frozen=True, kw_only=True, repr=False)
class FileSource:
    """Weights on disk. path: as written, relative to base (the spec's folder; empty: the current one)."""

    path: str
    base: str = ""
    prefix: str = ""

    @property
    def location(self) -> str:
        """The path to open."""
        return os.path.normpath(os.path.join(self.base, os.path.expanduser(self.path)))

    def __str__(self) -> str:
        return f"file:{self.path}" + _tail(self.prefix)


@dataclass(frozen=True, kw_only=True, repr=False)
class BundleSource:
    """Weights shipped inside a plugin package: PATH below the package's folder `weights`."""

    namespace: str
    path: str
    prefix: str = ""

    def locate(self, resolver: Resolver | None) -> str:
        """The folder or file to open. WeightsError E452 where the namespace is not installed."""
        folder: str | None = None
        if resolver is not None:
            try:
                folder = resolver(self.namespace)
            except LookupError:
                folder = None
        if folder is None:
            raise WeightsError(
                "E452",
                f"{self}: no installed plugin has the namespace {self.namespace!r}.",
                "install the plugin that ships these weights, or name one that `anyany plugins` lists",
            )
        return os.path.join(str(folder), "weights", *self.path.split("/"))

    def __str__(self) -> str:
        return f"bundle:{self.namespace}/{self.path}" + _tail(self.prefix)


@dataclass(frozen=True, kw_only=True, repr=False)
class RandomSource:
    """Random weights, drawn from a seed: for tests and miniatures, and only where written."""

    seed: int

    def __str__(self) -> str:
        return f"random:{self.seed}"


Source = HubSource | FileSource | BundleSource | RandomSource


def _tail(prefix: str) -> str:
    return f"#{prefix}" if prefix else ""


def parse_sources(value: object, *, base: str = "") -> tuple[Source, ...]:
    """Reads `weights:` of a spec: a string, or a list that overlays (base first, then LoRA and the like).

    base: the spec's folder, for file: paths. SourceSyntaxError (a ValueError) says what was expected, where.
    """
    if isinstance(value, str):
        return (parse_source(value, base=base),)
    if not isinstance(value, Sequence) or not value or not all(isinstance(entry, str) for entry in value):
        raise SourceSyntaxError(str(value), 0, "expected a weights string or a non-empty list of them")
    sources = tuple(parse_source(entry, base=base) for entry in value)
    for source in sources[1:]:
        if isinstance(source, RandomSource):
            raise SourceSyntaxError(
                str(source),
                0,
                "random weights cannot lie over others",
                "put random:SEED first, or leave it out",
            )
    return sources


def parse_source(text: str, *, base: str = "") -> Source:
    """Reads one weights string; see the top of this file for its forms."""
    scheme, colon, rest = text.partition(":")
    readers: dict[str, Callable[[str, str], Source]] = {
        "hub": _hub,
        "file": _file,
        "bundle": _bundle,
        "random": _random,
    }
    if not colon or scheme not in readers:
        raise SourceSyntaxError(text, 0, f"expected {FORMS}", _guess(text))
    if text != text.strip():
        raise SourceSyntaxError(text, len(text.rstrip()), "unexpected space around the weights string")
    if not rest:
        raise SourceSyntaxError(text, len(text), f"nothing after {scheme}:")
    return readers[scheme](text, base)


def _guess(text: str) -> str:
    """An action for a string without a scheme, from what it looks like."""
    if text.startswith((".", "/", "~")) or text.endswith((".safetensors", ".pt", ".pth", ".bin", ".ckpt")):
        return f"write file:{text}"
    match = re.match(r"(?:https?://huggingface\.co/|hf:/*)([^/]+/[^/@#]+)", text)
    if match:
        return f"write hub:{match.group(1)}"
    if re.fullmatch(r"[\w.-]+/[\w./@#-]+", text):
        return f"write hub:{text} (or file:{text} for a file here)"
    return f"write {FORMS}"


def _split_prefix(text: str, start: int) -> tuple[str, str]:
    """Body and prefix of text[start:], split at the first '#'."""
    body, mark, prefix = text[start:].partition("#")
    if mark and not prefix:
        raise SourceSyntaxError(text, len(text), "expected a tensor-name prefix after '#'", "drop the '#'")
    return body, prefix


def _check_path(text: str, start: int, path: str) -> None:
    """Refuses empty, '.' and '..' parts: a path inside a repository or bundle stays inside."""
    position = start
    for part in path.split("/"):
        if part in ("", ".", "..") or "\\" in part:
            raise SourceSyntaxError(text, position, f"expected a plain path, found {part or 'an empty part'!r}")
        position += len(part) + 1


def _hub(text: str, base: str) -> HubSource:
    start = len("hub:")
    body, prefix = _split_prefix(text, start)
    place, mark, revision = body.partition("@")
    if mark and (not revision or _BAD_REVISION.search(revision)):
        raise SourceSyntaxError(text, start + len(place) + 1, "expected a commit, branch or tag after '@'")
    parts = place.split("/", 2)
    if len(parts) < 2:
        raise SourceSyntaxError(
            text,
            start + len(place),
            "expected ORG/NAME",
            f"write hub:ORG/{parts[0]}, with the owner of the model",
        )
    position = start
    for part in parts[:2]:
        if not _NAME.fullmatch(part) or "--" in part or ".." in part:
            raise SourceSyntaxError(text, position, f"{part!r} is not a name on the hub")
        position += len(part) + 1
    path = parts[2].rstrip("/") if len(parts) == 3 else ""
    if len(parts) == 3:
        _check_path(text, position, path)
    return HubSource(repo=f"{parts[0]}/{parts[1]}", path=path, revision=revision, prefix=prefix)


def _file(text: str, base: str) -> FileSource:
    body, prefix = _split_prefix(text, len("file:"))
    if not body or "\0" in body:
        raise SourceSyntaxError(text, len("file:"), "expected a path after file:")
    return FileSource(path=body, base=base, prefix=prefix)


def _bundle(text: str, base: str) -> BundleSource:
    start = len("bundle:")
    body, prefix = _split_prefix(text, start)
    namespace, slash, path = body.partition("/")
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", namespace):
        raise SourceSyntaxError(text, start, f"expected a plugin's namespace, found {namespace!r}")
    if not slash or not path:
        raise SourceSyntaxError(text, start + len(namespace), "expected NAMESPACE/PATH")
    _check_path(text, start + len(namespace) + 1, path)
    return BundleSource(namespace=namespace, path=path, prefix=prefix)


def _random(text: str, base: str) -> RandomSource:
    start = len("random:")
    digits = text[start:]
    # isdecimal alone would accept other scripts' digits; a sign or 1e3 is refused as well.
    if not (digits.isascii() and digits.isdecimal()) or len(digits) > 18:
        raise SourceSyntaxError(text, start, "expected a seed of up to 18 digits after random:", "write random:0")
    return RandomSource(seed=int(digits))
