"""Other layouts of one network: a checkpoint's tensors renamed, split, joined by transposing, read as lazily as before.

For checkpoints whose names or packing differ from the module's (timm's joined `qkv`, OpenAI's `in_proj_weight`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch

from .errors import WeightsError
from .lora import overlay
from .store import Entry, Store, changed


@dataclass(frozen=True)
class Layout:
    """One rule: names that match `pattern` whole become `into` (a regular expression's replacement).

    Several names in `into` split the tensor into that many equal parts along `axis`, one after the other, or with
    `in_turn` one slice each in turn; `transposed` swaps its two axes; `reshape` gives another shape of as many numbers
    (-1 once), after the split.
    """

    pattern: str
    into: str | tuple[str, ...]
    transposed: bool = False
    reshape: tuple[int, ...] | None = None
    axis: int = 0
    in_turn: bool = False


def relayout(stores: Store | Sequence[Store], rules: Iterable[Layout]) -> Store:
    """The tensors under new names, by the first rule that matches each; names that no rule matches stay.

    Several stores are overlaid first, so that overlays name tensors as the base does. Nothing is read.
    Raises WeightsError E459 where a tensor cannot be split, and where two tensors would get one name.
    """
    store = stores if isinstance(stores, Store) else overlay(stores)
    compiled = [(re.compile(rule.pattern), rule) for rule in rules]
    entries: dict[str, Entry] = {}
    for name in store:
        for new, entry in _pieces(store, name, compiled):
            if new in entries:
                text = f"{store.origin}: {name} would be {new}, which another tensor is already."
                raise WeightsError("E459", text, "this file mixes two layouts; convert it again")
            entries[new] = entry
    return Store(entries, assets=store.assets, origin=store.origin, files=store.files)


def _pieces(store: Store, name: str, rules: Sequence[tuple[re.Pattern[str], Layout]]) -> list[tuple[str, Entry]]:
    entry = store.entry(name)
    for pattern, rule in rules:
        found = pattern.fullmatch(name)
        if found is None:
            continue
        names = (rule.into,) if isinstance(rule.into, str) else rule.into
        if len(names) > 1 and (len(entry.shape) <= rule.axis or entry.shape[rule.axis] % len(names)):
            text = f"{store.origin}: {name} is {list(entry.shape)}, which does not split into {len(names)}."
            raise WeightsError("E459", text, "these weights are of another component")
        return [(found.expand(new), _piece(entry, rule, i, len(names))) for i, new in enumerate(names)]
    return [(name, entry)]


def _piece(entry: Entry, rule: Layout, index: int, count: int) -> Entry:
    if count == 1 and not rule.transposed and rule.reshape is None:
        return entry

    def change(tensor: torch.Tensor) -> torch.Tensor:
        part = _split(tensor, rule, index, count) if count > 1 else tensor
        part = part.t() if rule.transposed else part
        return part.reshape(rule.reshape).contiguous() if rule.reshape is not None else part.contiguous()

    shape = tuple(change(torch.empty(entry.shape, device="meta")).shape)
    return _reshaped(changed(entry, _reader(entry, change), entry.origin), shape)


def _split(tensor: torch.Tensor, rule: Layout, index: int, count: int) -> torch.Tensor:
    if rule.in_turn:
        return tensor.unflatten(rule.axis, (-1, count)).select(rule.axis + 1, index)
    return tensor.chunk(count, rule.axis)[index]


def _reader(entry: Entry, change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.device], torch.Tensor]:
    return lambda device: change(entry.read(device))


def _reshaped(entry: Entry, shape: tuple[int, ...]) -> Entry:
    return Entry(shape=shape, dtype=entry.dtype, read=entry.read, origin=entry.origin)
