"""Edges as written: `node.port`, brackets `[a, b*]`, `{fill: reply, K: edge}` and `{of: node}`; no name is resolved.

Source: DESIGN section 3 (edges, brackets, places).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from anyany.errors.problems import Mark
from anyany.spec.raw import BadEdge, BracketRef, FillRef, OfRef, RawEdge, Ref
from anyany.spec.yaml_tree import Marked

FORMS = "`node`, `node.port`, `input`, `message.kind`, a bracket `[a, b*]` or `{fill: reply, kind: edge}`"
_REF = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z_][A-Za-z0-9_-]*){0,2}")
_DEEP = re.compile(r"[A-Za-z_][\w-]*(\.[\w-]+){3,}")
Tell = Callable[..., None]


class EdgeReader:
    """Reads edges and tells problems through `tell(code, message, **where)`; never raises."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell

    def read(self, value: Marked, path: str, *, code: str = "E204") -> RawEdge:
        """The edge written at `value`; a `BadEdge` when it is none. `code` is the one for text that is no edge."""
        if isinstance(value.value, str):
            return self._ref(value.value, value.mark, path, code)
        if isinstance(value.value, list):
            return self._bracket(value, path)
        if isinstance(value.value, dict):
            return self._mapping(value, path)
        self._bad(code, f"an edge is a text such as `look.patches`, not {value.what}", value.mark, path)
        return BadEdge(mark=value.mark, path=path)

    def is_edge_mapping(self, value: Marked) -> bool:
        """Whether a mapping under `in:` is itself an edge (`fill`, `of`) and not ports by name."""
        return isinstance(value.value, dict) and ("fill" in value.value or set(value.value) == {"of"})

    def _bad(self, code: str, message: str, mark: Mark, path: str, help: str | None = None) -> None:
        self._tell(code, message, mark=mark, path=path, help=help or f"write {FORMS}")

    def _ref(self, text: str, mark: Mark, path: str, code: str) -> RawEdge:
        if _REF.fullmatch(text):
            return Ref(parts=tuple(text.split(".")), mark=mark, path=path)
        help = None
        if text.endswith("*") and _REF.fullmatch(text[:-1]):
            message = f"`{text}`: a star stands inside a bracket only"
            help = f"write `{text[:-1]}` to map over its list, or `[{text}]` to splice it"
        elif text.endswith("?") and _REF.fullmatch(text[:-1]):
            message, help = (
                f"`{text}`: an edge takes no question mark",
                f"write `{text[:-1]}`; absence travels by itself",
            )
        elif _DEEP.fullmatch(text):
            message = f"`{text}` has too many dots: an edge is a node, one of its ports, and a kind of its message"
        elif "," in text and all(_REF.fullmatch(t.strip().rstrip("*")) for t in text.split(",")):
            message, help = f"`{text}` names several edges", f"write a bracket: `[{text}]`"
        elif "{" in text:
            message, help = f"`{text}`: specs have no templates", "name the node or input alone"
        else:
            message = f"`{text}` is not an edge" if text else "the edge is empty"
        self._bad(code, message, mark, path, help)
        return BadEdge(mark=mark, path=path)

    def _bracket(self, value: Marked, path: str) -> RawEdge:
        items: Any = value.value
        if not items:
            self._bad(
                "E204", "the bracket is empty", value.mark, path, "name at least one edge inside `[ ]`, or leave it out"
            )
            return BadEdge(mark=value.mark, path=path)
        entries: list[tuple[RawEdge, bool]] = []
        for number, item in enumerate(items):
            where = f"{path}.{number}"
            if isinstance(item.value, list):
                self._bad(
                    "E313",
                    "a bracket cannot hold another bracket",
                    item.mark,
                    where,
                    "write the entries in one bracket",
                )
                entries.append((BadEdge(mark=item.mark, path=where), False))
            elif isinstance(item.value, str) and item.value.endswith("*"):
                entries.append((self._ref(item.value[:-1], item.mark, where, "E204"), True))
            else:
                entries.append((self.read(item, where), False))
        return BracketRef(entries=tuple(entries), mark=value.mark, path=path)

    def _mapping(self, value: Marked, path: str) -> RawEdge:
        table: Any = value.value
        if "fill" in table:
            fills = {k: self.read(v, f"{path}.{k}") for k, v in table.items() if k != "fill"}
            reply = self.read(table["fill"], f"{path}.fill")
            return FillRef(reply=reply, fills=fills, mark=value.mark, path=path)
        if set(table) == {"of"}:
            node = table["of"]
            if isinstance(node.value, str) and _REF.fullmatch(node.value) and "." not in node.value:
                return OfRef(node=node.value, mark=node.mark, path=f"{path}.of")
            self._bad(
                "E114", f"`of` names a node, and this is {node.what}", node.mark, f"{path}.of", "write `{of: node}`"
            )
            return BadEdge(mark=value.mark, path=path)
        keys = ", ".join(f"`{k}`" for k in table) or "nothing"
        self._bad(
            "E204",
            f"a mapping here is `{{fill: reply, kind: edge}}` or `{{of: node}}`, and this one has {keys}",
            value.mark,
            path,
        )
        return BadEdge(mark=value.mark, path=path)
