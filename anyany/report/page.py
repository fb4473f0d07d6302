"""report.html: inputs beside outputs, what each node did, the drawing of the graph. One file, nothing from outside."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from anyany.engine.items import Result
from anyany.engine.plan import Plan, Wanted
from anyany.report.runlog import RunLog
from anyany.report.table import HEAD
from anyany.spec.graph import Bracket

SHOWN = 50
BYTES = 40 * 2**20
"""Items beyond these are counted, not shown."""
BESIDE = ("image", "mask", "video")
"""Kinds whose lists stand side by side."""


class Page:
    """Collects the first items of a run and writes the page."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.items: list[str] = []
        self.left = 0
        self._size = 0

    def add(self, result: Result, told: Mapping[str, Any]) -> None:
        """One item: what went in beside what came out."""
        if len(self.items) >= SHOWN or self._size > BYTES:
            self.left += 1
            return
        html = self._item(result, told)
        self._size += len(html)
        self.items.append(html)

    def _item(self, result: Result, told: Mapping[str, Any]) -> str:
        inputs, outputs = [], []
        for name, value in (result.source.values if result.source is not None else {}).items():
            kind = self.plan.graph.inputs[name].kind
            inputs.append(_named(name, _shown(kind, value, 1 if self.plan.graph.inputs[name].many else 0)))
        if told["status"] == "failed":
            outputs.append(f'<p class="failed">{escape(str(told["error"]))}</p>')
        for name, value in result.outputs.items() if told["status"] == "ok" else ():
            wanted = self.plan.outputs[name]
            html = _shown(wanted, value, len(wanted.stack) + wanted.listed, self._entries(name))
            outputs.append(_named(name, html))
        seconds = f"{told['seconds']:.2f} s"
        name = escape(result.item, True)
        head = f'<h3 id="{name}">{name} <small>{told["status"]}, {seconds}</small></h3>'
        return f'{head}<div class="pair"><div>{"".join(inputs)}</div><div>{"".join(outputs)}</div></div>'

    def _entries(self, output: str) -> list[str]:
        """What feeds each value of an output that is a bracket of single values; nothing where some may be absent."""
        found = self.plan.graph.outputs.get(output)
        source = found.source if found is not None else None
        if not isinstance(source, Bracket) or any(e.star or e.flow.maybe for e in source.entries):
            return []
        return [e.flow.label for e in source.entries]

    def write(self, path: str, rows: list[tuple[str, ...]], log: RunLog, counts: Mapping[str, int]) -> None:
        """Write the page under a temporary name, then rename. Raises OSError."""
        from anyany.media.previews import STYLE

        facts = [f"seed {log.seed}", f"profile {log.profile}" if log.profile else "", *log.sets,
                 *(f"{k} {v}" for k, v in log.versions.items())]  # fmt: skip
        body = [
            f"<h1>{escape(log.name)}</h1>", f"<p>{escape(self.plan.graph.about)}</p>",
            f'<p class="facts">{escape(" · ".join(filter(None, facts)))}</p>',
            f"<p><b>{counts['ok']}</b> items done, <b>{counts['failed']}</b> failed.</p>",
            _drawing(self.plan), "<h2>Nodes</h2>", _table(rows), "<h2>Items</h2>", *self.items,
        ]  # fmt: skip
        if self.left:
            body.append(f"<p>{self.left} more items are in the folder and in items.jsonl.</p>")
        page = (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(log.name)}: report</title>'
            f"<style>{STYLE}{_STYLE}</style></head><body>{''.join(body)}</body></html>\n"
        )
        temporary = f"{path}.{os.getpid()}.tmp"
        with open(temporary, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(page)
        os.replace(temporary, path)


_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#1d2129;background:#fff}
h1{margin-bottom:0} h3{margin:2rem 0 .4rem;border-top:1px solid #dde1e7;padding-top:1rem} small,.facts{color:#667}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:2rem} .pair>div{min-width:0;overflow-wrap:anywhere}
.name{font-size:.8rem;color:#667;margin-top:.5rem} table{border-collapse:collapse}
td,th{padding:.15rem .7rem;text-align:left;border-bottom:1px solid #eef0f3} .failed{color:#a31515}
.row{display:grid;grid-template-columns:repeat(auto-fit,minmax(7rem,1fr));gap:.6rem;align-items:start}
.row figure{margin:0;min-width:0} .row img,.row video{min-width:0;width:100%} figcaption{font-size:.8rem;color:#667}
.graph{overflow-x:auto;margin:1rem 0} img,video{max-width:100%} img{image-rendering:auto}
"""


def _named(name: str, html: str) -> str:
    return f'<div class="name">{escape(name)}</div>{html}'


def _shown(told: str | Wanted, value: Any, deep: int, names: Sequence[str] = ()) -> str:
    """A value of a kind, or of an output, as HTML; a list of pictures side by side, under the `names` of its values."""
    if value is None:
        return "<p>–</p>"
    if deep and isinstance(value, list):
        shown = [_shown(told, v, deep - 1) for v in value[:24]]
        if deep > 1 or len(shown) < 2 or any(_kind(told, v) not in BESIDE for v in value):
            return "".join(shown) or "<p>(an empty list)</p>"
        notes = names if len(names) == len(value) else [""] * len(shown)
        return f'<div class="row">{"".join(_figure(*pair) for pair in zip(shown, notes))}</div>'
    from anyany import media

    try:
        return media.preview(_kind(told, value), value)
    except Exception as error:  # a plugin's own preview may raise anything; the run goes on
        return f'<p class="failed">cannot be shown: {escape(str(error))}</p>'


def _kind(told: str | Wanted, value: Any) -> str:
    return told if isinstance(told, str) else told.kind_of(value)


def _figure(html: str, note: str) -> str:
    return f"<figure>{html}{f'<figcaption>{escape(note)}</figcaption>' if note else ''}</figure>"


def _table(rows: list[tuple[str, ...]]) -> str:
    head = "".join(f"<th>{escape(h)}</th>" for h in HEAD)
    lines = "".join(f"<tr>{''.join(f'<td>{escape(c)}</td>' for c in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{lines}</table>"


def _drawing(plan: Plan) -> str:
    """The graph as SVG."""
    from anyany.spec.draw import svg

    return f'<div class="graph">{svg(plan.graph)}</div>'
