"""Checkpoints of a stage: learned weights, optimiser, average and step, written whole or not at all.

A checkpoint is a folder of safetensors and JSON that is filled under another name, flushed to the disk and renamed, so
that a kill at any moment leaves the one before. Data order and noise are functions of (seed, stage, step), so this is
all that a resumed run needs. Source: DESIGN section 8.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from anyany.train.errors import TrainError
from anyany.weights.save import flush, write_safetensors

KEPT = 2
LATER = ("data", "graph")
"""What checkpoints of earlier versions do not note."""


@dataclass(frozen=True, kw_only=True)
class Moment:
    """What a checkpoint holds: the number of steps done, and what the run was made of."""

    step: int
    made_of: Mapping[str, Any]


def locked(out: Path) -> int:
    """Make a stage's folder and hold it until the handle is closed or the process ends, however it ends.

    Raises TrainError E710 where another process trains into it.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise TrainError(
            "E710", f"{out} would be a folder, and a file is in its place", "name another `--out`"
        ) from None
    handle = os.open(out, os.O_RDONLY)
    with contextlib.suppress(ImportError):  # where there are no such locks, nothing is held
        import fcntl

        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            told = f"another process is training into {out}"
            raise TrainError("E710", told, "wait for its end, or write elsewhere with `--out`") from None
        except OSError:
            pass  # a file system without locks
    return handle


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


class Damaged(Exception):
    """A checkpoint that cannot be read; the message says why."""


def newest(out: Path, tell: Callable[[str], None]) -> tuple[Path, Moment, dict[str, dict[str, torch.Tensor]]] | None:
    """The newest checkpoint that can be read, with the tensors of each file, or None where there is none at all.

    Those that cannot be read are told of and left aside. Raises TrainError E716 where no other is left.
    """
    wrong = ""
    for folder in folders(out):
        try:
            return folder, *read(folder)
        except Damaged as error:
            wrong = f"{folder} is damaged: {error}"
            tell(wrong)
    if wrong:
        raise TrainError("E716", wrong, f"put it back from a copy, or remove {out} and train the stage anew")
    return None


def read(folder: Path) -> tuple[Moment, dict[str, dict[str, torch.Tensor]]]:
    """What a checkpoint was made of, and the tensors of each file. Raises Damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = json.loads((folder / "state.json").read_text("utf-8"))
        moment = Moment(step=int(state["step"]), made_of=dict(state["made_of"]))
        files = {name: load_file(folder / f"{name}.safetensors") for name in ("model", "optimizer")}
        average = folder / "average.safetensors"
        if moment.made_of["settings"]["ema"]:
            files["average"] = load_file(average)
    except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
        raise Damaged(f"{type(error).__name__}: {error}") from error
    return moment, files


def compare(where: Path, made_of: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Raises TrainError E710 where what lies there was made of other things; older versions noted fewer of them."""
    differing = sorted(
        k for k in {*made_of, *found} if made_of.get(k) != found.get(k) and (k in found or k not in LATER)
    )
    if differing:
        told = f"{where} was made with other {', '.join(differing)}"
        parts = {k for k in differing if k == "settings"}
        ours, theirs = made_of.get("settings", {}), found.get("settings", {})
        changed = sorted(k for k in {*ours, *theirs} if ours.get(k) != theirs.get(k)) if parts else []
        told += f" ({', '.join(changed)})" if changed else ""
        raise TrainError("E710", told, "resume with the settings of that run, or start anew with another `--out`")


def fits(folder: Path, tensors: Mapping[str, torch.Tensor], learned: Mapping[str, torch.Tensor]) -> None:
    """Raises TrainError E710 where a checkpoint's parameters are not those that the stage learns."""
    wrong = sorted({*tensors} ^ {*learned})
    wrong += sorted(n for n in {*tensors} & {*learned} if tensors[n].shape != learned[n].shape)
    if wrong:
        told = f"{folder} holds other parameters than the stage learns, as {wrong[0]}"
        raise TrainError("E710", told, "undo the change of the spec, or start anew with another `--out`")
