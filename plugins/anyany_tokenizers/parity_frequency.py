"""Parity cases of frequency tokens: DCTdiff's rows, and FAR's levels."""

from __future__ import annotations

from typing import Any

import torch

from anyany_tokenizers.dct import transform
from anyany_tokenizers.frequency import level


def dct_tokens(pack: Any) -> dict[str, Any]:
    """Rows of a picture, and pictures from its rows and from random ones."""
    c, rgb = pack.config, pack.inputs["rgb"]
    built = pack.plain("tokenizers/frequency", {
        "resolution": c["img_sz"], "fit": "none", "block": c["block_sz"], "kept": c["low_freqs"],
        "bound": c["Y_bound"][0],
    })  # fmt: skip
    image = rgb.movedim(-1, 0)
    tokens = pack.call(built, "rows", image=[image])["features"].dense()[0]
    random = pack.file.read("outputs", "random_tokens")  # an input that the pack stores among its outputs
    pictures = pack.call(built, "picture", features=torch.stack([tokens, random]))["image"].dense()
    # The reference cuts off what lies behind the point; 1e-3 guards what a division by 255 has taken.
    own, other = (pictures.movedim(1, -1) * 255 + 1e-3).to(torch.uint8)
    return {
        "tokens": tokens, "random_tokens": random, "rgb_from_tokens": own, "rgb_from_random_tokens": other,
        "dct_first_red_block": _first_block(image[:1].float(), c["block_sz"]),
    }  # fmt: skip


def _first_block(plane_BHW: torch.Tensor, side: int) -> torch.Tensor:
    from anyany_tokenizers.dct import zigzag

    found = torch.empty(side * side)
    found[zigzag(side)] = transform(plane_BHW[:, :side, :side], side, side * side).flatten()
    return found.unflatten(0, (side, side))


def far_levels(pack: Any) -> dict[str, Any]:
    """Every level, and the number that tells a model which it is."""
    latents, outputs = pack.inputs["latents"], {}
    for name in pack.expected:
        side = int(name.removeprefix("level").removesuffix("_index"))
        outputs[name] = torch.full((len(latents),), float(side)) if "index" in name else level(latents, side)
    return outputs


CASES = {("frequency", "dct_tokens"): dct_tokens, ("frequency", "far_levels"): far_levels}
TOLERANCES: dict[tuple[str, str], dict[str, Any]] = {
    ("frequency", "dct_tokens"): {"tokens": ("absolute", 1e-4), "rgb_*": ("absolute", 1)}
}
