"""Records from a file of JSON lines, read at random by the places of its lines. Nothing but those places is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from anyany.api.torch import Build, Component, Context, Rows


class JsonLines(Component):
    """Options: `JsonLinesConfig`. Raises ValueError where the file is missing, empty or a line is no object."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        self.path = Path(build.assets.folder or ".") / config.path
        self.folder = self.path.parent
        self._starts: np.ndarray | None = None

    @property
    def starts(self) -> np.ndarray:
        """Where each line that holds something begins, and the file's end."""
        if self._starts is None:
            if not self.config.path or not self.path.is_file():
                raise ValueError(f"there is no file {self.path}; give `path`, relative to the spec's folder")
            found, at = [], 0
            with self.path.open("rb") as file:
                for line in file:
                    if line.strip():
                        found.append(at)
                    at += len(line)
            self._starts = np.array(found, dtype=np.int64)
        return self._starts

    def __len__(self) -> int:
        return len(self.starts)

    def record(self, index: int) -> dict[str, Any]:
        """The object on a line, counted without empty ones."""
        with self.path.open("rb") as file:
            file.seek(int(self.starts[index]))
            text = file.readline()
        try:
            found = json.loads(text)
        except ValueError as error:
            raise ValueError(f"{self.path}, record {index + 1}: {error}") from None
        if not isinstance(found, dict):
            raise ValueError(f"{self.path}, record {index + 1} is no object: {text[:60]!r}")
        return found

    def read(self, ctx: Context) -> dict[str, Rows]:
        """The first record, as JSON."""
        return {"record": ctx.rows([json.dumps(self.record(0))] * len(ctx.keys))}
