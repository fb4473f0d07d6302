"""Parity of vision/imagebind: vision, audio and text, NExT-GPT's way of reading it, and the filter banks.

NExT-GPT's projectors too. Packs: component `nextgpt_input`.
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


def projectors(pack: Any) -> dict[str, Any]:
    """Family `input_projectors`: linear, two layers, and the grouping projector."""
    c, given = pack.config, pack.inputs
    widths = {"inputs": c["din"], "outputs": c["dout"]}
    linear = pack.component("adapters/linear", widths, prefix="linear.").component
    mlp = pack.component("adapters/mlp", widths, prefix="mlp.layer.").component
    group = pack.component("adapters/grouping", {
        **widths, "inner": c["inner"], "heads": c["heads"][0], "depths": c["depths"], "groups": c["groups"],
            "made": [*c["out_groups"], *[0] * (len(c["groups"]) - len(c["out_groups"]))],
    }, prefix="group.").component  # fmt: skip
    return {
        "linear": linear.layers(given["embedding"]), "mlp": mlp.layers(given["embedding"]),
        "group_one_token": group.grouped(given["embedding"]), "group_many_tokens": group.grouped(given["tokens"]),
    }  # fmt: skip


def nextgpt_layout(released: Any) -> None:
    """imagebind_huge with all six modalities; NExT-GPT's projectors, of the first release and the current one."""
    shapes, prefix = released.shapes, "model.mm_input_projector."
    if "llama_proj.weight" in shapes:
        outputs, inputs = shapes["llama_proj.weight"]
        released.take("adapters/linear", {"inputs": inputs, "outputs": outputs}, prefix="llama_proj.")
    elif f"{prefix}in_fc.weight" in shapes:
        c = released.config
        released.take("adapters/grouping", {
            "inputs": shapes[f"{prefix}in_fc.weight"][1], "outputs": shapes[f"{prefix}out_fc.weight"][0],
            "inner": c["inner"], "heads": c["heads"], "depths": c["depths"], "groups": c["group_tokens"],
        }, prefix=prefix)  # fmt: skip
    else:
        released.take("vision/imagebind", {})


CASES = {
    ("nextgpt_input", "imagebind_vision_audio_text"): encoders,
    ("nextgpt_input", "imagebind_audio_melspec"): melspec,
    ("nextgpt_input", "input_projectors"): projectors,
}
LAYOUTS = {"nextgpt_input": nextgpt_layout}
TOLERANCES = {("nextgpt_input", "imagebind_audio_melspec"): {"*": ("absolute", 2e-3)}}
"""Log-mel values near silence are sensitive; 2e-3 is the packs' own statement."""
