"""Mean: the mean of a list of features or embeddings, as of the frames of a film.

values: a list of [N,D] or [D], all of one shape; value: [N,D] or [D].
"""

from __future__ import annotations

import torch

from anyany.api.torch import Component, Context, Rows


class Mean(Component):
    """No options."""

    def mean(self, ctx: Context, values: Rows) -> dict[str, Rows]:
        """values: B lists. value: B means. Raises ValueError for an empty list or unlike lengths."""
        out = []
        for group in values.groups():
            if not group:
                raise ValueError(f"{self.build.node} got an empty list, which has no mean")
            shapes = sorted({tuple(v.shape) for v in group})
            if len(shapes) > 1:
                raise ValueError(f"{self.build.node} got values of shapes {shapes}, which have no mean")
            out.append(torch.stack(group).mean(0))
        return {"value": ctx.rows(out)}
