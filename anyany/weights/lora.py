"""Overlays: later stores override tensors of earlier ones, and LoRA adapters are merged into their base.

LoRA (Hu et al. 2021, arXiv:2106.09685): W + s·B·A, s = alpha / r (rsLoRA: alpha / sqrt(r)), in peft's naming
`base_model.model.X.lora_A.weight` with adapter_config.json, or diffusers' `unet.X.lora_A.weight` with `.alpha`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .errors import WeightsError
from .store import Entry, Store, changed

_PART = re.compile(r"(?P<target>.+?)\.lora_(?P<side>A|B|embedding_A|embedding_B)(?:\.[^.]+)?(?:\.weight)?")
_ROOTS = ("base_model.model.", "unet.", "transformer.", "text_encoder.", "model.")
MAX_LISTED = 20


def overlay(stores: Sequence[Store]) -> Store:
    """One store out of several, base first. Assets come from the base.

    A plain overlay replaces tensors of equal name and shape, and may add new ones (strict loading judges them);
    one with `lora_` tensors is merged as it is read. WeightsError E460, E461.
    """
    assert stores, "nothing to overlay"
    base = stores[0]
    entries = {name: base.entry(name) for name in base}
    for store in stores[1:]:
        if any(".lora_" in name for name in store):
            _merge_lora(entries, store)
        else:
            _replace(entries, store)
    if len(stores) == 1:
        return base
    origin = " + ".join(store.origin for store in stores)
    files = [each for store in stores for each in store.files]
    return Store(entries, assets=base.assets, origin=origin, files=files)


def _replace(entries: dict[str, Entry], store: Store) -> None:
    wrong = [
        f"  {name}: {list(store.shape(name))} over {list(entries[name].shape)}"
        for name in store
        if name in entries and entries[name].shape != store.shape(name)
    ]
    if wrong:
        raise WeightsError(
            "E460",
            f"{store.origin}: {len(wrong)} tensors have other shapes than those they lie over:\n"
            + "\n".join(wrong[:MAX_LISTED]),
            "check that the overlay was made for these base weights",
        )
    if not any(name in entries for name in store):
        raise WeightsError(
            "E460",
            f"{store.origin}: none of its {len(store)} tensors has the name of one below it.",
            "check that the overlay was made for these base weights, and its #PREFIX",
        )
    entries.update({name: store.entry(name) for name in store})


@dataclass(kw_only=True)
class _Pair:
    """The two factors of one target, and what scales their product."""

    a: str = ""
    b: str = ""
    alpha: str = ""
    embedding: bool = False


def _merge_lora(entries: dict[str, Entry], store: Store) -> None:
    pairs, whole = _pairs(store)
    config = store.json("adapter_config.json") if store.asset("adapter_config.json") else {}
    if config.get("use_dora") or any("lora_magnitude_vector" in name for name in store):
        raise WeightsError(
            "E461", f"{store.origin} is a DoRA adapter, which is not merged.", "merge it with peft first"
        )
    unknown, wrong = [], []
    for target, pair in pairs.items():
        name = _target_name(target, entries)
        if name is None or not pair.a or not pair.b:
            unknown.append(f"  {target}" + ("" if name is None else ": one of its two factors is missing"))
            continue
        base = entries[name]
        delta = _Delta(store, pair, _scale(store, config, target, pair), bool(config.get("fan_in_fan_out")))
        if not delta.fits(base.shape):
            wrong.append(f"  {name}: {delta.shapes} over {list(base.shape)}")
            continue
        entries[name] = changed(base, _merged(base, delta), f"{base.origin} + {store.origin}")
    for source, target in whole.items():
        if target in entries and entries[target].shape == store.shape(source):
            entries[target] = store.entry(source)
        else:
            unknown.append(f"  {target}")
    if unknown or wrong:
        lines = [f"{store.origin} does not fit the weights below it:"]
        lines += _listed("targets that are not there", unknown) + _listed("factors of another shape", wrong)
        raise WeightsError("E461", "\n".join(lines), "check that the adapter was made for these base weights")


def _listed(title: str, lines: list[str]) -> list[str]:
    more = [f"  and {len(lines) - MAX_LISTED} more"] if len(lines) > MAX_LISTED else []
    return [f"{len(lines)} {title}:", *lines[:MAX_LISTED], *more] if lines else []


def _pairs(store: Store) -> tuple[dict[str, _Pair], dict[str, str]]:
    """Factor pairs by target, and tensors that replace theirs whole (peft's modules_to_save)."""
    pairs: dict[str, _Pair] = {}
    whole: dict[str, str] = {}
    for name in store:
        match = _PART.fullmatch(name)
        if match:
            pair = pairs.setdefault(match["target"], _Pair())
            side = match["side"]
            pair.embedding |= side.startswith("embedding")
            setattr(pair, side[-1].lower(), name)
        elif name.endswith(".alpha"):
            pairs.setdefault(name.removesuffix(".alpha"), _Pair()).alpha = name
        else:
            whole[name] = name.removeprefix("base_model.model.").replace(".modules_to_save.default.", ".")
    return pairs, whole


def _target_name(target: str, entries: Mapping[str, Entry]) -> str | None:
    """The base tensor that a target of the adapter means: roots that trainers put before it are tried away."""
    tails = [target]
    for root in _ROOTS:
        tails += [tail.removeprefix(root) for tail in tails if tail.startswith(root)]
    for tail in dict.fromkeys(tails):
        for name in (f"{tail}.weight", tail):
            if name in entries:
                return name
    return None


def _scale(store: Store, config: Mapping[str, Any], target: str, pair: _Pair) -> float:
    rank = store.shape(pair.a)[0]
    if pair.alpha:
        return float(store.get(pair.alpha).float().item()) / rank
    alpha = config.get("lora_alpha")
    for pattern, value in (config.get("alpha_pattern") or {}).items():
        # peft's rule: the pattern is a regular expression for the end of the module's name.
        if re.match(rf"(.*\.)?({pattern})$", target):
            alpha = value
    if not isinstance(alpha, int | float):
        raise WeightsError(
            "E461",
            f"{store.origin} does not say how strong it is: no lora_alpha in adapter_config.json, no alpha tensors.",
            "put the adapter's adapter_config.json beside its weights",
        )
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


@dataclass(frozen=True)
class _Delta:
    """s·B·A of one target, computed in float32 when read."""

    store: Store
    pair: _Pair
    scale: float
    transposed: bool

    @property
    def shapes(self) -> str:
        return f"{list(self.store.shape(self.pair.b))} x {list(self.store.shape(self.pair.a))}"

    def fits(self, shape: tuple[int, ...]) -> bool:
        a, b = self.store.shape(self.pair.a), self.store.shape(self.pair.b)
        if len(a) < 2 or len(b) < 2 or a[0] != math.prod(b[1:]):
            return False
        out, rest = b[0], math.prod(a[1:])
        if self.pair.embedding or self.transposed:
            return shape == (rest, out)
        return len(shape) >= 2 and shape[0] == out and math.prod(shape[1:]) == rest

    def add_to(self, base: torch.Tensor) -> torch.Tensor:
        a = self.store.get(self.pair.a, torch.float32, base.device).flatten(1)
        b = self.store.get(self.pair.b, torch.float32, base.device).flatten(1)
        delta = (b @ a) * self.scale
        if self.pair.embedding or self.transposed:
            delta = delta.T
        return (base.float() + delta.reshape(base.shape)).to(base.dtype)


def _merged(base: Entry, delta: _Delta) -> Any:
    return lambda device: delta.add_to(base.read(device))
