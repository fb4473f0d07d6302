"""Concatenate: texts, or features along their length, end to end.

values: a list of text, or of features [N,D] of one width; value: one text, or features [sum of N,D].
"""

from __future__ import annotations

from typing import Any

import torch

from anyany.api.torch import Component, Context, Rows


class Concatenate(Component):
    """Options: `ConcatenateConfig`."""

    def concatenate(self, ctx: Context, values: Rows) -> dict[str, Rows]:
        """values: B lists. value: B texts or features. Raises ValueError for unlike widths or a list without values."""
        return {"value": ctx.rows([self._join(group) for group in values.groups()])}

    def _join(self, group: list[Any]) -> Any:
        if not group:
            raise ValueError(f"{self.build.node} got an empty list, and nothing to put end to end")
        if isinstance(group[0], str):
            return self.config.between.join(group)
        widths = sorted({v.shape[-1] for v in group})
        if len(widths) > 1:
            raise ValueError(f"{self.build.node} got features of widths {widths}, which do not fit end to end")
        return torch.cat(group)
