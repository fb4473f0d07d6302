"""What a stage leaves: the weights of each learned node, ready for `weights: "file:…"`.

A node learned whole becomes NODE.safetensors where its component needs nothing else, or a folder NODE with its
assets beside the weights; an adapter becomes a folder NODE with adapter_config.json.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from anyany.train.lora import lora_tensors, write_config
from anyany.train.model import StageModel
from anyany.weights.save import checkpoint_of, full, write_safetensors

ASSETS = ("*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken")
NO_ASSETS = ("*.index.json", "done.json")
"""Of weights in several files, and what a stage before this one left beside its own."""


def write_nodes(model: StageModel, out: Path, *, write: bool = True) -> list[Path]:
    """Write every learned node; returns what was written. Where processes hold shards, all of them call this and one
    writes.
    """
    written = []
    for node in model.stage.learn:
        component = model.nodes[node]
        tensors = checkpoint_of(component)
        if not write:
            continue
        assets = _assets(component)
        path = out / f"{node}.safetensors"
        if assets:
            folder = out / node
            folder.mkdir(parents=True, exist_ok=True)
            for asset in assets:
                shutil.copyfile(asset, folder / asset.name)
            path = folder / "model.safetensors"
        write_safetensors(tensors, path, {"stage": model.stage.name, "node": node})
        written.append(path if not assets else path.parent)
    for node, options in model.stage.lora.items():
        if node in model.stage.learn:
            continue
        folder = out / node
        component = model.nodes[node]
        values = {n: full(p) for n, p in component.named_parameters() if p.requires_grad}
        if not write:
            continue
        folder.mkdir(parents=True, exist_ok=True)
        write_safetensors(lora_tensors(component, values), folder / "adapter_model.safetensors")
        write_config(folder, options, component)
        written.append(folder)
    return written


def _assets(component: Any) -> list[Path]:
    """The small files beside the weights that the component was made from."""
    build = getattr(component, "build", None)
    folder = build.assets.folder if build is not None else None
    if folder is None:
        return []
    found = [p for pattern in ASSETS for p in sorted(Path(folder).glob(pattern))]
    return [p for p in dict.fromkeys(found) if p.is_file() and not any(p.match(w) for w in NO_ASSETS)]
