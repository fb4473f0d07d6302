"""Count parameters and FLOPs of each node on the meta device: no weights are read, nothing is computed.

FLOPs are those of one call on one made-up input; a loop (a language model, a sampler) counts one pass.
"""

from __future__ import annotations

import argparse
import json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `anyany inspect`."""
    add = parser.add_argument
    add("spec", metavar="SPEC", help="the spec file")
    add("--profile", metavar="P", help="a profile of the spec")
    add("--set", dest="sets", metavar="PATH=VALUE", action="append", default=[], help="change a value of the spec")
    add("--offline", action="store_true", help="use no network")
    add("--json", action="store_true", help="print one JSON object")


def main(args: argparse.Namespace) -> int:
    """Print the table; what cannot be counted is a dash with its reason."""
    from anyany.engine.probe import inspect_graph
    from anyany.pipeline import checked, weights_errors
    from anyany.report.table import align_columns

    graph = checked(args.spec, profile=args.profile, sets=args.sets).expect()
    with weights_errors(graph):
        rows = inspect_graph(graph, offline=args.offline)
    if args.json:
        nodes = [{"node": r.node, "component": r.component, "call": r.call, "parameters": r.parameters,
                  "flops": r.flops, "input": r.input, "note": r.note or None} for r in rows]  # fmt: skip
        print(json.dumps({"name": graph.name, "nodes": nodes}, ensure_ascii=False))
        return 0
    table: list[tuple[str, ...]] = [("node", "component", "call", "parameters", "FLOPs", "for", "remarks")]
    for r in rows:
        parameters = "–" if r.parameters is None else f"{r.parameters:,}"
        table.append((r.node, r.component, r.call or "–", parameters, _flops(r.flops), r.input or "–", r.note))
    for line in align_columns(table, right={3, 4}):
        print(line)
    print(f"parameters in all: {sum(r.parameters or 0 for r in rows):,}")
    return 0


def _flops(count: int | None) -> str:
    if count is None:
        return "–"
    value = float(count)
    for unit in ("", "k", "M", "G", "T"):
        if value < 1000:
            return f"{value:.0f}" if unit == "" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} P"
