"""Show what a run would load, where, and how many bytes of weights it takes, before any of them is read.

Exit code 3 where the plan does not fit into --memory.
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anyany.engine.plan import Plan
    from anyany.engine.predict import Predicted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `anyany plan`."""
    add = parser.add_argument
    add("spec", metavar="SPEC", help="the spec file")
    add("--want", metavar="OUTPUT[.KIND]", action="append", default=[], help="plan for this output alone")
    add("--profile", metavar="P", help="a profile of the spec")
    add("--set", dest="sets", metavar="PATH=VALUE", action="append", default=[], help="change a value of the spec")
    add("--memory", metavar="SIZE", help="refuse a plan whose weights take more, as 24GB")
    add("--offline", action="store_true", help="use no network")
    add("--json", action="store_true", help="print the plan as one JSON object")


def main(args: argparse.Namespace) -> int:
    """Print the plan. Raises SpecError, CallError or EnvironmentProblem where there can be none."""
    from anyany.engine.predict import check_memory, memory_size, predict
    from anyany.pipeline import load, weights_errors

    limit = memory_size(args.memory)
    pipe = load(args.spec, profile=args.profile, set=args.sets, want=args.want, offline=args.offline)
    with weights_errors(pipe.graph):
        table = predict(pipe.plan, pipe.components.reach())
    if args.json:
        print(json.dumps(_object(pipe.plan, table), ensure_ascii=False))
    else:
        for line in _lines(pipe.plan, table):
            print(line)
    check_memory(table, limit)
    return 0


def _object(plan: Plan, table: list[Predicted]) -> dict[str, Any]:
    nodes: list[dict[str, Any]] = []
    known = {p.node: p for p in table}
    for step in plan.steps:
        p = known[step.node.owner]
        node: dict[str, Any] = {
            "node": step.name,
            "component": step.node.card.name,
            "call": step.call_name,
            "owner": p.node,
        }
        node |= {"mapped": list(step.stack), "maybe": step.node.maybe, "device": p.device, "dtype": p.dtype or None}
        nodes.append({**node, "bytes": p.bytes if step.name == p.node else 0, "weights": p.source or None})
    total, unknown = sum(p.bytes or 0 for p in table), [p.node for p in table if p.bytes is None]
    return {"name": plan.graph.name, "outputs": list(plan.outputs), "nodes": nodes, "bytes": total, "unknown": unknown}


def _lines(plan: Plan, table: list[Predicted]) -> list[str]:
    from anyany.engine.predict import human
    from anyany.report.table import align_columns

    known = {p.node: p for p in table}
    rows: list[tuple[str, ...]] = [("node", "component", "call", "device", "dtype", "weights", "from", "remarks")]
    for step in plan.steps:
        p = known[step.node.owner]
        own = step.name == p.node
        size = "–" if not own or p.bytes == 0 else "?" if p.bytes is None else human(p.bytes)
        remarks = [f"mapped over {' × '.join(step.stack)}"] if step.stack else []
        remarks += ["may be absent"] if step.node.maybe else []
        remarks += [p.note] if own and p.note else []
        source = p.source if own else f"of {p.node}"
        rows.append((step.name, step.node.card.name, step.call_name, p.device, p.dtype or "–", size, source or "–",
                     "; ".join(remarks)))  # fmt: skip
    steps = {s.name for s in plan.steps}
    for owner in plan.owners:
        if owner not in steps:
            p, node = known[owner], plan.graph.nodes[owner]
            size = "?" if p.bytes is None else human(p.bytes)
            rows.append((owner, node.card.name, "–", p.device, p.dtype or "–", size, p.source,
                         "only holds weights"))  # fmt: skip
    lines = align_columns(rows, right={5})
    left = [n for n in plan.graph.order if n not in steps and n not in plan.owners]
    if left:
        lines.append(f"left out, for nothing wanted needs them: {', '.join(left)}")
    unknown = [p.node for p in table if p.bytes is None]
    total = sum(p.bytes or 0 for p in table)
    lines.append(f"weights in all: {human(total)}" + (f", and those of {', '.join(unknown)}" if unknown else ""))
    return lines
