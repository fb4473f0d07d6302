"""One entry of the catalogue of error codes.

Kept apart so that the files of entries and the catalogue that joins them do not import each other.
"""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """What a code means in general; a `Problem` says what it means in one spec.

    `title` is one line, `explanation` says why it is an error, `fix` what to do, `example` is wrong YAML
    or a wrong command, where that helps.
    """

    title: str
    explanation: str
    fix: str
    example: str = ""
