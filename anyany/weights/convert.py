"""Old checkpoints (.pt, .pth, .ckpt, .bin) into safetensors, once, with torch.load(weights_only=True).

weights_only refuses every pickle that would run code; nothing else in the framework opens pickles.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .errors import WeightsError
from .inert import load as load_inert

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


AVERAGES = ("model_ema", "ema", "ema_state_dict", "state_dict_ema", "params_ema", "ema_model", "teacher")
"""Keys of moving averages of the weights, beside the weights themselves."""
AROUND = ("module.", "_orig_mod.")
"""What PyTorch's own wrappers (data parallel, compiled) put before every name."""
AMONG = "model_ema."
"""Latent diffusion's moving averages lie among the weights: this, then the name without its dots."""
Path = str | os.PathLike[str]


@dataclass(frozen=True, kw_only=True)
class Converted:
    """What a conversion did. tensors: how many were written; dropped: entries that are no tensors, or were not wanted;

    shared: groups of names that shared memory and are now written each; unwrapped: the keys they lay under;
    others: keys of other maps of tensors in the file, and `model_ema` for averages among the weights, which were left.
    """

    path: str
    tensors: int
    bytes: int
    dropped: tuple[str, ...]
    shared: tuple[tuple[str, ...], ...]
    unwrapped: tuple[str, ...]
    others: tuple[str, ...] = ()


def convert(src: Path | Sequence[Path], dst: Path, *, key: str | None = None, ema: bool = False,
            drop: Sequence[str] = ()) -> Converted:  # fmt: skip
    """Writes the tensors of an old checkpoint as safetensors, atomically.

    src: a file, or several that belong together (of equal names the later one's tensor is written). key: the entry to
    take, dotted. ema: take the moving average of the weights. drop: globs of names to leave.
    WeightsError E453 where src cannot be read, E473 where it holds no tensors, would run code, or is ambiguous.
    """
    target = os.fspath(dst)
    if not target.endswith(".safetensors"):
        raise WeightsError("E473", f"{target} does not end in .safetensors.", "name the new file NAME.safetensors")
    tensors: dict[str, torch.Tensor] = {}
    dropped: list[str] = []
    others: tuple[str, ...] = ()
    unwrapped: tuple[str, ...] = ()
    for source in [src] if isinstance(src, str | os.PathLike) else src:
        path = os.fspath(source)
        loaded = _load(path)
        key_of_average = _average(loaded) if ema else None
        found, left, unwrapped = _flat(loaded, path, key_of_average or key)
        found, averages = _parted(_bare(found))
        others += _others(loaded, unwrapped)
        if ema and not key_of_average:
            found, averages = _averaged(found, averages, path, loaded), {}
        others += (AMONG.rstrip("."),) if averages else ()
        unwanted = [name for name in found if any(fnmatch.fnmatchcase(name, glob) for glob in drop)]
        dropped += [*left, *unwanted]
        tensors.update({name: value for name, value in found.items() if name not in unwanted})
    if not tensors:
        raise WeightsError("E473", f"{target} would hold no tensors: all were dropped.", "drop fewer names")
    _write(tensors, target)
    return Converted(
        path=target, tensors=len(tensors), bytes=os.path.getsize(target), dropped=tuple(dropped),
        shared=_shared(tensors), unwrapped=unwrapped, others=others,
    )  # fmt: skip


def _write(tensors: Mapping[str, torch.Tensor], target: str) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

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


def _bare(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors under the names that they had before a wrapper of PyTorch's."""
    for around in AROUND * 2:
        if tensors and all(name.startswith(around) for name in tensors):
            tensors = {name.removeprefix(around): value for name, value in tensors.items()}
    return dict(tensors)


def _parted(tensors: Mapping[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """(weights, averages that lie among them by what follows `model_ema.`)."""
    averages = {name.removeprefix(AMONG): value for name, value in tensors.items() if name.startswith(AMONG)}
    weights = {name: value for name, value in tensors.items() if not name.startswith(AMONG)}
    return (weights, averages) if weights else (averages, {})


def _averaged(weights: Mapping[str, torch.Tensor], averages: Mapping[str, torch.Tensor], path: str,
              loaded: Any) -> dict[str, torch.Tensor]:  # fmt: skip
    """The weights, with the averages in the place of those that have one."""
    names = {name.removeprefix(base).replace(".", ""): name for base in ("", "model.") for name in weights}
    taken = {names[name]: value for name, value in averages.items() if name in names}
    if not taken:
        raise WeightsError("E473", f"{path} holds no moving average of its weights.",
                           f"its entries: {_entries(loaded)}; name one with --key")  # fmt: skip
    return {**weights, **taken}


def _average(loaded: Any) -> str | None:
    """The key of the moving average of the weights."""
    return next((k for k in AVERAGES if isinstance(loaded, Mapping) and isinstance(loaded.get(k), Mapping)), None)


def _others(loaded: Any, taken: Sequence[str]) -> tuple[str, ...]:
    """Keys beside the one taken whose maps hold tensors too (not the optimiser's)."""
    if not taken or not isinstance(loaded, Mapping):
        return ()
    return tuple(
        str(name)
        for name, value in loaded.items()
        if name != taken[0] and isinstance(value, Mapping) and "optim" not in str(name) and _has_tensors(value)
    )


def load_pickle(path: str) -> dict[str, torch.Tensor]:
    """The tensors of an old checkpoint by name."""
    return _flat(_load(path), path, None)[0]


def _load(path: str) -> Any:
    if not os.path.isfile(path):
        raise WeightsError("E453", f"there is no file {path}.", "check the path")
    try:
        return load_inert(path)
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
    """The names of what a file holds; of maps in maps, those that hold tensors by their dotted names."""
    if not isinstance(loaded, Mapping):
        return f"none, it is a {type(loaded).__name__}"
    names: list[str] = []
    for name, value in loaded.items():
        inner = value.items() if isinstance(value, Mapping) else ()
        deeper = [f"{name}.{n}" for n, v in inner if isinstance(v, Mapping) and _has_tensors(v)]
        names += deeper or [str(name)]
    return ", ".join(names[:10]) + (" ..." if len(names) > 10 else "")


def _shared(tensors: Mapping[str, torch.Tensor]) -> tuple[tuple[str, ...], ...]:
    """Groups of names whose tensors are the same memory (tied weights)."""
    groups: dict[tuple[int, int], list[str]] = {}
    for name, tensor in tensors.items():
        if tensor.numel():
            groups.setdefault((tensor.data_ptr(), tensor.numel()), []).append(name)
    return tuple(tuple(names) for names in groups.values() if len(names) > 1)
