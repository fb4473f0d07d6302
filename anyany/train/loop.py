"""The loop of one stage, on accelerate: one process or many, one file of metrics, checkpoints that survive a kill.

Everything random is a function of (seed, stage, step, process, part), set before each part of a step.
Source: DESIGN section 8.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from anyany.engine.state import State
from anyany.engine.watch import Recorder
from anyany.spec.stages import Stage
from anyany.train import checkpoint
from anyany.train.errors import TrainError
from anyany.train.learner import Learner
from anyany.train.metrics import MetricsFile
from anyany.train.optim import rate
from anyany.train.prefix import Prefix
from anyany.train.records import Records
from anyany.train.sharing import sharded, unsynced
from anyany.train.validate import Validator
from anyany.weights.save import flush

GRADIENT_BY = 10
"""Steps within which some gradient must have reached every learned node."""
Watch = Callable[[str, Mapping[str, Any]], None]


@dataclass(kw_only=True)
class Summary:
    """What a stage did. files: the weights it wrote."""

    stage: str
    steps: int
    seconds: float
    losses: Mapping[str, float] = field(default_factory=dict)
    files: Sequence[Path] = ()
    skipped: bool = False


@contextlib.contextmanager
def stopping() -> Iterator[list[int]]:
    """Inside, an interrupt or a request to end is noted in the list instead of cutting a step in two; a second one
    is obeyed at once.
    """
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def note(number: int, frame: Any) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    before = {n: signal.signal(n, note) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def share(stage: Stage, world: int) -> int:
    """Items of one part of a step on one of `world` processes. Raises TrainError E707."""
    batch, parts = stage.settings["batch"], stage.settings["accumulate"]
    if batch % (world * parts):
        told = f"stage {stage.name}: a batch of {batch} cannot be shared by {world} processes in {parts} parts"
        raise TrainError("E707", told, f"make `batch` a multiple of {world * parts}")
    return int(batch) // (world * parts)


class Trainer:
    """One stage, from its start or its last checkpoint to its end.

    out: the folder of all stages; watch(event, values) is told "step", "validated", "saved" and "note".
    Raises TrainError.
    """

    def __init__(self, stage: Stage, out: Path, accelerator: Any, *, resume: bool = False,
                 watch: Watch | None = None) -> None:  # fmt: skip
        self.stage, self.settings = stage, stage.settings
        self.out = out / stage.name
        self._lock = -1
        self.accelerator, self.resume = accelerator, resume
        self.watch: Watch = watch or (lambda event, values: None)
        self.main = accelerator.is_main_process
        self.share = share(stage, accelerator.num_processes)
        self.recorder = Recorder()
        self._pending: dict[str, list[tuple[float, int]]] = {}

    # a run -------------------------------------------------------------------------------------------------------
    def run(self) -> Summary:
        """Train. A stage that is done already is not done again with `resume`."""
        began = perf_counter()
        self.made_of = self._made_of()
        done = self._done() if self.resume else None
        if done is not None:
            checkpoint.compare(self.out, self.made_of, done.get("made_of", self.made_of))
            self._reached(done.get("short", []))
            return Summary(stage=self.stage.name, steps=done["steps"], seconds=0.0, losses=done["losses"], skipped=True)
        if self.main and not self.resume and self.out.is_dir() and any(self.out.iterdir()):
            raise TrainError("E710", f"{self.out} holds another run",
                             "go on with it by `--resume`, or write elsewhere with `--out`")  # fmt: skip
        self.records = Records(self.stage.part, self.stage.name, self.settings["seed"])
        if self.main:
            self.records.check()
        self.learner = Learner(self.stage, self.accelerator, self.recorder)
        if self.main:
            self._lock = checkpoint.locked(self.out)
        first = self._restore()
        self.prefix = Prefix(self.learner.model, cached=self.settings["cache"] and self.records.length is not None)
        self.file = MetricsFile(self.out, first) if self.main else None
        validator = None
        if self.stage.validation is not None:
            validator = Validator(self.stage, self.learner.model, self.out, self.settings["seed"])
        self.short: list[str] = []
        losses = self._steps(first, validator)
        summary = self._finish(losses, perf_counter() - began)
        self._reached(self.short)
        return summary

    def close(self) -> None:
        """Leave the folder to others."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _done(self) -> dict[str, Any] | None:
        """What a finished run of the stage left, or None; a file that was cut short counts for nothing."""
        with contextlib.suppress(OSError, ValueError):
            done = json.loads((self.out / "done.json").read_text("utf-8"))
            if isinstance(done, dict) and {"steps", "losses"} <= {*done}:
                return done
        return None

    def _reached(self, short: Sequence[str]) -> None:
        """Stop where the stage ended short of its bounds: what comes next would be built on it."""
        if short:
            help = "train it longer into another `--out`, or go on all the same by `--stage NEXT`"
            raise TrainError("E715", f"stage {self.stage.name} ended short: {'; '.join(short)}", help)

    def _made_of(self) -> dict[str, Any]:
        """What must be the same for a run to be resumed."""
        kept = {k: v for k, v in self.settings.items() if k not in ("save_every", "log_every", "cache")}
        made = {"learn": list(self.stage.learn), "lora": dict(self.stage.lora), "settings": kept}
        made |= {"parts": self.stage.parts} if self.stage.parts else {}
        part = self.stage.part
        made |= {"data": [part.data.card.name, str(part.data.config), part.feeds, part.targets]}
        made |= {"graph": {n: [g.card.name, g.call_name, str(g.config)] for n, g in part.graph.nodes.items()
                           if n != "data"}}  # fmt: skip
        return dict(json.loads(json.dumps(made)))

    def _restore(self) -> int:
        if not self.resume:
            return 0
        step = self.learner.restore(self.out, self.made_of, lambda text: self.watch("note", {"text": text}))
        text = f"going on after step {step}" if step else f"no checkpoint in {self.out}; begins at step 1"
        self.watch("note", {"text": f"{self.stage.name}: {text}"})
        return step

    def _steps(self, first: int, validator: Validator | None) -> Mapping[str, float]:
        steps, seen = self.settings["steps"], dict.fromkeys((*self.stage.learn, *self.stage.lora), False)
        losses: Mapping[str, float] = {}
        with stopping() as asked:
            for step in range(first, steps):
                start = perf_counter()
                norm = self._step(step, seen)
                losses = self._log(step, norm, perf_counter() - start) or losses
                if validator is not None and ((step + 1) % validator.every == 0 or step + 1 == steps):
                    self._validate(step, validator)
                if asked or ((step + 1) % self.settings["save_every"] == 0 and step + 1 < steps):
                    self._save(step + 1)
                if asked:
                    self.watch("note", {"text": f"{self.stage.name}: stopped after step {step + 1}; --resume goes on"})
                    raise KeyboardInterrupt
        return losses

    def _step(self, step: int, seen: dict[str, bool]) -> float:
        parts = self.settings["accumulate"]
        for part in range(parts):
            state = self._state(step, part)
            prepared = self.learner.prepared
            quiet = unsynced(prepared, self.accelerator) if part + 1 < parts else contextlib.nullcontext()
            with quiet, self.accelerator.autocast():
                total, losses = prepared(state)
                self._finite(total, losses, step, state)
                self.accelerator.backward(total / parts)
            for name, (value, count) in losses.items():
                self._pending.setdefault(name, []).append((float(value.detach()), count))
            failed = len(state.errors)
            if failed:
                self._pending.setdefault("failed_items", []).append((float(failed), 1))
        if step < GRADIENT_BY:
            self._gradients(step, seen)
        lr = rate(step, self.settings["steps"], self.settings["optim"]["lr"], self.settings["schedule"])
        return self.learner.step(step, lr)

    def _state(self, step: int, part: int) -> State:
        """The items of one part of a step on this process, with all that comes before what is learned."""
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        begin = step * self.settings["batch"] + (part * world + rank) * self.share
        items, indices = self.records.items(range(begin, begin + self.share))
        word = zlib.crc32(f"{self.settings['seed']} {self.stage.name} {step} {rank} {part}".encode())
        torch.manual_seed(word)
        self._indices = indices
        return self.prefix.state(items, indices, self.settings["seed"])

    def _finite(self, total: torch.Tensor, losses: Mapping[str, Any], step: int, state: State) -> None:
        """Stop at a loss that is no number, with the batch that caused it saved."""
        if bool(torch.isfinite(total)):
            return
        self.out.mkdir(parents=True, exist_ok=True)
        path = self.out / f"bad-batch-step-{step}-process-{self.accelerator.process_index}.jsonl"
        lines = [json.dumps({"record": i, **dict(self.records.source.record(i))}, default=str) for i in self._indices]
        path.write_text("\n".join(lines) + "\n", "utf-8")
        named = ", ".join(f"{n} is {float(v.detach())}" for n, (v, _) in losses.items())
        raise TrainError("E711", f"stage {self.stage.name}, step {step}: {named}; its batch is in {path}",
                         "look at these records, or lower the learning rate")  # fmt: skip

    def _gradients(self, step: int, seen: dict[str, bool]) -> None:
        for node in seen:
            seen[node] = self.learner.touched(node) or seen[node]
        late = [n for n, ok in seen.items() if not ok]
        if late and step + 1 in (GRADIENT_BY, self.settings["steps"]):
            told = f"stage {self.stage.name}: no gradient reached {', '.join(late)} in {step + 1} steps"
            raise TrainError("E714", told, "its component may compute without gradients; learn another node")

    # telling -----------------------------------------------------------------------------------------------------
    def _log(self, step: int, norm: float, seconds: float) -> dict[str, float] | None:
        self._pending.setdefault("seconds", []).append((seconds, 1))
        if (step + 1) % self.settings["log_every"] and step + 1 != self.settings["steps"] and step:
            return None
        means = self._means()
        lr = self.learner.optim.param_groups[0]["lr"]
        values = {**means, "lr": lr, "gradient_norm": norm}
        if self.file is not None:
            self.file.write(step + 1, values)
        self.watch("step", {"stage": self.stage.name, "step": step + 1, "steps": self.settings["steps"], **values})
        return {n: v for n, v in means.items() if n in self.stage.part.targets}

    def _means(self) -> dict[str, float]:
        """Means since the last line, over all processes, weighted by rows."""
        names = sorted(self._pending)
        sums = [[sum(v * c for v, c in self._pending[n]), float(sum(c for _, c in self._pending[n]))] for n in names]
        self._pending = {}
        if self.accelerator.num_processes > 1:
            here = torch.tensor([sums], device=self.accelerator.device, dtype=torch.float64)
            sums = self.accelerator.gather(here).sum(0).tolist()
        return {n: s / c for n, (s, c) in zip(names, sums) if c}

    def _validate(self, step: int, validator: Validator) -> None:
        with self.learner.averaged():
            found = validator.run(step + 1) if self.main else {}
            self.accelerator.wait_for_everyone()
        if self.file is not None and found:
            self.file.write(step + 1, found)
        if self.main and validator.failure:
            self.watch("note", {"text": f"{self.stage.name}: validation after step {step + 1}: {validator.failure}"})
        if self.main and step + 1 == self.settings["steps"]:
            self.short = validator.short(found)
        self.watch("validated", {"stage": self.stage.name, "step": step + 1, **found})

    # the end -----------------------------------------------------------------------------------------------------
    def _save(self, step: int) -> None:
        self.learner.save(self.out, checkpoint.Moment(step=step, made_of=self.made_of))
        self.watch("saved", {"stage": self.stage.name, "step": step})
        self.accelerator.wait_for_everyone()

    def _finish(self, losses: Mapping[str, float], seconds: float) -> Summary:
        files = self.learner.write(self.out)
        if self.main:
            told = self._told(seconds)
            done = {"steps": self.settings["steps"], "losses": dict(losses), "seconds": seconds, **told,
                    "made_of": self.made_of, **({"short": self.short} if self.short else {})}  # fmt: skip
            partial = self.out / "done.json.partial"
            partial.write_text(json.dumps(done, indent=1), "utf-8")
            flush(partial)
            partial.replace(self.out / "done.json")
            for old in checkpoint.folders(self.out):
                shutil.rmtree(old, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        return Summary(stage=self.stage.name, steps=self.settings["steps"], seconds=seconds, losses=losses, files=files)

    def _told(self, seconds: float) -> dict[str, Any]:
        """What the prefix cost and saved."""
        prefix = self.prefix
        nodes = {n: {"seconds": s.seconds, "rows": s.rows} for n, s in self.recorder.nodes.items()}
        world = self.accelerator.num_processes
        shared = "alone" if world == 1 else "shards" if sharded(self.accelerator) else "copies"
        cost = {"computed": prefix.computed, "reused": prefix.reused, "seconds": prefix.seconds, "bytes": prefix.bytes}
        return {"processes": world, "shared": shared, "prefix": cost, "nodes": nodes}
