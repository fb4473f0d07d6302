"""The Perceiver's own parts, of transformers: settings, a layer, attention with a mask; names of krasserm's package.

Suffixes: B rows, Q queries, E their width, N inputs, C their width, M latents, D their width.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from transformers import PerceiverConfig
from transformers.models.perceiver.modeling_perceiver import PerceiverLayer

from anyany.api.torch import Build, Rows

WHOLE = "perceiver."
"""What released checkpoints put before the names of all but their last head."""

_KRASSERM = tuple((re.compile(old), new) for old, new in (
    (r"0\.latent_provider\._query", "embeddings.latents"),
    (r"0\.cross_attn_1\.", "encoder.cross_attention."),
    (r"0\.self_attn_1\.", "encoder.self_attends."),
    (r"0\.cross_attn_n\.", "later.cross_attention."),
    (r"0\.self_attn_n\.", "later.self_attends."),
    (r"1\.cross_attn\.", "decoder.decoder.decoding_cross_attention."),
    (r"1\.output_adapter\.linear", "decoder.decoder.final_layer"),
    (r"1\.output_query_provider\._query", "decoder.decoder.output_position_encodings.position_embeddings"),
    (r"0\.module\.(?:q_)?norm\b", "attention.self.layernorm1"),
    (r"0\.module\.kv_norm\b", "attention.self.layernorm2"),
    (r"0\.module\.attention\.q_proj\b", "attention.self.query"),
    (r"0\.module\.attention\.k_proj\b", "attention.self.key"),
    (r"0\.module\.attention\.v_proj\b", "attention.self.value"),
    (r"0\.module\.attention\.o_proj\b", "attention.output.dense"),
    (r"1\.module\.0\b", "layernorm"),
    (r"1\.module\.1\b", "mlp.dense1"),
    (r"1\.module\.3\b", "mlp.dense2"),
))  # fmt: skip


def official(name: str) -> str:
    """A checkpoint's name (transformers' or krasserm/perceiver-io's) as that of a part here."""
    if name.startswith(("0.", "1.")):
        for pattern, new in _KRASSERM:
            name = pattern.sub(new, name, count=1)
    name = name.removeprefix(WHOLE)
    return f"core.{name}" if name.startswith(("embeddings.", "encoder.", "later.")) else name


def settings(build: Build, **sizes: Any) -> PerceiverConfig:
    """transformers' config: `sizes`, over them what the checkpoint's config.json says; no dropout."""
    found = build.assets.json("config.json") or {}
    known = {k: v for k, v in found.items() if k in PerceiverConfig.__annotations__}
    return PerceiverConfig(**{**sizes, **known, "attention_probs_dropout_prob": 0.0})


def width_of(name: str, config: Any, build: Build) -> int:
    """The size called `name`: of the options, the checkpoint, or the neighbours. Raises ValueError for none."""
    value = getattr(config, name) or build.facts.get(name) or build.sizes.get(name)
    if value is None:
        raise ValueError(f"nothing fixes the width of the {name} of {build.node}; give `with: {{{name}: …}}`")
    return int(value)


def padded(rows: Rows) -> tuple[torch.Tensor, torch.Tensor | None]:
    """([B,N,C], None where all rows have one length, else [B,N], true where an input is no padding)."""
    lengths = rows.lengths
    if lengths and min(lengths) == max(lengths):
        return rows.dense(), None
    return rows.padded()


def attend(
    layer: PerceiverLayer, query_BQE: torch.Tensor, inputs_BNC: torch.Tensor, real_BN: torch.Tensor | None = None,
    weights: bool = False,
) -> Any:  # fmt: skip
    """[B,Q,E] of a cross-attention layer; with `weights` also its probabilities [B,heads,Q,N].

    real_BN: true where an input is no padding (None: everywhere).
    """
    mask = None
    if real_BN is not None:
        mask = torch.zeros(real_BN.shape, dtype=query_BQE.dtype, device=query_BQE.device)
        mask = mask.masked_fill(~real_BN, torch.finfo(query_BQE.dtype).min)[:, None, None]
    out = layer(query_BQE, inputs=inputs_BNC, inputs_mask=mask, output_attentions=weights)
    return out if weights else out[0]


def cross(config: PerceiverConfig, query: int, inputs: int, **more: Any) -> PerceiverLayer:
    """A cross-attention layer between widths `query` and `inputs`; more: heads, qk, v, residual, widening."""
    return PerceiverLayer(
        config, is_cross_attention=True, q_dim=query, kv_dim=inputs, qk_channels=more.get("qk"),
        v_channels=more.get("v"), num_heads=more.get("heads", 1), widening_factor=more.get("widening", 1),
        use_query_residual=more.get("residual", False),
    )  # fmt: skip
