"""Old checkpoints (.pt, .pth, .ckpt, .bin) into safetensors, once, with torch.load(weights_only=True).

weights_only refuses every pickle that would run code; nothing else in the framework opens pickles.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from .errors import WeightsError

WRAPPERS = (
    "state_dict",
    "model_state_dict",
    "model",
    "module",
    "params_ema",
    "params",
    "net",
    "generator",
    "ema",
)


@dataclass(frozen=True, kw_only=True)
class Converted:
    """What a conversion did. tensors: how many were written; dropped: entries that are no tensors;

    shared: groups of names that shared memory and are now written each; unwrapped: the keys they lay under.
    """

    path: str
    tensors: int
    bytes: int
    dropped: tuple[str, ...]
    shared: tuple[tuple[str, ...], ...]
    unwrapped: tuple[str, ...]


def convert(src: str | os.PathLike[str], dst: str | os.PathLike[str], *, key: str | None = None) -> Converted:
    """Writes the tensors of an old checkpoint as safetensors, atomically. key: the entry to take, dotted.

    WeightsError E453 where src cannot be read, E473 where it holds no tensors, would run code, or is ambiguous.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    source, target = os.fspath(src), os.fspath(dst)
    if not target.endswith(".safetensors"):
        raise WeightsError("E473", f"{target} does not end in .safetensors.", "name the new file NAME.safetensors")
    tensors, dropped, unwrapped = _flat(_load(source), source, key)
    shared = _shared(tensors)
    # Cloned: safetensors stores no aliases, and a view may drag a whole buffer along.
    separate = {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}
    temporary = f"{target}.{os.getpid()}.tmp"
    try:
        save_file(separate, temporary, metadata={"format": "pt"})
        os.replace(temporary, target)
    except (OSError, SafetensorError) as error:
        raise WeightsError("E475", f"{target} cannot be written: {error}.", "check the folder and its space") from None
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)
    return Converted(
        path=target, tensors=len(separate), bytes=os.path.getsize(target), dropped=tuple(dropped), shared=shared,
        unwrapped=unwrapped,
    )  # fmt: skip


def load_pickle(path: str) -> dict[str, torch.Tensor]:
    """The tensors of an old checkpoint by name."""
    return _flat(_load(path), path, None)[0]


def _load(path: str) -> Any:
    if not os.path.isfile(path):
        raise WeightsError("E453", f"there is no file {path}.", "check the path")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises nearly anything on a broken file
        reason = _reason(error)
        raise WeightsError(
            "E473",
            f"{path} is no checkpoint of tensors alone: {reason}.",
            "if you trust its author, save its state_dict() anew with the code that made it",
        ) from error


def _reason(error: Exception) -> str:
    text = str(error)
    if "weights_only" in text.lower() or "Unsupported global" in text or "WeightsUnpickler" in text:
        name = text.partition("Unsupported global: GLOBAL ")[2].split(" ", 1)[0]
        return "it would run code when opened" + (f" ({name})" if name else "")
    return (text.strip().splitlines() or [type(error).__name__])[0][:200]


def _flat(loaded: Any, path: str, key: str | None) -> tuple[dict[str, torch.Tensor], list[str], tuple[str, ...]]:
    """Tensors by name, names of what is none, and the keys they were found under."""
    unwrapped: list[str] = []
    for part in (key or "").split(".") if key else ():
        if not isinstance(loaded, Mapping) or part not in loaded:
            raise WeightsError("E473", f"{path} has no entry {key}.", f"its entries: {_entries(loaded)}")
        loaded = loaded[part]
        unwrapped.append(part)
    while isinstance(loaded, Mapping) and not any(isinstance(value, torch.Tensor) for value in loaded.values()):
        inner = next((name for name in WRAPPERS if isinstance(loaded.get(name), Mapping)), None)
        if inner is None:
            maps = [name for name, value in loaded.items() if isinstance(value, Mapping) and _has_tensors(value)]
            if len(maps) != 1:
                break
            inner = maps[0]
        loaded = loaded[inner]
        unwrapped.append(str(inner))
    if not isinstance(loaded, Mapping) or not any(isinstance(value, torch.Tensor) for value in loaded.values()):
        raise WeightsError(
            "E473",
            f"{path} holds no map from names to tensors.",
            f"its entries: {_entries(loaded)}; name one with --key",
        )
    tensors = {str(name): value for name, value in loaded.items() if isinstance(value, torch.Tensor)}
    dropped = [str(name) for name, value in loaded.items() if not isinstance(value, torch.Tensor)]
    odd = [name for name, value in tensors.items() if value.layout != torch.strided or value.is_quantized]
    if odd:
        raise WeightsError(
            "E473", f"{path}: sparse or quantised tensors: {', '.join(odd[:5])}.", "make them dense first"
        )
    return tensors, dropped, tuple(unwrapped)


def _has_tensors(value: Mapping[Any, Any]) -> bool:
    return any(isinstance(entry, torch.Tensor) for entry in value.values())


def _entries(loaded: Any) -> str:
    if not isinstance(loaded, Mapping):
        return f"none, it is a {type(loaded).__name__}"
    names = [str(name) for name in loaded]
    return ", ".join(names[:10]) + (" ..." if len(names) > 10 else "")


def _shared(tensors: Mapping[str, torch.Tensor]) -> tuple[tuple[str, ...], ...]:
    """Groups of names whose tensors are the same memory (tied weights)."""
    groups: dict[tuple[int, int], list[str]] = {}
    for name, tensor in tensors.items():
        if tensor.numel():
            groups.setdefault((tensor.data_ptr(), tensor.numel()), []).append(name)
    return tuple(tuple(names) for names in groups.values() if len(names) > 1)
