"""Parity with reference implementations: `python -m anyany.testing.parity PATH… [--layouts PATH…] [--json]`.

Walks golden packs, builds the project's own component from each pack's metadata, loads its weights, runs its inputs and
compares its outputs; exits 0 only if every pack ran and passed. Cases are in the module `parity` of each plugin.
"""

from __future__ import annotations

import argparse
import fnmatch
import importlib
import importlib.util
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from anyany.errors import AnyanyError
from anyany.testing.parity_bench import Pack, Released
from anyany.testing.parity_pack import Line, PackFile, Tolerance, compare

Case = Callable[[Pack], Mapping[str, Any]]
Layout = Callable[[Released], None]


@dataclass(kw_only=True)
class Table:
    """What the plugins can run: cases and tolerances by (component, family); layouts by component, or by
    "component/GLOB" of configurations where several plugins share its released files (`var/vae_*`)."""

    cases: dict[tuple[str, str], Case] = field(default_factory=dict)
    layouts: dict[str, Layout] = field(default_factory=dict)
    tolerances: dict[tuple[str, str], Mapping[str, Tolerance]] = field(default_factory=dict)

    def layout(self, component: str, name: str) -> Layout | None:
        """Who takes a released configuration; a glob goes before the component as a whole."""
        globs = (k for k in self.layouts if "/" in k and fnmatch.fnmatchcase(f"{component}/{name}", k))
        return self.layouts.get(next(globs, component))


def table() -> Table:
    """Read off the module `parity` beside each installed plugin's `plugin` module: CASES, LAYOUTS, TOLERANCES."""
    from anyany.registry import default_registry

    found = Table()
    for entry in default_registry().entries.values():
        name = f"{entry.module.rpartition('.')[0]}.parity"
        if "." not in entry.module or importlib.util.find_spec(name) is None:
            continue
        module = importlib.import_module(name)
        found.cases.update(getattr(module, "CASES", {}))
        found.layouts.update(getattr(module, "LAYOUTS", {}))
        found.tolerances.update(getattr(module, "TOLERANCES", {}))
    return found


def files(paths: Iterable[str], pattern: str) -> Iterator[Path]:
    """The files themselves, and those below folders whose names match."""
    for text in paths:
        path = Path(text)
        yield from sorted(path.rglob(pattern)) if path.is_dir() else [path]


def run_pack(path: Path, known: Table) -> Line:
    """Run one pack; whatever goes wrong is a line that says FAIL and why."""
    try:
        file = PackFile(path)
    except ValueError as error:
        return Line(what=path.stem, path=str(path), ok=False, note=str(error))
    what = f"{file.component}/{file.case}"
    case = known.cases.get((file.component, file.family))
    if case is None:
        return Line(what=what, path=str(path), ok=False, note=f"no case for family {file.family!r}")
    pack = Pack(file)
    try:
        with torch.inference_mode():
            outputs = case(pack)
        worst, limit = compare(outputs, file, known.tolerances.get((file.component, file.family), {}))
    except Exception as error:
        return Line(what=what, path=str(path), ok=False, note=_say(error))
    finally:
        pack.close()
    fault = worst.fault
    if not fault and pack.unclaimed:
        fault = f"{len(pack.unclaimed)} weights were not loaded: {', '.join(pack.unclaimed[:5])}"
    measured = worst.absolute < float("inf")  # JSON knows no infinity
    return Line(what=what, path=str(path), ok=not fault, absolute=worst.absolute if measured else None,
                relative=worst.relative if measured else None, tolerance=limit, note=fault)  # fmt: skip


def run_layouts(path: Path, known: Table) -> Iterator[Line]:
    """A line for each released configuration of one `official_layouts.json`."""
    component = path.parent.name
    try:
        entries = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        yield Line(what=component, path=str(path), ok=False, note=f"it cannot be read: {error}")
        return
    for name, entry in entries.items():
        what = f"{component}: {name}"
        layout = known.layout(component, name)
        if layout is None:
            yield Line(what=what, path=str(path), ok=False, note="no component for these layouts")
            continue
        try:
            released = Released(name, entry)
            layout(released)
        except Exception as error:
            yield Line(what=what, path=str(path), ok=False, note=_say(error))
            continue
        left = released.unclaimed
        note = f"{len(left)} names were not taken: {', '.join(left[:5])}" if left else f"{len(released.shapes)} tensors"
        yield Line(what=what, path=str(path), ok=not left, note=note)


def _say(error: Exception) -> str:
    text = str(error) if isinstance(error, AnyanyError | ValueError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:400]


def run(paths: Sequence[str], layouts: Sequence[str] = ()) -> Iterator[Line]:
    """Lines of all packs under `paths` and all layouts under `layouts`; a path without any is a FAIL."""
    known = table()
    for text in paths:
        found = list(files([text], "*.safetensors"))
        if not found:
            yield Line(what=text, path=text, ok=False, note="no packs here")
        for path in found:
            yield run_pack(path, known)
    for text in layouts:
        found = list(files([text], "official_layouts.json"))
        if not found:
            yield Line(what=text, path=text, ok=False, note="no official_layouts.json here")
        for path in found:
            yield from run_layouts(path, known)


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Returns the exit code: 0 if there was something to run and everything passed, else 1."""
    parser = argparse.ArgumentParser(prog="python -m anyany.testing.parity", description="compare with golden packs")
    parser.add_argument("paths", nargs="*", metavar="PATH", help="packs, or folders of packs")
    parser.add_argument("--layouts", nargs="+", default=[], metavar="PATH", help="official_layouts.json, or folders")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    given = parser.parse_args(argv)
    if not given.paths and not given.layouts:
        parser.error("name a pack, a folder, or --layouts")
    torch.manual_seed(0)
    bad = count = 0
    for line in run(given.paths, given.layouts):
        count += 1
        bad += not line.ok
        print(json.dumps(asdict(line)) if given.json else line.text(), flush=True)
    if not given.json:
        print(f"{count - bad} of {count} passed")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
