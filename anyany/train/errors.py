"""What stops a training run, with a code of the catalogue and an action."""

from __future__ import annotations

from anyany.errors import CallError, problem


class TrainError(CallError):
    """A run that cannot start or go on."""

    def __init__(self, code: str, message: str, help: str = "", path: str = "") -> None:
        super().__init__([problem(code, message, help=help or None, path=path)])
