"""Drawings of a checked graph: `svg(graph)`, `mermaid(graph)` and `page(graph)` give text, with no dependency.

Kinds and widths stand on the edges, lists as "× prompt.image"; colours tell the roles.
"""

from __future__ import annotations

from anyany.spec.draw.mermaid import mermaid
from anyany.spec.draw.page import page
from anyany.spec.draw.svg import svg

__all__ = ["mermaid", "page", "svg"]
