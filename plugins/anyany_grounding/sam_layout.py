"""SAM's sizes as transformers' config, and the authors' parameter names as transformers'.

The authors' names are also NExT-Chat's, under `sam.model.`. Torch-free at import.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anyany.api.torch import Layout, relayout

_ATTENTION = r"mask_decoder\.transformer\."
AUTHORS = (
    Layout(r"image_encoder\.patch_embed\.proj\.(\w+)", r"vision_encoder.patch_embed.projection.\1"),
    Layout(r"image_encoder\.pos_embed", "vision_encoder.pos_embed"),
    Layout(r"image_encoder\.blocks\.(\d+)\.norm([12])\.(\w+)", r"vision_encoder.layers.\1.layer_norm\2.\3"),
    Layout(r"image_encoder\.blocks\.(.*)", r"vision_encoder.layers.\1"),
    Layout(r"image_encoder\.neck\.0\.weight", "vision_encoder.neck.conv1.weight"),
    Layout(r"image_encoder\.neck\.1\.(\w+)", r"vision_encoder.neck.layer_norm1.\1"),
    Layout(r"image_encoder\.neck\.2\.weight", "vision_encoder.neck.conv2.weight"),
    Layout(r"image_encoder\.neck\.3\.(\w+)", r"vision_encoder.neck.layer_norm2.\1"),
    Layout(
        r"prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix",
        "prompt_encoder.shared_embedding.positional_embedding",
    ),
    Layout(r"prompt_encoder\.point_embeddings\.(\d+)\.weight", r"prompt_encoder.point_embed.\1.weight"),
    Layout(r"prompt_encoder\.mask_downscaling\.0\.(\w+)", r"prompt_encoder.mask_embed.conv1.\1"),
    Layout(r"prompt_encoder\.mask_downscaling\.1\.(\w+)", r"prompt_encoder.mask_embed.layer_norm1.\1"),
    Layout(r"prompt_encoder\.mask_downscaling\.3\.(\w+)", r"prompt_encoder.mask_embed.conv2.\1"),
    Layout(r"prompt_encoder\.mask_downscaling\.4\.(\w+)", r"prompt_encoder.mask_embed.layer_norm2.\1"),
    Layout(r"prompt_encoder\.mask_downscaling\.6\.(\w+)", r"prompt_encoder.mask_embed.conv3.\1"),
    Layout(_ATTENTION + r"layers\.(\d+)\.norm([1234])\.(\w+)", r"mask_decoder.transformer.layers.\1.layer_norm\2.\3"),
    Layout(_ATTENTION + r"norm_final_attn\.(\w+)", r"mask_decoder.transformer.layer_norm_final_attn.\1"),
    Layout(r"mask_decoder\.output_upscaling\.0\.(\w+)", r"mask_decoder.upscale_conv1.\1"),
    Layout(r"mask_decoder\.output_upscaling\.1\.(\w+)", r"mask_decoder.upscale_layer_norm.\1"),
    Layout(r"mask_decoder\.output_upscaling\.3\.(\w+)", r"mask_decoder.upscale_conv2.\1"),
    Layout(
        r"mask_decoder\.(output_hypernetworks_mlps\.\d+|iou_prediction_head)\.layers\.0\.(\w+)",
        r"mask_decoder.\1.proj_in.\2",
    ),
    Layout(
        r"mask_decoder\.(output_hypernetworks_mlps\.\d+|iou_prediction_head)\.layers\.1\.(\w+)",
        r"mask_decoder.\1.layers.0.\2",
    ),
    Layout(
        r"mask_decoder\.(output_hypernetworks_mlps\.\d+|iou_prediction_head)\.layers\.2\.(\w+)",
        r"mask_decoder.\1.proj_out.\2",
    ),
)
SHARED, OWN = "shared_image_embedding.positional_embedding", "prompt_encoder.shared_embedding.positional_embedding"
LEFT = (SHARED,)
"""transformers may keep the one table of positions under two names."""


def as_transformers(stores: Any) -> Any:
    """A store with transformers' names, whichever of the two layouts it has."""
    store = relayout(stores, ())
    if any(name.startswith("image_encoder.") for name in store):
        return relayout(store, AUTHORS)
    if OWN not in store:
        return relayout(store, (Layout(SHARED.replace(".", r"\."), OWN),))
    return store


def sizes_of(config: Any, card: Mapping[str, Any]) -> Any:
    """transformers' SamConfig: the checkpoint's, or one of the options.

    Norms of the decoder have torch's epsilon 1e-5, as in the authors' code; transformers' own default is 1e-6.
    """
    from transformers import SamConfig

    if card.get("vision_config"):
        sizes = SamConfig(**{k: v for k, v in card.items() if k.endswith("_config")})
    else:
        sizes = SamConfig(**_options(config))
    sizes.mask_decoder_config.layer_norm_eps = 1e-5
    for part in (sizes.vision_config, sizes.mask_decoder_config):
        part._attn_implementation = "sdpa"
    return sizes


def _options(config: Any) -> dict[str, dict[str, Any]]:
    width = config.width
    return {
        "vision_config": {
            "hidden_size": config.encoder_width, "output_channels": width, "num_hidden_layers": config.layers,
            "num_attention_heads": config.heads, "image_size": config.resolution, "patch_size": config.patch,
            "window_size": config.window, "global_attn_indexes": list(config.wide_layers),
            "num_pos_feats": width // 2, "mlp_dim": config.mlp or 4 * config.encoder_width,
        },
        "prompt_encoder_config": {
            "hidden_size": width, "image_size": config.resolution, "patch_size": config.patch,
            "mask_input_channels": config.mask_channels,
        },
        "mask_decoder_config": {
            "hidden_size": width, "mlp_dim": config.decoder_mlp, "num_hidden_layers": config.decoder_layers,
            "num_attention_heads": config.decoder_heads, "iou_head_hidden_dim": config.iou_width or width,
        },
    }  # fmt: skip
