"""What a parity case is given: the pack, and the project's own components loaded from it as a spec would load them.

`Pack` runs a case on numbers; `Released` builds a released configuration without memory and checks names and shapes.
"""

from __future__ import annotations

import fnmatch
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from anyany.engine.build import Built, build_component, implementation
from anyany.engine.component import Build
from anyany.engine.rows import Rows
from anyany.registry import default_registry
from anyany.spec.graph import Placement
from anyany.testing.harness import Bench, bench, call
from anyany.testing.parity_pack import PackFile


def _bench(card: str, options: Mapping[str, Any] | str, sizes: Mapping[str, int]) -> Bench:
    made = bench(default_registry().card(card), options)
    return Bench(made.card, made.config, made.facts, made.calls, {**made.sizes, **sizes})


class _Claims:
    """Which of a checkpoint's names some component took."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self.taken: set[str] = set()

    def take(self, prefix: str, left: Sequence[str]) -> list[str]:
        mine = [n for n in self.names if n.startswith(prefix)]
        kept = [n for n in mine if not any(fnmatch.fnmatchcase(n[len(prefix) :], g) for g in left)]
        self.taken.update(kept)
        return kept

    @property
    def left(self) -> list[str]:
        return sorted(set(self.names) - self.taken)


class Pack:
    """A pack under test. config, inputs: the pack's; `component` builds, `call` calls."""

    def __init__(self, file: PackFile) -> None:
        self.file, self.config, self.inputs = file, file.config, file.inputs
        self._claims = _Claims(file.names("weights"))
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @property
    def weights(self) -> list[str]:
        """Names of the pack's weights."""
        return list(self._claims.names)

    @property
    def expected(self) -> list[str]:
        """Names of the outputs to produce."""
        return self.file.names("outputs")

    @property
    def unclaimed(self) -> list[str]:
        """Weights that no component took."""
        return self._claims.left

    def component(
        self, card: str, options: Mapping[str, Any] | str, *, prefix: str | Sequence[str] = "", call: str | None = None,
        sizes: Mapping[str, int] | None = None, leave: Sequence[str] = (), extra: Mapping[str, Any] | None = None,
        assets: Mapping[str, str] | None = None,
    ) -> Built:  # fmt: skip
        """The component `card` with the pack's weights under `prefix`, through its own loading, strictly.

        Several prefixes are as many sources, as in a spec's list of weights (and take no leave, extra or assets).

        leave: globs over names (without the prefix) that belong to other components. extra: tensors that the pack
        leaves out, because they cannot change its outputs. assets: texts of files beside the weights (config.json).
        call: the call to bind (default: the first).
        """
        made = _bench(card, options, sizes or {})
        prefixes = (prefix,) if isinstance(prefix, str) else tuple(prefix)
        names = [self._claims.take(p, leave) for p in prefixes]
        if leave or extra or assets:
            assert len(prefixes) == 1, "one source can be copied, not several"
            sources = [f"file:{self._copy(prefixes[0], names[0], extra or {}, assets or {})}"]
        else:
            sources = [f"file:{self.file.path.resolve()}#weights/{p}" for p in prefixes]
        node = made.node(call or next(iter(made.calls)), sources, Placement(device="cpu", dtype="float32"))
        return build_component(node)

    def plain(self, card: str, options: Mapping[str, Any] | str) -> Built:
        """A component for what its weights have no part in, such as preprocessing: drawn at random if it has any."""
        made = _bench(card, options, {})
        first = next(iter(made.calls))
        return build_component(made.node(first, ("random:0",), Placement(device="cpu", dtype="float32")))

    def module(self, module: torch.nn.Module, *, prefix: str = "", rename: Any = None) -> torch.nn.Module:
        """A part of a component by itself (a block, a head), filled with the pack's weights, strictly."""
        from anyany.weights.load import load_strict
        from anyany.weights.sources import parse_sources
        from anyany.weights.store import open_sources

        self._claims.take(prefix, ())
        sources = parse_sources([f"file:{self.file.path.resolve()}#weights/{prefix}"])
        (store,) = open_sources(sources)
        return load_strict(module, store, rename=rename, dtype=torch.float32).eval()

    def _copy(
        self, prefix: str, names: Sequence[str], extra: Mapping[str, torch.Tensor], assets: Mapping[str, str]
    ) -> Path:
        from safetensors.torch import save_file

        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="parity-")
        folder = Path(tempfile.mkdtemp(dir=self._folder.name))
        for name, text in assets.items():
            (folder / name).write_text(text, "utf-8")
        tensors = {n[len(prefix) :]: self.file.read("weights", n).contiguous() for n in names}
        save_file({**tensors, **extra}, folder / "model.safetensors")
        return folder / "model.safetensors"

    def call(self, built: Built, name: str, **ports: Any) -> dict[str, Rows]:
        """Run a call over rows. A port is a dense tensor [B,...], a list of B values, or Rows."""
        given = {p: v if isinstance(v, Rows) else Rows(v) for p, v in ports.items()}
        count = len(next(iter(given.values())))
        return dict(call(built, name, given, range(count)))

    def close(self) -> None:
        """Drop the files that `leave`, `extra` and `assets` needed."""
        if self._folder is not None:
            self._folder.cleanup()


class Released:
    """A released configuration: its names and shapes, to be taken exactly by components built on the meta device."""

    def __init__(self, name: str, entry: Mapping[str, Any]) -> None:
        self.name = name
        self.config: dict[str, Any] = dict(entry.get("config") or {})
        self.shapes: dict[str, tuple[int, ...]] = {n: tuple(s) for n, s in entry["tensors"].items()}
        self._claims = _Claims(list(self.shapes))

    @property
    def unclaimed(self) -> list[str]:
        """Names that no component took."""
        return self._claims.left

    def take(
        self, card: str, options: Mapping[str, Any] | str, *, prefix: str = "", sizes: Mapping[str, int] | None = None,
        leave: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """Build `card` on the meta device and load names and shapes under `prefix`; strict, as for real weights."""
        from anyany.weights.load import load_strict

        made = _bench(card, options, sizes or {})
        meta = torch.device("meta")
        node = made.node(next(iter(made.calls)), (f"file:{self.name}",))
        build = Build(node=node.name, sizes=made.sizes, facts=made.facts, device=meta)
        with meta:
            component = implementation(node)(made.config, build)
        store = self._store(prefix, leave)
        if hasattr(component, "load"):
            component.load([store], build)
        else:
            rename = getattr(component, "rename", None)
            load_strict(component, store, rename=rename, ignores=made.card.ignores, device=meta)

    def module(self, make: Callable[[], torch.nn.Module], *, prefix: str = "", rename: Any = None) -> None:
        """A part of a component, made on the meta device; strict."""
        from anyany.weights.load import load_strict

        with torch.device("meta"):
            module = make()
        load_strict(module, self._store(prefix, ()), rename=rename, device="meta")

    def _store(self, prefix: str, leave: Sequence[str]) -> Any:
        from anyany.weights.store import Entry, Store

        names = self._claims.take(prefix, leave)
        entries = {n[len(prefix) :]: _empty(self.shapes[n], Entry) for n in names}
        return Store(entries, assets=None, origin=self.name)


def _empty(shape: tuple[int, ...], entry: Any) -> Any:
    return entry(shape=shape, dtype="F32", read=lambda _: torch.empty(shape, device="meta"), origin="layout")
