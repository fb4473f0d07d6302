"""Stores: the tensors of opened sources by name, each read only when asked for, and their assets.

A store knows names, shapes and dtypes from headers; `get` reads one tensor.
"""

from __future__ import annotations

import fnmatch
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from . import access
from .errors import WeightsError
from .facts import parse_asset
from .headers import TensorInfo, unreadable
from .locate import Located, Reach, locate
from .sources import RandomSource, Source, parse_sources

Device = torch.device | str
Read = Callable[[torch.device], torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One tensor that can be read. dtype: safetensors' name; read: gives it on a device, in its own dtype."""

    shape: tuple[int, ...]
    dtype: str
    read: Read
    origin: str


class Files:
    """Open handles of safetensors files, one a file and device, opened at the first read."""

    def __init__(self) -> None:
        self._handles: dict[tuple[str, str], Any] = {}
        self._lock = threading.Lock()
        self.opened: set[str] = set()

    def read(self, path: str, name: str, device: torch.device, nbytes: int) -> torch.Tensor:
        from safetensors import SafetensorError, safe_open

        key = (path, str(device))
        try:
            with self._lock:
                if key not in self._handles:
                    self._handles[key] = safe_open(path, framework="pt", device=str(device))
                    self.opened.add(path)
                    access.note(path, opened=1)
            tensor: torch.Tensor = self._handles[key].get_tensor(name)
        except OSError as error:
            raise unreadable(path, error) from None
        except (SafetensorError, AttributeError, KeyError) as error:
            raise WeightsError(
                "E476",
                f"{path}: the tensor {name} cannot be read ({error}).",
                "fetch or convert the checkpoint again",
            ) from None
        access.note(path, read=nbytes)
        return tensor


class Store:
    """Tensors by name; `get` reads one.

    assets: the folder of config.json, tokenizer.json and so on, or None. origin: how messages call the store.
    """

    def __init__(
        self, entries: Mapping[str, Entry], *, assets: Path | None, origin: str, files: Sequence[Files] = ()
    ) -> None:
        self._entries = dict(entries)
        self.files = tuple(files)
        self.assets = assets
        self.origin = origin

    def keys(self) -> tuple[str, ...]:
        """Names of all tensors, in file order."""
        return tuple(self._entries)

    def entry(self, name: str) -> Entry:
        """What is known of a tensor, and how to read it."""
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def files_read(self) -> int:
        """How many weight files have been opened so far to read tensors."""
        return len({path for files in self.files for path in files.opened})

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor; nothing is read."""
        return self._entries[name].shape

    def dtype(self, name: str) -> str:
        """Stored dtype as safetensors calls it (F32, BF16, ...); nothing is read."""
        return self._entries[name].dtype

    def get(self, name: str, dtype: torch.dtype | None = None, device: Device = "cpu") -> torch.Tensor:
        """Reads one tensor. dtype: what floating tensors become (None: as stored); others keep theirs.

        The tensor has memory of its own. A view of the mapped file would save a copy, but it lies at odd
        addresses, where matrix products round otherwise (2e-7 was measured) and run slower.
        """
        tensor = self._entries[name].read(torch.device(device))
        if dtype is not None and tensor.is_floating_point() and tensor.dtype != dtype:
            return tensor.to(dtype)
        return tensor.clone() if tensor.device.type == "cpu" else tensor

    def under(self, prefix: str) -> Store:
        """The tensors whose names start with prefix, which is cut off."""
        kept = {name[len(prefix) :]: entry for name, entry in self._entries.items() if name.startswith(prefix)}
        return Store(kept, assets=self.assets, origin=self.origin, files=self.files)

    def matching(self, patterns: Iterable[str]) -> set[str]:
        """Names that match any of some globs."""
        return {name for pattern in patterns for name in fnmatch.filter(self._entries, pattern)}

    def asset(self, name: str) -> Path | None:
        """Path of an asset (config.json, tokenizer.json, ...), or None."""
        path = None if self.assets is None else self.assets / name
        return path if path is not None and path.is_file() else None

    def json(self, name: str) -> Any:
        """Contents of a JSON asset. WeightsError E462 where it is missing or malformed."""
        path = self.asset(name)
        if path is None:
            raise WeightsError(
                "E462", f"{self.origin} comes without {name}.", f"put {name} into the folder of the weights"
            )
        try:
            return parse_asset(access.read_bytes(str(path)), str(path))
        except OSError as error:
            raise unreadable(str(path), error) from None


def open_source(source: Source | str, reach: Reach | None = None) -> Store:
    """Opens one source: its header is read, its tensors are not. Downloads what a hub source needs.

    Raises ValueError for a malformed string, WeightsError otherwise; random: has no store.
    """
    reach = reach or Reach()
    parsed = parse_sources(source)[0] if isinstance(source, str) else source
    assert not isinstance(parsed, RandomSource), "random weights are drawn, not opened"
    located = locate(parsed, reach)
    store = _open_pickle(located) if located.layout.pickle else _open_located(located)
    prefix = getattr(parsed, "prefix", "")
    if prefix and not store:
        raise WeightsError(
            "E459", f"{parsed}: no tensor of the file starts with {prefix!r}.", "check the prefix after '#'"
        )
    return store


def open_sources(sources: Sequence[Source], reach: Reach | None = None) -> list[Store]:
    """Opens several sources, base first; `lora.overlay` lays them over each other."""
    return [open_source(source, reach) for source in sources]


def _open_located(located: Located) -> Store:
    files = Files()

    def entry(info: TensorInfo) -> Entry:
        return Entry(
            shape=info.shape,
            dtype=info.dtype,
            read=lambda device: files.read(info.file, info.name, device, info.nbytes),
            origin=info.file,
        )

    entries = {name: entry(info) for name, info in located.header.tensors.items()}
    return Store(entries, assets=Path(located.folder), origin=str(located.source), files=[files])


def _open_pickle(located: Located) -> Store:
    """A pickle that the user allowed, read whole with weights_only=True, which runs no code of its own."""
    from .convert import load_pickle

    path = os.path.join(located.root, located.layout.weights[0])
    access.note(path, opened=1, read=os.path.getsize(path))
    store = memory_store(load_pickle(path), assets=Path(located.folder), origin=str(located.source))
    return store.under(getattr(located.source, "prefix", ""))


def memory_store(tensors: Mapping[str, torch.Tensor], *, assets: Path | None = None, origin: str = "memory") -> Store:
    """A store of tensors that are in memory already."""

    def entry(tensor: torch.Tensor) -> Entry:
        return Entry(
            shape=tuple(tensor.shape),
            dtype=DTYPES[tensor.dtype],
            read=lambda device: tensor.to(device),
            origin=origin,
        )

    return Store({name: entry(value) for name, value in tensors.items()}, assets=assets, origin=origin)


def changed(entry: Entry, read: Read, origin: str) -> Entry:
    """An entry that reads otherwise."""
    return replace(entry, read=read, origin=origin)


class LazyTensor:
    """Looks like a safetensors slice: `lazy[...]` reads the tensor. What transformers takes in a state dict."""

    def __init__(self, store: Store, name: str) -> None:
        self._store, self._name = store, name

    def __getitem__(self, where: Any) -> torch.Tensor:
        return self._store.get(self._name)[where]

    @property
    def shape(self) -> torch.Size:
        return torch.Size(self._store.shape(self._name))

    def get_shape(self) -> list[int]:
        return list(self._store.shape(self._name))

    def get_dtype(self) -> str:
        return self._store.dtype(self._name)


DTYPES: dict[torch.dtype, str] = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
    torch.complex64: "C64",
}
