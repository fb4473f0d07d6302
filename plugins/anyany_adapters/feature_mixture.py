"""Feature mixture: the same patches seen by two encoders, as one sequence (Tong et al. 2024, arXiv 2401.06209).

interleaved: tokens of a patch side by side, [N,D] x K -> [K*N,D]; additive: a weighted sum, [N,D] x 2 -> [N,D].
"""

from __future__ import annotations

from typing import Any

import torch

from anyany.api.torch import Build, Component, Context, Rows


class FeatureMixture(Component):
    """Options: `FeatureMixtureConfig`."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)

    def mixed(self, streams: list[torch.Tensor]) -> torch.Tensor:
        """[N,D] each, in order -> [K*N,D] or [N,D]. Raises ValueError where the streams do not fit together."""
        shapes = {tuple(s.shape) for s in streams}
        if len(shapes) != 1:
            found = ", ".join(str(list(s.shape)) for s in streams) or "nothing"
            raise ValueError(f"a mixture wants features of one shape; it got {found}: make the patch grids equal")
        if self.config.how == "interleaved":
            return torch.stack(streams, 1).flatten(0, 1)
        if len(streams) != 2:
            raise ValueError(f"an additive mixture is of two streams, not {len(streams)}")
        return self.config.alpha * streams[1] + (1 - self.config.alpha) * streams[0]

    def mix(self, ctx: Context, features: Rows) -> dict[str, Rows]:
        """features: the streams of each row, the first counting as CLIP's. features: the mixture of each row."""
        values = [self.mixed(group) for group in features.groups()]
        if len({v.shape[0] for v in values}) == 1:
            return {"features": ctx.rows(torch.stack(values))}
        return {"features": ctx.rows(torch.cat(values), [v.shape[0] for v in values])}

    def example_rows(self, call: str, rows: Any, making: Any) -> dict[str, Rows]:
        """Rows for tests: two streams each, of several lengths."""
        made = []
        for row in rows:
            generator = torch.Generator().manual_seed(row)
            made += [torch.randn(3 + row, making.sizes["width"], generator=generator) for _ in range(2)]
        return {"features": Rows(made, counts=[2] * len(rows))}
