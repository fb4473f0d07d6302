"""Train the stages of a spec, in order; the weights of each learned node land in RUNS/STAGE, ready for the spec.

A run that was stopped, or killed, goes on with --resume from its last checkpoint as if nothing had happened.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `anyany train`."""
    add = parser.add_argument
    add("spec", metavar="SPEC", help="a spec file with a `train:` section")
    add("--stage", metavar="NAME", action="append", default=[], help="train this stage alone (may be repeated)")
    add("--out", metavar="RUNS", help="where stages write (runs/ beside the spec)")
    add("--resume", action="store_true", help="go on from the last checkpoint; stages that are done are left alone")
    add("--profile", metavar="P", help="a profile of the spec")
    add("--set", dest="sets", metavar="PATH=VALUE", action="append", default=[],
        help="change a value of the spec, as train.stages.0.steps=100")  # fmt: skip
    add("--cpu", action="store_true", help="use no GPU")
    add("--quiet", action="store_true", help="no progress")


def main(args: argparse.Namespace) -> int:
    """Train; 0 done. Wrong specs, data and settings raise before the first step."""
    from anyany.errors import CallError, problem
    from anyany.spec.check import check_file

    checked = check_file(args.spec, profile=args.profile, sets=args.sets)
    checked.expect()
    if not checked.stages:
        raise CallError([problem("E705", f"{args.spec} has no `train:` section", help="add one with stages")])
    names = [s.name for s in checked.stages]
    for name in args.stage:
        if name not in names:
            raise CallError([problem("E909", f"there is no stage `{name}`", help=f"stages are {', '.join(names)}")])
    out = Path(args.out) if args.out else Path(os.path.dirname(os.path.abspath(args.spec))) / "runs"
    from anyany.pipeline import weights_errors
    from anyany.train.run import train_stages

    show = _Show(args.quiet)
    with weights_errors(checked.expect()):
        train_stages(checked.stages, out, spec=checked.expect().name, resume=args.resume, cpu=args.cpu, watch=show,
                     only=args.stage)  # fmt: skip
    return 0


class _Show:
    """What a person sees: a bar on a terminal, else a line now and then; on the main process alone."""

    EVERY = 10.0

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self._bar: Any = None
        self._task: Any = None
        self._last = 0.0

    def __call__(self, event: str, values: Mapping[str, Any]) -> None:
        if event == "note":
            self._say(str(values["text"]))
        elif event == "step":
            self._step(values)
        elif event == "validated":
            self._say(f"{values['stage']} step {values['step']}: {_numbers(values)}")
        elif event == "done":
            self._close()
            self._say(f"{values['stage']}: {values['steps']} steps in {values['seconds']:.1f} s, {_numbers(values)}")
            for path in values.get("files", ()):
                print(path)

    def _step(self, values: Mapping[str, Any]) -> None:
        told = _numbers(values)
        if self.quiet:
            return
        if sys.stderr.isatty():
            self._draw(values, told)
        elif time.monotonic() - self._last > self.EVERY or values["step"] == values["steps"]:
            self._last = time.monotonic()
            self._say(f"{values['stage']} step {values['step']}/{values['steps']}: {told}")

    def _draw(self, values: Mapping[str, Any], told: str) -> None:
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
                TextColumn("{task.fields[told]}"), console=Console(stderr=True),
            )  # fmt: skip
            self._bar.start()
            self._task = self._bar.add_task(values["stage"], total=values["steps"], told=told)
        self._bar.update(self._task, completed=values["step"], told=told)

    def _say(self, text: str) -> None:
        if not self.quiet:
            print(f"anyany: {text}", file=sys.stderr)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _numbers(values: Mapping[str, Any]) -> str:
    left = ("stage", "step", "steps", "seconds", "files", "lr", "gradient_norm")
    return ", ".join(f"{n} {v:.4g}" for n, v in values.items() if n not in left and isinstance(v, (int, float)))
