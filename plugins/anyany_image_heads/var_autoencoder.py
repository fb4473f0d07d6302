"""VAR's tokenizer as its head needs it (Tian et al. 2024, arXiv 2404.02905): token maps of growing sides and pixels.

What the tokens of a scale add to the feature map; what predicts the next scale; pixels. Official names.
Suffixes: R rows, Z channels of a code, S side of the feature map, n side of a scale, N = n^2, V codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.vae import Decoder, Encoder
from torch import nn

from anyany_image_heads.autoencoder import Autoencoder


class Smoothing(nn.Module):
    """The 3x3 convolutions that scales pass, `0.5 h + 0.5 conv(h)`: some, shared by neighbours, or one for all."""

    def __init__(self, width: int, count: int, ratio: float) -> None:
        super().__init__()
        self.count, self.ratio = count, ratio
        if count == 1:
            self.qresi = nn.Conv2d(width, width, 3, padding=1)
        else:
            self.qresi_ls = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(count))

    def place(self, share: float) -> int:
        """Which convolution serves the scale at `share` 0..1 of the way: that of the nearest tick."""
        edge = 1 / (3 if self.count == 4 else 2) / self.count
        step = (1 - 2 * edge) / max(1, self.count - 1)
        return min(range(self.count), key=lambda i: abs(edge + step * i - share))

    def forward(self, h_RZSS: torch.Tensor, share: float) -> torch.Tensor:
        conv = self.qresi if self.count == 1 else self.qresi_ls[self.place(share)]
        return torch.lerp(h_RZSS, conv(h_RZSS), self.ratio)


class Codes(nn.Module):
    """The codebook and what its codes add, scale by scale."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.scales = list(config.scales)
        self.unit = config.unit_codes
        self.embedding = nn.Embedding(config.codes, config.latents)
        self.quant_resi = Smoothing(config.latents, config.smoothings, config.smoothing)

    def added(self, ids_RN: torch.Tensor, scale: int) -> torch.Tensor:
        """[R,Z,S,S]: what the tokens of a scale add to the feature map."""
        side, last = self.scales[scale], len(self.scales) - 1
        h = self.embedding(ids_RN).transpose(1, 2).unflatten(2, (side, side)).contiguous()
        if scale < last:
            h = F.interpolate(h, size=(self.scales[-1],) * 2, mode="bicubic")
        return self.quant_resi(h, scale / max(1, last))

    def smaller(self, f_RZSS: torch.Tensor, scale: int) -> torch.Tensor:
        """[R,N,Z]: the feature map as the tokens of a scale are predicted from."""
        side = self.scales[scale]
        small = f_RZSS if side == self.scales[-1] else F.interpolate(f_RZSS, size=(side, side), mode="area")
        return small.flatten(2).transpose(1, 2)

    def grown(self, ids: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """(inputs of all scales but the first [R,L-n0^2,Z], whole feature map [R,Z,S,S]) of tokens [R,N] a scale."""
        f_RZSS, inputs = self.added(ids[0], 0), []
        for scale in range(1, len(ids)):
            inputs.append(self.smaller(f_RZSS, scale))
            f_RZSS = f_RZSS + self.added(ids[scale], scale)
        return torch.cat(inputs, 1) if inputs else f_RZSS.new_zeros(len(f_RZSS), 0, f_RZSS.shape[1]), f_RZSS

    def found(self, f_RZSS: torch.Tensor) -> list[torch.Tensor]:
        """Tokens [R,N] a scale of a feature map: at each, the codes nearest to what is left of it."""
        rest, ids = f_RZSS.clone(), []
        table = self.embedding.weight
        for scale, side in enumerate(self.scales):
            z_MZ = self.smaller(rest, scale).flatten(0, 1)
            if self.unit:
                best = (F.normalize(z_MZ, dim=1) @ F.normalize(table, dim=1).T).argmax(1)
            else:
                best = torch.addmm(table.square().sum(1), z_MZ, table.T, alpha=-2).argmin(1)
            ids.append(best.view(len(rest), side * side))
            rest = rest - self.added(ids[-1], scale)
        return ids


class VarAutoencoder(Autoencoder):
    """Codes alone, or with encoder and decoder. `config` gives latents, codes, scales and the `vae_` sizes."""

    qkv = True
    otherwise = " (VAR draws with the codes in it, also where `autoencoder: false` leaves the decoding to others)"

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.whole, self.channels = config.autoencoder, [config.vae_width * m for m in config.vae_levels]
        self.quantize = Codes(config)
        if self.whole:
            self._coders(config)

    def _coders(self, config: Any) -> None:
        count, latents = len(self.channels), config.latents
        shared = {"block_out_channels": self.channels, "layers_per_block": config.vae_blocks,
                  "norm_num_groups": min(32, config.vae_width)}  # fmt: skip
        down = ["DownEncoderBlock2D"] * (count - 1) + ["AttnDownEncoderBlock2D"]
        up = ["AttnUpDecoderBlock2D"] + ["UpDecoderBlock2D"] * (count - 1)
        self.encoder = Encoder(out_channels=latents, double_z=False, down_block_types=down, **shared)
        self.decoder = Decoder(in_channels=latents, up_block_types=up, **shared)
        self.quant_conv = nn.Conv2d(latents, latents, 3, padding=1)
        self.post_quant_conv = nn.Conv2d(latents, latents, 3, padding=1)

    @property
    def widths(self) -> Sequence[int]:
        return self.channels

    def rename(self, name: str) -> str | None:
        """Usage counts are left; so are encoder and decoder where only the codes are wanted."""
        wanted = self.whole or name.startswith("quantize.")
        return name if wanted and name != "quantize.ema_vocab_hit_SV" else None

    def encode(self, pixels_R3HW: torch.Tensor) -> torch.Tensor:
        """[R,Z,S,S] of pixels in -1..1."""
        return self.quant_conv(self.encoder(pixels_R3HW))

    def decode(self, f_RZSS: torch.Tensor) -> torch.Tensor:
        """[R,3,H,W] in about -1..1."""
        return self.decoder(self.post_quant_conv(f_RZSS))
