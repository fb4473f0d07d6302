"""`python -m anyany_mini.fresh`: random weights that the specs in `pipelines/mini` begin from, with their small files.

The libraries' own scales (std 0.02, convolutions that shrink their input) suit widths of 1,000; at width 128 they left
a picture's signal a hundredth of the biases, so the scales are set here.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from anyany_mini import models, talk

READ: dict[str, Any] = {
    "model_type": "clip_text_model", "hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 384, "vocab_size": talk.VOCABULARY, "max_position_embeddings": 64, "hidden_act": "gelu",
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1,
}  # fmt: skip


@torch.no_grad()
def scaled(model: nn.Module) -> nn.Module:
    """The model with matrices of 0.7 over the root of what they sum; a picture's stem and places in proportion."""
    for value in model.parameters():
        if value.ndim == 2:
            nn.init.normal_(value, std=0.7 * value.shape[1] ** -0.5)
    for part in model.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight)
            nn.init.zeros_(part.bias)  # type: ignore[arg-type]
        places = getattr(part, "position_embeddings", None)
        if isinstance(places, nn.Parameter):
            nn.init.normal_(places, std=0.5)
    return model


@torch.no_grad()
def near_identity(draw: models.Draw) -> models.Draw:
    """The head with no modulation, open gates, small residual branches and a black guess."""
    transformer = draw.transformer
    depth = len(transformer.transformer_blocks)
    for name, value in transformer.named_parameters():
        if value.ndim > 1 and "scale_shift" not in name:
            nn.init.xavier_uniform_(value.flatten(1))
        elif name.endswith("bias"):
            value.zero_()
        if name.endswith(("to_out.0.weight", "ff.net.2.weight")):
            value.mul_((3 * depth) ** -0.5)
    for block in transformer.transformer_blocks:
        block.scale_shift_table.zero_()
        block.scale_shift_table[[2, 5]] = 1.0
    transformer.scale_shift_table.zero_()
    transformer.adaln_single.linear.weight.zero_()
    transformer.proj_out.weight.zero_()
    draw.null_conditioning.normal_(std=0.02)
    return draw


def read() -> nn.Module:
    """The text tower that pictures are told apart with: CLIP's."""
    from transformers import CLIPTextConfig, CLIPTextModel

    return scaled(CLIPTextModel(CLIPTextConfig(**{k: v for k, v in READ.items() if k != "model_type"})))


def write_conventions(folder: Path) -> None:
    """What transformers reads beside `tokenizer.json`: special tokens and the chat template."""
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast", "pad_token": talk.PAD, "eos_token": talk.EOS,
        "extra_special_tokens": list(talk.SPECIAL[2:]), "clean_up_tokenization_spaces": False,
        "add_prefix_space": False, "model_max_length": 1024, "chat_template": talk.CHAT_TEMPLATE,
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "chat_template.jinja").write_text(talk.CHAT_TEMPLATE)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m anyany_mini.fresh")
    parser.add_argument("--out", type=Path, default=Path("runs/mini/fresh"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    torch.manual_seed(options.seed)
    models.save("look", scaled(models.build_look(models.LOOK)), models.LOOK, options.out)
    models.save("see", models.build_mlp(models.SEE), models.SEE, options.out)
    models.save("to_image", models.build_mlp(models.TO_IMAGE), models.TO_IMAGE, options.out)
    models.save("think", scaled(models.build_think(models.THINK)), models.THINK, options.out)
    models.save("draw", near_identity(models.Draw(models.DRAW)), models.DRAW, options.out)
    models.save("read", read(), READ, options.out)
    tokenizer = talk.build_tokenizer()
    for name in ("think", "draw", "read"):
        tokenizer.save(str(options.out / name / "tokenizer.json"))
    for name in ("think", "read"):
        write_conventions(options.out / name)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
