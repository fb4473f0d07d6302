"""The metrics of a stage: one JSON line a logged step, and TensorBoard's events where its package works."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


class MetricsFile:
    """Appends to metrics.jsonl; lines after the step a run goes on from are dropped first."""

    def __init__(self, folder: Path, first: int) -> None:
        self.path = folder / "metrics.jsonl"
        kept = [line for line in read(self.path) if line["step"] <= first]
        partial = folder / "metrics.partial"
        partial.write_text("".join(json.dumps(line) + "\n" for line in kept), "utf-8")
        partial.replace(self.path)
        self._board: Any = None
        with contextlib.suppress(ImportError):
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=first + 1 if first else None)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """One line; it is on its way to the disk when this returns."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)
            self._board.flush()


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics file; one that was cut short is left out."""
    return list(_lines(path)) if path.exists() else []


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text("utf-8", "replace").splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            found = json.loads(line)
            if isinstance(found, dict) and isinstance(found.get("step"), int):
                yield found
