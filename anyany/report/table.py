"""The closing table of a run: what each node did, what it cost, and why it did not run."""

from __future__ import annotations

from anyany.engine.plan import Plan
from anyany.engine.predict import human
from anyany.engine.watch import NodeStats, Recorder
from anyany.spec.graph import Graph

HEAD = ("node", "component", "rows", "calls", "seconds", "weights", "remarks")


def table_rows(plan: Plan, recorder: Recorder) -> list[tuple[str, ...]]:
    """One row for each node of the graph, in order; `HEAD` names the columns."""
    planned = {s.name for s in plan.steps}
    holders = {port.handle: s.name for s in plan.steps for port in s.ports if port.handle is not None}
    rows: list[tuple[str, ...]] = []
    for name in plan.graph.order:
        node = plan.graph.nodes[name]
        stats = recorder.nodes.get(name, NodeStats())
        shared = "" if node.owner == name else f"of {node.owner}"
        weights = human(stats.bytes) if stats.bytes else shared or "–"
        seconds = f"{stats.seconds:.2f}" if stats.calls else "–"
        remark = _remark(plan.graph, name, name in planned, stats, holders.get(name, ""))
        rows.append((name, node.card.name, str(stats.rows), str(stats.calls), seconds, weights, remark))
    return rows


def _remark(graph: Graph, name: str, planned: bool, stats: NodeStats, holder: str) -> str:
    node = graph.nodes[name]
    notes = [f"{text} ({n}×)" if n > 1 else text for text, n in stats.notes.items()]
    if stats.failed:
        notes.append(f"{stats.failed} items failed here")
    if stats.build > 0.05:
        notes.append(f"loaded in {stats.build:.2f} s")
    if not stats.calls:
        if holder:
            notes.append(f"called by {holder}")
        elif not node.runs:
            notes.append("only holds weights")
        elif not planned:
            notes.append("not wanted")
        elif not stats.failed:
            notes.append(f"did not run: {_why(graph, name)}")
    return "; ".join(notes)


def _why(graph: Graph, name: str) -> str:
    """What was absent, or which list was empty."""
    node = graph.nodes[name]
    if node.when is not None:
        return f"{node.when.flow.label or 'its condition'} was absent"
    if node.stack:
        return f"{node.stack[-1]} was empty"
    maybe = [e.flow.label or p for p, e in node.edges.items() if e.flow.maybe and not e.optional]
    return f"{maybe[0]} was absent" if maybe else "no item reached it"


def format_table(rows: list[tuple[str, ...]]) -> list[str]:
    """The table as aligned lines of text; figures to the right."""
    return align_columns([HEAD, *rows], right={2, 3, 4, 5})


def align_columns(table: list[tuple[str, ...]], right: set[int]) -> list[str]:
    """Lines of text with the columns under each other; those numbered in `right` end together."""
    widths = [max(len(row[c]) for row in table) for c in range(len(table[0]))]
    lines = []
    for row in table:
        cells = [v.rjust(w) if c in right else v.ljust(w) for c, (v, w) in enumerate(zip(row, widths))]
        lines.append("  ".join(cells).rstrip())
    return lines
