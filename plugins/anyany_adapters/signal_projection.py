"""NExT-GPT's output projection (Wu et al. 2024, arXiv 2309.05519): a signal becomes a decoder's conditioning.

features: B x [K,D], a signal's states -> features [B,Q,E]. Names of both its code trees (`fc`, `model`; `in_fc`,
`out_fc`). Suffixes: B rows, K signal tokens, D language width, H width inside, Q queries, E conditioning width.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import nn

from anyany.api.torch import Build, Component, Context, Rows
from anyany_adapters.qformer import QFormer
from anyany_adapters.query_cards import QFormerConfig
from anyany_adapters.ragged import padded
from anyany_adapters.widths import width

_OLD = {"fc.": "in_fc.", "model.": "out_fc."}
_INTO_QFORMER = (
    (re.compile(r"Qformer\.bert\.embeddings\.position_ids"), None),
    (re.compile(r"(query_tokens|Qformer\..+)"), r"reader.\1"),
    (re.compile(r"out_fc\.(.+)"), r"reader.language_projection.\1"),
)


class SignalProjection(Component):
    """Options: `SignalProjectionConfig`. An encoder-decoder, or a Q-Former, whose queries read the signal."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        taken, given = width("inputs", config, build), width("outputs", config, build)
        queries, wide = width("queries", config, build), config.width
        self.in_fc = nn.Linear(taken, wide)
        if config.mode == "qformer":
            self.reader = QFormer(_reader(config, queries, given), build)
            return
        self.query_embs = nn.Parameter(torch.empty(1, queries, wide))
        self.tfm = _transformer(config)
        self.out_fc = nn.Linear(wide, given)

    def rename(self, name: str) -> str | None:
        """Official names, of either tree, as this component's."""
        for old, new in _OLD.items():
            name = new + name.removeprefix(old) if name.startswith(old) else name
        if self.config.mode != "qformer":
            return name
        for pattern, new_name in _INTO_QFORMER:
            if pattern.fullmatch(name):
                inner = None if new_name is None else pattern.sub(new_name, name).removeprefix("reader.")
                return None if inner is None else f"reader.{self.reader.rename(inner)}"
        return name

    def encoded(self, states_BKD: torch.Tensor, real_BK: torch.Tensor | None = None) -> torch.Tensor:
        """[B,K,D] -> [B,K,H]: the signal as the queries see it (transformer mode)."""
        return self.tfm.encoder(self.in_fc(states_BKD), src_key_padding_mask=None if real_BK is None else ~real_BK)

    def read(self, memory_BKH: torch.Tensor, real_BK: torch.Tensor | None = None) -> torch.Tensor:
        """[B,K,H] -> [B,Q,H]: what the queries read (transformer mode)."""
        queries_BQH = self.query_embs.expand(len(memory_BKH), -1, -1)
        return self.tfm.decoder(queries_BQH, memory_BKH, memory_key_padding_mask=None if real_BK is None else ~real_BK)

    def projected(self, states_BKD: torch.Tensor, real_BK: torch.Tensor | None = None) -> torch.Tensor:
        """[B,K,D] -> [B,Q,E]; the mask is true on real positions."""
        if self.config.mode == "qformer":
            seen = self.reader.run(True, image_BND=self.in_fc(states_BKD), image_BN=real_BK)
            return self.reader.language_projection(seen.last_hidden_state)
        return self.out_fc(self.read(self.encoded(states_BKD, real_BK), real_BK))

    def project(self, ctx: Context, features: Rows) -> dict[str, Rows]:
        """features: a signal's states [K,D] of each row. features: conditioning [Q,E]."""
        return {"features": ctx.rows(self.projected(*padded(features)))}


def _transformer(config: Any) -> nn.Transformer:
    """Pre-norm encoder and decoder. The encoder is made here: torch's own would warn that it cannot nest tensors."""
    sizes: dict[str, Any] = {"d_model": config.width, "nhead": config.heads, "dropout": 0.0, "norm_first": True,
                             "dim_feedforward": config.mlp or 4 * config.width, "batch_first": True}  # fmt: skip
    layer = nn.TransformerEncoderLayer(**sizes)
    encoder = nn.TransformerEncoder(layer, config.encoder, nn.LayerNorm(config.width), enable_nested_tensor=False)
    return nn.Transformer(**sizes, num_decoder_layers=config.decoder, custom_encoder=encoder)


def _reader(config: Any, queries: int, given: int) -> QFormerConfig:
    """A Q-Former of which every layer looks at the signal."""
    return QFormerConfig(
        layout="transformers", inputs=config.width, outputs=given, queries=queries, width=config.width,
        layers=config.decoder, heads=config.heads, mlp=config.mlp, every=1,
    )  # fmt: skip
