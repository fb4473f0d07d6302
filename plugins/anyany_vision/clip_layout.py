"""Names of CLIP checkpoints: OpenAI's (also OpenCLIP's and Pic2Word's) as transformers calls them.

transformers' own names and those of a vision tower alone (LLaVA's) pass as they are.
"""

from __future__ import annotations

from typing import Any

from anyany.api.torch import Layout, relayout


def _tower(theirs: str, ours: str) -> tuple[Layout, ...]:
    block, layer = rf"{theirs}transformer\.resblocks\.(\d+)", rf"{ours}.encoder.layers.\1"
    return (
        Layout(rf"{block}\.attn\.in_proj_(\w+)", tuple(rf"{layer}.self_attn.{p}_proj.\2" for p in "qkv")),
        Layout(rf"{block}\.attn\.out_proj\.(\w+)", rf"{layer}.self_attn.out_proj.\2"),
        Layout(rf"{block}\.ln_([12])\.(\w+)", rf"{layer}.layer_norm\2.\3"),
        Layout(rf"{block}\.mlp\.c_fc\.(\w+)", rf"{layer}.mlp.fc1.\2"),
        Layout(rf"{block}\.mlp\.c_proj\.(\w+)", rf"{layer}.mlp.fc2.\2"),
    )


OPENAI = (
    *_tower(r"visual\.", "vision_model"),
    Layout(r"visual\.class_embedding", "vision_model.embeddings.class_embedding"),
    Layout(r"visual\.positional_embedding", "vision_model.embeddings.position_embedding.weight"),
    Layout(r"visual\.conv1\.weight", "vision_model.embeddings.patch_embedding.weight"),
    Layout(r"visual\.ln_pre\.(\w+)", r"vision_model.pre_layrnorm.\1"),
    Layout(r"visual\.ln_post\.(\w+)", r"vision_model.post_layernorm.\1"),
    Layout(r"visual\.proj", "visual_projection.weight", transposed=True),
    *_tower("", "text_model"),
    Layout(r"token_embedding\.weight", "text_model.embeddings.token_embedding.weight"),
    Layout(r"positional_embedding", "text_model.embeddings.position_embedding.weight"),
    Layout(r"ln_final\.(\w+)", r"text_model.final_layer_norm.\1"),
    Layout(r"text_projection", "text_projection.weight", transposed=True),
)
_MODULE = (Layout(r"module\.(.*)", r"\1"),)
_BARE_VISION = (Layout(r"((?:embeddings|encoder|pre_layrnorm|post_layernorm)\..*)", r"vision_model.\1"),)
_BARE_OPENAI = (Layout(r"(.*)", r"visual.\1"),)
LEFT = ("*.position_ids", "input_resolution", "context_length", "vocab_size")
"""What some files hold beside the network: tables of 0, 1, 2, … and sizes."""


def as_transformers(stores: Any) -> Any:
    """A store with transformers' names, whichever of the known layouts it has."""
    store = relayout(stores, _MODULE)
    if "conv1.weight" in store:  # OpenAI's vision tower alone
        store = relayout(store, _BARE_OPENAI)
    return relayout(relayout(store, _BARE_VISION), OPENAI)
