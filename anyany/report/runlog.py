"""The log of a run: `run.json` says what was run and how, `items.jsonl` what went in and what came out of each item.

Enough to run any item again with the same seed (`anyany replay`).
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from anyany.engine.items import Item
from anyany.errors import CallError, problem
from anyany.kinds.message import FilePath, Message

RUN, ITEMS = "run.json", "items.jsonl"


@dataclass(frozen=True, kw_only=True)
class RunLog:
    """What was run. spec: absolute path; spec_hash: of its text; versions: of the packages that matter."""

    spec: str
    spec_hash: str
    name: str
    profile: str | None
    sets: tuple[str, ...]
    want: tuple[str, ...]
    seed: int
    versions: Mapping[str, str]


def spec_hash(path: str) -> str:
    """BLAKE2 of the spec's bytes."""
    with open(path, "rb") as file:
        return hashlib.blake2b(file.read(), digest_size=16).hexdigest()


def versions() -> dict[str, str]:
    """Versions of everything that decides a result."""
    from importlib.metadata import PackageNotFoundError, version

    import anyany

    found = {"anyany": anyany.__version__, "python": platform.python_version()}
    for name in ("torch", "transformers", "diffusers"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def write_log(folder: str, log: RunLog, counts: Mapping[str, int]) -> None:
    """Write run.json under a temporary name, then rename."""
    path = os.path.join(folder, RUN)
    temporary = f"{path}.{os.getpid()}.tmp"
    with open(temporary, "w", encoding="utf-8", errors="backslashreplace") as file:
        json.dump({"anyany_run": 1, **asdict(log), "items": dict(counts)}, file, indent=2, ensure_ascii=False)
        file.write("\n")
    os.replace(temporary, path)


def read_log(folder: str) -> RunLog:
    """The log of an earlier run. Raises CallError (E907) where the folder has none."""
    path = os.path.join(folder, RUN)
    try:
        with open(path, encoding="utf-8") as file:
            raw = json.load(file)
        fields = {k: raw[k] for k in RunLog.__dataclass_fields__}
        return RunLog(**{**fields, "sets": tuple(fields["sets"]), "want": tuple(fields["want"])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        text = f"{folder} is not the folder of a run: {path} cannot be used ({type(error).__name__})"
        raise CallError([problem("E907", text, help="give the --out folder of an earlier run")]) from None


def item_line(item: Item, told: Mapping[str, Any]) -> str:
    """One line of items.jsonl: what was given, and what `--json` told."""
    given = {n: plain(v) for n, v in item.values.items() if n not in item.defaulted}
    line = {**told, "given": given, "with": item.options or None, "line": item.line}
    if item.failure is not None:
        line["failure"] = asdict(item.failure)
    return json.dumps(line, ensure_ascii=False)


def read_items(folder: str, wanted: Sequence[str]) -> list[dict[str, Any]]:
    """The lines of items.jsonl, of the items `wanted` or of all. The last line of an item counts."""
    found: dict[str, dict[str, Any]] = {}
    path = os.path.join(folder, ITEMS)
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                entry = json.loads(line)
                if not wanted or entry["item"] in wanted:
                    found[entry["item"]] = entry
    except (OSError, ValueError, KeyError) as error:
        raise CallError([problem("E907", f"{path} cannot be used ({error})", help="run again")]) from None
    missing = [w for w in wanted if w not in found]
    if missing:
        raise CallError([problem("E907", f"the run in {folder} has no item {missing[0]!r}",
                                 help="its items are listed in items.jsonl")])  # fmt: skip
    return list(found.values())


def plain(value: Any) -> Any:
    """An input's value as JSON that `--items` reads again; what is only in memory becomes null."""
    if isinstance(value, Message):
        return [_absolute(part) for part in value.to_json()]
    if isinstance(value, FilePath):
        return {"file": os.path.abspath(value.path)}
    if isinstance(value, list):
        return [plain(v) for v in value]
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    return value.tolist() if hasattr(value, "tolist") and getattr(value, "ndim", 9) <= 2 else None


def _absolute(part: Any) -> Any:
    if not isinstance(part, dict):
        return part
    return {k: os.path.abspath(v) if k in ("image", "audio", "video", "mask", "file") and isinstance(v, str) else v
            for k, v in part.items()}  # fmt: skip
