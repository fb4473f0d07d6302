"""What can be wrong, as data: a place (`Mark`) and a finding (`Problem`), and the exceptions that carry them.

Checkers collect problems and go on; only the Python API and the command line turn them into exceptions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from anyany.errors import exit as exits


class Mark(NamedTuple):
    """A place in a file: 1-based line and column (in characters), and how many characters it spans.

    A named tuple because a spec has thousands of them: made in a third of a dataclass's time.
    """

    file: str
    line: int
    column: int
    length: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One finding about a spec, a call or the environment.

    `path` is the dotted place in the spec (`nodes.think.in.image`), `related` other places that matter
    (the far end of an edge, "first defined here"), `help` an action the user can take.
    """

    code: str
    message: str
    path: str = ""
    mark: Mark | None = None
    expected: str | None = None
    found: str | None = None
    help: str | None = None
    related: tuple[tuple[Mark, str], ...] = ()

    @property
    def severity(self) -> str:
        """`error` or `warning`, by the letter of the code."""
        return "warning" if self.code.startswith("W") else "error"

    @property
    def is_error(self) -> bool:
        return not self.code.startswith("W")

    def to_json(self) -> dict[str, str | int | None]:
        """The object that `check --format json` prints; file, line and column are null without a place."""
        extra = [f"{word} {value}" for word, value in (("expected", self.expected), ("found", self.found)) if value]
        mark = self.mark
        return {
            "code": self.code,
            "file": mark.file if mark else None,
            "line": mark.line if mark else None,
            "column": mark.column if mark else None,
            "path": self.path,
            "message": f"{self.message} ({', '.join(extra)})" if extra else self.message,
            "help": self.help,
        }


def problem(
    code: str,
    message: str,
    *,
    path: str = "",
    mark: Mark | None = None,
    expected: str | None = None,
    found: str | None = None,
    help: str | None = None,
    related: Iterable[tuple[Mark, str]] = (),
) -> Problem:
    """Make a `Problem` whose code is in the catalogue (an unknown one is a bug of ours, so: assert)."""
    from anyany.errors.catalogue import CATALOGUE  # here, for a spec without problems needs none of it

    assert code in CATALOGUE, f"{code} is not in anyany.errors.catalogue"
    return Problem(
        code=code,
        message=message,
        path=path,
        mark=mark,
        expected=expected,
        found=found,
        help=help,
        related=tuple(related),
    )


class AnyanyError(Exception):
    """Base of what the Python API raises for wrong specs, wrong calls and wrong environments.

    `problems` are the findings, `sources` the text of files that are not on disk (file name -> text), and
    `exit_code` what the command line returns. `str()` is the rendered text, without colours.
    """

    def __init__(self, problems: Iterable[Problem], sources: Mapping[str, str] | None = None) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        self.sources: dict[str, str] = dict(sources or {})
        super().__init__(self.problems)

    @property
    def exit_code(self) -> int:
        return exits.SPEC_OR_CALL

    def __str__(self) -> str:
        from anyany.errors.render import render

        return render(self.problems, self.sources, colour=False)


class SpecError(AnyanyError):
    """A spec does not hold; `problems` has everything that was found, errors and warnings alike."""


class CallError(AnyanyError):
    """A command or an API function was called wrongly: an unknown input, a bad option, a missing file."""


class EnvironmentProblem(AnyanyError):
    """Something outside the spec is missing or broken: a package, a plugin, a device, the network."""

    @property
    def exit_code(self) -> int:
        return exits.ENVIRONMENT
