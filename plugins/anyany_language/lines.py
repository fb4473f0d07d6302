"""Lines of words and pictures, whose patches see each other, and a transformer's passes over them (arXiv 2408.11039).

Shape suffixes: B rows, N padded positions, K keys, P patches, L positions of a line, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from transformers import DynamicCache

from anyany.api.torch import mixed_mask


class Line:
    """A row as it grows: embeddings end to end, and the runs of them that see each other whole."""

    def __init__(self) -> None:
        self.parts: list[torch.Tensor] = []
        self.runs: list[tuple[int, int]] = []
        self.length = 0

    def add(self, x_LD: torch.Tensor, together: bool = False) -> int:
        """Put [L,D] at the end; where it begins."""
        start = self.length
        self.parts.append(x_LD)
        self.length += x_LD.shape[0]
        if together:
            self.runs.append((start, self.length))
        return start

    def embeds(self) -> torch.Tensor:
        """[L,D]."""
        return torch.cat(self.parts)


class ReadLines:
    """Lines read once: what the transformer makes of patches [B,P,D] behind some of them."""

    def __init__(self, model: Any, lines: Sequence[Line]) -> None:
        self.model, self.lines = model, lines
        self._read: dict[tuple[int, ...], tuple[Any, torch.Tensor]] = {}

    def __call__(self, x_BPD: torch.Tensor, line_B: torch.Tensor) -> torch.Tensor:
        chosen = tuple(line_B.tolist())
        if chosen not in self._read:
            self._read[chosen] = self._prefix(chosen)
        cache, real_BN = self._read[chosen]
        count = x_BPD.shape[1]
        seen_BK = F.pad(real_BN, (0, count), value=True)
        mask = torch.where(seen_BK, 0.0, torch.finfo(x_BPD.dtype).min)[:, None, None].to(x_BPD.dtype)
        place_BP = real_BN.sum(1, keepdim=True) + torch.arange(count, device=x_BPD.device)
        out = self.model.base_model(inputs_embeds=x_BPD, attention_mask=mask.expand(-1, 1, count, -1),
                                    position_ids=place_BP, past_key_values=cache, use_cache=True)  # fmt: skip
        cache.crop(-count)
        return out.last_hidden_state

    def _prefix(self, chosen: Sequence[int]) -> tuple[Any, torch.Tensor]:
        rows = [self.lines[i].embeds() for i in chosen]
        size = max(len(r) for r in rows)
        pads = [size - len(r) for r in rows]
        x_BND = torch.stack([F.pad(r, (0, 0, p, 0)) for r, p in zip(rows, pads)])
        mask = mixed_mask(pads, [len(r) for r in rows], [self.lines[i].runs for i in chosen], size, dtype=x_BND.dtype,
                          device=x_BND.device)  # fmt: skip
        real_BN = torch.arange(size, device=x_BND.device)[None] >= torch.tensor(pads, device=x_BND.device)[:, None]
        place_BN = (real_BN.cumsum(1) - 1).clamp_min(0)
        cache = DynamicCache(config=self.model.config)
        self.model.base_model(inputs_embeds=x_BND, attention_mask=mask, position_ids=place_BN, past_key_values=cache,
                              use_cache=True)  # fmt: skip
        return cache, real_BN


def hidden_of(model: Any, lines: Sequence[Line]) -> list[torch.Tensor]:
    """The last hidden states [L,D] of whole lines."""
    rows = [line.embeds() for line in lines]
    lengths, size = [len(r) for r in rows], max(len(r) for r in rows)
    x_BLD = torch.stack([F.pad(r, (0, 0, 0, size - len(r))) for r in rows])
    mask = mixed_mask([0] * len(rows), lengths, [line.runs for line in lines], size, dtype=x_BLD.dtype,
                      device=x_BLD.device)  # fmt: skip
    hidden = model.base_model(inputs_embeds=x_BLD, attention_mask=mask, use_cache=False).last_hidden_state
    return [h[:n] for h, n in zip(hidden, lengths)]
