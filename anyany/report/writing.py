"""Results on disk and as JSON: `DIR/ITEM/NAME.ext`, a list as `NAME/0.png`, a message as NAME.json and NAME.html.

`write` is called by writer threads; it touches nothing but its own item's folder.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from typing import Any

from anyany.engine.failures import Failure, reason
from anyany.engine.items import Result
from anyany.engine.loading import plugin_function
from anyany.engine.plan import Wanted
from anyany.media.errors import MediaError

_SAFE = re.compile(r"[A-Za-z0-9._@+=-]+")
_LONGEST = 120
_FILES = ("image", "audio", "video", "mask", "drawn", "map", "picture", "srt", "vtt")


def folder_name(item: str) -> str:
    """An item's id as the name of a folder: safe characters stay, others are escaped, long ones shortened."""
    if _SAFE.fullmatch(item) and not item.startswith(".") and len(item) <= _LONGEST:
        return item
    digest = hashlib.blake2b(item.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
    readable = "".join(c if _SAFE.fullmatch(c) else "_" for c in item).lstrip(".")[: _LONGEST - 20]
    return f"{readable or 'item'}-{digest}"


class Writer:
    """Writes results below `folder` and tells each as the object that `--json` prints. audio: "WAV" or "FLAC"."""

    def __init__(self, folder: str, wanted: Mapping[str, Wanted], audio: str = "WAV") -> None:
        self.folder, self.wanted, self.audio = os.path.abspath(folder), wanted, audio

    def write(self, result: Result) -> dict[str, Any]:
        """{"item", "status", "outputs", "error", "seconds"}, and "notes" where there are any; a result that cannot be
        written has failed (E609).
        """
        outputs: dict[str, Any] = {}
        error = result.error
        if error is None:
            try:
                place = os.path.join(self.folder, folder_name(result.item))
                os.makedirs(place, exist_ok=True)
                for name, value in result.outputs.items():
                    outputs[name] = self._output(self.wanted[name], value, os.path.join(place, name))
            except MediaError as problem:
                error = Failure(code="E609" if problem.code == "E523" else problem.code, message=problem.message,
                                help=problem.help)  # fmt: skip
            except OSError as problem:
                text = f"the outputs cannot be written: {problem.strerror or problem} ({problem.filename})"
                error = Failure(code="E609", message=text, help="give another --out, or free space")
            except Exception as problem:  # a value that is not of its kind, or a plugin's own saver: this item's fault
                text = f"the output {name!r} ({self.wanted[name].kind}) cannot be written: {reason(problem)}"
                error = Failure(code="E609", message=text, help="report it to the authors of what makes it")
        return {
            "item": result.item,
            "status": "failed" if error else "ok",
            "outputs": {} if error else outputs,
            "error": str(error) if error else None,
            "seconds": round(result.seconds, 4),
            **({"notes": list(result.notes)} if result.notes else {}),
        }

    def _output(self, wanted: Wanted, value: Any, stem: str) -> dict[str, Any] | None:
        deep = len(wanted.stack) + (1 if wanted.listed else 0)
        return self._value(wanted, value, stem, deep)

    def _value(self, wanted: Wanted, value: Any, stem: str, deep: int) -> dict[str, Any] | None:
        if value is None:
            return None
        if deep:
            os.makedirs(stem, exist_ok=True)
            items = [self._value(wanted, v, os.path.join(stem, str(i)), deep - 1) for i, v in enumerate(value)]
            return {"kind": wanted.kind, "items": items}
        from anyany import media

        kind = wanted.kind_of(value)
        own = plugin_function(kind, "save")
        saved = media.save(kind, value, stem, audio=self.audio) if own is None else own(value, stem)
        path = os.path.abspath(saved)
        if kind == "text":
            return {"kind": kind, "text": value}
        if kind == "message":
            return {"kind": kind, "parts": media.message_parts(path)}
        beside = media.companions(kind, value, stem) if own is None else {}
        return {"kind": kind, "path": path, **{name: os.path.abspath(p) for name, p in beside.items()}}


def paths_in(output: Any) -> list[str]:
    """Every path that an output's JSON object names."""
    if isinstance(output, str):
        return []
    if isinstance(output, list):
        return [p for part in output for p in paths_in(part)]
    if not isinstance(output, Mapping):
        return []
    found = [output["path"]] if "path" in output else []
    found += [v for k, v in output.items() if k in _FILES and isinstance(v, str)]
    return found + paths_in(output.get("parts", [])) + paths_in(output.get("items", []))


def text_in(output: Any) -> str:
    """The text of an output's JSON object: itself, or the text parts of a message."""
    if not isinstance(output, Mapping):
        return ""
    if "text" in output:
        return str(output["text"])
    if "parts" in output:
        return "".join(p for p in output["parts"] if isinstance(p, str))
    return "\n".join(filter(None, (text_in(v) for v in output.get("items", []))))
