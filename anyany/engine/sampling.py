"""Choosing the next token: temperature, top-k, top-p, counter noise.

Shape suffixes: B rows, V vocabulary. Everything is tensors, so that a CUDA graph holds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from anyany.engine.noise import gumbel_from


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """Per-row sampling: top-k and top-p first, then argmax of logits / T + Gumbel. A temperature of 0 is greedy.

    temperature_B in 0…, top_k_B (0: all), top_p_B in (0, 1]; words_B2 are the rows' noise words.
    """

    temperature_B: torch.Tensor
    top_k_B: torch.Tensor
    top_p_B: torch.Tensor
    words_B2: torch.Tensor
    greedy: bool
    filtered: bool

    @staticmethod
    def of(
        temperature: Sequence[float], top_k: Sequence[int], top_p: Sequence[float], words_B2: torch.Tensor
    ) -> Sampler:
        """From one value a row. Raises ValueError for a temperature below 0, top_k below 0 or top_p outside (0, 1]."""
        if any(t < 0 for t in temperature) or any(k < 0 for k in top_k) or any(not 0 < p <= 1 for p in top_p):
            raise ValueError("sampling wants temperature >= 0, top_k >= 0 (0: all) and 0 < top_p <= 1")
        device = words_B2.device
        return Sampler(
            temperature_B=torch.tensor([float(t) for t in temperature], device=device),
            top_k_B=torch.tensor([int(k) for k in top_k], device=device),
            top_p_B=torch.tensor([float(p) for p in top_p], device=device),
            words_B2=words_B2,
            greedy=all(t == 0 for t in temperature),
            filtered=any(k > 0 for k in top_k) or any(p < 1 for p in top_p),
        )

    def pick(self, logits_BV: torch.Tensor, step: int | torch.Tensor) -> torch.Tensor:
        """[B] token ids for one step."""
        best_B = logits_BV.argmax(-1)
        if self.greedy:
            return best_B
        scaled_BV = logits_BV.float() / self.temperature_B.clamp_min(1e-6)[:, None]
        if self.filtered:
            scaled_BV = self._filter(scaled_BV)
        drawn_B = (scaled_BV + gumbel_from(self.words_B2, scaled_BV.shape[1], step)).argmax(-1)
        return torch.where(self.temperature_B > 0, drawn_B, best_B)

    def _filter(self, scaled_BV: torch.Tensor) -> torch.Tensor:
        """-inf outside the k likeliest and outside the smallest set whose mass reaches top-p (the first stays)."""
        sorted_BV, order_BV = scaled_BV.sort(dim=-1, descending=True, stable=True)
        rank_V = torch.arange(scaled_BV.shape[1], device=scaled_BV.device)
        k_B = torch.where(self.top_k_B > 0, self.top_k_B, scaled_BV.shape[1])
        sorted_BV = sorted_BV.masked_fill(rank_V[None] >= k_B[:, None], float("-inf"))
        mass_BV = sorted_BV.softmax(-1)
        before_BV = mass_BV.cumsum(-1) - mass_BV
        sorted_BV = sorted_BV.masked_fill((before_BV >= self.top_p_B[:, None]) & (rank_V[None] > 0), float("-inf"))
        return torch.empty_like(sorted_BV).scatter_(-1, order_BV, sorted_BV)
