"""Rows of unlike lengths as one padded tensor, with a mask only where there is padding.

Suffixes: B rows, N longest row, D width.
"""

from __future__ import annotations

import torch

from anyany.api.torch import Rows


def padded(features: Rows) -> tuple[torch.Tensor, torch.Tensor | None]:
    """([B,N,D], mask [B,N] true on real positions; None where all rows are of one length, known without the device)."""
    x_BND, real_BN = features.padded()
    return x_BND, real_BN if len(set(features.lengths)) > 1 else None
