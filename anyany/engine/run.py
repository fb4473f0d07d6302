"""The run: chunks of items through the steps of a plan, defaults once, files decoded ahead by threads.

Everything here is a pure function of (items, plan, seed), whatever threads do. Source: DESIGN section 6.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from time import perf_counter
from typing import Any

import torch

from anyany.engine.call import Ready, run_step
from anyany.engine.compile import Step
from anyany.engine.failures import Failure
from anyany.engine.items import Item, Result, check_taken, fill_inputs, nested
from anyany.engine.loading import MediaCache
from anyany.engine.noise import Noise
from anyany.engine.plan import Plan
from anyany.engine.rows import Rows
from anyany.engine.state import State
from anyany.engine.watch import Recorder

CHUNK = 32
DEFAULTS = "(defaults)"


class Runner:
    """Runs a plan. One thread runs it at a time; components are shared between runners through `components`.

    emit: called with (item, node, text) as text streams. stop: polled by long loops; true ends the run.
    mode: what the steps run under.
    """

    mode: Callable[[], Any] = staticmethod(torch.inference_mode)

    def __init__(self, plan: Plan, components: Any, *, seed: int = 0, recorder: Recorder | None = None,
                 emit: Callable[[str, str, str], None] | None = None,
                 stop: Callable[[], bool] | None = None) -> None:  # fmt: skip
        self.plan, self.components, self.seed = plan, components, seed
        self.watcher = recorder or Recorder()
        self.emit, self.stop = emit, stop
        self._ready: dict[Step, Ready] = {}
        self._base: State | None = None
        self._based: set[str] = set()
        self._lock = threading.Lock()

    # components --------------------------------------------------------------------------------------------------
    def ready(self, step: Step) -> Ready:
        """The component of a step, built at its first use."""
        known = self._ready.get(step)
        if known is None:
            known = self._ready[step] = self.components.ready(step, self)
        return known

    # one chunk ---------------------------------------------------------------------------------------------------
    def chunk(self, items: Sequence[Item], cache: MediaCache | None = None) -> list[Result]:
        """Run some items together; one result each, in order."""
        start = perf_counter()
        state = State([i.id for i in items], self.seed, (cache or MediaCache()).value)
        with self.mode():
            fill_inputs(state, self.plan.inputs, items)
            for check in self.plan.checks.get("", ()):
                check_taken(state, check)
            for step in self.plan.steps:
                if not state.live:
                    break
                self._step(state, step)
            found = self._outputs(state)
        for (node, text), count in state.notes.items():
            self._note(node, text, count)
        for node, text in (n for told in state.told.values() for n in told):
            self._note(node, text, 1)
        share = (perf_counter() - start) / max(1, len(items))
        results = []
        for n, item in enumerate(items):
            error = state.errors.get(n)
            outputs = {} if error else {name: values.get(n) for name, values in found.items()}
            results.append(Result(item=item.id, status="failed" if error else "ok", outputs=outputs, error=error,
                                  seconds=share, source=item,
                                  notes=tuple(f"{node}: {text}" for node, text in state.told.get(n, ()))))  # fmt: skip
            if error is not None and error.node:
                self.watcher.node(error.node).failed += 1
        return results

    def _note(self, node: str, text: str, count: int) -> None:
        notes = self.watcher.node(node).notes
        notes[text] = notes.get(text, 0) + count

    def _step(self, state: State, step: Step) -> None:
        if state.defaulted is not None and step.inputs <= self.plan.defaulted:
            self._defaultable(state, step)
        else:
            run_step(self, state, step)
        for check in self.plan.checks.get(step.name, ()):
            check_taken(state, check)

    def _outputs(self, state: State) -> dict[str, dict[int, Any]]:
        found: dict[str, dict[int, Any]] = {}
        if not state.live:
            return found
        for out in self.plan.outputs.values():
            found[out.name] = nested(state, out.reader, out.stack)
        return found

    # defaults ----------------------------------------------------------------------------------------------------
    def _defaultable(self, state: State, step: Step) -> None:
        """A node that depends on inputs with defaults: what depends on nothing else is computed once a run."""
        assert state.defaulted is not None
        options = state.options
        same = {
            i for i in state.live
            if step.inputs <= state.defaulted[i] and not (options and options[i].get(step.name))
        }  # fmt: skip
        if not same:
            run_step(self, state, step)
        elif len(same) == len(state.live):
            self._copy(state, step)
        else:
            own = state.noise
            names = [DEFAULTS if i in same else name for i, name in enumerate(state.ids)]
            state.noise = Noise(self.seed, names)
            run_step(self, state, step)
            state.noise = own

    def _copy(self, state: State, step: Step) -> None:
        with self._lock:
            base = self._base_for(step)
        if base.errors:
            for i in state.live:
                state.fail(i, base.errors[0])
            state.purge()
            return
        for port in step.outs:
            state.slots[port.slot] = _repeat(base.slots[port.slot], state, port.stack)
            if port.list_id is not None and port.list_id in base.extents:
                lengths = base.extents[port.list_id]
                state.set_lengths(port.list_id, {(i, *k[1:]): n for k, n in lengths.items() for i in state.live})

    def _base_for(self, step: Step) -> State:
        """The state of the pseudo item that has only defaults, after `step` has run in it."""
        if self._base is None:
            self._base = State([DEFAULTS], self.seed, MediaCache().value)
            inputs = {n: i for n, i in self.plan.inputs.items() if n in self.plan.defaulted}
            fill_inputs(self._base, inputs, [Item(id=DEFAULTS, values=self.plan.default_values)])
        if step.name not in self._based:
            for other in self.plan.steps:
                if other.name in step.upstream:
                    self._base_for(other)
            if not self._base.errors:
                run_step(self, self._base, step)
            self._based.add(step.name)
        return self._base

    # many --------------------------------------------------------------------------------------------------------
    def map(self, items: Iterable[Item], batch: int | None = None, threads: int = 4) -> Iterator[Result]:
        """Run any number of items, a chunk at a time; the files of the next chunk are decoded meanwhile."""
        size = batch or CHUNK
        source = iter(items)
        with ThreadPoolExecutor(max_workers=threads, thread_name_prefix="decode") as pool:
            coming = self._ahead(list(islice(source, size)), pool)
            while coming[0]:
                chunk, cache = coming
                coming = self._ahead(list(islice(source, size)), pool)
                yield from self.chunk(chunk, cache)
                if self.stop is not None and self.stop():
                    return

    def _ahead(self, items: list[Item], pool: ThreadPoolExecutor) -> tuple[list[Item], MediaCache]:
        cache = MediaCache()
        for item in items:
            for kind, value, facets in self.plan.files(item):
                cache.ahead(pool, kind, value, facets, self.watcher)
        return items, cache


def _repeat(rows: Rows, state: State, stack: Sequence[str]) -> Rows:
    """The rows of one pseudo item, for every live item; tensors are views."""
    assert rows.keys is not None
    keys = [(i, *k[1:]) for i in state.live for k in rows.keys]
    if len(rows) == 1 and isinstance(rows.data, torch.Tensor) and rows.offsets is None:
        data: Any = rows.data.expand(len(state.live), *rows.data.shape[1:])
    else:
        data = rows.list() * len(state.live)
    whole = state.universe(()) if not stack else None
    return Rows(data, keys=whole if keys == whole else keys)


def failed_item(id: str, failure: Failure, line: int | None = None) -> Item:
    """An item that cannot start."""
    return Item(id=id, failure=failure, line=line)
