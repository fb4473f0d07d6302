"""Parity cases of the resampler (OpenFlamingo) and of the Set Transformer's blocks and whole model.

Suffixes as in `resampler.py` and `set_transformer.py`.
"""

from __future__ import annotations

from typing import Any


def resampler_options(sizes: dict[str, Any]) -> dict[str, Any]:
    """The options of `adapters/resampler` from OpenFlamingo's arguments."""
    return {
        "inputs": sizes["dim"], "depth": sizes["depth"], "dim_head": sizes["dim_head"], "heads": sizes["heads"],
        "latents": sizes["num_latents"], "factor": sizes.get("ff_mult", 4),
        "max_frames": sizes.get("max_num_frames") or 0, "max_media": sizes.get("max_num_media") or 0,
    }  # fmt: skip


def resampler(pack: Any) -> dict[str, Any]:
    """Sequences of media, of one or several frames."""
    model = pack.component("adapters/resampler", resampler_options(pack.config["model"])).component
    outputs = {"x": "latents_out", "x_small": "latents_out_small", "x_short": "latents_out_short"}
    return {outputs[name]: model.media(x) for name, x in pack.inputs.items()}


def blocks(pack: Any) -> dict[str, Any]:
    """MAB, SAB, ISAB and PMA, and the same on a re-ordered set."""
    c, x, q = pack.config, pack.inputs["x"], pack.inputs["q"]
    moved = x[:, pack.inputs["perm"]]
    common = {"outputs": c["dv"], "heads": c["heads"], "norm": c["ln"]}
    mab = pack.component("adapters/mab", {**common, "inputs": c["dq"], "keys": c["dk"]}, prefix="mab.")
    sab = pack.component("adapters/sab", {**common, "inputs": c["dk"]}, prefix="sab.")
    isab = pack.component("adapters/isab", {**common, "inputs": c["dk"], "points": c["inds"]}, prefix="isab.")
    pma = pack.component("adapters/pma", {**common, "inputs": c["dv"], "seeds": c["seeds"]}, prefix="pma.")

    def pooled(x: Any) -> Any:
        return pack.call(pma, "pool", features=pack.call(isab, "transform", features=x)["features"])["features"].dense()

    return {
        "mab": pack.call(mab, "attend", features=q, keys=x)["features"].dense(),
        "sab": pack.call(sab, "transform", features=x)["features"].dense(),
        "sab_permuted": pack.call(sab, "transform", features=moved)["features"].dense(),
        "isab": pack.call(isab, "transform", features=x)["features"].dense(),
        "pma": pooled(x),
        "pma_permuted": pooled(moved),
    }


def full_model(pack: Any) -> dict[str, Any]:
    """isab, isab, pma, sab, sab, linear: the chain that a spec writes as nodes."""
    m, x = pack.config["model"], pack.inputs["x"]
    hidden = m["dim_hidden"]
    common = {"inputs": hidden, "outputs": hidden, "heads": m["num_heads"], "norm": m["ln"]}
    points = {"points": m["num_inds"]}
    chain = [
        ("enc.0.", "adapters/isab", "transform", {**common, **points, "inputs": m["dim_input"]}),
        ("enc.1.", "adapters/isab", "transform", {**common, **points}),
        ("dec.0.", "adapters/pma", "pool", {**common, "seeds": m["num_outputs"]}),
        ("dec.1.", "adapters/sab", "transform", common),
        ("dec.2.", "adapters/sab", "transform", common),
        ("dec.3.", "adapters/linear", "project", {"inputs": hidden, "outputs": m["dim_output"]}),
    ]
    for prefix, card, call, options in chain:
        x = pack.call(pack.component(card, options, prefix=prefix), call, features=x)["features"]
    return {"out": x.dense()}


CASES = {
    ("flamingo", "perceiver_resampler"): resampler,
    ("set_transformer", "blocks"): blocks,
    ("set_transformer", "full_model"): full_model,
}
