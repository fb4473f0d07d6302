"""Classifier-free guidance inside the decode loop of language models: rows and their unconditional twins run together.

Suffixes: R rows, T tokens of a pass, N prompt length, C width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from anyany.api.torch import Decoder, Limits, Sampler


class Guided:
    """A causal model of transformers over 2R rows whose logits are mixed: both halves get null + g (cond - null)."""

    def __init__(self, model: Any, guidance_R: torch.Tensor) -> None:
        self.model, self.config = model, model.config
        self.guidance = guidance_R[:, None, None]

    def get_output_embeddings(self) -> Any:
        return self.model.get_output_embeddings()

    def __call__(self, **inputs: Any) -> Any:
        out = self.model(**inputs)
        cond, null = out.logits.float().chunk(2)
        mixed = torch.lerp(null, cond, self.guidance)
        out.logits = torch.cat([mixed, mixed])
        return out


def decoded(model: Any, prompt_RNC: torch.Tensor, null_RNC: torch.Tensor | None, guidance_R: torch.Tensor, count: int,
            words_R2: torch.Tensor, sampling: tuple[float, int, float],
            check: Callable[[], None]) -> torch.Tensor:  # fmt: skip
    """[R,count] token ids after prompts of embeddings. sampling: temperature, top-k, top-p.

    words: the rows' noise words; a twin draws with its row's, so that both always take the same token.
    """
    rows, twins = len(prompt_RNC), null_RNC is not None
    both = torch.cat([prompt_RNC, null_RNC]) if null_RNC is not None else prompt_RNC
    words = torch.cat([words_R2, words_R2]) if twins else words_R2
    temperature, top_k, top_p = sampling
    sampler = Sampler.of([temperature] * len(both), [top_k] * len(both), [top_p] * len(both), words)
    limits = Limits(max_new=[count] * len(both), stop_ids=[])
    decoder = Decoder(Guided(model, guidance_R) if twins else model)
    found = decoder.run(list(both), limits, sampler, check=check)
    return torch.tensor([one.ids for one in found[:rows]], device=prompt_RNC.device)
