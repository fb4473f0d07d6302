"""Components: built at their first use, on meta, filled from their weights, shared by every node `of:` their owner.

Lazy, so that a branch that never runs never opens its weights; safe to call from several threads.
Source: DESIGN section 6 (loading).
"""

from __future__ import annotations

import contextlib
import importlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from anyany.engine.call import Ready, is_async
from anyany.engine.compile import Step
from anyany.engine.component import Assets, Build
from anyany.engine.context import Context
from anyany.engine.failures import NodeFault
from anyany.errors import EnvironmentProblem, SpecError, problem
from anyany.spec.graph import Graph, Node
from anyany.weights.load import Claims

DTYPES = {
    "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64,
    "fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16,
}  # fmt: skip
_STORED = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16, "F64": torch.float64}


@dataclass(frozen=True, eq=False)
class Built:
    """A component in its place. bytes: of its parameters and buffers."""

    component: Any
    device: torch.device
    dtype: torch.dtype
    bytes: int


class Bound:
    """A component given to a port of kind `node`: `bound(ctx, port=rows, ...)` calls it from inside a loop."""

    def __init__(self, built: Built, node: Node) -> None:
        self._built, self._node = built, node

    def __call__(self, ctx: Context, call: str | None = None, **rows: Any) -> Mapping[str, Any]:
        """Rows in and out as in any call; inputs move to the component's device."""
        method = getattr(self._built.component, call or self._node.call_name)
        moved = {n: r.to(self._built.device) for n, r in rows.items()}
        result: Mapping[str, Any] = method(ctx, **moved)
        return result

    def main(self, ctx: Context, rows: Any, turn: int = 0) -> Any:
        """Its main output for its main input, as a short edge would carry them; in each `turn` with noise of its own.

        Raises ValueError where its call needs more than one input.
        """
        call = self._node.call
        wanted = [n for n, p in call.takes.items() if not p.optional and n != call.main_in]
        if wanted or call.main_in is None or call.main_out is None:
            raise ValueError(f"`{self._node.name}` cannot be called again on what it gives: its call "
                             f"`{self._node.call_name}` also wants {', '.join(wanted) or 'an input'}")  # fmt: skip
        inner = ctx.within(f"{self._node.name}.{turn}", self._built.device, self._built.dtype)
        return self(inner, **{call.main_in: rows})[call.main_out]


class Components:
    """The components of one graph, each built once. `reach` says where weights may come from.

    device: what "auto" means (None: CUDA where present). overrides: ready-made components by owner (`Built`, or bare).
    """

    def __init__(self, graph: Graph, *, reach: Any = None, device: str | None = None,
                 overrides: Mapping[str, Any] | None = None) -> None:  # fmt: skip
        self.graph, self.device = graph, device
        self._reach = reach
        self._built: dict[str, Built] = {}
        self._broken: dict[str, BaseException] = {}
        self._claims: dict[tuple[str, ...], Claims] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()
        for owner, component in (overrides or {}).items():
            bare = not isinstance(component, Built)
            self._built[owner] = Built(component, torch.device("cpu"), torch.float32, 0) if bare else component

    def reach(self) -> Any:
        """Where weights may come from: plugins' folders, the lock beside the spec, the hub."""
        with self._guard:
            if self._reach is None:
                self._reach = default_reach(self.graph)
            return self._reach

    def get(self, owner: str, recorder: Any = None) -> Built:
        """The component of a node, built now if it was not. Its failure is remembered."""
        known = self._built.get(owner)
        if known is not None:
            return known
        with self._guard:
            lock = self._locks.setdefault(owner, threading.Lock())
        with lock:
            if owner in self._built:
                return self._built[owner]
            if owner in self._broken:
                raise self._broken[owner]
            start = perf_counter()
            try:
                sharing = self._sharing(owner)
                claims = self._claims.setdefault(self.graph.nodes[owner].weights, Claims()) if sharing else None
                built = build_component(self.graph.nodes[owner], self.reach(), self.device, claims)
                others = [self._built.get(o) for o in sharing]
                if claims is not None and all(o and not hasattr(o.component, "load") for o in (*others, built)):
                    claims.settle()
            except (Exception, SystemExit) as error:
                self._broken[owner] = error
                raise
            self._save_lock()
            self._built[owner] = built
            if recorder is not None:
                recorder.built(owner, start, perf_counter(), built.bytes)
            return built

    def _sharing(self, owner: str) -> list[str]:
        """The other nodes that name the very same file or repository, whole: they share its claim."""
        node = self.graph.nodes[owner]
        if len(node.weights) != 1 or "#" in node.weights[0] or node.weights[0].startswith("random:"):
            return []
        return [n.name for n in self.graph.nodes.values()
                if n.owner == n.name != owner and n.weights == node.weights]  # fmt: skip

    def ready(self, step: Step, host: Any) -> Ready:
        """A step's component bound to its call."""
        node = step.node
        built = self.get(node.owner, getattr(host, "watcher", None))
        method = getattr(built.component, step.call_name, None)
        if method is None:
            text = f"{node.card.name} has no method `{step.call_name}`, which its card promises"
            raise NodeFault("E607", text, "this is a fault of the component; report it to its authors")
        handles = {p.name: Bound(self.get(self.graph.nodes[p.handle].owner), self.graph.nodes[p.handle])
                   for p in step.ports if p.handle is not None}  # fmt: skip
        return Ready(
            method=method, device=built.device, dtype=built.dtype, handles=handles, is_async=is_async(method),
            concurrency=node.card.concurrency, prepare=self._prepare(step, built),
        )  # fmt: skip

    def _prepare(self, step: Step, built: Built) -> Callable[[Any], Any] | None:
        if not step.call.prepare:
            return None
        make = getattr(type(built.component), f"prepare_{step.call_name}", None)
        if make is None:
            text = f"{step.node.card.name} has no `prepare_{step.call_name}`, which its card promises"
            raise NodeFault("E607", text, "this is a fault of the component; report it to its authors")
        build = getattr(built.component, "build", None)
        found: Callable[[Any], Any] = make(step.node.config, build.assets if build is not None else Assets(None))
        return found

    def _save_lock(self) -> None:
        lock = getattr(self._reach, "lock", None)
        if lock is None or not lock.changed or not self.graph.file:
            return
        from anyany.weights.lock import lock_path, write_lock

        write_lock(lock_path(self.graph.file), lock)


def default_reach(graph: Graph, *, allow_pickle: bool = False, offline: bool = False) -> Any:
    """Plugins' folders, the lock beside the spec, and the hub."""
    from anyany.registry import default_registry
    from anyany.weights.locate import Reach
    from anyany.weights.lock import Lock, lock_path, read_lock

    registry = default_registry()
    lock = read_lock(lock_path(graph.file)) if graph.file else Lock()
    return Reach(resolver=lambda namespace: str(registry.folder(namespace)), lock=lock, offline=offline,
                 allow_pickle=allow_pickle)  # fmt: skip


def build_component(node: Node, reach: Any = None, device: str | None = None,
                    claims: Claims | None = None) -> Built:  # fmt: skip
    """The component of an owner node: on meta, then its weights, then eval without gradients.

    device: what placement "auto" means. claims: of a file that other nodes name too.
    Raises WeightsError, EnvironmentProblem (E803, E804) or NodeFault.
    """
    place = device_of(node, device)
    sources = parse_weights(node)
    stores, folder = _open(node, sources, reach)
    dtype = dtype_of(node, place, stores)
    build = Build(node=node.name, sizes=node.sizes, facts=node.facts, assets=Assets(folder), device=place,
                  dtype=dtype, skip=node.skip)  # fmt: skip
    kind = implementation(node)
    component = _construct(kind, node, build)
    if isinstance(component, torch.nn.Module):
        if node.card.weights and sources:
            _fill(component, node, build, stores, claims)
        elif not any(p.is_meta for p in component.parameters()):
            component.to(place)
        component.eval()
        component.requires_grad_(False)
    return Built(component, place, dtype, bytes_of(component))


def implementation(node: Node) -> type[Any]:
    """The class that a card names. Raises EnvironmentProblem (E804, E806) where it cannot be imported."""
    module, _, name = node.card.impl.partition(":")
    try:
        found: type[Any] = getattr(importlib.import_module(module), name)
        return found
    except ImportError as error:
        text = f"{node.card.name} cannot be imported: {error}"
        missing = getattr(error, "name", None)
        help = f"install the package that gives `{missing}`" if missing else "`anyany plugins doctor` tells more"
        raise EnvironmentProblem([problem("E804", text, path=f"nodes.{node.name}.use", mark=node.mark, help=help)]) \
            from error  # fmt: skip
    except AttributeError:
        text = f"{node.card.name}: {module} has no {name}, which its card names"
        raise EnvironmentProblem([problem("E806", text, path=f"nodes.{node.name}.use", mark=node.mark)]) from None


def _construct(kind: type[Any], node: Node, build: Build) -> Any:
    on_meta = node.card.weights and node.weights and getattr(kind, "meta_safe", True)
    if not on_meta or not issubclass(kind, torch.nn.Module):
        return kind(node.config, build)
    with _meta():
        return kind(node.config, build)


@contextlib.contextmanager
def _meta() -> Iterator[None]:
    """Tensors are made on meta; not the one that torchaudio makes when imported, which much of transformers does."""
    import torchaudio.compliance.kaldi  # noqa: F401

    with torch.device("meta"):
        yield


def build_on_meta(node: Node, place: torch.device, dtype: torch.dtype, assets: Assets | None = None) -> Any:
    """The component's structure on meta, without any weights; for counting."""
    build = Build(node=node.name, sizes=node.sizes, facts=node.facts, assets=assets or Assets(None), device=place,
                  dtype=dtype)  # fmt: skip
    kind = implementation(node)
    with _meta():
        return kind(node.config, build)


def parse_weights(node: Node) -> tuple[Any, ...]:
    """The parsed sources of a node; empty where it has none."""
    from anyany.weights.sources import parse_sources

    if not node.weights:
        return ()
    base = ""
    if node.mark is not None and node.mark.file:
        base = str(Path(node.mark.file).parent)
    return parse_sources(list(node.weights), base=base)


def _open(node: Node, sources: tuple[Any, ...], reach: Any) -> tuple[list[Any], Path | None]:
    from anyany.weights.sources import RandomSource
    from anyany.weights.store import open_sources

    real = [s for s in sources if not isinstance(s, RandomSource)]
    if not real:
        return [], None
    stores = open_sources(real, reach)
    return stores, stores[0].assets


def _fill(component: Any, node: Node, build: Build, stores: list[Any], claims: Claims | None) -> None:
    from anyany.weights.sources import RandomSource

    sources = parse_weights(node)
    if isinstance(sources[0], RandomSource):
        if stores:
            from anyany.weights.errors import WeightsError

            raise WeightsError("E460", f"{stores[0].origin} cannot lie over random weights.", "name a file as the base")
        if hasattr(component, "init_random"):
            component.init_random(sources[0].seed)
        else:
            from anyany.weights.random_init import init_random

            init_random(component, sources[0].seed, dtype=build.dtype, device=build.device)
        return
    if hasattr(component, "load"):
        component.load(stores, build)
        return
    from anyany.weights.load import load_strict, overlay

    store = stores[0] if len(stores) == 1 else overlay(stores)
    load_strict(component, store, rename=getattr(component, "rename", None), ignores=node.card.ignores, skip=node.skip,
                dtype=build.dtype, device=build.device, claims=claims)  # fmt: skip


def device_of(node: Node, auto: str | None = None) -> torch.device:
    """Where a node runs: its placement, "auto" being CUDA where present. Raises EnvironmentProblem (E803)."""
    name = node.placement.device
    if name == "auto":
        name = auto or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        text = f"{name!r} is not a device"
        raise SpecError([problem("E803", text, path=f"nodes.{node.name}.device", mark=node.mark,
                                 help="write cpu, cuda or cuda:1")]) from None  # fmt: skip
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type == "cuda" and (device.index or 0) >= count:
        here = f"this machine has {count}" if count else "this machine has no CUDA device"
        text = f"node `{node.name}` wants {name}, but {here}"
        raise EnvironmentProblem([problem("E803", text, mark=node.mark, path=f"nodes.{node.name}",
                                          help="choose another profile; cpu always works")])  # fmt: skip
    return device


def dtype_of(node: Node, device: torch.device, stores: list[Any]) -> torch.dtype:
    """The profile's dtype; without one as stored, but float32 on the CPU, where half precision is slow and inexact."""
    if node.placement.dtype is not None:
        return DTYPES[node.placement.dtype]
    if device.type == "cpu" or not stores:
        return torch.float32
    counts: dict[torch.dtype, int] = {}
    for name in stores[0]:
        dtype = _STORED.get(stores[0].dtype(name))
        if dtype is not None:
            counts[dtype] = counts.get(dtype, 0) + 1
    return max(counts, key=lambda d: counts[d]) if counts else torch.float32


def bytes_of(component: Any, dtype: torch.dtype | None = None) -> int:
    """Bytes of all parameters and buffers, ties counted once; with `dtype`, as if floating ones had it."""
    if not isinstance(component, torch.nn.Module):
        return 0
    held = (*component.parameters(), *component.buffers())
    tensors = {t.data_ptr() if not t.is_meta else id(t): t for t in held}
    wide = None if dtype is None else torch.empty((), dtype=dtype).element_size()
    return sum(t.numel() * (wide if wide and t.is_floating_point() else t.element_size()) for t in tensors.values())
