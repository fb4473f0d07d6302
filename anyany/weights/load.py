"""Strict loading: a module built on the meta device gets every parameter and buffer from a store, by name.

Nothing is left to chance: missing, unexpected and mis-shaped tensors are one error that lists them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from .errors import WeightsError
from .lora import overlay
from .store import LazyTensor, Store, memory_store, open_source, open_sources

__all__ = [
    "Claims",
    "LazyTensor",
    "Store",
    "load_strict",
    "memory_store",
    "open_source",
    "open_sources",
    "overlay",
]

MAX_LISTED = 20
Rename = Callable[[str], "str | None"] | Mapping[str, str]


@dataclass(kw_only=True)
class Claims:
    """Which tensors of one file its nodes have claimed, for nodes that share a file.

    Give the same object to each load; then nobody complains about tensors that another node takes, and `settle`,
    called after the last one, complains about those that nobody took.
    """

    origin: str = ""
    known: set[str] = field(default_factory=set)
    claimed: set[str] = field(default_factory=set)

    def settle(self) -> None:
        """Raises WeightsError E459 if tensors are left that no node claimed."""
        left = sorted(self.known - self.claimed)
        if left:
            raise mismatch(self.origin, "the nodes that name it", unexpected=left)


def load_strict(
    module: nn.Module,
    store: Store,
    *,
    prefix: str = "",
    rename: Rename | None = None,
    ignores: Iterable[str] = (),
    skip: Iterable[str] = (),
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    claims: Claims | None = None,
) -> nn.Module:
    """Fills a module (on the meta device, or not) from a store, in place, and returns it.

    prefix:  only tensors whose names start with it, which is cut off.
    rename:  from the file's names to the module's: a function (None: not wanted), or prefixes to replace.
    ignores, skip: globs over the file's names of tensors that may be left (the card's, the spec's).
    dtype:   of floating parameters and buffers (None: as stored). Buffers that the module does not save are
             filled by `init_buffers()`, of the module or of the submodule that owns them.
    Tied parameters may have either of their names in the file. WeightsError E459, E474.
    """
    part = store.under(prefix) if prefix else store
    names = {renamed(name, rename): name for name in part}
    names.pop(None, None)
    spare = part.matching([*ignores, *skip])
    slots = slots_of(module)
    missing, wrong, plan = _plan(slots, part, names)
    wanted = {name for slot in slots for name in slot.names}
    unexpected = sorted(file for name, file in names.items() if name not in wanted and file not in spare)
    if claims is not None:
        claims.origin = store.origin
        claims.known.update(prefix + name for name in part if name not in spare)
        claims.claimed.update(prefix + file for name, file in names.items() if name in wanted)
        unexpected = []
    if missing or unexpected or wrong:
        raise mismatch(store.origin, type(module).__name__, missing=missing, unexpected=unexpected, wrong=wrong)
    target = torch.device(device)
    for slot, file in plan:
        slot.fill(part.get(file, dtype, target))
    fill_unsaved_buffers(module, target)
    return module


def renamed(name: str, rename: Rename | None) -> str | None:
    """A file's name as the module's, or None where the tensor is not wanted."""
    if rename is None:
        return name
    if callable(rename):
        return rename(name)
    # The longest prefix wins, so that {"a.": "x.", "a.b.": "y."} means what it says.
    for old in sorted(rename, key=len, reverse=True):
        if name.startswith(old):
            return rename[old] + name[len(old) :]
    return name


@dataclass(kw_only=True)
class Slot:
    """A parameter or saved buffer of a module: all places that share it (ties) and their names."""

    names: list[str]
    places: list[tuple[nn.Module, str]]
    tensor: torch.Tensor
    is_parameter: bool

    def fill(self, value: torch.Tensor) -> None:
        new = nn.Parameter(value, requires_grad=self.tensor.requires_grad) if self.is_parameter else value
        for owner, name in self.places:
            (owner._parameters if self.is_parameter else owner._buffers)[name] = new  # type: ignore[assignment]


def slots_of(module: nn.Module) -> list[Slot]:
    """All that a state dict of the module would hold, ties joined."""
    slots: dict[int, Slot] = {}
    for path, owner in module.named_modules(remove_duplicate=False):
        head = f"{path}." if path else ""
        saved = {k: v for k, v in owner._buffers.items() if k not in owner._non_persistent_buffers_set}
        for table, is_parameter in ((owner._parameters, True), (saved, False)):
            for name, tensor in table.items():
                if tensor is None:
                    continue
                slot = slots.setdefault(id(tensor), Slot(names=[], places=[], tensor=tensor, is_parameter=is_parameter))
                slot.names.append(head + name)
                slot.places.append((owner, name))
    return list(slots.values())


def _plan(
    slots: Sequence[Slot], store: Store, names: Mapping[str | None, str]
) -> tuple[list[str], list[str], list[tuple[Slot, str]]]:
    """What fills each slot; names that are missing; lines on those of another shape."""
    missing, wrong, plan = [], [], []
    for slot in slots:
        held = [name for name in slot.names if name in names]
        if not held:
            missing.append(" = ".join(slot.names))
            continue
        file = names[held[0]]
        shape = tuple(slot.tensor.shape)
        odd = [name for name in held if store.shape(names[name]) != shape]
        wrong += [f"{name}: {list(store.shape(names[name]))} in the file, {list(shape)} expected" for name in odd]
        if len(held) > 1 and not odd and not _all_equal(store, [names[name] for name in held]):
            wrong.append(f"{' = '.join(held)}: tied in the component, but different in the file")
        plan.append((slot, file))
    return missing, wrong, plan


def _all_equal(store: Store, names: Sequence[str]) -> bool:
    first, *others = (store.get(name) for name in dict.fromkeys(names))
    return all(first.is_meta or torch.equal(first, other) for other in others)


def mismatch(
    origin: str,
    what: str,
    *,
    missing: Sequence[str] = (),
    unexpected: Sequence[str] = (),
    wrong: Sequence[str] = (),
) -> WeightsError:
    """The one error for weights that are not the component's: everything in it, up to 20 lines of each sort."""
    lines = [f"{origin} does not fit {what}:"]
    lines += _listed(f"{len(missing)} missing", [f"{name}{_near(name, unexpected)}" for name in missing[:MAX_LISTED]])
    lines += _listed(f"{len(unexpected)} unexpected", list(unexpected[:MAX_LISTED]))
    lines += _listed(f"{len(wrong)} of another shape", list(wrong[:MAX_LISTED]))
    if missing and unexpected and _common_prefix(missing, unexpected):
        help = f"the names differ by a prefix: add #{_common_prefix(missing, unexpected)} to the weights string"
    elif missing:
        help = "these weights are of another component or size: check `weights:` and the options under `with:`"
    elif wrong:
        help = "check the sizes under `with:`, or choose the weights of this size"
    else:
        help = "list what may be left under `skip:` of the node, or check `weights:`"
    return WeightsError("E459", "\n".join(lines), help)


def _listed(title: str, lines: list[str]) -> list[str]:
    if not lines:
        return []
    count = int(title.split()[0])
    more = [f"    and {count - len(lines)} more"] if count > len(lines) else []
    return [f"  {title}:", *(f"    {line}" for line in lines), *more]


def _near(name: str, unexpected: Sequence[str]) -> str:
    """A file's name that may be meant by a missing one."""
    import difflib

    near = difflib.get_close_matches(name, unexpected[:200], n=1, cutoff=0.8)
    return f" (did you mean {near[0]}?)" if near else ""


def _common_prefix(missing: Sequence[str], unexpected: Sequence[str]) -> str:
    """The prefix P such that the file has P + name for every missing name; empty if there is none."""
    first = missing[0].split(" = ")[0]
    files = set(unexpected)
    for name in unexpected:
        prefix = name.removesuffix(first)
        if prefix and prefix != name and all(prefix + each.split(" = ")[0] in files for each in missing):
            return prefix
    return ""


def fill_unsaved_buffers(module: nn.Module, device: torch.device) -> None:
    """Makes the buffers that no checkpoint holds: on the device, then filled by `init_buffers()`.

    They are first filled with a value that no one computes, so that a forgotten one is found (E474).
    Loading onto the meta device compares names and shapes alone, and fills nothing.
    """
    if device.type == "meta":
        return
    waiting: list[tuple[str, nn.Module, str]] = []
    for path, owner in module.named_modules():
        for name in owner._non_persistent_buffers_set & set(owner._buffers):
            buffer = owner._buffers[name]
            if buffer is not None and buffer.is_meta:
                empty = torch.empty_like(buffer, device=device)
                owner._buffers[name] = empty.fill_(_sentinel(empty.dtype))
                waiting.append((f"{path}.{name}" if path else name, owner, name))
            elif buffer is not None and buffer.device != device:
                owner._buffers[name] = buffer.to(device)
    if waiting:
        _init_library_buffers(module, waiting)
        with torch.device(device), torch.no_grad():
            for owner in module.modules():
                init = getattr(owner, "init_buffers", None)
                if callable(init):
                    init()
    left = [path for path, owner, name in waiting if _unset(owner._buffers.get(name))]
    left += [name for name, tensor in _all_tensors(module) if tensor.is_meta]
    if left:
        raise WeightsError(
            "E474",
            f"{type(module).__name__} leaves {len(left)} tensors unset: {', '.join(left[:MAX_LISTED])}.",
            "the component must fill them in `init_buffers()`; this is a fault of the component, not of the weights",
        )


def _init_library_buffers(module: nn.Module, waiting: Sequence[tuple[str, nn.Module, str]]) -> None:
    """Lets transformers' models fill their own unsaved buffers (rotary frequencies, position ids).

    Their `_init_weights` draws parameters as well; a mark of theirs keeps it from those that are filled already.
    """
    owners = {id(owner): owner for _, owner, _ in waiting}
    for model in module.modules():
        init = getattr(model, "_init_weights", None)
        if not callable(init) or not hasattr(model, "base_model_prefix"):
            continue
        for part in model.modules():
            if id(part) not in owners:
                continue
            for tensor in part.parameters():
                tensor._is_hf_initialized = True  # type: ignore[attr-defined]
            with torch.no_grad():
                init(part)


def _all_tensors(module: nn.Module) -> Iterable[tuple[str, torch.Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


def _sentinel(dtype: torch.dtype) -> float | int | bool:
    if dtype.is_floating_point or dtype.is_complex:
        return float("nan")
    return False if dtype == torch.bool else torch.iinfo(dtype).min


def _unset(buffer: torch.Tensor | None) -> bool:
    """Whether a buffer still holds the sentinel everywhere. An unsigned or boolean one cannot be told from zeros."""
    if buffer is None or buffer.numel() == 0 or buffer.dtype in (torch.bool, torch.uint8):
        return False
    if buffer.is_meta:
        return True
    if buffer.dtype.is_floating_point or buffer.dtype.is_complex:
        return bool(buffer.isnan().all())
    return bool((buffer == torch.iinfo(buffer.dtype).min).all())
