"""Golden packs as files: weights, inputs and outputs of a reference implementation, and the comparison with ours.

A pack is one safetensors file with keys `weights/NAME`, `inputs/NAME`, `outputs/NAME` and metadata (`component`,
`family`, `case`, `config`). Floats are compared relative to each tensor's largest value, whole numbers exactly.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

TOLERANCE = 1e-5


Tolerance = float | tuple[str, float]
"""Relative to the largest value of a tensor (floats alone); or ("absolute", x), in the unit of the values."""


class PackFile:
    """One pack on disk. Raises ValueError where the file is no pack."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.meta = self._read_meta()
        missing = [k for k in ("component", "family", "config") if k not in self.meta]
        if missing:
            raise ValueError(f"its metadata lacks {', '.join(missing)}")
        self.component, self.family = self.meta["component"], self.meta["family"]
        self.case = self.meta.get("case", path.stem)
        self.config: dict[str, Any] = json.loads(self.meta["config"])

    def _read_meta(self) -> dict[str, str]:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path, framework="pt") as file:
                self._keys = list(file.keys())
                return dict(file.metadata() or {})
        except (SafetensorError, OSError) as error:
            raise ValueError(f"it cannot be read: {error}") from None

    def names(self, part: str) -> list[str]:
        """Names under `weights`, `inputs` or `outputs`, sorted."""
        return sorted(k[len(part) + 1 :] for k in self._keys if k.startswith(f"{part}/"))

    def read(self, part: str, name: str) -> torch.Tensor:
        """One tensor; floats in float32 (float16 storage is exact)."""
        from safetensors import safe_open

        with safe_open(self.path, framework="pt") as file:
            tensor: torch.Tensor = file.get_tensor(f"{part}/{name}")
        return tensor.float() if tensor.is_floating_point() else tensor

    @cached_property
    def inputs(self) -> dict[str, torch.Tensor]:
        return {n: self.read("inputs", n) for n in self.names("inputs")}

    @cached_property
    def outputs(self) -> dict[str, torch.Tensor]:
        return {n: self.read("outputs", n) for n in self.names("outputs")}


@dataclass(frozen=True, kw_only=True)
class Line:
    """How one pack, or one released configuration, came out. absolute, relative: largest over all its outputs."""

    what: str
    path: str
    ok: bool
    absolute: float | None = None
    relative: float | None = None
    tolerance: str = ""
    note: str = ""

    def text(self) -> str:
        numbers = "" if self.absolute is None else f"  abs {self.absolute:.1e}  rel {self.relative:.1e}"
        limit = f"  tol {self.tolerance}" if self.tolerance else ""
        note = f"  {self.note}" if self.note else ""
        return f"{self.what:<58}{numbers}{limit}  {'ok' if self.ok else 'FAIL'}{note}"


@dataclass(frozen=True)
class Gap:
    """One output: its largest absolute and relative difference, and what is wrong with it ('' for nothing)."""

    absolute: float
    relative: float
    fault: str


def gap(found: Any, expected: torch.Tensor, tolerance: Tolerance) -> Gap:
    """Compare one output. `found` is a tensor, or (tensor, mask) where only positions under the mask are real."""
    found, mask = found if isinstance(found, tuple) else (found, None)
    found = torch.as_tensor(found).detach().cpu()
    if tuple(found.shape) != tuple(expected.shape):
        return Gap(float("inf"), float("inf"), f"shape {list(found.shape)}, expected {list(expected.shape)}")
    if mask is not None:
        where = mask.reshape(mask.shape + (1,) * (expected.dim() - mask.dim())).expand(expected.shape).bool()
        found, expected = found[where], expected[where]
    if not expected.numel():
        return Gap(0.0, 0.0, "")
    if not expected.is_floating_point() and not isinstance(tolerance, tuple):
        wrong = int((found.to(expected.dtype) != expected).sum())
        return Gap(float(wrong > 0), float(wrong > 0), f"{wrong} of {expected.numel()} differ" if wrong else "")
    far = float((found.double() - expected.double()).abs().max())
    size = float(expected.double().abs().max())
    relative = far / size if size else far
    fine = far <= tolerance[1] if isinstance(tolerance, tuple) else relative <= tolerance
    return Gap(far, relative, "" if fine else f"off by {far:.1e} absolute, {relative:.1e} relative")


def compare(outputs: Mapping[str, Any], pack: PackFile, tolerances: Mapping[str, Tolerance]) -> tuple[Gap, str]:
    """(the largest gap with what is wrong, the tolerance as text). `tolerances`: by glob of the output's name."""
    names = set(pack.outputs)
    faults = [f"{n} was not produced" for n in sorted(names - set(outputs))]
    faults += [f"{n} is no output of the pack" for n in sorted(set(outputs) - names)]
    worst, used = Gap(0.0, 0.0, ""), set()
    for name in sorted(names & set(outputs)):
        tolerance = next((v for g, v in tolerances.items() if fnmatch.fnmatchcase(name, g)), TOLERANCE)
        one = gap(outputs[name], pack.outputs[name], tolerance)
        used.add(tolerance)
        if one.fault:
            faults.append(f"{name}: {one.fault}")
        worst = Gap(max(worst.absolute, one.absolute), max(worst.relative, one.relative), "")
    return Gap(worst.absolute, worst.relative, "; ".join(faults)), _say(used)


def _say(used: set[Tolerance]) -> str:
    texts = [f"{t[1]:g} {t[0]}" if isinstance(t, tuple) else f"{t:g}" for t in used]
    return " and ".join(sorted(texts)) or f"{TOLERANCE:g}"
