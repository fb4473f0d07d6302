"""OpenAI's names of Whisper's tensors as transformers'."""

from __future__ import annotations

from anyany.api.torch import Layout

_BLOCK = (
    (r"attn\.query", "self_attn.q_proj"), (r"attn\.key", "self_attn.k_proj"), (r"attn\.value", "self_attn.v_proj"),
    (r"attn\.out", "self_attn.out_proj"), (r"attn_ln", "self_attn_layer_norm"),
    (r"cross_attn\.query", "encoder_attn.q_proj"), (r"cross_attn\.key", "encoder_attn.k_proj"),
    (r"cross_attn\.value", "encoder_attn.v_proj"), (r"cross_attn\.out", "encoder_attn.out_proj"),
    (r"cross_attn_ln", "encoder_attn_layer_norm"), (r"mlp\.0", "fc1"), (r"mlp\.2", "fc2"),
    (r"mlp_ln", "final_layer_norm"),
)  # fmt: skip
OPENAI = (
    *(
        Layout(rf"(encoder|decoder)\.blocks\.(\d+)\.{old}\.(.+)", rf"model.\1.layers.\2.{new}.\3")
        for old, new in _BLOCK
    ),
    Layout(r"(encoder|decoder)\.positional_embedding", r"model.\1.embed_positions.weight"),
    Layout(r"encoder\.ln_post\.(.+)", r"model.encoder.layer_norm.\1"),
    Layout(r"decoder\.ln\.(.+)", r"model.decoder.layer_norm.\1"),
    Layout(r"decoder\.token_embedding\.weight", "model.decoder.embed_tokens.weight"),
    Layout(r"encoder\.(conv.+)", r"model.encoder.\1"),
)
