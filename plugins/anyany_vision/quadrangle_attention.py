"""Quadrangle attention: windows that sample keys and values from a learned quadrangle (Zhang et al. 2023, 2303.15105).

A head and window predicts nine numbers that move, scale, shear, turn and tilt its grid. Suffixes: B rows, H x W map,
C channels, M heads, d head width, n windows, w window side, P places of a window, x = B*M.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class QuadrangleAttention(nn.Module):
    """rpe: `v1` a table of relative positions (Swin's), `v2` decomposed vectors met by the unscaled queries."""

    def __init__(self, width: int, heads: int, window: int, rpe: str) -> None:
        super().__init__()
        self.heads, self.window, self.rpe = heads, window, rpe
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.transform = nn.Sequential(nn.AvgPool2d(window), nn.LeakyReLU(), nn.Conv2d(width, 9 * heads, 1))
        span = 2 * window - 1
        if rpe == "v1":
            self.relative_position_bias_table = nn.Parameter(torch.empty(span * span, heads))
            self.register_buffer("relative_position_index", torch.empty(window**2, window**2, dtype=torch.int64))
        else:
            self.rel_pos_h = nn.Parameter(torch.empty(span, width // heads))
            self.rel_pos_w = nn.Parameter(torch.empty(span, width // heads))

    def forward(self, x_BHWC: torch.Tensor) -> torch.Tensor:
        """[B,H,W,C] -> [B,H,W,C]."""
        return self.parts(x_BHWC)[0]

    def parts(self, x_BHWC: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(output [B,H,W,C], weights [x,n,w*w,w*w], where keys are sampled [x,H',W',2] with x and y in -1..1).

        Maps are padded to whole windows (H', W') after the projection, with zeros that are not masked.
        """
        rows, height, width = x_BHWC.shape[:3]
        w = self.window
        margin = (0, 0, 0, -width % w, 0, -height % w)
        qkv_BHWC, x_BHWC = F.pad(self.qkv(x_BHWC), margin), F.pad(x_BHWC, margin)
        full = x_BHWC.shape[1:3]
        query, key, value = (
            qkv_BHWC.unflatten(-1, (3, self.heads, -1)).permute(3, 0, 4, 5, 1, 2).flatten(1, 2).unbind(0)
        )
        coords_xHW2 = self.coords(x_BHWC)
        key, value = (F.grid_sample(m, coords_xHW2, align_corners=True) for m in (key, value))
        q, k, v = (self._windows(m) for m in (query, key, value))
        logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2) + self._bias(q, rows)
        weights = logits.softmax(-1)
        out = (weights @ v).unflatten(1, (full[0] // w, full[1] // w)).unflatten(3, (w, w))
        out = out.permute(0, 1, 3, 2, 4, 5).flatten(3, 4).flatten(1, 2)
        out = out.unflatten(0, (rows, self.heads)).permute(0, 2, 3, 1, 4).flatten(3)
        return self.proj(out[:, :height, :width]), weights, coords_xHW2

    def _windows(self, map_xdHW: torch.Tensor) -> torch.Tensor:
        """[x,d,H',W'] -> [x,n,w*w,d], windows row by row."""
        w = self.window
        cut = map_xdHW.unflatten(2, (-1, w)).unflatten(4, (-1, w)).permute(0, 2, 4, 3, 5, 1)
        return cut.flatten(3, 4).flatten(1, 2)

    def coords(self, x_BHWC: torch.Tensor) -> torch.Tensor:
        """[x,H',W',2]: where each place of each window samples its key."""
        w, (high, wide) = self.window, x_BHWC.shape[1:3]
        down, across = high // w, wide // w
        nine = self.transform(x_BHWC.permute(0, 3, 1, 2)).unflatten(1, (self.heads, 9)).flatten(0, 1)
        nine = nine.permute(0, 2, 3, 1).flatten(1, 2)  # [x,n,9]
        offset = nine[..., :2] / nine.new_tensor([across, down])
        grid = [(torch.arange(w, device=x_BHWC.device) * 2 / max(n - 1, 1)).to(nine) for n in (high, wide)]
        y, x = torch.meshgrid(*(g - g.mean() for g in grid), indexing="ij")
        base_3P = torch.stack([x.flatten(), y.flatten(), torch.ones_like(x).flatten()])
        moved = _matrices(nine, offset) @ base_3P  # [x,n,3,w*w]
        depth = moved[..., 2:, :]
        flat = moved[..., :2, :] / torch.where(depth == 0, torch.full_like(depth, 1e-6), depth)
        centres = [torch.linspace(-1, 1, n, device=x_BHWC.device).to(nine).view(-1, w).mean(1) for n in (high, wide)]
        cy, cx = torch.meshgrid(*centres, indexing="ij")
        flat = flat + torch.stack([cx.flatten(), cy.flatten()], -1)[None, :, :, None]
        found = flat.unflatten(-1, (w, w)).unflatten(1, (down, across)).permute(0, 1, 4, 2, 5, 3)
        return found.flatten(3, 4).flatten(1, 2)

    def _bias(self, q_xnPd: torch.Tensor, rows: int) -> torch.Tensor:
        """What relative positions add to the logits, [x,1 or n,w*w,w*w]."""
        w = self.window
        if self.rpe == "v1":
            table = self.relative_position_bias_table[self.relative_position_index.flatten()]
            return table.view(w * w, w * w, self.heads).permute(2, 0, 1).repeat(rows, 1, 1)[:, None]
        at = torch.arange(w, device=q_xnPd.device)
        steps = at[:, None] - at[None] + w - 1
        q = q_xnPd.unflatten(2, (w, w))
        high = torch.einsum("xnhwd,hkd->xnhwk", q, self.rel_pos_h[steps])[..., :, None]
        wide = torch.einsum("xnhwd,wkd->xnhwk", q, self.rel_pos_w[steps])[..., None, :]
        return (high + wide).flatten(4, 5).flatten(2, 3)


def _matrices(nine_xn9: torch.Tensor, offset_xn2: torch.Tensor) -> torch.Tensor:
    """[x,n,3,3]: rotation x shear x scale, the offset, and the projective row."""
    scale_x, scale_y = nine_xn9[..., 2] + 1, nine_xn9[..., 3] + 1
    shear_x, shear_y, tilt_x, tilt_y, angle = (nine_xn9[..., i] for i in range(4, 9))
    one, cos, sin = torch.ones_like(angle), angle.cos(), angle.sin()

    def square(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
        return torch.stack([torch.stack([a, b], -1), torch.stack([c, d], -1)], -2)

    zero = torch.zeros_like(one)
    turn, shear = square(cos, sin, -sin, cos), square(one, shear_x, shear_y, one)
    linear = turn @ shear @ square(scale_x, zero, zero, scale_y)
    top = torch.cat([linear, offset_xn2[..., None]], -1)
    return torch.cat([top, torch.stack([tilt_x, tilt_y, one], -1)[..., None, :]], -2)


def swin_index(window: int) -> torch.Tensor:
    """[w*w,w*w] int64: row of the table for each pair of places, in Swin's order."""
    at = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")).flatten(1)
    apart = at[:, :, None] - at[:, None] + window - 1
    return apart[0] * (2 * window - 1) + apart[1]
