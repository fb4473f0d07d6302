"""The conformance kit: does a component keep what its card says, and what the engine relies on?

`conformance("acme/dino")` runs every check and raises one AssertionError that lists all that failed. Inputs are made
up from the ports; a component whose ports belong together in ways that a card cannot say defines
`example_rows(self, call, rows, making) -> {port: Rows}` (see `anyany.testing.synthetic`). Checks: see `CHECKS`.
"""

from __future__ import annotations

import copy
import inspect
import subprocess
import sys
import tempfile
import unittest
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from anyany.api.v1 import Call
from anyany.registry.loading import HEAVY
from anyany.testing.subject import Subject, subject_of

ROWS = (0, 1, 2, 3)
TOLERANCE = 1e-5


class ConformanceError(AssertionError):
    """A component breaks a promise; the text lists which."""


def _local(subject: Subject) -> None:
    if subject.card.runtime != "torch":
        raise unittest.SkipTest(f"{subject.card.name} runs as a {subject.card.runtime} component")
    if subject.card.role == "source":
        raise unittest.SkipTest(f"{subject.card.name} gives what its files hold")


# the card -------------------------------------------------------------------------------------------------
def check_card(subject: Subject) -> list[str]:
    """The declaration by itself: presets hold, ports name kinds and ports that exist."""
    from anyany.registry import default_registry
    from anyany.registry.options import make_config

    card, found = subject.card, []
    if not card.about:
        found.append("it says nothing about itself: give `about=`")
    if card.weights and "tiny" not in card.presets:
        found.append("it has no tiny preset: give `tiny=`, so that miniature profiles can run it")
    for preset in card.presets:
        found += [f"preset `{preset}`: {i.message}" for i in make_config(card, preset)[1]]
    kinds = {*default_registry().kinds(), "any", "node"}
    for name, call in subject.bench().calls.items():
        found += [f"call `{name}`: {text}" for text in _call_faults(call, kinds)]
        if call.teach is not None and call.teach not in subject.bench().calls:
            found.append(f"call `{name}`: there is no call `{call.teach}` to teach it")
    return found


def _call_faults(call: Call, kinds: set[str]) -> Iterator[str]:
    if not call.gives:
        yield "it gives nothing"
    for name, port in (*call.takes.items(), *call.gives.items()):
        for kind in port.kinds:
            if kind not in kinds:
                yield f"port `{name}` is of kind `{kind}`, which does not exist"
    for name, port in call.takes.items():
        if port.per is not None and (port.per not in call.takes or "message" not in call.takes[port.per].kinds):
            yield f"port `{name}` belongs to places of `{port.per}`, which is no message port of the call"
    for name, port in call.gives.items():
        if port.per is not None and (port.per not in call.gives or not call.gives[port.per].open):
            yield f"port `{name}` fills places of `{port.per}`, which is no open message of the call"
        if port.ties is not None and (port.ties not in call.takes or not port.many):
            yield f"port `{name}` ties the list of `{port.ties}`, which the call does not take, or is no list itself"


def check_methods(subject: Subject) -> list[str]:
    """The class has a method for each call, whose arguments are the ports that the call takes."""
    from anyany.engine.build import implementation

    bench, found = subject.bench(), []
    kind = implementation(bench.node(next(iter(bench.calls)), ()))
    for name, call in bench.calls.items():
        method = getattr(kind, name, None)
        if method is None:
            found.append(f"{kind.__name__} has no method `{name}`")
            continue
        accepted = inspect.signature(method).parameters
        if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in accepted.values()):
            continue
        for port in call.takes:
            if port not in accepted:
                found.append(f"`{name}` does not accept the port `{port}`")
        needed = {n for n, p in list(accepted.items())[2:] if p.default is inspect.Parameter.empty}
        for extra in sorted(needed - set(call.takes)):
            found.append(f"`{name}` wants `{extra}`, which its card does not take")
    return found


# reality --------------------------------------------------------------------------------------------------
def check_ports(subject: Subject) -> list[str]:
    """Every output is of the kind, axes and sizes that the card promises, at several sizes and dtypes."""
    from anyany.testing.harness import run
    from anyany.testing.values_check import faults

    _local(subject)
    found: list[str] = []
    for larger, dtype in ((False, "float32"), (True, "float32"), (False, "bfloat16")):
        built = subject.built(larger=larger, dtype=dtype)
        for name, call, making in subject.cases(larger=larger):
            for row, outputs in zip(ROWS, run(built, name, call, ROWS, making)):
                for port_name, port in call.gives.items():
                    value = outputs[port_name]
                    for one in value if port.many else [value]:
                        where = f"{name}.{port_name}, row {row}, {dtype}"
                        found += [f"{where}: {text}" for text in faults(port, one, making)]
                    if port.per is not None:
                        found += _places_match(port_name, outputs[port.per], value, f"{name}, row {row}")
    return found


def _places_match(kind: str, message: Any, values: Sequence[Any], where: str) -> list[str]:
    count = sum(p.kind == kind for p in message.unfilled())
    return [] if count == len(values) else [f"{where}: {count} {kind} places, but {len(values)} values for them"]


def check_batch(subject: Subject) -> list[str]:
    """A batch of N gives what N calls of one row give, within 1e-5 in float32."""
    from anyany.testing.harness import run
    from anyany.testing.values_check import difference

    _local(subject)
    built, found = subject.built(), []
    for name, call, making in subject.cases():
        together = run(built, name, call, ROWS, making)
        if _sums_over_rows(call):
            continue
        for row, expected in zip(ROWS, together):
            (alone,) = run(built, name, call, (row,), making)
            gap = difference(expected, alone, subject.tolerance)
            if gap is not None:
                found.append(f"{name}, row {row}, in a batch and alone: {gap}")
        back = run(built, name, call, ROWS[::-1], making)[::-1]
        gap = difference(together, back, subject.tolerance)
        if gap is not None:
            found.append(f"{name}, in another order: {gap}")
    return found


def _sums_over_rows(call: Call) -> bool:
    """A loss may be a mean over its whole batch."""
    return any(k in ("loss", "metric") for p in call.gives.values() for k in p.kinds)


def check_seed(subject: Subject) -> list[str]:
    """The same seed gives the same, bit for bit: twice from one component, and from one built anew."""
    from anyany.testing.harness import run
    from anyany.testing.values_check import difference

    _local(subject)
    found = []
    again = subject.bench().build()
    for name, call, making in subject.cases():
        first = run(subject.built(), name, call, ROWS, making)
        for what, built in (("called twice", subject.built()), ("built twice", again)):
            gap = difference(first, run(built, name, call, ROWS, making))
            if gap is not None:
                found.append(f"{name}, {what}: {gap}")
    return found


# weights --------------------------------------------------------------------------------------------------
def _weighty(subject: Subject) -> Any:
    _local(subject)
    if not subject.card.weights:
        raise unittest.SkipTest(f"{subject.card.name} has no weights")
    return subject.built()


def check_saving(subject: Subject) -> list[str]:
    """Saved as safetensors and loaded as `file:`, it is the same component bit for bit."""
    from safetensors.torch import save_file

    from anyany.testing.harness import run
    from anyany.testing.values_check import difference
    from anyany.weights.save import checkpoint_of

    built = _weighty(subject)
    if not built.component.state_dict():
        return []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        save_file(checkpoint_of(built.component), path)
        back = subject.bench().build(f"file:{path}")
        found = []
        for name, call, making in subject.cases():
            first = run(built, name, call, ROWS, making)
            gap = difference(first, run(back, name, call, ROWS, making))
            if gap is not None:
                found.append(f"{name}, after saving and loading: {gap}")
    return found


def check_meta(subject: Subject) -> list[str]:
    """Built on the meta device and filled, it equals one built in memory and filled, bit for bit."""
    from anyany.engine.build import implementation
    from anyany.engine.component import Build
    from anyany.testing.harness import run
    from anyany.testing.values_check import difference

    built = _weighty(subject)
    bench = subject.bench()
    node = bench.node(next(iter(bench.calls)), ("random:0",))
    kind = implementation(node)
    if not getattr(kind, "meta_safe", True):
        raise unittest.SkipTest(f"{kind.__name__} is not built on meta (meta_safe = False)")
    build = Build(node="bench", sizes=bench.sizes, facts=bench.facts, device=built.device, dtype=built.dtype)
    eager = kind(bench.config, build)
    if any(p.is_meta for p in eager.parameters()):
        raise unittest.SkipTest(f"{kind.__name__} puts itself on meta, wherever it is built")
    missing, unexpected = eager.load_state_dict(copy.deepcopy(built.component.state_dict()), strict=False)
    found = [f"built in memory it lacks `{n}`" for n in unexpected] + [f"on meta it lacks `{n}`" for n in missing]
    eager.eval().requires_grad_(False)
    state = dict(built.component.named_buffers())
    for name, buffer in eager.named_buffers():
        gap = difference(buffer, state.get(name))
        if gap is not None:
            found.append(f"buffer `{name}`: {gap}; fill it in `init_buffers()`")
    twin = copy.copy(built)
    object.__setattr__(twin, "component", eager)
    for name, call, making in subject.cases():
        gap = difference(run(built, name, call, ROWS, making), run(twin, name, call, ROWS, making))
        if gap is not None:
            found.append(f"{name}, built on meta and in memory: {gap}")
    return found


# surroundings ---------------------------------------------------------------------------------------------
def check_imports(subject: Subject) -> list[str]:
    """The plugin module, and the card with its calls, import nothing heavy."""
    from anyany.registry import default_registry

    entry = default_registry().entries.get(subject.card.namespace)
    if entry is None:
        raise unittest.SkipTest("the plugin was registered in this process, not installed")
    return _heavy_imports(entry.module)


@lru_cache(maxsize=64)
def _heavy_imports(module: str) -> list[str]:
    """The same for every card of a plugin, and a process costs a second."""
    code = (
        f"import sys, importlib\nm = importlib.import_module({module!r})\n"
        "from anyany.registry.describe import describe_card\n"
        "[describe_card(c) for c in m.anyany_cards()]\n"
        f"print(' '.join(n for n in {HEAVY!r} if n in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        return [f"`{module}` fails in a fresh process: {done.stderr.strip().splitlines()[-1]}"]
    return [f"`{module}` imports {name}" for name in done.stdout.split()]


def check_device(subject: Subject) -> list[str]:
    """Asked for a GPU that is not there, it fails with our error, before anything is read."""
    import torch

    from anyany.errors import AnyanyError

    _local(subject)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    try:
        subject.bench().build(device=f"cuda:{count}")
    except AnyanyError:
        return []
    except Exception as error:
        return [f"asked for a missing GPU: {type(error).__name__}: {error}"]
    return ["it was built on a GPU that is not there"]


def check_network(subject: Subject) -> list[str]:
    """Building and running it opens no connection: only `hub:` weights may, and the engine does that."""
    from anyany.testing.harness import no_network, run

    _local(subject)
    with no_network() as tried:
        built = subject.bench().build()
        for name, call, making in subject.cases():
            run(built, name, call, ROWS[:2], making)
    return [f"it tried to reach {address}" for address in tried]


_ALL: dict[str, Callable[[Subject], list[str]]] = {
    "card": check_card, "methods": check_methods, "ports": check_ports, "batch": check_batch, "seed": check_seed,
    "saving": check_saving, "meta": check_meta, "imports": check_imports, "device": check_device,
    "network": check_network,
}  # fmt: skip
CHECKS = tuple(_ALL)


def conformance(
    name: str, *, only: str | None = None, options: Mapping[str, Any] | str | None = None,
    calls: Sequence[str] | None = None, tolerance: float = TOLERANCE,
) -> None:  # fmt: skip
    """Run the kit on the component `namespace/name`; raises ConformanceError with everything that failed.

    only: one of `CHECKS` (skipped through unittest.SkipTest, which pytest knows, where it has no meaning).
    options: a preset or a mapping (default: the tiny preset). calls: the calls to run, where some need a checkpoint.
    tolerance: between a batch and single rows, relative to the largest number.
    """
    from anyany.registry import default_registry

    if only is not None and only not in _ALL:
        raise ValueError(f"there is no check {only!r}; the checks are {', '.join(CHECKS)}")
    subject = subject_of(default_registry().card(name), options, calls, tolerance)
    found: list[str] = []
    for check in (only,) if only else CHECKS:
        try:
            found += [f"{check}: {text}" for text in _ALL[check](subject)]
        except unittest.SkipTest:
            if only:
                raise
    if found:
        shown = "\n".join(f"  - {text}" for text in found[:20])
        more = f"\n  and {len(found) - 20} more" if len(found) > 20 else ""
        raise ConformanceError(f"{name} does not keep its card:\n{shown}{more}")
