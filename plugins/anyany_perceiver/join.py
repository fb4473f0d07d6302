"""Several inputs as one array for Perceiver: each brought to one width by a learned vector that names its modality.

Jaegle et al. 2021, section 4.2 (arXiv 2103.03206). a, b, ...: B x [N,C] each of its own width -> features B x [N,C'].
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from anyany.api.torch import Build, Component, Context, Rows


class Join(Component):
    """Options: `JoinConfig`."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        self.padding = nn.ParameterDict()
        for name in config.modalities:
            own = build.sizes.get(name)
            if own is None:
                continue  # nothing feeds it
            if own >= config.width:
                text = f"`{name}` has width {own}, which leaves nothing to name it by"
                raise ValueError(f"{text}; give `with: {{width: {own + 1}}}` or more")
            self.padding[name] = nn.Parameter(torch.empty(1, config.width - own))

    def join(self, ctx: Context, **given: Rows | None) -> dict[str, Rows]:
        """Each port may be absent, in some rows or in all. features: B x [N,C], in the order of `modalities`.

        Raises ValueError for a row with none of them.
        """
        parts: list[list[torch.Tensor]] = [[] for _ in ctx.keys]
        for name in self.config.modalities:
            rows = given.get(name)
            for row, values in enumerate(rows.groups() if rows is not None else []):
                for value in values:
                    named = self.padding[name].to(value.dtype).expand(len(value), -1)
                    parts[row].append(torch.cat([value, named], 1))
        if not all(parts):
            raise ValueError(f"none of {', '.join(self.config.modalities)} is present")
        arrays = [torch.cat(row) for row in parts]
        return {"features": ctx.rows(torch.cat(arrays), [len(a) for a in arrays])}
