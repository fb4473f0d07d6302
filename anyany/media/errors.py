"""MediaError: what is wrong with a file or a value, where, and what to do about it.

Codes E501-E529. `CODES` has one line for each; every error that leaves `anyany.media` is one of these.
"""

from __future__ import annotations

from typing import Any

CODES: dict[str, str] = {
    "E501": "The file does not exist.",
    "E502": "The path is a folder where a file was expected.",
    "E503": "The path is a pipe, a device or a socket, whose reading could block for ever.",
    "E504": "The file is there but cannot be read.",
    "E505": "The file is empty.",
    "E506": "The file holds another kind of medium than the one expected.",
    "E507": "The content is of no format that anyany reads.",
    "E508": "The file ends before its content does.",
    "E509": "The file is damaged: its content breaks the rules of its format.",
    "E510": "The file has more bytes than the limit allows.",
    "E511": "The picture has more pixels than the limit allows.",
    "E512": "The sound or film is longer than the limit allows.",
    "E513": "The content would take more memory, once decoded, than the limit allows.",
    "E514": "The text is longer than the limit allows.",
    "E515": "The picture has no pixels.",
    "E516": "The sound or film has no length.",
    "E517": "The file has no track of the kind wanted.",
    "E518": "The text is not UTF-8.",
    "E519": "The file is not valid JSON.",
    "E520": "A message template has an unclosed brace or an unknown tag.",
    "E521": "A part of a message is not written as a part of a message is.",
    "E522": "A sound holds samples that are not numbers (NaN or infinity).",
    "E523": "The output could not be written.",
    "E524": "A value does not have the form that its kind asks for.",
    "E525": "A facet (rate, channels, fps, frames) cannot be met.",
    "E526": "The format is known, but this installation cannot decode it.",
    "E527": "The path cannot be the path of a file.",
}


class MediaError(Exception):
    """A file or a value that cannot be used.

    code: one of `CODES`. message: what is wrong, in one sentence. help: what to do. path: the file, where
    there is one.
    """

    def __init__(self, code: str, message: str, help: str = "", path: str | None = None) -> None:
        assert code in CODES, code
        super().__init__(code, message, help, path)
        self.code = code
        self.message = message
        self.help = help
        self.path = path

    def __str__(self) -> str:
        place = f"{self.path}: " if self.path else ""
        return f"{place}{self.message} [{self.code}]" + (f"\nhelp: {self.help}" if self.help else "")

    def to_json(self) -> dict[str, Any]:
        """{code, message, help, path}, as the command line prints it."""
        return {"code": self.code, "message": self.message, "help": self.help, "path": self.path}
