"""Whisper's encoder (Radford et al. 2022, arXiv 2212.04356): sound becomes 50 features a second.

audio: B sounds of any length, in windows of 30 s -> features [N,D] ragged. Names: transformers' or OpenAI's.
Suffixes: W windows of all rows, M mel bands, T frames (2 P), P positions of a window, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from anyany.api.torch import Build, Component, Context, Rows, load_transformers, relayout
from anyany_audio.log_mel import HOP, log_mel, waves, windows
from anyany_audio.names import OPENAI

PER_SECOND = 50


class WhisperEncoder(Component):
    """Options: `WhisperEncoderConfig`; a checkpoint's config.json overrides the sizes."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        from transformers.models.whisper.modeling_whisper import WhisperEncoder as Encoder

        self.settings = settings(config, build)
        self.model = Encoder(self.settings)

    def load(self, stores: Sequence[Any], build: Build) -> None:
        """The encoder alone, or the encoder's part of a whole Whisper; strictly."""
        store = relayout(stores, OPENAI)
        prefix = next((p for p in ("model.encoder.", "encoder.") if any(n.startswith(p) for n in store)), "")
        self.model = load_transformers(type(self.model), self.settings, store, build, prefix=prefix)

    @property
    def seconds(self) -> float:
        """Length of a window."""
        return self.settings.max_source_positions / PER_SECOND

    def embed(self, mel_WMT: torch.Tensor) -> torch.Tensor:
        """[W,P,D]: what enters the blocks, convolved and placed."""
        return self.model(mel_WMT, output_hidden_states=True).hidden_states[0]

    def states(self, mel_WMT: torch.Tensor) -> torch.Tensor:
        """[W,M,T] -> [W,P,D] after the last norm."""
        return self.model(mel_WMT).last_hidden_state

    def probe(self, call: str) -> Callable[[], Any]:
        """A pass over one window, on the meta device."""
        frames = 2 * self.settings.max_source_positions
        mel_WMT = torch.empty(1, self.settings.num_mel_bins, frames, device=self.model.device)

        def one_pass() -> dict[str, Rows]:
            return {"features": Rows(self.states(mel_WMT))}

        one_pass.__doc__ = f"a window of {self.seconds:g} s"
        return one_pass

    def encode(self, ctx: Context, audio: Rows) -> dict[str, Rows]:
        """audio: B sounds. features: B x [N,D]; with `trim`, padding of the last window is left out."""
        cut = [windows(w, self.seconds) for w in waves(audio.list())]
        pieces = [p for row in cut for p in row]
        mel_WMT, _ = log_mel(pieces, self.settings.num_mel_bins, self.seconds)
        states_WPD = self.states(mel_WMT.to(ctx.device, ctx.dtype))
        out, at = [], 0
        for row in cut:
            kept = [states_WPD[at + i][: self._positions(piece)] for i, piece in enumerate(row)]
            out.append(torch.cat(kept))
            at += len(row)
        return {"features": ctx.rows(out)}

    def _positions(self, piece: torch.Tensor) -> int:
        whole = int(self.settings.max_source_positions)
        return min(whole, -(-piece.shape[0] // (2 * HOP))) if self.config.trim else whole


def settings(config: Any, build: Build, **more: Any) -> Any:
    """transformers' config: the checkpoint's, or one made from the options."""
    from transformers import WhisperConfig

    card = build.assets.json("config.json")
    if card is not None:
        return WhisperConfig(**{k: v for k, v in card.items() if k != "model_type"})
    mlp = config.mlp or 4 * config.width
    sizes: dict[str, Any] = {
        "num_mel_bins": config.mels, "d_model": config.width, "encoder_layers": config.layers,
        "encoder_attention_heads": config.heads, "encoder_ffn_dim": mlp, "max_source_positions": config.positions,
        "decoder_layers": config.layers, "decoder_attention_heads": config.heads, "decoder_ffn_dim": mlp,
        "dropout": 0.0, "pad_token_id": None, "bos_token_id": None, "eos_token_id": None, "decoder_start_token_id": 0,
    }  # fmt: skip
    return WhisperConfig(**{**sizes, **more})
