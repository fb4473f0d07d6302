"""Where boxes stand and how links run: layers by longest path, barycentre order, columns wide enough for the labels.

Links over several layers pass through bends; heights come from isotonic regression, so that nothing overlaps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from anyany.spec.draw.model import INPUT, OUTPUT, Box, Drawing, Link

TITLE, SMALL = 15.0, 11.5
PAD, HEAD, ROW, GAP = 14.0, 46.0, 36.0, 26.0
BEND_HEIGHT, CURVE = 18.0, 70.0
MARGIN = 28.0
NARROW, WIDE = frozenset("iljtfr.,:;'|![]() "), frozenset("mwMW@%×")


def text_width(text: str, size: float) -> float:
    """Width of a text in a common sans-serif font, on the generous side."""
    units = sum(0.34 if c in NARROW else 0.92 if c in WIDE else 0.66 if c.isupper() else 0.575 for c in text)
    return units * size


@dataclass(kw_only=True, eq=False)
class Item:
    """A box, or a bend of a link (`box` None), in a layer. `y` is its top."""

    key: str
    layer: int
    box: Box | None = None
    height: float = BEND_HEIGHT
    width: float = 0.0
    x: float = 0.0
    y: float = 0.0


@dataclass(kw_only=True, eq=False)
class Step:
    """One stretch of a link between neighbouring layers, from (item, out row) to (item, in row)."""

    start: Item
    out: str
    end: Item
    into: str


@dataclass(kw_only=True, eq=False)
class Route:
    """A link and the stretches it runs over."""

    link: Link
    steps: list[Step]


@dataclass(kw_only=True, eq=False)
class Layout:
    """Everything placed."""

    layers: list[list[Item]]
    routes: list[Route]
    width: float = 0.0
    height: float = 0.0
    items: dict[str, Item] = field(default_factory=dict)


def box_size(box: Box) -> tuple[float, float]:
    """Width and height of a box."""
    ins = max((text_width(r.name, SMALL) for r in box.ins.values()), default=0.0)
    outs = max((text_width(out_name(r.name), SMALL) for r in box.outs.values()), default=0.0)
    width = max(text_width(box.title, TITLE) * 1.08, text_width(box.subtitle, SMALL), ins + outs + 18.0, 84.0) + 2 * PAD
    rows = max(len(box.ins), len(box.outs), 1)
    return width, HEAD + rows * ROW + 4.0


def out_name(name: str) -> str:
    """How the name of an out row is written in its box."""
    return name.lstrip(".")


def out_y(item: Item, row: str) -> float:
    """Height at which a link leaves."""
    if item.box is None:
        return item.y + item.height / 2
    return item.y + HEAD + (list(item.box.outs).index(row) + 0.5) * ROW


def in_y(item: Item, row: str) -> float:
    """Height at which a link enters."""
    if item.box is None:
        return item.y + item.height / 2
    return item.y + HEAD + (list(item.box.ins).index(row) + 0.5) * ROW


def arrange(drawing: Drawing) -> Layout:
    """Place everything."""
    depth = _depths(drawing)
    items = {k: Item(key=k, layer=depth[k], box=b) for k, b in drawing.boxes.items()}
    for item in items.values():
        assert item.box is not None
        item.width, item.height = box_size(item.box)
    layers: list[list[Item]] = [[] for _ in range(max(depth.values(), default=0) + 1)]
    for item in items.values():
        layers[item.layer].append(item)
    routes = _routes(drawing, items, layers)
    steps = list({id(s): s for r in routes for s in r.steps}.values())
    _order(layers, steps)
    layout = Layout(layers=layers, routes=routes, items=items)
    _columns(layout)
    _heights(layers, steps)
    top = min((i.y for layer in layers for i in layer), default=0.0)
    for layer in layers:
        for item in layer:
            item.y += MARGIN - top
    layout.height = max((i.y + i.height for layer in layers for i in layer), default=0.0) + MARGIN
    return layout


def _depths(drawing: Drawing) -> dict[str, int]:
    """Longest path from an input; outputs stand in the last column, inputs just before their first use."""
    before: dict[str, list[str]] = {k: [] for k in drawing.boxes}
    after: dict[str, list[str]] = {k: [] for k in drawing.boxes}
    for link in drawing.links:
        before[link.target].append(link.source)
        after[link.source].append(link.target)
    depth: dict[str, int] = {}

    def of(key: str) -> int:
        if key not in depth:
            depth[key] = 1 + max((of(b) for b in before[key]), default=-1)
        return depth[key]

    for key, box in drawing.boxes.items():
        if box.role != OUTPUT:
            of(key)
    last = max(depth.values(), default=0) + 1
    for key, box in drawing.boxes.items():
        if box.role == OUTPUT:
            depth[key] = last
        elif box.role == INPUT:
            depth[key] = 0
    for key, box in drawing.boxes.items():
        uses = [depth[a] for a in after[key]]
        if box.role == INPUT and uses:
            depth[key] = max(0, min(uses) - 1)
    return depth


def _routes(drawing: Drawing, items: dict[str, Item], layers: list[list[Item]]) -> list[Route]:
    """Links cut into stretches; links from one row share their bends."""
    bends: dict[tuple[str, str, int], Item] = {}
    shared: dict[tuple[int, str, int, str], Step] = {}
    routes = []
    for link in drawing.links:
        start, end = items[link.source], items[link.target]
        at, out = start, link.out
        steps: list[Step] = []
        for layer in range(start.layer + 1, end.layer):
            key = (link.source, link.out, layer)
            if key not in bends:
                bends[key] = Item(key=f"{link.source}.{link.out}@{layer}", layer=layer)
                layers[layer].append(bends[key])
            steps.append(_step(shared, at, out, bends[key], ""))
            at, out = bends[key], ""
        steps.append(_step(shared, at, out, end, link.into))
        routes.append(Route(link=link, steps=steps))
    return routes


def _step(shared: dict[tuple[int, str, int, str], Step], start: Item, out: str, end: Item, into: str) -> Step:
    return shared.setdefault((id(start), out, id(end), into), Step(start=start, out=out, end=end, into=into))


# order ------------------------------------------------------------------------------------------
def _order(layers: list[list[Item]], steps: list[Step]) -> None:
    """Reorder each layer to lessen crossings: barycentre sweeps, the best order seen is kept."""
    best = [list(layer) for layer in layers]
    fewest = _crossings(layers, steps)
    for sweep in range(12):
        forward = sweep % 2 == 0
        numbers = range(1, len(layers)) if forward else range(len(layers) - 2, -1, -1)
        for number in numbers:
            _sort_layer(layers, number, steps, forward)
        crossings = _crossings(layers, steps)
        if crossings < fewest:
            fewest, best = crossings, [list(layer) for layer in layers]
    for number, layer in enumerate(best):
        layers[number][:] = layer
    _sort_rows(layers, steps)


def _sort_rows(layers: list[list[Item]], steps: list[Step]) -> None:
    """Rows of a box in the order of what they are linked with, so that links do not cross right before it."""
    ins: dict[tuple[int, str], list[float]] = {}
    outs: dict[tuple[int, str], list[float]] = {}
    for step in steps:
        ins.setdefault((id(step.end), step.into), []).append(_slot(layers, step.start, step.out, True))
        outs.setdefault((id(step.start), step.out), []).append(_slot(layers, step.end, step.into, False))

    def mean(pulls: dict[tuple[int, str], list[float]], item: Item, row: str) -> float:
        found = pulls.get((id(item), row), [0.0])
        return sum(found) / len(found)

    for item in (i for layer in layers for i in layer if i.box is not None):
        assert item.box is not None
        item.box.outs = dict(sorted(item.box.outs.items(), key=lambda r: mean(outs, item, r[0])))
    for item in (i for layer in layers for i in layer if i.box is not None):
        assert item.box is not None
        item.box.ins = dict(sorted(item.box.ins.items(), key=lambda r: mean(ins, item, r[0])))


def _slot(layers: list[list[Item]], item: Item, row: str, outgoing: bool) -> float:
    """Where an end of a stretch stands in its layer: the place of the item and of the row in it."""
    place = float(layers[item.layer].index(item))
    if item.box is None:
        return place + 0.5
    rows = list(item.box.outs if outgoing else item.box.ins)
    return place + (rows.index(row) + 0.5) / len(rows)


def _sort_layer(layers: list[list[Item]], number: int, steps: list[Step], forward: bool) -> None:
    pulls: dict[int, list[float]] = {}
    for step in steps:
        if forward and step.end.layer == number:
            pulls.setdefault(id(step.end), []).append(_slot(layers, step.start, step.out, True))
        elif not forward and step.start.layer == number:
            pulls.setdefault(id(step.start), []).append(_slot(layers, step.end, step.into, False))
    layer = layers[number]
    places = {id(item): float(i) for i, item in enumerate(layer)}
    for item in layer:
        pull = pulls.get(id(item))
        if pull:
            places[id(item)] = sum(pull) / len(pull)
    layer.sort(key=lambda item: places[id(item)])


def _crossings(layers: list[list[Item]], steps: list[Step]) -> int:
    spans: dict[int, list[tuple[float, float]]] = {}
    for step in steps:
        both = (_slot(layers, step.start, step.out, True), _slot(layers, step.end, step.into, False))
        spans.setdefault(step.start.layer, []).append(both)
    count = 0
    for pairs in spans.values():
        for i, one in enumerate(pairs):
            count += sum((one[0] - other[0]) * (one[1] - other[1]) < 0 for other in pairs[i + 1 :])
    return count


# places ------------------------------------------------------------------------------------------
def label_width(item: Item) -> float:
    """Room that the labels right of a box take."""
    if item.box is None:
        return 0.0
    texts = [t for r in item.box.outs.values() for t in (r.text, r.lists)]
    return max((text_width(t, SMALL) for t in texts), default=0.0) + 16.0


def _columns(layout: Layout) -> None:
    """x of each layer; bends are as wide as their column."""
    x = MARGIN
    for layer in layout.layers:
        width = max((i.width for i in layer), default=0.0)
        for item in layer:
            item.x = x
            item.width = item.width if item.box is not None else width
        x += width + max((label_width(i) for i in layer), default=0.0) + CURVE
    layout.width = max((i.x + i.width for layer in layout.layers for i in layer), default=0.0) + MARGIN


def _heights(layers: list[list[Item]], steps: list[Step]) -> None:
    """Pull each item towards what it is linked with, without overlaps, a few times over."""
    for layer in layers:
        y = 0.0
        for item in layer:
            item.y = y
            y += item.height + GAP
    for sweep in range(24):
        order = layers if sweep % 2 == 0 else layers[::-1]
        for layer in order:
            _settle(layer, [_wanted(item, steps) for item in layer])


def _wanted(item: Item, steps: list[Step]) -> float:
    """The top at which an item's links would run level."""
    shifts = [in_y(s.end, s.into) - out_y(s.start, s.out) for s in steps if s.start is item]
    shifts += [out_y(s.start, s.out) - in_y(s.end, s.into) for s in steps if s.end is item]
    return item.y + sum(shifts) / len(shifts) if shifts else item.y


def _settle(layer: Sequence[Item], wanted: list[float]) -> None:
    """Nearest tops to the wanted ones that keep order and gaps (isotonic regression by pooling)."""
    offsets, at = [], 0.0
    for item in layer:
        offsets.append(at)
        at += item.height + GAP
    pools: list[tuple[float, int]] = []
    for want, offset in zip(wanted, offsets):
        pools.append((want - offset, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (a, n), (b, m) = pools[-2], pools[-1]
            pools[-2:] = [((a * n + b * m) / (n + m), n + m)]
    levels = [level for level, count in pools for _ in range(count)]
    for item, level, offset in zip(layer, levels, offsets):
        item.y = level + offset
