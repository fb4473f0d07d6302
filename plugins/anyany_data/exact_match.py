"""Exact match of texts, row by row: [B] texts and [B] texts or messages -> [B] of 0 and 1."""

from __future__ import annotations

from typing import Any

from anyany.api.torch import Component, Context, Rows


class ExactMatch(Component):
    """Options: `ExactMatchConfig`."""

    def measure(self, ctx: Context, found: Rows, wanted: Rows) -> dict[str, Rows]:
        """1.0 where the texts are equal; of a message, its text counts."""
        return {"match": ctx.rows([float(self._of(a) == self._of(b)) for a, b in zip(found.list(), wanted.list())])}

    def _of(self, value: Any) -> str:
        text = value if isinstance(value, str) else value.text
        return text if self.config.strict else " ".join(text.split()).casefold()
