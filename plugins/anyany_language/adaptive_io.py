"""Adaptive input and softmax (Baevski and Auli 2019, arXiv 1809.10853; Grave et al. 2017, arXiv 1609.04309).

tokens sorted by frequency -> features [N,D], and back; rare bands get narrower vectors. Names: fairseq's, or torch's
own AdaptiveLogSoftmaxWithLoss. Suffixes: T tokens end to end, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from anyany.api.torch import Build, Component, Context, Rows


class TiedLinear(nn.Module):
    """A linear layer on another layer's matrix, or on its transpose."""

    def __init__(self, weight: nn.Parameter, transpose: bool = False) -> None:
        super().__init__()
        self.weight, self.transpose = weight, transpose

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.weight.t() if self.transpose else self.weight)


class AdaptiveInput(nn.Module):
    """Band i: an embedding of width initial // factor^i, and a projection to the model's width."""

    def __init__(self, ends: Sequence[int], initial: int, factor: float, dim: int, pad: int) -> None:
        super().__init__()
        self.ends = list(ends)
        self.embeddings = nn.ModuleList(
            nn.Sequential(
                nn.Embedding(end - start, int(initial // factor**i), pad if i == 0 else None),
                nn.Linear(int(initial // factor**i), dim, bias=False),
            )
            for i, (start, end) in enumerate(pairwise([0, *ends]))
        )
        self._float_tensor = nn.Buffer(torch.zeros(1))

    def forward(self, ids_T: torch.Tensor) -> torch.Tensor:
        """[T] -> [T,D]."""
        first = self.embeddings[0][1].weight
        out_TD = first.new_zeros(ids_T.shape[0], first.shape[0])
        for (start, end), band in zip(pairwise([0, *self.ends]), self.embeddings):
            mine = (ids_T >= start) & (ids_T < end)
            out_TD[mine] = band(ids_T[mine] - start)
        return out_TD


class TiedHead(nn.Module):
    """Words of the first band through its embedding, classes of the other bands through a matrix of their own."""

    def __init__(self, words: nn.Parameter, dim: int, classes: int) -> None:
        super().__init__()
        tied: nn.Module = TiedLinear(words)
        wide = words.shape[1]
        self.word_proj = tied if wide == dim else nn.Sequential(nn.Linear(dim, wide, bias=False), tied)
        self.class_proj = nn.Linear(dim, classes, bias=False) if classes else None  # one band: no other to name
        self._float_tensor = nn.Buffer(torch.zeros(1))

    def forward(self, x_TD: torch.Tensor) -> torch.Tensor:
        words = self.word_proj(x_TD)
        return words if self.class_proj is None else torch.cat([words, self.class_proj(x_TD)], -1)


class AdaptiveSoftmax(nn.Module):
    """The head scores frequent words and bands; tail i scores the words of band i + 1."""

    def __init__(self, ends: Sequence[int], factor: float, dim: int, given: AdaptiveInput | None, tie_projections: bool,
                 bias: bool = False) -> None:  # fmt: skip
        super().__init__()
        self.ends, bands = list(ends), len(ends) - 1
        if given is None:
            self.head: nn.Module = nn.Linear(dim, ends[0] + bands, bias=bias)
        else:
            self.head = TiedHead(given.embeddings[0][0].weight, dim, bands)
        self.tail = nn.ModuleList(
            _tail(dim, int(dim // factor ** (i + 1)), end - start, None if given is None else given.embeddings[i + 1],
                  tie_projections)
            for i, (start, end) in enumerate(pairwise(ends))
        )  # fmt: skip

    def sections(self, x_TD: torch.Tensor, targets_T: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """(logits, targets) of head and tails; a tail's only where the target lies in its band."""
        head_T = targets_T.clone()
        logits, wanted = [self.head(x_TD)], [head_T]
        for i, (start, end) in enumerate(pairwise(self.ends)):
            mine = (targets_T >= start) & (targets_T < end)
            head_T[mine] = self.ends[0] + i
            logits.append(self.tail[i](x_TD[mine]))
            wanted.append(targets_T[mine] - start)
        return logits, wanted

    def log_probs(self, x_TD: torch.Tensor) -> torch.Tensor:
        """[T,V]."""
        head = self.head(x_TD).float().log_softmax(-1)
        first = self.ends[0]
        tails = [head[:, first + i, None] + t(x_TD).float().log_softmax(-1) for i, t in enumerate(self.tail)]
        return torch.cat([head[:, :first], *tails], -1)

    def target_log_probs(self, x_TD: torch.Tensor, targets_T: torch.Tensor) -> torch.Tensor:
        """[T], without the tails that no target needs."""
        logits, wanted = self.sections(x_TD, targets_T)
        out_T = logits[0].float().log_softmax(-1).gather(1, wanted[0][:, None])[:, 0]
        for (start, end), scores, ids in zip(pairwise(self.ends), logits[1:], wanted[1:]):
            mine = (targets_T >= start) & (targets_T < end)
            out_T[mine] = out_T[mine] + scores.float().log_softmax(-1).gather(1, ids[:, None])[:, 0]
        return out_T


def _tail(dim: int, narrow: int, words: int, band: Any, tie_projection: bool) -> nn.Sequential:
    """Projection, nothing (fairseq's dropout stood there), output layer."""
    if band is None:
        return nn.Sequential(nn.Linear(dim, narrow, bias=False), nn.Identity(), nn.Linear(narrow, words, bias=False))
    own = nn.Linear(dim, band[0].weight.shape[1], bias=False)
    proj = TiedLinear(band[1].weight, transpose=True) if tie_projection else own
    return nn.Sequential(proj, nn.Identity(), TiedLinear(band[0].weight))


class AdaptiveIo(Component):
    """Options: `AdaptiveIoConfig`."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        ends = [*config.cutoffs, config.vocab]
        if sorted(set(ends)) != ends:
            raise ValueError(f"cutoffs grow and stay below the vocabulary of {config.vocab}: {list(config.cutoffs)}")
        dim, given = config.width, None
        if config.layout == "fairseq":
            given = AdaptiveInput(ends, config.initial or dim, config.factor, dim, config.pad)
            self.embed_tokens = given
        self.adaptive_softmax = AdaptiveSoftmax(ends, config.factor, dim, given if config.tie else None,
                                                config.tie_projections, config.bias)  # fmt: skip
        if config.layout == "fairseq":
            self.adaptive_softmax.version = nn.Buffer(torch.zeros(1, dtype=torch.int64))

    def rename(self, name: str) -> str:
        """fairseq's, with or without `decoder.`; torch's bare names, whose tails have no place for a dropout."""
        if self.config.layout == "fairseq":
            return name.removeprefix("decoder.")
        if name.startswith("adaptive_softmax."):
            return name
        parts = name.split(".")
        if parts[0] == "tail" and parts[2] == "1":
            parts[2] = "2"
        return "adaptive_softmax." + ".".join(parts)

    def embed(self, ctx: Context, tokens: Rows) -> dict[str, Rows]:
        """tokens: B x [N]. features: B x [N,D]. Raises ValueError for an id beyond the vocabulary."""
        ids, lengths = self._flat(tokens)
        return {"features": ctx.rows(self.embed_tokens(ids), lengths)}

    def score(self, ctx: Context, features: Rows, tokens: Rows) -> dict[str, Rows]:
        """features: B x [N,D]; tokens: what each was to say. loss: [B], the mean negative log probability."""
        ids, lengths = self._flat(tokens)
        packed, offsets = features.packed()
        if [b - a for a, b in pairwise(offsets)] != lengths:
            raise ValueError("features and tokens are not of one length")
        each = self.adaptive_softmax.target_log_probs(packed, ids).split(lengths)
        return {"loss": ctx.rows(torch.stack([-e.mean() for e in each]))}

    def predict(self, ctx: Context, features: Rows) -> dict[str, Rows]:
        """tokens: B x [N], the likeliest each."""
        packed, offsets = features.packed()
        best = self.adaptive_softmax.log_probs(packed).argmax(-1)
        return {"tokens": ctx.rows([best[a:b] for a, b in pairwise(offsets)])}

    def _flat(self, tokens: Rows) -> tuple[torch.Tensor, list[int]]:
        rows = tokens.list()
        ids = torch.cat([r.reshape(-1) for r in rows]).long()
        if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < self.config.vocab:
            raise ValueError(f"a token beyond the vocabulary of {self.config.vocab}: {int(ids.max())}")
        return ids, [r.numel() for r in rows]
