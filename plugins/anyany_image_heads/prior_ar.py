"""DALL-E 2's autoregressive prior (Ramesh et al. 2022, arXiv 2204.06125, section 2.2); no code of it was released.

An image embedding is turned onto its principal axes, the first K of them, each cut into buckets; a causal transformer
says them one by one after the text. Suffixes: B rows, N text places, D embedding, K axes, V buckets, C width, M many.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from anyany_image_heads.guided_decoder import decoded


class Axes(nn.Module):
    """The principal axes of image embeddings, and how coordinates become buckets."""

    def __init__(self, embed: int, axes: int, buckets: int) -> None:
        super().__init__()
        if axes > embed:
            raise ValueError(f"embeddings of {embed} numbers have no {axes} axes")
        self.buckets = buckets
        self.mean = nn.Parameter(torch.empty(embed))
        self.basis = nn.Parameter(torch.empty(axes, embed))
        self.low, self.span = nn.Parameter(torch.empty(axes)), nn.Parameter(torch.empty(axes))

    def fit(self, embeds_MD: torch.Tensor) -> None:
        """From many embeddings: axes by falling variance, buckets between the extremes."""
        mean = embeds_MD.double().mean(0)
        _, _, turned = torch.linalg.svd(embeds_MD.double() - mean, full_matrices=True)
        basis = turned[: len(self.basis)]
        places = (embeds_MD.double() - mean) @ basis.T
        low, high = places.amin(0), places.amax(0)
        for mine, value in ((self.mean, mean), (self.basis, basis), (self.low, low), (self.span, high - low)):
            mine.data.copy_(value)

    def tokens(self, embeds_BD: torch.Tensor) -> torch.Tensor:
        """[B,K] buckets."""
        share = ((embeds_BD - self.mean) @ self.basis.T - self.low) / self.span.abs().clamp_min(1e-12)
        return (share * self.buckets).long().clamp(0, self.buckets - 1)

    def embeds(self, ids_BK: torch.Tensor) -> torch.Tensor:
        """[B,D]: the middle of each bucket."""
        places = (ids_BK + 0.5) / self.buckets * self.span.abs() + self.low
        return places.to(self.basis.dtype) @ self.basis + self.mean


class AutoregressivePrior(nn.Module):
    """Prompt: words, text embedding, and how well picture and text shall agree (their cosine, in buckets)."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.axes = Axes(config.embed, config.axes, config.buckets)
        self.agreements, self.text_length = config.agreements, config.text_length
        self.words = nn.Linear(config.words, config.width)
        self.text = nn.Linear(config.embed, config.width)
        self.agreement = nn.Embedding(config.agreements, config.width)
        self.null = nn.Parameter(torch.empty(config.text_length + 1, config.width))
        self.gpt = GPT2LMHeadModel(GPT2Config(
            vocab_size=config.buckets, n_positions=config.text_length + 3 + config.axes, n_embd=config.width,
            n_layer=config.layers, n_head=config.heads, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
            tie_word_embeddings=False, bos_token_id=None, eos_token_id=None,
        ))  # fmt: skip

    def prompt(self, text_BD: torch.Tensor, words_BNW: torch.Tensor, real_BN: torch.Tensor,
               agreement_B: torch.Tensor) -> torch.Tensor:  # fmt: skip
        """[B,N+2,C]; places without words hold their null."""
        words = torch.where(real_BN[:, :, None], self.words(words_BNW), self.null[:-1])
        return torch.cat([words, self.text(text_BD)[:, None], self.agreement(agreement_B)[:, None]], 1)

    def without(self, agreement_B: torch.Tensor) -> torch.Tensor:
        """The prompt [B,N+2,C] of no text at all."""
        null = self.null.expand(len(agreement_B), -1, -1)
        return torch.cat([null, self.agreement(agreement_B)[:, None]], 1)

    def agreement_of(self, image_BD: torch.Tensor, text_BD: torch.Tensor) -> torch.Tensor:
        """[B] buckets of the cosine of picture and text."""
        share = (F.cosine_similarity(image_BD.float(), text_BD.float()) + 1) / 2
        return (share * self.agreements).long().clamp(0, self.agreements - 1)

    def draw(self, wish: Any, sampling: tuple[float, int, float], agreement: int) -> torch.Tensor:
        """[B,D] embeddings; `wish` as in `unclip_prior`."""
        wanted_B = torch.full((len(wish.text_BD),), agreement, device=wish.text_BD.device)
        prompt = self.prompt(wish.text_BD, wish.words_BNW, wish.real_BN, wanted_B)
        null = self.without(wanted_B) if wish.guided else None
        ids_BK = decoded(self.gpt, prompt, null, wish.guidance_B, len(self.axes.basis), wish.noise_words, sampling,
                         wish.check)  # fmt: skip
        return self.axes.embeds(ids_BK)

    def losses(self, image_BD: torch.Tensor, text_BD: torch.Tensor, words_BNW: torch.Tensor, real_BN: torch.Tensor,
               drop_B: torch.Tensor) -> torch.Tensor:  # fmt: skip
        """[B] cross-entropy of the buckets."""
        agreement_B, ids_BK = self.agreement_of(image_BD, text_BD), self.axes.tokens(image_BD)
        prompt = self.prompt(text_BD, words_BNW, real_BN, agreement_B)
        prompt = torch.where(drop_B[:, None, None], self.without(agreement_B), prompt)
        said = self.gpt.get_input_embeddings()(ids_BK[:, :-1])
        logits = self.gpt(inputs_embeds=torch.cat([prompt, said], 1)).logits[:, prompt.shape[1] - 1 :]
        return F.cross_entropy(logits.float().transpose(1, 2), ids_BK, reduction="none").mean(1)
