"""Checkpoints of a stage: learned weights, optimiser, average and step, written whole or not at all.

A checkpoint is a folder of safetensors and JSON that is filled under another name, flushed to the disk and renamed, so
that a kill at any moment leaves the one before. Data order and noise are functions of (seed, stage, step), so this is
all that a resumed run needs. Source: DESIGN section 8.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from anyany.train.errors import TrainError
from anyany.train.optim import Average
from anyany.weights.save import flush, write_safetensors

KEPT = 2


@dataclass(frozen=True, kw_only=True)
class Moment:
    """What a checkpoint holds: the number of steps done, and what the run was made of."""

    step: int
    made_of: Mapping[str, Any]


def folders(out: Path) -> list[Path]:
    """Complete checkpoints, newest first."""
    found = [p for p in out.glob("checkpoint-*") if p.is_dir() and p.name[11:].isdigit()]
    return sorted(found, key=lambda p: int(p.name[11:]), reverse=True)


def save(out: Path, moment: Moment, learned: Mapping[str, nn.Parameter], optim: torch.optim.Optimizer,
         average: Average | None) -> Path:  # fmt: skip
    """Write a checkpoint and remove all but the last two."""
    folder = out / f"checkpoint-{moment.step:08d}"
    partial = out / f".{folder.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    write_safetensors(learned, partial / "model.safetensors")
    write_safetensors(_flat(optim, learned), partial / "optimizer.safetensors")
    if average is not None:
        write_safetensors(average.values, partial / "average.safetensors")
    (partial / "state.json").write_text(json.dumps({"step": moment.step, "made_of": moment.made_of}, indent=1), "utf-8")
    flush(partial / "state.json")
    flush(partial)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)
    flush(out)
    for old in folders(out)[KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


def restore(folder: Path, made_of: Mapping[str, Any], learned: Mapping[str, nn.Parameter],
            optim: torch.optim.Optimizer, average: Average | None) -> int:  # fmt: skip
    """Fill everything from a checkpoint; returns the steps done. Raises TrainError E710 where it is of another run."""
    from safetensors.torch import load_file

    state = json.loads((folder / "state.json").read_text("utf-8"))
    differing = sorted(k for k in {*made_of, *state["made_of"]} if made_of.get(k) != state["made_of"].get(k))
    if differing:
        told = f"{folder} was made with other {', '.join(differing)}"
        raise TrainError("E710", told, "resume with the settings of that run, or start anew with another `--out`")
    weights = load_file(folder / "model.safetensors")
    if set(weights) != set(learned):
        raise TrainError("E710", f"{folder} holds other parameters than the stage learns", "start anew")
    with torch.no_grad():
        for name, parameter in learned.items():
            parameter.copy_(weights[name])
    _unflat(load_file(folder / "optimizer.safetensors"), optim, learned)
    if average is not None:
        kept = load_file(folder / "average.safetensors")
        average.values = {n: kept[n].to(p.device) for n, p in learned.items()}
    return int(state["step"])


def _flat(optim: torch.optim.Optimizer, learned: Mapping[str, nn.Parameter]) -> dict[str, torch.Tensor]:
    """The optimiser's state as tensors named `parameter/what`."""
    names = {p: n for n, p in learned.items()}
    return {
        f"{names[p]}/{what}": value if isinstance(value, torch.Tensor) else torch.tensor(value)
        for p, state in optim.state.items()
        for what, value in state.items()
        if value is not None
    }


def _unflat(tensors: Mapping[str, torch.Tensor], optim: torch.optim.Optimizer,
            learned: Mapping[str, nn.Parameter]) -> None:  # fmt: skip
    optim.state.clear()
    for name, value in tensors.items():
        owner, _, what = name.rpartition("/")
        parameter = learned[owner]
        place = "cpu" if what == "step" else parameter.device
        optim.state[parameter][what] = value.to(place)
