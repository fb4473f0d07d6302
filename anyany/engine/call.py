"""Running one node over one chunk: align its ports, cut into batches, call, isolate what fails, put results back.

A failing batch is halved until the bad item stands alone; out of memory halves too. Source: DESIGN section 6.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol

import torch

from anyany.engine import results
from anyany.engine.align import Aligned, align, check_places, elements, take
from anyany.engine.batching import cut
from anyany.engine.compile import Step
from anyany.engine.context import Cancelled, Context
from anyany.engine.failures import Failure, failure_of, is_out_of_memory
from anyany.engine.rows import Key, Rows
from anyany.engine.state import State

PREPARERS = 4
FOREIGN = (Exception, SystemExit)
"""What a component may raise; one that calls sys.exit must not end the run, least of all with exit code 0."""


@dataclass(eq=False, slots=True)
class Ready:
    """A built component, bound to one step: the method to call and where it lives."""

    method: Callable[..., Any]
    device: torch.device
    dtype: torch.dtype
    handles: Mapping[str, Any]
    is_async: bool = False
    concurrency: int = 1
    prepare: Callable[[Any], Any] | None = None


class Watcher(Protocol):
    """What observes a run; every method may be called from the running thread only."""

    def called(self, step: Step, start: float, stop: float, rows: int) -> None: ...
    def noted(self, step: Step, text: str) -> None: ...


class Host(Protocol):
    """What a step needs from the run around it."""

    @property
    def watcher(self) -> Watcher: ...
    @property
    def emit(self) -> Callable[[str, str, str], None] | None: ...
    @property
    def stop(self) -> Callable[[], bool] | None: ...

    def ready(self, step: Step) -> Ready: ...


def run_step(host: Host, state: State, step: Step) -> None:
    """Run a node on every element that is present; its outputs land in the state's slots."""
    if step.simple and state.options is None and _run_simple(host, state, step):
        return
    keys = elements(state, step)
    if state.stale:
        state.purge()
        keys = elements(state, step)
    if not keys:
        results.empty(state, step)
        return
    try:
        ready = host.ready(step)
    except FOREIGN as error:
        if not isolated(error):
            raise
        for key in keys:
            state.fail(key[0], failure_of(error, step.name))
        state.purge()
        results.empty(state, step)
        return
    aligned = {p.name: align(state, p, keys) for p in step.rows}
    if step.places:
        check_places(state, step, keys, aligned)
        if state.stale:
            state.purge()
            run_step(host, state, step)
            return
    moved = _moved(state, step, ready, aligned)
    if state.stale:
        state.purge()
        run_step(host, state, step)
        return
    _run_batches(_Call(host, state, step, ready, keys, moved))


def _run_batches(call: _Call) -> None:
    state, step, keys, aligned = call.state, call.step, call.keys, call.aligned
    parts = call.all(_batches(step, aligned, len(keys)))
    if state.errors:
        parts = _survivors(state, step, keys, parts)
    if not parts:
        results.empty(state, step)
    else:
        order, outputs = results.regroup(step, parts)
        held = keys if len(order) == len(keys) else [keys[i] for i in order]
        spans = aligned if len(order) == len(keys) else _narrowed(aligned, order)
        results.store(state, step, held, outputs, spans)
    state.purge()


def isolated(error: BaseException) -> bool:
    """True for failures that concern items; wrong weights or a missing device stop the whole run."""
    from anyany.errors import AnyanyError
    from anyany.weights.errors import WeightsError

    return not isinstance(error, (AnyanyError, WeightsError))


def _run_simple(host: Host, state: State, step: Step) -> bool:
    """The short way: every port has exactly these rows, one call, the same objects handed on. False if not so."""
    keys = None
    given = {}
    for port in step.rows:
        rows = port.reader.get(state)
        if keys is None:
            keys = state.universe(step.stack)
        if rows.keys is not keys:
            return False
        given[port.name] = rows
    if not keys or len(keys) > step.max_simple:
        return False
    try:
        ready = host.ready(step)
        if ready.is_async or ready.prepare is not None:
            return False
        for port in step.rows:
            given[port.name] = given[port.name].to(ready.device, ready.dtype if port.moves_dtype else None)
        start = perf_counter()
        emit = None if host.emit is None else _emitter(host, state, step, keys)
        ctx = Context(node=step.name, call=step.call_name, keys=keys, noise=state.noise, device=ready.device,
                      dtype=ready.dtype, emit=emit, stop=host.stop, note=_noter(state, step, keys))  # fmt: skip
        outputs = results.checked(step, ready.method(ctx, **given), len(keys))
    except Cancelled:
        raise
    except FOREIGN as error:
        if not isolated(error):
            raise
        return False  # the long way runs it again and finds the item at fault
    host.watcher.called(step, start, perf_counter(), len(keys))
    for out in step.outs:
        state.slots[out.slot] = results.keyed(outputs[out.name], keys)
    return True


def _batches(step: Step, aligned: Mapping[str, Aligned], count: int) -> list[list[int]]:
    patterns = None
    loose = [p.name for p in step.rows if aligned[p.name].present is not None]
    if loose:
        patterns = [tuple(n for n in loose if i in (aligned[n].present or ())) for i in range(count)]
    value, kind = None, ""
    axes: tuple[str, ...] = ()
    if step.main is not None and step.main.mode == "map" and aligned[step.main.name].present is None:
        main = aligned[step.main.name]
        axes, kind = step.call.takes[step.main.name].axes, step.main.kind
        spans = main.spans
        value = main.rows.__getitem__ if spans is None else (lambda i: main.rows[spans[i][0]])
    return cut(step.call.batching, count, patterns=patterns, value=value, axes=axes, kind=kind)


def _moved(state: State, step: Step, ready: Ready, aligned: Mapping[str, Aligned]) -> dict[str, Aligned]:
    """Each edge moved to the component's device and dtype, once and before any batch is cut."""
    moved = {}
    for port in step.rows:
        a = aligned[port.name]
        rows = a.rows
        if ready.prepare is not None and port is step.main:
            rows = _prepared(state, step, ready.prepare, rows)
        rows = rows.to(ready.device, ready.dtype if port.moves_dtype else None)
        moved[port.name] = a if rows is a.rows else Aligned(rows, a.spans, a.present)
    return moved


def _prepared(state: State, step: Step, prepare: Callable[[Any], Any], rows: Rows) -> Rows:
    """The main port's values prepared in worker threads; what cannot be prepared fails its item alone."""
    values: list[Any] = []
    with ThreadPoolExecutor(max_workers=PREPARERS, thread_name_prefix="prepare") as pool:
        for key, future in zip(rows.keys or (), [pool.submit(prepare, v) for v in rows]):
            try:
                values.append(future.result())
            except FOREIGN as error:
                state.fail(key[0], failure_of(error, step.name))
                values.append(None)
    return Rows(values, keys=rows.keys)


def _narrowed(aligned: Mapping[str, Aligned], order: Sequence[int]) -> dict[str, Aligned]:
    return {n: Aligned(a.rows, None if a.spans is None else [a.spans[i] for i in order]) for n, a in aligned.items()}


def _survivors(state: State, step: Step, keys: Sequence[Key], parts: list[Any]) -> list[Any]:
    """Results without the elements of items that failed in another batch of this very step."""
    out = []
    for indices, outputs in parts:
        kept = [n for n, i in enumerate(indices) if keys[i][0] not in state.errors]
        if len(kept) == len(indices):
            out.append((indices, outputs))
        elif kept:
            _, chosen = results.regroup(step, [(list(range(len(indices))), outputs)])
            out.append(([indices[n] for n in kept], results.select_elements(chosen, kept)))
    return out


def _emitter(host: Host, state: State, step: Step, keys: Sequence[Key]) -> Callable[[int, str], None] | None:
    if host.emit is None:
        return None
    emit = host.emit
    return lambda row, text: emit(state.ids[keys[row][0]], step.name, text)


def _noter(state: State, step: Step, keys: Sequence[Key]) -> Callable[[int, str], None]:
    return lambda row, text: state.tell(keys[row][0], step.name, text)


class _Call:
    """The calls of one step over one chunk."""

    def __init__(self, host: Host, state: State, step: Step, ready: Ready, keys: list[Key],
                 aligned: Mapping[str, Aligned]) -> None:  # fmt: skip
        self.host, self.state, self.step, self.ready = host, state, step, ready
        self.keys, self.aligned = keys, aligned

    def all(self, batches: list[list[int]]) -> list[tuple[list[int], results.Outputs]]:
        """The results of all batches; what fails is recorded and left out."""
        if self.ready.is_async:
            return asyncio.run(self._all_async(batches))
        return [part for batch in batches for part in self._isolating(batch)]

    def _isolating(self, batch: list[int]) -> list[tuple[list[int], results.Outputs]]:
        batch = [i for i in batch if self.keys[i][0] not in self.state.errors]
        if not batch:
            return []
        try:
            return [(batch, self._one(batch))]
        except Cancelled:
            raise
        except FOREIGN as error:
            if not isolated(error):
                raise
            memory = is_out_of_memory(error)
            failure = failure_of(error, self.step.name)
        if memory and torch.cuda.is_available():
            torch.cuda.empty_cache()
        items = {self.keys[i][0] for i in batch}
        if len(batch) == 1 or (len(items) == 1 and not memory):
            for item in items:
                self.state.fail(item, failure)
            return []
        if memory:
            self.host.watcher.noted(self.step, f"out of memory with {len(batch)} rows; halved")
        half = len(batch) // 2
        return self._isolating(batch[:half]) + self._isolating(batch[half:])

    def _given(self, batch: list[int]) -> dict[str, Any]:
        whole = None if len(batch) == len(self.keys) and batch == list(range(len(batch))) else batch
        given: dict[str, Any] = dict(self.ready.handles)
        for port in self.step.rows:
            aligned = self.aligned[port.name]
            if aligned.present is not None and batch[0] not in aligned.present:
                continue
            given[port.name] = take(port, aligned, whole)
        return given

    def _context(self, batch: list[int]) -> Context:
        keys = self.keys if len(batch) == len(self.keys) and batch[0] == 0 else [self.keys[i] for i in batch]
        options = None
        if self.state.options is not None:
            options = [self.state.options[k[0]].get(self.step.name, {}) for k in keys]
        return Context(node=self.step.name, call=self.step.call_name, keys=keys, noise=self.state.noise,
                       device=self.ready.device, dtype=self.ready.dtype, options=options,
                       emit=_emitter(self.host, self.state, self.step, keys), stop=self.host.stop,
                       note=_noter(self.state, self.step, keys))  # fmt: skip

    def _one(self, batch: list[int]) -> results.Outputs:
        start = perf_counter()
        outputs = self._checked(self.ready.method(self._context(batch), **self._given(batch)), batch)
        self.host.watcher.called(self.step, start, perf_counter(), len(batch))
        return outputs

    def _checked(self, given: Any, batch: list[int]) -> results.Outputs:
        outputs = results.checked(self.step, given, len(batch))
        results.tied_counts(self.step, outputs, self.aligned, batch)
        return outputs

    async def _all_async(self, batches: list[list[int]]) -> list[tuple[list[int], results.Outputs]]:
        """Batches of a remote component, several at a time; a failing one is taken apart row by row."""
        gate = asyncio.Semaphore(max(1, self.ready.concurrency))

        async def one(batch: list[int]) -> list[tuple[list[int], results.Outputs]]:
            start = perf_counter()
            try:
                async with gate:
                    given = await self.ready.method(self._context(batch), **self._given(batch))
                part = (batch, self._checked(given, batch))
            except Cancelled:
                raise
            except FOREIGN as error:
                if not isolated(error):
                    raise
                if len(batch) == 1:
                    self.state.fail(self.keys[batch[0]][0], failure_of(error, self.step.name))
                    return []
                return [p for found in await asyncio.gather(*(one([i]) for i in batch)) for p in found]
            self.host.watcher.called(self.step, start, perf_counter(), len(batch))
            return [part]

        return [p for found in await asyncio.gather(*(one(b) for b in batches)) for p in found]


def is_async(method: Callable[..., Any]) -> bool:
    """True for methods to be awaited."""
    return inspect.iscoroutinefunction(method)


__all__ = ["Failure", "Host", "Ready", "Watcher", "is_async", "run_step"]
