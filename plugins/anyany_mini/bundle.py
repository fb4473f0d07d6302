"""`python -m anyany_mini.bundle RUNS`: put what was trained into the package as float16, ready for `bundle:mini/…`.

RUNS is the folder that `make mini` trains in. Whatever is not there is left as it is.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from anyany_mini.models import WEIGHTS

ALIGNED = {name: f"aligned/{name}" for name in ("see", "listen", "to_image", "to_audio")}
PLACES = {
    "hear/recogniser/hear": "hear",
    "hear/recogniser/write": "write",
    "speak/voice/speak": "speak",
    "look/match/look": "contrast/look",
    "look/match/read": "contrast/read",
    "see/describe/look": "look",
    "see/describe/see": "turns/see",
    "see/describe/think": "turns/think",
    "see/describe/to_image": "turns/to_image",
    "draw/flow/draw": "draw",
    "stages/align-in/think": "think",
    "stages/align-in/see": ALIGNED["see"],
    "stages/align-in/listen": ALIGNED["listen"],
    "stages/align-in/to_image": ALIGNED["to_image"],
    "stages/align-in/to_audio": ALIGNED["to_audio"],
    "stages/instruct/see": "see",
    "stages/instruct/listen": "listen",
    "stages/instruct/to_image": "to_image",
    "stages/instruct/to_audio": "to_audio",
    "stages/instruct/think": "instruct",
    "tokenizer/codes/codes": "codes",
    "vq-ar/head/draw": "vq-ar",
}
"""Where a run leaves weights -> their name in the bundle; `instruct` is the adapter that lies on `think`."""


def put(source: Path, target: Path) -> None:
    """One node's weights, with the small files beside them."""
    file = source / "model.safetensors"
    if not source.is_dir():
        file = source.with_suffix(".safetensors")
    elif (source / "adapter_model.safetensors").exists():
        file = source / "adapter_model.safetensors"
    tensors = {n: t.to(torch.float16) if t.is_floating_point() else t for n, t in load_file(file).items()}
    target.mkdir(parents=True, exist_ok=True)
    kept = {n: t for n, t in tensors.items() if not n.endswith(("position_ids", "token_type_ids"))}
    name = file.name if source.is_dir() else "model.safetensors"
    save_file(kept, target / name, metadata={"format": "pt"})
    (target / name).chmod(0o644)
    for small in sorted(source.glob("*.json")) + sorted(source.glob("*.jinja")) if source.is_dir() else ():
        shutil.copyfile(small, target / small.name)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m anyany_mini.bundle")
    parser.add_argument("runs", type=Path)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    options = parser.parse_args(arguments)
    for place, name in PLACES.items():
        source = options.runs / place
        if source.is_dir() or source.with_suffix(".safetensors").exists():
            put(source, options.out / name)
            print(f"{source} -> {name}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
