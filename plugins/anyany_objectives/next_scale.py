"""Next-scale prediction's loss (VAR, Tian et al. 2024, arXiv 2404.02905): cross-entropy of every token.

logits: B x [N,V], tokens: B x [N] -> loss [B], accuracy [B].
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from anyany.api.torch import Component, Context, Rows


class NextScale(Component):
    """Options: `NextScaleConfig`."""

    def loss(self, ctx: Context, logits: Rows, tokens: Rows) -> dict[str, Rows]:
        """loss [B]: the mean over tokens."""
        found = [token_loss(a, b, self.config.smoothing, self.build.node) for a, b in zip(logits, tokens, strict=True)]
        right = [(a.argmax(-1) == b).float().mean() for a, b in zip(logits, tokens, strict=True)]
        return {"loss": ctx.rows(torch.stack([f.mean() for f in found])), "accuracy": ctx.rows(torch.stack(right))}


def token_loss(logits_NV: torch.Tensor, ids_N: torch.Tensor, smoothing: float, node: str) -> torch.Tensor:
    """[N] cross-entropy. Raises ValueError for other counts, and for tokens outside the vocabulary."""
    if logits_NV.dim() != 2 or len(logits_NV) != len(ids_N) or not len(ids_N):
        raise ValueError(f"{node} wants a row of scores for each token, not {list(logits_NV.shape)} for {len(ids_N)}")
    vocab = logits_NV.shape[1]
    if int(ids_N.min()) < 0 or int(ids_N.max()) >= vocab:
        raise ValueError(f"{node}: a token is outside the vocabulary of the scores, 0 to {vocab - 1}")
    return F.cross_entropy(logits_NV.float(), ids_N, reduction="none", label_smoothing=smoothing)
