"""Codebooks: learned by gradient (VQGAN), by moving averages (vector-quantize-pytorch) or debiased ones (VQ-VAE's own).

All search with `nearest`, pass gradients straight through or by rotation (Fifty et al. 2024, arXiv 2410.06424), and
change their state only in training. Suffixes: M vectors, D width, K codes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from vector_quantize_pytorch import VectorQuantize
from vector_quantize_pytorch.vector_quantize_pytorch import rotate_to

from anyany_tokenizers.nearest import nearest


@dataclass(frozen=True, kw_only=True)
class Quantised:
    """codes_MD: what is passed on, with gradients to the vectors. ids_M. loss_M: the codebook's loss of each vector."""

    codes_MD: torch.Tensor
    ids_M: torch.Tensor
    loss_M: torch.Tensor


def make_codebook(kind: str, config: Any) -> nn.Module:
    """kind: gradient, ema or debiased. config: codes, dim, beta, and what the kind takes (see `VqConfig`)."""
    if kind == "gradient":
        return GradientCodebook(config.codes, config.dim, config.beta, config.legacy, config.estimator, config.revive)
    if kind == "ema":
        return EmaCodebook(
            dim=config.dim, codebook_size=config.codes, decay=config.decay, commitment_weight=config.beta,
            threshold_ema_dead_code=config.revive, use_cosine_sim=config.cosine, rotation_trick=False,
            estimator=config.estimator,
        )  # fmt: skip
    return DebiasedCodebook(config.codes, config.dim, config.beta, config.decay, config.estimator)


def passed(z_MD: torch.Tensor, codes_MD: torch.Tensor, estimator: str) -> torch.Tensor:
    """The codes, with gradients to the vectors: copied (straight through) or turned with them (rotation)."""
    if estimator == "rotation" and torch.is_grad_enabled() and z_MD.requires_grad:
        return rotate_to(z_MD, codes_MD.detach())
    return z_MD + (codes_MD - z_MD).detach()


def squared(a_MD: torch.Tensor, b_MD: torch.Tensor) -> torch.Tensor:
    """[M]: the mean squared difference of each pair of vectors."""
    return (a_MD - b_MD).square().mean(1)


def perplexity(ids_M: torch.Tensor, codes: int) -> torch.Tensor:
    """How many codes are in use, as the exponential of the entropy of their frequencies. []"""
    share_K = torch.bincount(ids_M.flatten(), minlength=codes).float() / max(1, ids_M.numel())
    return torch.exp(-(share_K * torch.log(share_K + 1e-10)).sum())


class GradientCodebook(nn.Module):
    """VQGAN's (Esser et al. 2021, arXiv 2012.09841): an embedding learned by its own loss term. Official names.

    legacy: beta weighs the codebook's term, as in all released checkpoints; else the commitment's.
    revive: in training, codes used less often than this by a moving count become vectors of the batch (0: never).
    """

    decay = 0.99

    def __init__(self, codes: int, width: int, beta: float = 0.25, legacy: bool = True,
                 estimator: str = "straight-through", revive: float = 0.0) -> None:  # fmt: skip
        super().__init__()
        self.embedding = nn.Embedding(codes, width)
        self.beta, self.legacy, self.estimator, self.revive = beta, legacy, estimator, revive
        self.register_buffer("usage", torch.empty(codes), persistent=False)
        self.init_buffers()

    def init_buffers(self) -> None:
        """At first every code counts as used."""
        self.usage.fill_(max(self.revive, 1.0))

    @property
    def table(self) -> torch.Tensor:
        """[K,D]."""
        return self.embedding.weight

    def search(self, z_MD: torch.Tensor) -> torch.Tensor:
        """[M] codes of vectors."""
        return nearest(z_MD, self.table)

    def forward(self, z_MD: torch.Tensor, seed: int = 0) -> Quantised:
        """Quantise and compare. seed: draws the vectors that revive dead codes."""
        ids_M = self.search(z_MD)
        codes_MD = self.embedding(ids_M)
        commit_M, own_M = squared(codes_MD.detach(), z_MD), squared(codes_MD, z_MD.detach())
        loss_M = commit_M + self.beta * own_M if self.legacy else self.beta * commit_M + own_M
        given = Quantised(codes_MD=passed(z_MD, codes_MD, self.estimator), ids_M=ids_M, loss_M=loss_M)
        if self.training and self.revive > 0:
            self._revive(z_MD.detach(), ids_M, seed)
        return given

    @torch.no_grad()
    def _revive(self, z_MD: torch.Tensor, ids_M: torch.Tensor, seed: int) -> None:
        self.usage.lerp_(torch.bincount(ids_M, minlength=len(self.usage)).to(self.usage), 1 - self.decay)
        dead = (self.usage < self.revive).nonzero()[:, 0]
        if not len(dead) or not len(z_MD):
            return
        generator = torch.Generator().manual_seed(seed)
        picked = torch.randint(len(z_MD), (len(dead),), generator=generator).to(z_MD.device)
        self.embedding.weight.data[dead] = z_MD[picked].to(self.embedding.weight.dtype)
        self.usage[dead] = max(self.revive, 1.0)


class EmaCodebook(VectorQuantize):
    """vector-quantize-pytorch's codebook, its moving averages and dead codes; names under `_codebook.`."""

    def __init__(self, *, estimator: str = "straight-through", **options: Any) -> None:
        super().__init__(**options)
        self.estimator = estimator
        # A parameter without gradients: random weights draw parameters, and leave buffers alone.
        values = self._codebook.embed
        del self._codebook.embed
        self._codebook.embed = nn.Parameter(values, requires_grad=False)

    def init_buffers(self) -> None:
        """A codebook without a history, which only random weights are, begins as the library's does."""
        book = self._codebook
        self.zero.zero_()
        if not bool(book.cluster_size.any()) and not bool(book.embed_avg.any()):
            book.initted.fill_(True)
            book.cluster_size.fill_(1.0)
            book.embed_avg.copy_(book.embed)

    @property
    def table(self) -> torch.Tensor:
        """[K,D]."""
        return self._codebook.embed[0]

    def search(self, z_MD: torch.Tensor) -> torch.Tensor:
        """[M] codes of vectors; by cosine where the codebook is of unit vectors."""
        return nearest(self._codebook.transform_input(z_MD), self.table, cosine=self.use_cosine_sim)

    def forward(self, z_MD: torch.Tensor, seed: int = 0) -> Quantised:
        """Quantise with the codebook as it is, then, in training, let it follow. seed: draws replacements."""
        ids_M = self.search(z_MD)
        z = self._codebook.transform_input(z_MD)
        codes_MD = F.embedding(ids_M, self.table).to(z.dtype)
        given = Quantised(
            codes_MD=passed(z, codes_MD, self.estimator), ids_M=ids_M,
            loss_M=self.commitment_weight * squared(codes_MD.detach(), z),
        )  # fmt: skip
        if self.training and len(ids_M):
            with torch.random.fork_rng(devices=[z.device] if z.is_cuda else []), torch.no_grad():
                torch.manual_seed(seed)
                self.update_indices(z_MD.detach()[None], ids_M[None])
        return given


class DebiasedCodebook(nn.Module):
    """VQ-VAE's own (van den Oord et al. 2017, arXiv 1711.00937), as in sonnet: averages divided by 1 - decay^n."""

    epsilon = 1e-5

    def __init__(self, codes: int, width: int, beta: float = 0.25, decay: float = 0.99,
                 estimator: str = "straight-through") -> None:  # fmt: skip
        super().__init__()
        self.beta, self.decay, self.estimator = beta, decay, estimator
        self.embeddings = nn.Parameter(torch.empty(width, codes), requires_grad=False)
        self.register_buffer("ema_cluster_size_hidden", torch.zeros(codes))
        self.register_buffer("ema_dw_hidden", torch.zeros(width, codes))
        self.register_buffer("ema_counter", torch.zeros(1, dtype=torch.int64))

    @property
    def table(self) -> torch.Tensor:
        """[K,D]."""
        return self.embeddings.t()

    @property
    def averages(self) -> tuple[torch.Tensor, torch.Tensor]:
        """([K] counts, [D,K] sums) of the vectors of each code, debiased."""
        share = 1 - self.decay ** self.ema_counter.clamp(min=1)
        return self.ema_cluster_size_hidden / share, self.ema_dw_hidden / share

    def search(self, z_MD: torch.Tensor) -> torch.Tensor:
        """[M] codes of vectors."""
        return nearest(z_MD, self.table)

    def forward(self, z_MD: torch.Tensor, seed: int = 0) -> Quantised:
        """Quantise with the codebook as it is, then, in training, let it follow."""
        ids_M = self.search(z_MD)
        codes_MD = F.embedding(ids_M, self.table)
        given = Quantised(
            codes_MD=passed(z_MD, codes_MD, self.estimator), ids_M=ids_M,
            loss_M=self.beta * squared(codes_MD.detach(), z_MD),
        )  # fmt: skip
        if self.training and len(ids_M):
            self._follow(z_MD.detach(), ids_M)
        return given

    @torch.no_grad()
    def _follow(self, z_MD: torch.Tensor, ids_M: torch.Tensor) -> None:
        codes = len(self.table)
        hot_MK = F.one_hot(ids_M, codes).to(z_MD.dtype)
        self.ema_counter += 1
        for hidden, value in ((self.ema_cluster_size_hidden, hot_MK.sum(0)), (self.ema_dw_hidden, z_MD.t() @ hot_MK)):
            hidden += (1 - self.decay) * (value.to(hidden) - hidden)
        count_K, sum_DK = self.averages
        total = count_K.sum()
        smooth_K = (count_K + self.epsilon) / (total + codes * self.epsilon) * total
        self.embeddings.data.copy_(sum_DK / smooth_K)
