"""Route: a value goes to the output that is named like its label, so that what stands there runs only for it.

value: any one kind; label: its class. Outputs: one for each name of `to`, absent but for one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anyany.api.torch import Component, Context, Rows


class Route(Component):
    """Options: `RouteConfig`."""

    def route(self, ctx: Context, value: Rows, label: Rows) -> dict[str, Rows]:
        """B values and labels. Each output: the values whose label is its name (case aside).

        Raises ValueError for a label without an output, where no `otherwise` is named.
        """
        known = {name.casefold(): name for name in self.config.to}
        chosen = []
        for one in label.list():
            name = known.get(str(one).strip().casefold(), self.config.otherwise)
            if not name:
                to = ", ".join(self.config.to)
                raise ValueError(f"the label {str(one)!r} is none of {to}; name one of them under `otherwise`")
            chosen.append(name)
        values = value.list()
        return {to: ctx.maybe([v if name == to else None for v, name in zip(values, chosen)]) for to in self.config.to}

    def example_rows(self, call: str, rows: Sequence[int], making: Any) -> dict[str, Rows]:
        """Rows for tests: texts with each of the labels in turn."""
        names = [self.config.to[row % len(self.config.to)] for row in rows]
        return {"value": Rows([f"row {row}" for row in rows]), "label": Rows(names)}
