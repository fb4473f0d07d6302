"""Parity cases of NExT-GPT's output projections, both of its code trees, and of its first input projection.

Suffixes as in `signal_projection.py`; L positions of a sequence, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch

from anyany_adapters.signal_projection import SignalProjection

MLP = {
    "transformer": "tfm.encoder.layers.0.linear1.bias",
    "qformer": "Qformer.bert.encoder.layer.0.intermediate_query.dense.bias",
}


def _options(pack: Any) -> dict[str, Any]:
    c = pack.config
    common = {"mode": c["mode"], "inputs": c["in_dim"], "outputs": c["out_dim"], "queries": c["n_out"],
              "width": c["hidden"], "mlp": pack.file.read("weights", MLP[c["mode"]]).shape[0]}  # fmt: skip
    if c["mode"] == "qformer":
        return common | {"heads": c["qf_heads"], "decoder": c["qf_layers"]}
    return common | {"heads": c["nhead"], "encoder": c["enc_layers"], "decoder": c["dec_layers"]}


def projection(pack: Any) -> dict[str, Any]:
    """The projection of given states, what is between, and the alignment loss: direct, and cut from sequences."""
    given = pack.inputs
    built = pack.component("adapters/signal-projection", _options(pack))
    model: SignalProjection = built.component
    states_BKD = given["hidden"] + given["input_embeds"]
    out_BQE = pack.call(built, "project", features=states_BKD)["features"].dense()
    match = pack.plain("objectives/match-conditioning", {"distance": "euclidean"})

    def loss(found_BQE: torch.Tensor) -> torch.Tensor:
        return pack.call(match, "loss", found=found_BQE, wanted=given["target"])["loss"].dense().mean()

    outputs = {"out": out_BQE, "alignment_loss_direct": loss(out_BQE),
               "alignment_loss_from_sequence": loss(model.projected(_cut(given)))}  # fmt: skip
    if pack.config["mode"] == "transformer":
        memory_BKH = model.encoded(states_BKD)
        outputs |= {"encoder_memory": memory_BKH, "transformer_out": model.read(memory_BKH)}
    return outputs


def _cut(given: dict[str, torch.Tensor]) -> torch.Tensor:
    """[B,K,D]: hidden states and token embeddings from the first signal token of each row to the last."""
    labels_BL, ids = given["labels"], given["signal_ids"]
    rows = []
    for row, line_L in enumerate(labels_BL):
        start = int((line_L == ids[0]).nonzero()[0])
        stop = int((line_L == ids[-1]).nonzero()[-1]) + 1
        rows.append(given["last_hidden_state"][row, start:stop] + given["token_embedding_table"][line_L[start:stop]])
    return torch.stack(rows)


def input_projection(pack: Any) -> dict[str, Any]:
    """One linear layer (first release) and two with GELU (current) on a pooled vector."""
    c, given = pack.config, pack.inputs["features"]
    widths = {"inputs": c["mm_dim"], "outputs": c["llm_dim"]}
    linear = pack.component("adapters/linear", widths, prefix="linear/")
    mlp = pack.component("adapters/mlp", widths, prefix="mlp/layer.")
    return {
        "linear_out": pack.call(linear, "project", features=given[:, None])["features"].dense(),
        "mlp_out": pack.call(mlp, "project", features=given)["features"].dense(),
    }


def layout(released: Any) -> None:
    """A projection of either release; sizes are read off the shapes."""
    shapes, c = released.shapes, released.config
    old = "fc.weight" in shapes
    wide, taken = shapes["fc.weight" if old else "in_fc.weight"]
    qformer = "query_tokens" in shapes
    layers = {
        name.split(".")[3] for name in shapes if name.startswith(("tfm.decoder.layers.", "Qformer.bert.encoder."))
    }
    common = {"mode": "qformer" if qformer else "transformer", "inputs": taken, "width": wide,
              "outputs": shapes["model.weight" if old else "out_fc.weight"][0],
              "queries": shapes["query_tokens" if qformer else "query_embs"][1],
              "mlp": shapes[MLP["qformer" if qformer else "transformer"]][0]}  # fmt: skip
    if qformer:
        released.take("adapters/signal-projection", common | {"heads": wide // 64, "decoder": len(layers)})
        return
    more = {"heads": c["nhead"], "encoder": c["encoder_layers"], "decoder": c["decoder_layers"]}
    released.take("adapters/signal-projection", common | more)


CASES = {
    ("nextgpt", "input_projection"): input_projection,
    ("nextgpt", "output_projector_newer"): projection,
    ("nextgpt", "textfc_qformer"): projection,
    ("nextgpt", "textfc_transformer"): projection,
}
LAYOUTS = {"nextgpt": layout}
