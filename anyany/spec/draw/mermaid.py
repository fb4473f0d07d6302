"""The drawing as Mermaid text, which GitHub and many editors render.

Source: https://mermaid.js.org/syntax/flowchart.html (quoted labels; ids of our own, so that no name can break it).
"""

from __future__ import annotations

from anyany.spec.draw.model import INPUT, OUTPUT, Box, Drawing, Link, read
from anyany.spec.draw.svg import ROLES
from anyany.spec.graph import Graph


def mermaid(graph: Graph) -> str:
    """The pipeline as a Mermaid flowchart."""
    drawing = read(graph)
    ids = {key: f"n{i}" for i, key in enumerate(drawing.boxes)}
    lines = [f"%% {_clean(drawing.title)}", "flowchart LR"]
    lines += [f"  {_box(ids[key], box)}" for key, box in drawing.boxes.items()]
    lines += [f"  {_link(drawing, ids, link)}" for link in drawing.links]
    for role in [r for r in ROLES if any(b.role == r for b in drawing.boxes.values())]:
        border, fill = ROLES[role]
        lines.append(f"  classDef {role} fill:{fill},stroke:{border},color:#0f172a")
        members = ",".join(ids[k] for k, b in drawing.boxes.items() if b.role == role)
        lines.append(f"  class {members} {role}")
    return "\n".join(lines) + "\n"


def _clean(text: str) -> str:
    """Text that is safe inside Mermaid's double quotes."""
    swaps = {"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "`": "#96;"}
    return "".join(swaps.get(c, c) for c in " ".join(text.split()))


def _box(name: str, box: Box) -> str:
    text = f"{_clean(box.title)}<br/><small>{_clean(box.subtitle)}</small>"
    if box.mapped:
        text += f"<br/><small>× {_clean(' × '.join(box.mapped))}</small>"
    if box.role in (INPUT, OUTPUT):
        return f'{name}(["{text}"])'
    return f'{name}{{{{"{text}"}}}}' if box.role == "backbone" else f'{name}["{text}"]'


def _link(drawing: Drawing, ids: dict[str, str], link: Link) -> str:
    row = drawing.boxes[link.source].outs[link.out]
    label = row.text + (f" {row.lists}" if row.lists else "")
    into = link.into + ("*" if link.star else "")
    text = _clean(f"{label} → {into}" if into else label)
    arrow = "-.->" if link.style != "flow" or link.maybe else "-->"
    return f'{ids[link.source]} {arrow}|"{text}"| {ids[link.target]}'
