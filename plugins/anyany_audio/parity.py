"""Parity cases of this family: how each golden pack is run by the components here, and released layouts taken.

A case gets a pack (config, inputs, `component`, `call`) and returns its outputs by name. Tables: CASES, LAYOUTS.
"""

from __future__ import annotations

from typing import Any

import torch

from anyany.api.torch import Audio
from anyany_audio.log_mel import RATE, log_mel


def log_mels(pack: Any) -> dict[str, Any]:
    """Features, frame masks and filter banks at every number of bands."""
    seconds, outputs = float(pack.config["chunk_s"]), {}
    for mels in pack.config["mels"]:
        built = pack.plain("audio/log-mel", {"mels": mels, "seconds": seconds})
        outputs[f"mel_filters_{mels}"] = built.component.filters()
        for name, wave in pack.inputs.items():
            made = pack.call(built, "extract", audio=[Audio(wave[None], RATE)])["features"].dense()[0]
            outputs[f"log_mel_{mels}_{name}"] = made.T
            outputs[f"mask_{mels}_{name}"] = log_mel([wave], mels, seconds)[1][0]
    return outputs


def encoder(pack: Any) -> dict[str, Any]:
    """The encoder on given features."""
    m = pack.config["model"]
    model = pack.component("audio/whisper-encoder", {
        "mels": m["num_mel_bins"], "width": m["d_model"], "layers": m["encoder_layers"],
        "heads": m["encoder_attention_heads"], "mlp": m["encoder_ffn_dim"], "positions": m["max_source_positions"],
    }).component  # fmt: skip
    mel: torch.Tensor = pack.inputs["input_features"]
    return {"hidden_0": model.embed(mel), "last_hidden_state": model.states(mel)}


def layout(released: Any) -> None:
    """Released encoders."""
    c = released.config
    options = {"width": c["width"], "layers": c["layers"], "heads": c["heads"], "mels": c["mels"]}
    released.take("audio/whisper-encoder", options)


CASES = {("whisper", "log_mel"): log_mels, ("whisper", "encoder"): encoder}
LAYOUTS = {"whisper": layout}
