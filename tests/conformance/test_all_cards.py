"""Every first-party card keeps the conformance kit, each check by itself.

`VARIANTS` are further options worth a run, and calls that need a checkpoint and are left out.
"""

from __future__ import annotations

from typing import Any

import pytest

from anyany.registry import default_registry
from anyany.testing import CHECKS, conformance

VARIANTS: dict[str, list[dict[str, Any]]] = {
    "language/causal-lm": [
        {},
        {"options": {"preset": "tiny", "signals": {"image": 2, "audio": 1}}},
        {
            "calls": ("generate",),  # `learn` wants as many tokens as its target has media
            "options": {
                "preset": "tiny",
                "signals": {"audio": 2},
                "signal_state": "sum",
                "signal_separator": " ",
                "codebooks": {"image": {"codes": 16, "length": 4}, "video": {"codes": 8, "length": [2, 6]}},
            },
        },
    ],
    "adapters/qformer": [{}, {"options": {"preset": "tiny", "text": True, "project": False}}],
    "adapters/resampler": [{}, {"options": {"preset": "tiny", "project": True}}],
    "adapters/signal-projection": [{}, {"options": {"preset": "tiny", "mode": "qformer"}}],
    "vision/vit": [{}, {"options": {"preset": "tiny", "fit": "keep", "classes": 3}}],
    "vision/eva": [{}, {"options": {"preset": "tiny", "layout": "lavis"}}],
    "language/adaptive-lm": [
        {},
        {"options": {"preset": "tiny", "attention": ["local", "strided"]}},
        {"options": {"preset": "tiny", "attention": ["fixed"], "cutoffs": []}},
    ],
    "language/adaptive-io": [{}, {"options": {"preset": "tiny", "layout": "torch", "tie": False}}],
    "language/multiway": [
        {"options": {"preset": "tiny", "head": head}}
        for head in ("none", "retrieval", "vqa", "pair", "caption", "classify")
    ],
    "language/transfusion": [  # `learn` wants as many latents as its target has pictures
        {"calls": ("generate",)},
        {"calls": ("generate",), "options": {"preset": "tiny", "produce": ["image", "image"], "guidance": 2.0}},
    ],
    "image_heads/diffusion": [{"calls": ("image",)}],
    "audio/rvq": [{}, {"options": "tiny-mimi"}],
    "audio/tts": [{}, {"options": {"preset": "tiny", "stochastic": True}}],
    "audio/diffusion": [
        {},
        {"options": {"preset": "tiny", "arch": "audioldm", "cond": 8}},
        {"options": {"preset": "tiny", "latent": None, "vocoder": "griffin-lim"}},
    ],
    "video/diffusion": [
        {},
        {"options": {"preset": "tiny", "arch": "unet3d", "channels": 8, "guidance": 2.0, "width": 32}},
    ],
    "perceiver/image": [{"options": {"preset": "tiny", "prep": p}} for p in ("pixels", "conv", "learned", "patches")],
    "perceiver/audio": [{}, {"options": {"preset": "tiny", "prep": "mel"}}],
    "perceiver/classify": [{}, {"options": {"preset": "tiny", "pooled": True}}],
    "grounding/box-text": [{}, {"options": {"form": "ferret", "pad": False, "keep": True}}],
    "grounding/region-sampler": [{}, {"options": {"preset": "tiny", "how": "average"}}],
    "grounding/sam": [{}, {"options": {"preset": "tiny", "fit": "center"}}],
    "fields/aurora": [{}, {"options": {"preset": "tiny", "steps": 2, "lora_mode": "all"}}],
    "transforms/index": [{"calls": ("add",)}],  # `find` reads what earlier calls wrote
}
OURS = [
    card["name"]
    for described in default_registry().describe().values()
    if described["dist"] == "anyany"
    for card in described["cards"]
]


def cases() -> list[Any]:
    return [
        pytest.param(name, variant, check, id=f"{name}-{i}-{check}")
        for name in OURS
        for i, variant in enumerate(VARIANTS.get(name, [{}]))
        for check in CHECKS
    ]


def test_there_are_first_party_cards() -> None:
    assert {"vision/vit", "adapters/mlp", "adapters/linear", "language/causal-lm"} <= set(OURS)


@pytest.mark.parametrize(("name", "variant", "check"), cases())
def test_a_first_party_component_keeps_its_card(name: str, variant: dict[str, Any], check: str) -> None:
    conformance(name, only=check, **variant)
