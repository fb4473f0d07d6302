"""Parity of vision/imagebind: vision, audio and text, NExT-GPT's way of reading it, and the filter banks.

Packs: component `nextgpt_input`, families `imagebind_vision_audio_text` and `imagebind_audio_melspec`.
"""

from __future__ import annotations

from typing import Any

from anyany_vision.imagebind_audio import log_mel, network_input


def encoders(pack: Any) -> dict[str, Any]:
    """Family `imagebind_vision_audio_text`."""
    m, given = pack.config["model"], pack.inputs
    bind = pack.component("vision/imagebind", {
        "modalities": ["vision", "text", "audio"], "shared": m["out"], "vision": [m["dv"], m["nb"], m["hv"]],
        "text": [m["dt"], m["nb"], m["ht"]], "audio": [m["da"], m["nb"], m["ha"]], "resolution": m["img"],
        "patch": m["kernel"][1], "mel": m["mel"], "frames": m["frames"], "audio_patch": m["audio_kernel"],
        "audio_stride": m["audio_stride"], "vocab": m["vocab"], "context": m["ctx"],
    }).component  # fmt: skip
    return {
        "vision_tokens_in": bind.before("vision", given["image"]),
        "audio_tokens_in": bind.before("audio", given["audio"][:, 0]),
        "vision_image": bind.embed("vision", given["image"]), "vision_video": bind.embed("vision", given["video"]),
        "audio": bind.embed("audio", given["audio"]), "text": bind.read(given["text_ids"]),
        "nextgpt_image": bind.each("vision", given["image"]), "nextgpt_video": bind.each("vision", given["video"]),
        "nextgpt_audio": bind.each("audio", given["audio"]),
    }  # fmt: skip


def melspec(pack: Any) -> dict[str, Any]:
    """Family `imagebind_audio_melspec`."""
    out: dict[str, Any] = {}
    for name, samples in pack.inputs.items():
        mel = log_mel(samples, 16000, pack.config["mel"], pack.config["frames"])
        out |= {f"mel_{name}": mel, f"normalised_{name}": network_input(mel)}
    return out


def imagebind_layout(released: Any) -> None:
    """imagebind_huge, all six modalities."""
    released.take("vision/imagebind", {})


CASES = {
    ("nextgpt_input", "imagebind_vision_audio_text"): encoders,
    ("nextgpt_input", "imagebind_audio_melspec"): melspec,
}
LAYOUTS = {"nextgpt_input": imagebind_layout}
TOLERANCES = {("nextgpt_input", "imagebind_audio_melspec"): {"*": 2e-3}}
"""Log-mel values near silence are sensitive; 2e-3 is the packs' own statement."""
