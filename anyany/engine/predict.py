"""Prediction: bytes of weights of each node before any is read, and refusal of what cannot be.

Bytes come from safetensors headers, or for `random:` from the parameters of the component on meta.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any

import torch

from anyany.engine.build import DTYPES, build_on_meta, bytes_of, device_of, dtype_of, parse_weights
from anyany.engine.plan import Plan
from anyany.errors import CallError, EnvironmentProblem, problem
from anyany.spec.graph import Node

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """What an owner node will take. bytes: of its weights in place, None where that cannot be known yet; note: why."""

    node: str
    bytes: int | None
    device: str
    dtype: str
    source: str
    note: str = ""


def memory_size(text: int | str | None) -> int | None:
    """Bytes of "24GB", "800MiB" or a number. Raises CallError (E906)."""
    if text is None or isinstance(text, int):
        return text
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?\s*", text.lower())
    if match is None or match.group(2) == "i":
        raise CallError([problem("E906", f"{text!r} is not a size of memory", help="write 24GB or 800MiB")])
    return int(float(match.group(1)) * _UNITS[match.group(2)])


def predict(plan: Plan, reach: Any, *, device: str | None = None) -> list[Predicted]:
    """One line for each component the plan may load. Raises WeightsError where local files are missing."""
    found = []
    for owner in plan.owners:
        node = plan.graph.nodes[owner]
        place = device_of(node, device)
        if not node.card.weights or not node.weights:
            found.append(Predicted(node=owner, bytes=0, device=str(place), dtype="", source=""))
            continue
        try:
            found.append(_predict_node(node, place, reach))
        except Exception as error:
            if hasattr(error, "code"):
                error.node = owner  # type: ignore[attr-defined]
            raise
    return found


def _predict_node(node: Node, place: torch.device, reach: Any) -> Predicted:
    from anyany.weights.headers import weight_bytes
    from anyany.weights.sources import HubSource, RandomSource

    sources = parse_weights(node)
    source = " + ".join(str(s) for s in sources)
    common = {"node": node.name, "device": str(place), "source": source}
    if isinstance(sources[0], RandomSource):
        dtype = dtype_of(node, place, [])
        component = build_on_meta(node, place, dtype)
        size = bytes_of(component, dtype)
        return Predicted(bytes=size, dtype=_name(dtype), **common)
    if isinstance(sources[0], HubSource) and not _cached(sources[0], reach):
        return Predicted(bytes=None, dtype="", note="not downloaded yet", **common)
    from anyany.weights.locate import locate

    located = locate(sources[0], reach)
    if located.layout.pickle:
        return Predicted(bytes=None, dtype="", note="a pickle: size unknown", **common)
    header = located.header
    dtype = dtype_of(node, place, [_Header(header)])
    return Predicted(bytes=weight_bytes(header, str(dtype)), dtype=_name(dtype), **common)


class _Header:
    """A header that answers as a store does."""

    def __init__(self, header: Any) -> None:
        self.header = header

    def __iter__(self) -> Any:
        return iter(self.header.tensors)

    def dtype(self, name: str) -> str:
        """The stored dtype of a tensor."""
        stored: str = self.header.tensors[name].dtype
        return stored


def _cached(source: Any, reach: Any) -> bool:
    from anyany.weights.hub import known_commit, repo_folder

    return known_commit(source, reach) is not None and os.path.isdir(repo_folder(source.repo))


def _name(dtype: torch.dtype) -> str:
    return next((n for n, d in DTYPES.items() if d == dtype), str(dtype))


def refuse(plan: Plan, reach: Any, *, device: str | None = None, memory: int | str | None = None) -> None:
    """Refuse the impossible before a weight is read: missing local files, absent devices, too little memory (E610)."""
    limit = memory_size(memory)
    if limit is None:
        _refuse_missing(plan, reach, device)
        return
    check_memory(predict(plan, reach, device=device), limit)


def check_memory(table: list[Predicted], limit: int | None) -> None:
    """Raise EnvironmentProblem (E610) where the predicted bytes exceed `limit`."""
    if limit is None:
        return
    total = sum(p.bytes or 0 for p in table)
    if total > limit:
        rows = "; ".join(f"{p.node} {human(p.bytes or 0)}" for p in sorted(table, key=lambda p: -(p.bytes or 0))[:5])
        text = f"the weights take {human(total)}, more than the {human(limit)} given: {rows}"
        help = "raise --memory, want fewer outputs, or choose a smaller profile or dtype"
        raise EnvironmentProblem([problem("E610", text, help=help)])


def _refuse_missing(plan: Plan, reach: Any, device: str | None) -> None:
    from anyany.weights.headers import read_layout
    from anyany.weights.sources import BundleSource, FileSource

    for owner in plan.owners:
        node = plan.graph.nodes[owner]
        device_of(node, device)
        for source in parse_weights(node) if node.card.weights else ():
            if isinstance(source, (FileSource, BundleSource)):
                path = source.location if isinstance(source, FileSource) else source.locate(reach.resolver)
                try:
                    read_layout(path, allow_pickle=reach.allow_pickle)
                except Exception as error:
                    if hasattr(error, "code"):
                        error.node = owner  # type: ignore[attr-defined]
                    raise


def human(size: int) -> str:
    """Bytes for people."""
    value = float(size)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.2f} GB"
