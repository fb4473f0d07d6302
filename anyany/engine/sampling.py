"""Choosing the next token: temperature, top-k, top-p, counter noise, and the rules of spans as a state table.

Shape suffixes: B rows, V vocabulary, S states, C token classes. Everything is tensors, so that a CUDA graph holds it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from anyany.engine.noise import gumbel_from

ILLEGAL = -1


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Which token may follow: a finite automaton over classes of tokens.

    class_V: class of each token. next_SC: the state after a token of that class, or -1 where it is illegal.
    need_S: how many further tokens a state needs before the text may end (0 outside spans). State 0 is the start.
    """

    class_V: torch.Tensor
    next_SC: torch.Tensor
    need_S: torch.Tensor

    def to(self, device: torch.device) -> Rules:
        return Rules(class_V=self.class_V.to(device), next_SC=self.next_SC.to(device), need_S=self.need_S.to(device))

    def mask(self, logits_BV: torch.Tensor, state_B: torch.Tensor, left_B: torch.Tensor) -> torch.Tensor:
        """Logits with -inf on illegal tokens and on tokens whose span would not fit in the `left_B` tokens left."""
        after_BC = self.next_SC[state_B]
        fits_BC = self.need_S[after_BC.clamp_min(0)] < left_B[:, None]
        legal_BC = (after_BC != ILLEGAL) & fits_BC
        return logits_BV.masked_fill(~legal_BC[:, self.class_V], float("-inf"))

    def advance(self, state_B: torch.Tensor, token_B: torch.Tensor) -> torch.Tensor:
        """The states after the chosen tokens."""
        return self.next_SC[state_B, self.class_V[token_B]].clamp_min(0)


def span_rules(vocab: int, spans: Mapping[str, Sequence[int]]) -> Rules:
    """Rules under which each span, once begun with its first token, runs through all its tokens in order.

    `spans` names the token ids of each span (NExT-GPT's [IMG0] … [IMG3]). Outside, only first tokens are legal;
    inside, only the next one is, and the end of the text waits.
    """
    class_V = torch.zeros(vocab, dtype=torch.int64)
    steps: list[tuple[int, int, int, int]] = []  # (from state, class, to state, tokens still needed there)
    n_class, n_state = 1, 1
    for ids in spans.values():
        here = 0
        for place, token in enumerate(ids):
            class_V[token] = n_class
            last = place == len(ids) - 1
            there = 0 if last else n_state
            steps.append((here, n_class, there, len(ids) - 1 - place))
            n_class += 1
            n_state += 0 if last else 1
            here = there
    next_SC = torch.full((n_state, n_class), ILLEGAL, dtype=torch.int64)
    need_S = torch.zeros(n_state, dtype=torch.int64)
    next_SC[0, 0] = 0
    for state, kind, there, left in steps:
        next_SC[state, kind] = there
        if there:
            need_S[there] = left
    return Rules(class_V=class_V, next_SC=next_SC, need_S=need_S)


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
