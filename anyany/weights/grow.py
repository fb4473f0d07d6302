"""More rows for tables of a checkpoint: embeddings and output layers of tokens that it does not know yet."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence

import torch

from .store import Entry, Store


def grown(stores: Sequence[Store], tables: Sequence[str], rows: int) -> list[Store]:
    """The stores with all `tables` (globs over names) of at least `rows` rows. Nothing is read.

    Rows that a tensor lacks are the mean of its own, as NExT-GPT begins new tokens (Wu et al. 2024, arXiv 2309.05519).
    """
    return [_grown(store, tables, rows) for store in stores]


def rows_of(stores: Sequence[Store], tables: Sequence[str]) -> int | None:
    """The rows of the table that has fewest, each as the last store that holds it says. None: no table."""
    found: dict[str, int] = {}
    for store in stores:
        for table in tables:
            for name in fnmatch.filter(store.keys(), table):
                found[table] = store.shape(name)[0]
    return min(found.values(), default=None)


def _grown(store: Store, tables: Sequence[str], rows: int) -> Store:
    wanted = {n for n in store.matching(tables) if store.shape(n)[0] < rows}
    if not wanted:
        return store
    entries = {n: _longer(store.entry(n), rows) if n in wanted else store.entry(n) for n in store}
    return Store(entries, assets=store.assets, origin=store.origin, files=store.files)


def _longer(entry: Entry, rows: int) -> Entry:
    shape = (rows, *entry.shape[1:])
    return Entry(shape=shape, dtype=entry.dtype, read=_reader(entry, rows), origin=entry.origin)


def _reader(entry: Entry, rows: int) -> Callable[[torch.device], torch.Tensor]:
    def read(device: torch.device) -> torch.Tensor:
        own = entry.read(device)
        mean = own.float().mean(0, keepdim=True).to(own.dtype)
        return torch.cat([own, mean.expand(rows - len(own), *[-1] * (own.dim() - 1))])

    return read
