"""Run a pipeline on one item (--in) or many (--items).

Outputs land in DIR/ITEM/NAME.ext; --json prints one object a line on standard output and nothing else.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from anyany.engine.items import Item, Result
    from anyany.engine.watch import Recorder
    from anyany.pipeline import Pipeline

WAITING = 64
"""Results that may wait for the writers before the run waits for them."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `anyany run`."""
    add = parser.add_argument
    add("spec", metavar="SPEC", help="the spec file")
    add("--in", dest="inputs", metavar="NAME=VALUE", action="append", default=[],
        help='an input; {file:cat.png} stands for a file: --in prompt="What is in {file:cat.png}?"')  # fmt: skip
    add("--items", metavar="FILE.jsonl", help='many items, a JSON object a line: {"id", INPUT: value, "with": {}}')
    add("--want", metavar="OUTPUT[.KIND]", action="append", default=[], help="make only this output")
    add("--out", metavar="DIR", help="where outputs land (out/NAME OF THE SPEC)")
    add("--sound", choices=("wav", "flac"), default="wav", help="how sounds are written (wav)")
    add("--profile", metavar="P", help="a profile of the spec")
    add("--set", dest="sets", metavar="PATH=VALUE", action="append", default=[], help="change a value of the spec")
    add("--seed", type=int, default=0, metavar="N", help="seed of all noise (0)")
    add("--memory", metavar="SIZE", help="refuse to run where the weights take more, as 24GB")
    add("--trace", metavar="FILE", help="write a trace for ui.perfetto.dev")
    add("--json", action="store_true", help="print one JSON object an item, and nothing else")
    add("--batch", type=int, metavar="N", help="items that run together (32)")
    add("--offline", action="store_true", help="use no network")
    add("--allow-pickle", action="store_true", help="allow weights that are pickles")
    add("-v", "--verbose", action="store_true", help="tell more")


def main(args: argparse.Namespace) -> int:
    """Run; 0 done, 1 some items failed, 130 interrupted. Wrong specs and calls raise."""
    from anyany.cli.run_inputs import given_inputs, open_items, read_items, single_item
    from anyany.pipeline import load

    if args.batch is not None and args.batch < 1:
        from anyany.errors import CallError, problem

        raise CallError([problem("E909", f"--batch {args.batch} is not a number of items", help="give 1 or more")])
    if args.items and args.items != "-":
        open_items(args.items).close()
    pipe = load(args.spec, profile=args.profile, set=args.sets, want=args.want, seed=args.seed, memory=args.memory,
                offline=args.offline, allow_pickle=args.allow_pickle)  # fmt: skip
    if pipe.warnings:
        from anyany.errors.render import render

        print(render(pipe.warnings), file=sys.stderr)
    given = given_inputs(pipe.graph, args.inputs)
    items: Iterable[Item]
    if args.items:
        items = read_items(pipe, args.items, given)
        items, total = _peek(items)
    else:
        items, total = [single_item(pipe, given)], 1
    run = Run(args, pipe, alone=not args.items, total=total)
    if not args.json:
        return run.go(items)
    from anyany.cli.run_show import own_stdout

    with own_stdout() as run.out:
        return run.go(items)


def _peek(items: Iterator[Item]) -> tuple[Iterator[Item], int | None]:
    """The number of items where there are few; a million lines are not read for it."""
    head = list(itertools.islice(items, 256))
    return itertools.chain(head, items), len(head) if len(head) < 256 else None


class Run:
    """One run of the command: writers behind, progress, log, report."""

    def __init__(self, args: argparse.Namespace, pipe: Pipeline, *, alone: bool, total: int | None) -> None:
        from anyany.engine.watch import Recorder
        from anyany.report.page import Page
        from anyany.report.writing import Writer

        self.args, self.pipe, self.alone, self.total = args, pipe, alone, total
        self.folder = os.path.abspath(args.out or os.path.join("out", pipe.graph.name))
        self.recorder: Recorder = Recorder(trace=bool(args.trace))
        self.writer = Writer(self.folder, pipe.plan.outputs, args.sound.upper())
        self.page = Page(pipe.plan)
        self.counts = {"ok": 0, "failed": 0}
        self.stopped = threading.Event()
        self.out: TextIO = sys.stdout
        self._reasons: dict[str, int] = {}

    def go(self, items: Iterable[Item]) -> int:
        """Run all items; the exit code."""
        from anyany.cli.run_show import Progress, Streamer

        self._make_folder()
        if self.args.trace:  # empty for now: a path that cannot be written is better known before the work than after
            from anyany.report.trace import write_trace

            write_trace(self.recorder, self.args.trace)
        watched = self.alone and not self.args.json and sys.stdout.isatty()
        self.streamer = Streamer(sys.stdout) if watched else None
        self.progress = Progress(self.total, quiet=self.args.json and not sys.stderr.isatty())
        before = self._catch_interrupt()
        try:
            self._all(items)
        finally:
            if before is not None:
                signal.signal(signal.SIGINT, before)
            self.progress.close()
        self._finish()
        if self.stopped.is_set():
            print("anyany: interrupted; what was done is written", file=sys.stderr)
            return 130
        return 1 if self.counts["failed"] else 0

    def _make_folder(self) -> None:
        from anyany.errors import EnvironmentProblem, problem

        try:
            os.makedirs(self.folder, exist_ok=True)
            self.log = open(os.path.join(self.folder, "items.jsonl"), "w", encoding="utf-8",  # noqa: SIM115
                            errors="backslashreplace")  # fmt: skip
        except OSError as error:
            text = f"{self.folder} cannot be written: {error.strerror}"
            raise EnvironmentProblem([problem("E609", text, help="give another --out")]) from None

    def _catch_interrupt(self) -> Any:
        """The first Ctrl-C ends the run after the writers; a second one ends it at once."""
        if threading.current_thread() is not threading.main_thread():
            return None

        def stop(number: int, frame: Any) -> None:
            if self.stopped.is_set():
                raise KeyboardInterrupt
            self.stopped.set()

        return signal.signal(signal.SIGINT, stop)

    def _all(self, items: Iterable[Item]) -> None:
        from anyany.engine.context import Cancelled

        waiting: deque[tuple[Result, Future[dict[str, Any]]]] = deque()
        results = self.pipe.run(items, batch=self.args.batch, recorder=self.recorder, emit=self.streamer,
                                stop=self.stopped.is_set)  # fmt: skip
        with ThreadPoolExecutor(max_workers=2, thread_name_prefix="write") as pool:
            try:
                for result in results:
                    waiting.append((result, pool.submit(self._write, result)))
                    while waiting and (len(waiting) > WAITING or waiting[0][1].done()):
                        self._told(*waiting.popleft())
            except Cancelled:
                self.stopped.set()
            while waiting:
                self._told(*waiting.popleft())

    def _write(self, result: Result) -> dict[str, Any]:
        from time import perf_counter

        start = perf_counter()
        told = self.writer.write(result)
        self.recorder.span("write", "write", start, perf_counter(), item=result.item)
        return told

    def _told(self, result: Result, future: Future[dict[str, Any]]) -> None:
        from anyany.cli.run_show import show_result
        from anyany.report.runlog import item_line

        told = future.result()
        failed = told["status"] == "failed"
        self.counts["failed" if failed else "ok"] += 1
        if result.source is not None:
            self.log.write(item_line(result.source, told) + "\n")
            self.page.add(result, told)
        if self.streamer is not None:
            self.streamer.close()
        if failed:
            reason = str(told["error"])
            self._reasons[reason] = self._reasons.get(reason, 0) + 1
        if self.args.json:
            print(json.dumps(told, ensure_ascii=False), file=self.out, flush=True)
        elif self.alone or self.args.verbose or (failed and self._reasons[str(told["error"])] <= 3):
            show_result(told, alone=self.alone, streamer=self.streamer)
        self.progress.step(failed)

    def _finish(self) -> None:
        from anyany.cli.run_show import show_table
        from anyany.report.runlog import RunLog, spec_hash, versions, write_log
        from anyany.report.table import table_rows
        from anyany.report.trace import write_trace

        self.log.close()
        args, graph = self.args, self.pipe.graph
        spec = os.path.abspath(args.spec)
        log = RunLog(spec=spec, spec_hash=spec_hash(spec), name=graph.name, profile=args.profile, sets=tuple(args.sets),
                     want=tuple(args.want), seed=args.seed, versions=versions())  # fmt: skip
        rows = table_rows(self.pipe.plan, self.recorder)
        write_log(self.folder, log, self.counts)
        self.page.write(os.path.join(self.folder, "report.html"), rows, log, self.counts)
        if args.trace:
            write_trace(self.recorder, args.trace)
        if not args.json or args.verbose:
            self._summary(rows)
            show_table(rows, verbose=args.verbose)

    def _summary(self, rows: list[tuple[str, ...]]) -> None:
        for reason, count in self._reasons.items():
            if count > 3:
                print(f"{count} items failed with the same error: {reason}", file=sys.stderr)
        if not self.alone:
            print(f"{self.counts['ok']} items done, {self.counts['failed']} failed; outputs in {self.folder}",
                  file=sys.stderr)  # fmt: skip
