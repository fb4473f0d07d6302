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

from anyany.train.errors import TrainError
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


def save(out: Path, moment: Moment, files: Mapping[str, Mapping[str, torch.Tensor]]) -> Path:
    """Write a checkpoint and remove all but the last two. files: name without ending -> tensors."""
    folder = out / f"checkpoint-{moment.step:08d}"
    partial = out / f".{folder.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name, tensors in files.items():
        write_safetensors(tensors, partial / f"{name}.safetensors")
    (partial / "state.json").write_text(json.dumps({"step": moment.step, "made_of": moment.made_of}, indent=1), "utf-8")
    flush(partial / "state.json")
    flush(partial)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)
    flush(out)
    for old in folders(out)[KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


def read(folder: Path, made_of: Mapping[str, Any], names: set[str]) -> tuple[int, dict[str, dict[str, torch.Tensor]]]:
    """The steps done, and the tensors of each file. Raises TrainError E710 where it is of another run.

    names: of the parameters that the stage learns.
    """
    from safetensors.torch import load_file

    state = json.loads((folder / "state.json").read_text("utf-8"))
    differing = sorted(k for k in {*made_of, *state["made_of"]} if made_of.get(k) != state["made_of"].get(k))
    if differing:
        told = f"{folder} was made with other {', '.join(differing)}"
        raise TrainError("E710", told, "resume with the settings of that run, or start anew with another `--out`")
    files = {p.stem: load_file(p) for p in folder.glob("*.safetensors")}
    if set(files["model"]) != names:
        raise TrainError("E710", f"{folder} holds other parameters than the stage learns", "start anew")
    return int(state["step"]), files
