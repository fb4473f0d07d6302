"""What a stage learns: its module, shared by the processes, the optimiser and the average of weights."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from anyany.engine.watch import Recorder
from anyany.spec.stages import Stage
from anyany.train import checkpoint, sharing
from anyany.train.model import StageModel
from anyany.train.optim import Average, optimiser
from anyany.train.write import write_nodes
from anyany.weights.save import full


class Learner:
    """Built once a stage. `model` is the stage's module, `prepared` what is called in a step."""

    def __init__(self, stage: Stage, accelerator: Any, recorder: Recorder) -> None:
        self.stage, self.accelerator = stage, accelerator
        device = accelerator.device  # "cpu:0" in one of several processes, which files of weights do not know
        self.model = StageModel(stage, torch.device("cpu") if device.type == "cpu" else device, recorder)
        self.prepared = sharing.share(self.model, accelerator)
        self.optim = optimiser(self.learned(), stage.settings["optim"])
        decay = stage.settings["ema"]
        self.average = Average(self.learned(), decay) if decay else None

    def learned(self) -> dict[str, nn.Parameter]:
        """Every parameter that is learned, by `node.name`."""
        return self.model.learned()

    def step(self, number: int, rate: float) -> float:
        """One step of the optimiser; the gradient's norm before clipping, 0 where nothing is clipped."""
        norm = 0.0
        if self.stage.settings["clip"]:
            found = nn.utils.clip_grad_norm_(self.learned().values(), self.stage.settings["clip"])
            norm = float(full(found))
        for group in self.optim.param_groups:
            group["lr"] = rate
        self.optim.step()
        self.optim.zero_grad()
        if self.average is not None:
            self.average.update(self.learned(), number)
        return norm

    def touched(self, node: str) -> bool:
        """Whether some gradient lies on a parameter of a node."""
        grads = [p.grad for p in self.model.nodes[node].parameters() if p.requires_grad and p.grad is not None]
        found = [bool(full(g).any()) for g in grads]  # all of them: processes gather together
        return any(found)

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the learned weights are their average, where there is one, and whole on every process."""
        own = {n: p.detach().clone() for n, p in self.learned().items()} if self.average is not None else {}
        with torch.no_grad():
            for name, parameter in self.learned().items() if self.average is not None else ():
                assert self.average is not None
                parameter.copy_(self.average.values[name])
        try:
            with sharing.whole(self.model):
                yield
        finally:
            with torch.no_grad():
                for name, parameter in self.learned().items() if own else ():
                    parameter.copy_(own[name])

    # to and from disk --------------------------------------------------------------------------------------------
    def save(self, out: Path, moment: checkpoint.Moment) -> None:
        """Write a checkpoint; all processes gather, the main one writes."""
        names = {p: n for n, p in self.learned().items()}
        state = {
            f"{names[p]}/{what}": v if isinstance(v, torch.Tensor) else torch.tensor(v)
            for p, held in self.optim.state.items()
            for what, v in held.items()
            if v is not None
        }
        files = {"model": sharing.gathered(self.learned()), "optimizer": sharing.gathered(state)}
        if self.average is not None:
            files["average"] = sharing.gathered(self.average.values)
        if self.accelerator.is_main_process:
            checkpoint.save(out, moment, files)

    def restore(self, out: Path, made_of: Any, tell: Callable[[str], None]) -> int:
        """Fill everything from the newest checkpoint that can be read; returns the steps done, 0 where there is none.
        Raises TrainError E710, E716.
        """
        learned = self.learned()
        found = checkpoint.newest(out, tell)
        if found is None:
            return 0
        folder, moment, files = found
        checkpoint.compare(folder, made_of, moment.made_of)
        checkpoint.fits(folder, files["model"], learned)
        with torch.no_grad():
            for name, parameter in learned.items():
                parameter.copy_(sharing.like(files["model"][name], parameter))
        self.optim.state.clear()
        for name, value in files["optimizer"].items():
            owner, _, what = name.rpartition("/")
            parameter = learned[owner]
            self.optim.state[parameter][what] = value if what == "step" else sharing.like(value, parameter)
        if self.average is not None:
            self.average.values = {n: sharing.like(files["average"][n], p) for n, p in learned.items()}
        return moment.step

    def write(self, out: Path) -> list[Path]:
        """The weights of each learned node, written by the main process; returns what was written."""
        with self.averaged():
            return write_nodes(self.model, out, write=self.accelerator.is_main_process)
