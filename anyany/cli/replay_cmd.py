"""Run an item of an earlier run again, with the same seed, and compare what comes out with what was written.

Exit code 0 where everything is the same, 1 where something differs or fails.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anyany.report.runlog import RunLog


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `anyany replay`."""
    add = parser.add_argument
    add("folder", metavar="DIR", help="the --out folder of an earlier run")
    add("item", metavar="ITEM", nargs="*", help="ids of items (all)")
    add("--out", metavar="DIR", help="keep the new outputs here")
    add("--spec", metavar="SPEC", help="where the spec is now, if it moved")
    add("--json", action="store_true", help="print one JSON object an item")


def main(args: argparse.Namespace) -> int:
    """Run again and compare."""
    from anyany.pipeline import load
    from anyany.report.runlog import read_items, read_log

    log = read_log(args.folder)
    lines = read_items(args.folder, args.item)
    spec = args.spec or log.spec
    pipe = load(spec, profile=log.profile, set=log.sets, want=log.want, seed=log.seed)
    for change in _changes(log, spec):
        print(f"anyany: {change}", file=sys.stderr)
    differ = 0
    with tempfile.TemporaryDirectory() as temporary:
        from anyany.report.compare import compare
        from anyany.report.writing import Writer

        writer = Writer(args.out or temporary, pipe.plan.outputs)
        items = [_item(pipe, line) for line in lines]
        for line, result in zip(lines, pipe.run(items, batch=1)):
            found = compare(line, writer.write(result))
            differ += bool(found)
            _tell(str(line["item"]), found, args.json)
    return 1 if differ else 0


def _item(pipe: Any, line: dict[str, Any]) -> Any:
    """The item as it was; one that could not even start fails again for the same reason."""
    if line.get("failure"):
        from anyany.engine.failures import Failure
        from anyany.engine.run import failed_item

        return failed_item(str(line["item"]), Failure(**line["failure"]))
    raw = {**line["given"], **({"with": line["with"]} if line.get("with") else {})}
    return pipe.item(raw, str(line["item"]))


def _changes(log: RunLog, spec: str) -> list[str]:
    from anyany.report.runlog import spec_hash, versions

    found = []
    if os.path.exists(spec) and spec_hash(spec) != log.spec_hash:
        found.append(f"{spec} has changed since that run")
    now = versions()
    found += [f"{k} was {v}, and is {now[k]} now" for k, v in log.versions.items() if now.get(k) not in (None, v)]
    return found


def _tell(item: str, found: list[str], as_json: bool) -> None:
    if as_json:
        print(json.dumps({"item": item, "same": not found, "differences": found}, ensure_ascii=False))
        return
    print(f"{item}: {'same' if not found else 'differs'}")
    for line in found:
        print(f"  {line}")
