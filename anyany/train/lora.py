"""LoRA on a node (Hu et al. 2021, arXiv 2106.09685), through peft; written in peft's own format.

What is saved lies as an overlay on the node's weights: `weights: [BASE, "file:runs/STAGE/NODE"]`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from anyany.train.errors import TrainError

HEADS = ("lm_head", "embed_out", "output_projection")


def targets_of(module: nn.Module) -> list[str]:
    """The last names of all linear layers but the head, as peft counts them."""
    found = {n.rpartition(".")[2] for n, m in module.named_modules() if isinstance(m, nn.Linear)}
    return sorted(found - set(HEADS) - {""})


def add_lora(module: nn.Module, node: str, options: Mapping[str, Any], seed: int) -> None:
    """Adapters on the linear layers of a node, in place; only they are learned. Raises TrainError E713."""
    from peft import LoraConfig, inject_adapter_in_model

    targets = list(options["targets"]) or targets_of(module)
    if not targets:
        raise TrainError("E713", f"node `{node}` has no linear layers to adapt", "learn it whole, under `learn`")
    config = LoraConfig(r=options["rank"], lora_alpha=options["alpha"], lora_dropout=options["dropout"],
                        target_modules=targets)  # fmt: skip
    torch.manual_seed(seed)
    try:
        inject_adapter_in_model(config, module)
    except ValueError as error:
        told = f"node `{node}` cannot be adapted: {error}"
        raise TrainError("E713", told, f"its linear layers are {', '.join(targets_of(module)[:12])}") from None
    for name, parameter in module.named_parameters():
        parameter.requires_grad_("lora_" in name)
        if "lora_" in name:
            parameter.data = parameter.data.float()
    module.train()


def lora_tensors(module: nn.Module, learned: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The adapters under the names that a checkpoint of the node has. learned: parameter name -> value to save."""
    parts = [n for n, _ in module.named_children()]
    strip = "model." if hasattr(module, "load") and parts == ["model"] else ""
    return {
        f"base_model.model.{name.removeprefix(strip).replace('.default.', '.')}": value
        for name, value in learned.items()
        if "lora_" in name
    }


def write_config(folder: Path, options: Mapping[str, Any], module: nn.Module) -> None:
    """adapter_config.json beside the adapter's weights."""
    config = {
        "peft_type": "LORA", "r": options["rank"], "lora_alpha": options["alpha"],
        "lora_dropout": options["dropout"], "target_modules": list(options["targets"]) or targets_of(module),
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")
