"""Mamba's selective state space block (Gu and Dao 2023, arXiv 2312.00752), by transformers' mixer.

features: B x [N,D] -> [N,D], each seeing itself and what came before. Names: the official ones. Suffixes: B rows,
N positions, D width, I inner width, C convolution width, S states.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from anyany.api.torch import Build, Component, Context, Layout, Rows, load_strict, relayout


class MambaBlock(Component):
    """Options: `MambaBlockConfig`. The recurrence by itself; language models use `language/causal-lm`."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        from transformers.models.mamba.modeling_mamba import MambaMixer

        width = config.width or build.facts.get("width") or build.sizes.get("width")
        if width is None:
            raise ValueError(f"nothing fixes the width of {build.node}; give `with: {{width: …}}`")
        self.settings = _settings(config, int(width))
        self.mixer = MambaMixer(self.settings, layer_idx=0)

    def load(self, stores: Sequence[Any], build: Build) -> None:
        """Official names, bare."""
        store = relayout(stores, (Layout(r"mixer\.(.+)", r"\1"),))
        load_strict(self.mixer, store, skip=build.skip, dtype=build.dtype, device=build.device)

    def cache(self) -> Any:
        """An empty state: the last C inputs of the convolution, and the states."""
        from transformers import DynamicCache

        return DynamicCache(config=self.settings)

    def run(self, x_BND: torch.Tensor, cache: Any = None) -> torch.Tensor:
        """[B,N,D] -> [B,N,D]; a cache is filled, and read where it was filled before (then N is 1)."""
        return self.mixer(x_BND, cache_params=cache)

    def states(self, cache: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """(the convolution's last inputs [B,I,C], newest last; the states [B,I,S]) of a filled cache."""
        return cache.get_conv_state(0), cache.get_recurrent_state(0)

    def mix(self, ctx: Context, features: Rows) -> dict[str, Rows]:
        """features: B sequences [N,D]. Padding lies behind, so that nothing sees it."""
        x_BND, _ = features.padded()
        out_BND = self.run(x_BND)
        return {"features": ctx.rows([o[:n] for o, n in zip(out_BND, features.lengths)])}


def _settings(config: Any, width: int) -> Any:
    from transformers import MambaConfig

    return MambaConfig(
        hidden_size=width, state_size=config.states, conv_kernel=config.conv, expand=config.expand, num_hidden_layers=1,
        time_step_rank=config.rank or -(-width // 16), use_bias=False, use_conv_bias=True, hidden_act="silu",
    )  # fmt: skip
