"""The drawing as SVG: boxes coloured by role, labels above their lines, stacked sheets where a node is mapped.

Self-contained, without scripts and without dependencies.
"""

from __future__ import annotations

import html

from anyany.spec.draw.layout import (
    MARGIN,
    PAD,
    SMALL,
    TITLE,
    Item,
    Layout,
    Route,
    arrange,
    in_y,
    label_width,
    out_name,
    out_y,
    text_width,
)
from anyany.spec.draw.model import INPUT, OUTPUT, Drawing, read
from anyany.spec.graph import Graph

ROLES = {
    INPUT: ("#475569", "#f1f5f9"),
    OUTPUT: ("#0f172a", "#e2e8f0"),
    "encoder": ("#1d4ed8", "#e3edff"),
    "tokenizer": ("#0f766e", "#dcf5f0"),
    "adapter": ("#b45309", "#fdf0d8"),
    "backbone": ("#7e22ce", "#f2e5fd"),
    "decoder": ("#15803d", "#dff5e5"),
    "transform": ("#57534e", "#efeeec"),
    "objective": ("#b91c1c", "#fde5e5"),
    "metric": ("#be185d", "#fce4f0"),
    "source": ("#0e7490", "#dbf3f8"),
}
"""role -> (border, fill)"""
LINES = {"message": "#7e22ce", "features": "#b45309", "embedding": "#b45309", "tokens": "#0f766e", "latent": "#0f766e"}
OTHER_LINE = "#475569"
INK, FAINT, LIST = "#0f172a", "#56606f", "#9d174d"
FONT = "Inter, 'Segoe UI', 'Helvetica Neue', Helvetica, Arial, 'Liberation Sans', sans-serif"
LINE_HEIGHT = 20.0


def svg(graph: Graph) -> str:
    """The pipeline as an SVG document."""
    return render(read(graph))


def render(drawing: Drawing) -> str:
    """A drawing as an SVG document."""
    layout = arrange(drawing)
    legend, legend_width = _legend(drawing)
    width = max(layout.width, legend_width + 2 * MARGIN, text_width(drawing.title, 22) + 2 * MARGIN, 360.0)
    about = _wrapped(drawing.about, width - 2 * MARGIN)
    head = MARGIN + 22.0 + LINE_HEIGHT * len(about) + 4.0
    height = head + layout.height + 40.0
    title = html.escape(drawing.title)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" font-family="{FONT}" role="img" aria-label="{title}">',
        f"<title>{title}</title>",
        _markers(),
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>',
        _text(MARGIN, MARGIN + 16, drawing.title, 22, weight=700),
        *(_text(MARGIN, MARGIN + 18 + LINE_HEIGHT * (i + 1), t, 13, colour=FAINT) for i, t in enumerate(about)),
        f'<g transform="translate(0 {head:.1f})">',
        *_lines(layout),
        *(_box(item) for layer in layout.layers for item in layer if item.box is not None),
        *(t for layer in layout.layers for item in layer for t in _labels(item)),
        "</g>",
        f'<g transform="translate({MARGIN} {height - 34:.1f})">{legend}</g>',
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _wrapped(text: str, width: float) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        if lines and text_width(f"{lines[-1]} {word}", 13) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _text(
    x: float, y: float, text: str, size: float, *, weight: int = 400, colour: str = INK, anchor: str = "start"
) -> str:
    extra = "" if anchor == "start" else f' text-anchor="{anchor}"'
    bold = "" if weight == 400 else f' font-weight="{weight}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" fill="{colour}"{bold}{extra}>{html.escape(text)}</text>'


def _markers() -> str:
    colours = sorted({*LINES.values(), OTHER_LINE})
    arrows = "".join(
        f'<marker id="a{c[1:]}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0.6 L7.4 4 L0 7.4 z" fill="{c}"/></marker>'
        for c in colours
    )
    return f"<defs>{arrows}</defs>"


# links ------------------------------------------------------------------------------------------
def _lines(layout: Layout) -> list[str]:
    seen: set[str] = set()
    found = []
    for route in layout.routes:
        for path in _paths(layout, route):
            if path not in seen:  # links that share a stretch draw it once
                seen.add(path)
                found.append(path)
    return found


def _paths(layout: Layout, route: Route) -> list[str]:
    """A path for each stretch; the last one has the arrow."""
    link = route.link
    box = layout.items[link.source].box
    assert box is not None
    colour = LINES.get(box.outs[link.out].kind, OTHER_LINE)
    dash = {"when": ' stroke-dasharray="2 4"', "node": ' stroke-dasharray="7 4"'}.get(link.style, "")
    if not dash and link.maybe:
        dash = ' stroke-dasharray="9 4"'
    paths = []
    for step in route.steps:
        last = step is route.steps[-1]
        x0, y0 = step.start.x + step.start.width, out_y(step.start, step.out)
        x1, y1 = (
            step.end.x - (6.0 if step.end.box is not None and step.end.box.mapped else 1.0),
            in_y(step.end, step.into),
        )
        turn = max(x0 + label_width(step.start), _gap_end(layout, step.start))
        bend = max((x1 - turn) / 2, 12.0)
        d = f"M{x0:.1f} {y0:.1f} H{turn:.1f} C{turn + bend:.1f} {y0:.1f} {x1 - bend:.1f} {y1:.1f} {x1:.1f} {y1:.1f}"
        if step.end.box is None:
            d += f" H{step.end.x + step.end.width:.1f}"
        arrow = f' marker-end="url(#a{colour[1:]})"' if last else ""
        paths.append(f'<path d="{d}" fill="none" stroke="{colour}" stroke-width="1.6"{dash}{arrow}/>')
    if link.star:
        start = route.steps[-1].start
        x = start.x + start.width + label_width(start) if start.box is not None else start.x + start.width
        paths.append(_text(x - 7.0, out_y(start, route.steps[-1].out) - 3.0, "*", 15, weight=700, colour=LIST))
    return paths


def _gap_end(layout: Layout, item: Item) -> float:
    """Where the labels of a column end and curves may begin."""
    layer = layout.layers[item.layer]
    return max(i.x + i.width for i in layer) + max(label_width(i) for i in layer)


def _labels(item: Item) -> list[str]:
    """What flows out of a box: the kind above the line, the lists below it."""
    if item.box is None:
        return []
    found = []
    for row in item.box.outs.values():
        x, y = item.x + item.width + 9.0, out_y(item, row.name)
        found.append(_text(x, y - 5.0, row.text, SMALL, colour=INK))
        if row.lists:
            found.append(_text(x, y + 13.0, row.lists, SMALL - 0.5, colour=LIST))
    return found


# boxes ------------------------------------------------------------------------------------------
def _box(item: Item) -> str:
    box = item.box
    assert box is not None
    border, fill = ROLES.get(box.role, ROLES["transform"])
    dash = ' stroke-dasharray="6 4"' if box.maybe else ""
    radius = 22 if box.role in (INPUT, OUTPUT) else 9
    parts = [f"<g><title>{html.escape(_tooltip(item))}</title>"]
    sheets = min(len(box.mapped), 2)
    for number in range(sheets, -1, -1):
        shift = 5.0 * number
        parts.append(
            f'<rect x="{item.x - shift:.1f}" y="{item.y - shift:.1f}" width="{item.width:.1f}" '
            f'height="{item.height:.1f}" rx="{radius}" fill="{fill}" stroke="{border}" stroke-width="1.4"{dash}/>'
        )
    middle = item.x + item.width / 2
    parts.append(_text(middle, item.y + 20.0, box.title, TITLE, weight=650, anchor="middle"))
    parts.append(_text(middle, item.y + 36.0, box.subtitle, SMALL, colour=border, anchor="middle"))
    for row in box.ins.values():
        parts.append(_text(item.x + PAD - 4, in_y(item, row.name) + 4, row.name, SMALL, colour=FAINT))
    for row in box.outs.values():
        right = item.x + item.width - PAD + 4
        parts.append(_text(right, out_y(item, row.name) + 4, out_name(row.name), SMALL, colour=FAINT, anchor="end"))
    return "".join(parts) + "</g>"


def _tooltip(item: Item) -> str:
    assert item.box is not None
    text = f"{item.box.title}: {item.box.subtitle} ({item.box.role})"
    if item.box.mapped:
        text += f", mapped over {' > '.join(item.box.mapped)}"
    return text + (", may be absent" if item.box.maybe else "")


def _legend(drawing: Drawing) -> tuple[str, float]:
    """One line: the roles that occur, and the signs. Returns it and its width."""
    x, parts = 0.0, []
    for role in [r for r in ROLES if any(b.role == r for b in drawing.boxes.values())]:
        border, fill = ROLES[role]
        parts.append(f'<rect x="{x:.1f}" y="0" width="15" height="12" rx="3.5" fill="{fill}" stroke="{border}"/>')
        parts.append(_text(x + 21, 10.5, role, SMALL, colour=FAINT))
        x += 21 + text_width(role, SMALL) + 18
    notes = []
    if any(b.mapped for b in drawing.boxes.values()):
        notes.append(("× list", LIST, "once for each value of the list"))
    if any(b.maybe for b in drawing.boxes.values()) or any(n.maybe for n in drawing.links):
        notes.append(("- - -", FAINT, "may be absent"))
    if any(n.style == "when" for n in drawing.links):
        notes.append(("· · ·", FAINT, "opens the node"))
    if any(n.star for n in drawing.links):
        notes.append(("*", LIST, "splices a list"))
    for sign, colour, text in notes:
        parts.append(_text(x, 10.5, sign, SMALL, weight=600, colour=colour))
        x += text_width(sign, SMALL) + 8
        parts.append(_text(x, 10.5, text, SMALL, colour=FAINT))
        x += text_width(text, SMALL) + 18
    return "".join(parts), x
