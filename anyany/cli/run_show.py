"""What a person sees of a run: progress, text as it streams, results, the closing table.

All but results goes to stderr; `--json` leaves standard output to the objects alone.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any, TextIO


@contextlib.contextmanager
def own_stdout() -> Iterator[TextIO]:
    """The real standard output for our objects alone; whatever components (or their C libraries) print inside the
    block goes to stderr.
    """
    ours, saved = sys.stdout, -1
    try:
        real = ours.fileno() == 1
    except (OSError, ValueError):  # replaced by something that is no file, as under a test
        real = False
    stream = ours
    if real:
        ours.flush()
        saved = os.dup(1)
        os.dup2(2, 1)
        stream = os.fdopen(saved, "w", encoding=ours.encoding, errors=ours.errors)
    sys.stdout = sys.stderr
    try:
        yield stream
    finally:
        sys.stdout = ours
        if real:
            os.dup2(saved, 1)
            with contextlib.suppress(BrokenPipeError):
                stream.close()


class Progress:
    """A bar where stderr is a terminal; elsewhere a plain line now and then for long runs."""

    EVERY = 10.0

    def __init__(self, total: int | None, *, quiet: bool = False) -> None:
        self.total, self.done, self.failed = total, 0, 0
        self._bar: Any = None
        self._task: Any = None
        self._last = time.monotonic()
        if not quiet and sys.stderr.isatty() and total != 1:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
                console=Console(stderr=True), transient=True,
            )  # fmt: skip
            self._task = self._bar.add_task("items", total=total)
            self._bar.start()

    def step(self, failed: bool) -> None:
        """One more item is done."""
        self.done += 1
        self.failed += failed
        if self._bar is not None:
            text = f"items ({self.failed} failed)" if self.failed else "items"
            self._bar.update(self._task, advance=1, description=text)
        elif self.total != 1 and time.monotonic() - self._last > self.EVERY:
            self._last = time.monotonic()
            of = f" of {self.total}" if self.total else ""
            print(f"anyany: {self.done}{of} items done, {self.failed} failed", file=sys.stderr)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()


def harmless(text: str) -> str:
    """What a model wrote, for a terminal: control characters but line ends and tabs are shown as marks, not obeyed."""
    return text if text.isprintable() else "".join(c if c.isprintable() or c in "\n\t " else "\ufffd" for c in text)


class Streamer:
    """Text of the one item of a run, on the terminal as it comes; `shown` are the nodes whose text was seen."""

    def __init__(self, out: TextIO) -> None:
        self.out = out
        self.shown: dict[str, str] = {}

    def __call__(self, item: str, node: str, text: str) -> None:
        if self.shown and node not in self.shown:
            self.out.write("\n")
        self.shown[node] = self.shown.get(node, "") + text
        self.out.write(harmless(text))
        self.out.flush()

    def close(self) -> None:
        """End the line that streamed text left open."""
        if self.shown:
            self.out.write("\n")
            self.out.flush()

    def has(self, text: str) -> bool:
        """True where this text has been seen already."""
        return any(text.strip() == seen.strip() for seen in self.shown.values())


def show_result(told: Mapping[str, Any], *, alone: bool, streamer: Streamer | None) -> None:
    """One result for people: the text of each output, then its files."""
    from anyany.report.writing import paths_in, text_in

    head = "" if alone else f"{told['item']}: "
    if told["status"] == "failed":
        print(f"{head}failed {told['error']}", file=sys.stderr if alone else sys.stdout)
        return
    for name, output in told["outputs"].items():
        label = head if alone and len(told["outputs"]) == 1 else f"{head}{name}: "
        if output is None:
            print(f"{label}–")
            continue
        text = text_in(output)
        if text and not (streamer is not None and streamer.has(text)):
            print(f"{label}{text}")
        for path in paths_in(output):
            print(f"{label}{near(path)}")
    for text in told.get("notes", ()):
        print(f"{head}note: {text}", file=sys.stderr)


def near(path: str) -> str:
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative


def show_table(rows: list[tuple[str, ...]], *, verbose: bool) -> None:
    """The table of nodes on stderr; short runs show it only where something is worth telling, or with -v."""
    from anyany.report.table import format_table

    dim, plain = ("\x1b[2m", "\x1b[0m") if sys.stderr.isatty() else ("", "")
    shown = rows if verbose else [(*r[:6], r[6]) for r in rows]
    for line in format_table(shown):
        print(f"{dim}{line}{plain}", file=sys.stderr)
