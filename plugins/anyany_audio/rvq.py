"""Residual vector quantisation of sound, by transformers: EnCodec (arXiv 2210.13438), Mimi (arXiv 2410.00037).

audio -> tokens [N] and back. N = frames * books, frame after frame; within a frame the codebooks in turn, the coarsest
first, each with a range of its own: code c of codebook k is token k * size + c. Suffixes: B rows, K books, T frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from anyany.api.torch import Audio, Build, Component, Context, Part, Rows, load_network, network_of

NAMES = {"encodec": "transformers.EncodecModel", "mimi": "transformers.MimiModel"}


class Rvq(Component):
    """Options: `RvqConfig`; a checkpoint's config.json overrides all but `books`."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        own = build.assets.json("config.json") or _small(config)
        arch = own.get("model_type", config.arch)
        if arch not in NAMES:
            raise ValueError(f"{build.node} runs {' and '.join(NAMES)}, not {arch!r}")
        if own.get("normalize") or own.get("chunk_length_s"):
            raise ValueError(
                "this codec keeps a loudness for each stretch beside its codes, which tokens cannot carry; "
                "use encodec_24khz or mimi"
            )
        self.part, self.arch = Part(name=NAMES[arch], config=_known(own)), arch
        self.model: Any = network_of(self.part)
        self.settings = self.model.config
        self.size, self.books = int(self.settings.codebook_size), config.books
        if self.books > self.settings.num_quantizers:
            raise ValueError(f"books {self.books}: this codec has {self.settings.num_quantizers}")
        self._random_codes()

    def _random_codes(self) -> None:
        """Codebooks are buffers that start as zeros, and nothing draws buffers; a checkpoint's take their place."""
        generator = torch.Generator().manual_seed(0)
        for module in self.model.modules():
            for name, table in module.named_buffers(recurse=False):
                if name in ("embed", "embed_sum"):
                    table = torch.randn(table.shape, generator=generator, device="cpu") / table.shape[1] ** 0.5
                setattr(module, name, table.to(self.build.dtype) if table.is_floating_point() else table)

    def load(self, stores: Sequence[Any], build: Build) -> None:
        """transformers' names, strictly."""
        self.model = load_network(self.part, stores, build)

    def example_rows(self, call: str, rows: Sequence[int], making: Any) -> dict[str, Rows]:
        """Rows for tests: sounds of several lengths, and whole frames of tokens."""
        drawn = [torch.Generator().manual_seed(row) for row in rows]
        if call == "encode":
            rate, channels = int(self.settings.sampling_rate), int(self.settings.audio_channels)
            sizes = [(channels, 400 * (1 + row)) for row in rows]
            return {"audio": Rows([Audio(torch.rand(s, generator=g) - 0.5, rate) for s, g in zip(sizes, drawn)])}
        codes = [torch.randint(0, self.size, (self.books, 2 + r), generator=g) for r, g in zip(rows, drawn)]
        return {"tokens": Rows([(codes_KT + self._starts(codes_KT)).T.flatten() for codes_KT in codes])}

    # calls -----------------------------------------------------------------------------------------------------------
    def encode(self, ctx: Context, audio: Rows) -> dict[str, Rows]:
        """audio: B sounds. tokens: B x [N] int64. Raises ValueError for another rate or number of channels."""
        waves = [self._wave(a) for a in audio]
        found: list[Any] = [None] * len(waves)
        for rows in _alike([w.shape[1] for w in waves]).values():
            ctx.check()
            batch_B1S = torch.stack([waves[r] for r in rows]).to(ctx.device, ctx.dtype)
            codes_BKT = self._codes(batch_B1S)
            flat_BN = (codes_BKT + self._starts(codes_BKT)).transpose(1, 2).flatten(1)
            for row, tokens in zip(rows, flat_BN):
                found[row] = tokens
        return {"tokens": ctx.rows(found)}

    def decode(self, ctx: Context, tokens: Rows) -> dict[str, Rows]:
        """tokens: B x [N]. audio: B sounds. Raises ValueError for tokens that are no whole frames in their order."""
        codes = [self._unflatten(t) for t in tokens]
        found: list[Any] = [None] * len(codes)
        for rows in _alike([c.shape[1] for c in codes]).values():
            ctx.check()
            samples = self._sound(torch.stack([codes[r] for r in rows]).to(ctx.device)).float().cpu().clamp(-1, 1)
            for row, one in zip(rows, samples):
                found[row] = Audio(one, int(self.settings.sampling_rate))
        return {"audio": ctx.rows(found)}

    # inside ----------------------------------------------------------------------------------------------------------
    def _wave(self, audio: Audio) -> torch.Tensor:
        rate, channels = int(self.settings.sampling_rate), int(self.settings.audio_channels)
        if audio.rate != rate or audio.samples.shape[0] != channels:
            raise ValueError(f"{self.build.node} takes {channels} channels at {rate} Hz, not {audio.samples.shape[0]} "
                             f"at {audio.rate}")  # fmt: skip
        if not audio.samples.shape[1]:
            raise ValueError("the sound has no samples")
        if not bool(torch.isfinite(audio.samples).all()):
            raise ValueError("the sound holds samples that are not numbers (NaN or infinity)")
        return audio.samples

    def _codes(self, waves_B1S: torch.Tensor) -> torch.Tensor:
        """[B,K,T]"""
        if self.arch == "mimi":
            found: torch.Tensor = self.model.encode(waves_B1S, num_quantizers=self.books).audio_codes
            return found
        quantizer, residual, codes = self.model.quantizer, self.model.encoder(waves_B1S), []
        for layer in quantizer.layers[: self.books]:  # its own `encode` counts in bandwidths
            codes.append(layer.encode(residual))
            residual = residual - layer.decode(codes[-1])
        return torch.stack(codes, 1)

    def _sound(self, codes_BKT: torch.Tensor) -> torch.Tensor:
        """[B,C,S]"""
        if self.arch == "mimi":
            found: torch.Tensor = self.model.decode(codes_BKT).audio_values
            return found
        embedded = self.model.quantizer.decode(codes_BKT.transpose(0, 1))
        sound: torch.Tensor = self.model.decoder(embedded)
        return sound

    def _starts(self, like: torch.Tensor) -> torch.Tensor:
        """[K,1]: the first token of each codebook."""
        return torch.arange(self.books, device=like.device)[:, None] * self.size

    def _unflatten(self, tokens: torch.Tensor) -> torch.Tensor:
        """[N] -> [K,T]"""
        if tokens.is_floating_point():
            raise ValueError(f"tokens are whole numbers, not {tokens.dtype}".replace("torch.", ""))
        if tokens.dim() != 1 or not len(tokens) or len(tokens) % self.books:
            raise ValueError(f"{len(tokens)} tokens are no whole frames of {self.books}")
        codes_KT = tokens.reshape(-1, self.books).T - self._starts(tokens)
        if bool(((codes_KT < 0) | (codes_KT >= self.size)).any()):
            raise ValueError(f"the tokens are not in turn from the {self.books} codebooks of {self.size}")
        return codes_KT


def _alike(lengths: Sequence[int]) -> dict[int, list[int]]:
    """Rows by length: convolutions and recurrences would hear padding."""
    found: dict[int, list[int]] = {}
    for row, length in enumerate(lengths):
        found.setdefault(length, []).append(row)
    return found


def _known(settings: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in settings.items() if k not in ("architectures", "model_type", "transformers_version")}


def _small(config: Any) -> dict[str, Any]:
    """The config of a codec without a checkpoint."""
    shared = {
        "model_type": config.arch, "sampling_rate": config.rate, "num_filters": config.filters,
        "codebook_size": config.size, "hidden_size": config.width,
    }  # fmt: skip
    if config.arch == "encodec":
        bits, frames = (config.size - 1).bit_length(), -(-config.rate // 320)
        return {
            **shared,
            "target_bandwidths": [config.books * bits * frames / 1000 + 1e-6],
            "codebook_dim": config.width,
        }
    return {
        **shared, "num_quantizers": max(2, config.books), "codebook_dim": config.width // 2,
        "vector_quantization_hidden_dimension": config.width // 2, "upsample_groups": config.width,
        "num_hidden_layers": 2, "intermediate_size": 2 * config.width, "num_attention_heads": 2,
        "num_key_value_heads": 2, "sliding_window": 250,
    }  # fmt: skip
