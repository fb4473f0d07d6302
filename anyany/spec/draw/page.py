"""The drawing as a web page: the SVG, and a table of the nodes beneath it. One file, no scripts.

What stands in the spec is escaped; the page asks nothing of the network.
"""

from __future__ import annotations

import html

from anyany.spec.draw.model import flow_text
from anyany.spec.draw.svg import FONT, svg
from anyany.spec.graph import Graph, Node

STYLE = f"""
body {{ font-family: {FONT}; color: #0f172a; margin: 2rem auto; max-width: 96rem; padding: 0 1rem; }}
.drawing {{ overflow-x: auto; border: 1px solid #e2e8f0; border-radius: 8px; }}
table {{ border-collapse: collapse; margin-top: 1.5rem; width: 100%; font-size: 14px; }}
th, td {{ text-align: left; padding: 6px 12px; border-bottom: 1px solid #e2e8f0; vertical-align: top; }}
th {{ color: #475569; font-weight: 600; }}
code {{ font-size: 13px; }}
"""


def page(graph: Graph) -> str:
    """The pipeline as an HTML document."""
    heads = "".join(f"<th>{h}</th>" for h in ("node", "component", "runs over", "gives", "weights"))
    rows = "\n".join(_row(graph.nodes[name]) for name in graph.order)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f"<title>{html.escape(graph.name)}</title>\n<style>{STYLE}</style></head>\n<body>\n"
        f'<div class="drawing">\n{svg(graph)}</div>\n'
        f"<table><thead><tr>{heads}</tr></thead>\n"
        f"<tbody>\n{rows}\n</tbody></table>\n</body></html>\n"
    )


def _row(node: Node) -> str:
    over = " > ".join(node.stack) or "each item once"
    if not node.runs:
        over = "holds weights"
    gives = "<br>".join(f"<code>{html.escape(n)}</code>: {html.escape(flow_text(f))}" for n, f in node.gives.items())
    what = node.card.name if node.owner == node.name else f"of {node.owner}"
    cells = [f"<b>{html.escape(node.name)}</b>", f"<code>{html.escape(what)}</code> {html.escape(node.call_name)}"]
    cells += [html.escape(over), gives, html.escape(", ".join(node.weights)) or "none"]
    return "<tr>" + "".join(f"<td>{c}</td>" for c in cells) + "</tr>"
