"""The one door through which weight files are opened, so that anyone can count what was read.

`watch()` records every open and every read made inside it: which files, how many bytes of each.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO


@dataclass(kw_only=True)
class Reads:
    """What was read while a watch was on. opened: path -> number of opens; bytes: path -> bytes read."""

    opened: dict[str, int] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)

    @property
    def files(self) -> tuple[str, ...]:
        """Every file opened, in the order of its first opening."""
        return tuple(self.opened)

    @property
    def total(self) -> int:
        """All bytes read."""
        return sum(self.bytes.values())


_watches: list[Reads] = []
_lock = threading.Lock()


@contextmanager
def watch() -> Iterator[Reads]:
    """Records the reads of all threads until the block ends; watches may nest."""
    reads = Reads()
    with _lock:
        _watches.append(reads)
    try:
        yield reads
    finally:
        with _lock:
            # By identity: two watches that saw the same reads compare equal.
            _watches[:] = [other for other in _watches if other is not reads]


def note(path: str, *, opened: int = 0, read: int = 0) -> None:
    """Tells the watches that a file was opened, or bytes of it were read. Paths are compared resolved."""
    if not _watches:
        return
    key = os.path.realpath(path)
    with _lock:
        for reads in _watches:
            reads.opened[key] = reads.opened.get(key, 0) + opened
            reads.bytes[key] = reads.bytes.get(key, 0) + read


def open_file(path: str) -> BinaryIO:
    """Opens a weight file or asset for reading. OSError as usual; the caller explains it."""
    handle = open(path, "rb")  # noqa: SIM115 (the caller closes it)
    note(path, opened=1)
    return handle


def read_bytes(path: str, *, limit: int | None = None) -> bytes:
    """Reads a file whole, or its first `limit` bytes."""
    with open_file(path) as handle:
        data = handle.read() if limit is None else handle.read(limit)
    note(path, read=len(data))
    return data
