"""Parity of Aurora: encodings, level resampler, encoder, decoder and the whole model, and its released configurations.

Normalised outputs decide; those in physical units hide mistakes and are compared as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import torch

from anyany.api.torch import Field
from anyany_perceiver.aurora_ends import AuroraDecoder, AuroraEncoder, Fields
from anyany_perceiver.fields_fourier import ABSOLUTE, LEAD, LEVELS, expanded, places, root_area
from anyany_perceiver.fields_levels import LevelResampler, Looks


def encodings(pack: Any) -> dict[str, Any]:
    """Family `fourier_encodings`."""
    c, given = pack.config, pack.inputs
    where, scale = places(given["lat"], given["lon"], c["patch"], c["dim"])
    return {
        "pos": where, "scale": scale, "root_area": root_area(given["lat"], given["lon"], c["patch"]),
        "lead": expanded(given["lead_hours"], c["dim"], LEAD), "levels": expanded(given["levels"], c["dim"], LEVELS),
        "absolute": expanded(given["absolute_hours"], c["dim"], ABSOLUTE),
    }  # fmt: skip


def resampler(pack: Any) -> dict[str, Any]:
    """Family `level_resampler`."""
    m = pack.config["model"]
    looks = Looks(depth=m["depth"], heads=m["num_heads"], head=m["head_dim"], ratio=m["mlp_ratio"], eps=m["ln_eps"],
                  norm=m["ln_k_q"], residual=m["residual_latent"])  # fmt: skip
    model = LevelResampler(m["latent_dim"], m["context_dim"], looks)
    return {"out": pack.module(model)(pack.inputs["latents"], pack.inputs["context"])}


def _names(c: Mapping[str, Any]) -> dict[str, list[str]]:
    return {"surf": c["surf_vars"], "static": c["static_vars"], "atmos": c["atmos_vars"]}


def _moments(c: Mapping[str, Any]) -> list[datetime]:
    return [datetime(*t, tzinfo=UTC) for t in c["times"]]


def _group(pack: Any, name: str) -> dict[str, torch.Tensor]:
    return {v: pack.inputs[f"{name}_{v}"] for v in pack.config[f"{name}_vars"]}


def _looks(sizes: Mapping[str, Any]) -> Looks:
    return Looks(depth=sizes["depth"], heads=sizes["num_heads"], head=sizes["head_dim"], ratio=sizes["mlp_ratio"],
                 eps=sizes.get("perceiver_ln_eps", 1e-5), norm=sizes.get("stabilise_level_agg", False))  # fmt: skip


def encoder(pack: Any) -> dict[str, Any]:
    """Family `encoder`, on fields that are normalised already."""
    c, e = pack.config, pack.config["enc"]
    model = pack.module(AuroraEncoder(
        _names(c), patch=e["patch_size"], width=e["embed_dim"], levels=e["latent_levels"],
        history=e["max_history_size"], looks=_looks(e),
    ))  # fmt: skip
    static = {n: x.expand(*c["shape"][:2], *x.shape) for n, x in _group(pack, "static").items()}
    fields = Fields(
        surf=_group(pack, "surf"), static=static, atmos=_group(pack, "atmos"), lat=pack.inputs["lat"],
        lon=pack.inputs["lon"], levels=c["levels"], hours=[t.timestamp() / 3600 for t in _moments(c)],
        lead=c["lead_hours"],
    )  # fmt: skip
    return {"tokens": model(fields)}


def decoder(pack: Any) -> dict[str, Any]:
    """Family `decoder`."""
    c, d = pack.config, pack.config["dec"]
    model = pack.module(AuroraDecoder(_names(c), patch=d["patch_size"], width=d["embed_dim"], looks=_looks(d)))
    ground, air = model(pack.inputs["x"], tuple(c["patch_res"]), c["surf_vars"], c["atmos_vars"], c["levels"])
    return {**{f"surf_{n}": x for n, x in ground.items()}, **{f"atmos_{n}": x for n, x in air.items()}}


def options(c: Mapping[str, Any], m: Mapping[str, Any]) -> dict[str, Any]:
    """Options of `fields/aurora` from the reference's arguments."""
    names = {
        "window_size": "window", "encoder_depths": "encoder_depths", "decoder_depths": "decoder_depths",
        "encoder_num_heads": "encoder_heads", "decoder_num_heads": "decoder_heads", "latent_levels": "levels",
        "patch_size": "patch", "embed_dim": "width", "num_heads": "heads", "mlp_ratio": "ratio", "enc_depth": "depth",
        "dec_depth": "decoder_depth", "dec_mlp_ratio": "decoder_ratio", "max_history_size": "history",
        "perceiver_ln_eps": "eps", "stabilise_level_agg": "norm", "use_lora": "lora", "lora_steps": "lora_steps",
        "lora_mode": "lora_mode",
    }  # fmt: skip
    found = {ours: m[theirs] for theirs, ours in names.items() if theirs in m}
    return {**found, "surf": c["surf_vars"], "static": c["static_vars"], "atmos": c["atmos_vars"]}


def full(pack: Any) -> dict[str, Any]:
    """Family `full_model`: fields in physical units, one step ahead."""
    c = pack.config
    built = pack.component("fields/aurora", {**options(c, c["model"]), "lead": c["lead_hours"]})
    out: dict[str, list[torch.Tensor]] = {}
    for row, moment in enumerate(_moments(c)):
        field = Field(
            surf={n: x[row] for n, x in _group(pack, "surf").items()}, static=_group(pack, "static"),
            atmos={n: x[row] for n, x in _group(pack, "atmos").items()}, lat=pack.inputs["lat"],
            lon=pack.inputs["lon"], levels=tuple(c["levels"]), time=moment,
        )  # fmt: skip
        (made,) = pack.call(built, "step", field=[field])["field"].list()
        if made.time != moment + timedelta(hours=c["lead_hours"]) or made.step != 1:
            raise ValueError(f"a step from {moment} ends at {made.time}, as step {made.step}")
        surf, atmos = built.component.predicted(built.component.ready(field))
        for group, fresh, plain in (("surf", surf, made.surf), ("atmos", atmos, made.atmos)):
            for name in plain:
                out.setdefault(f"{group}_{name}", []).append(plain[name][-1:])
                out.setdefault(f"normalised_{group}_{name}", []).append(fresh[name])
    return {name: torch.stack(values) for name, values in out.items()}


def layout(released: Any) -> None:
    """Released configurations, by their sizes."""
    c, shapes = released.config, released.shapes
    blocks = [len({n.split(".")[4] for n in shapes if n.startswith(f"backbone.{side}_layers.{i}.blocks.")})
              for side in ("encoder", "decoder") for i in range(3)]  # fmt: skip
    wanted = {
        "width": c["embed_dim"], "patch": shapes["encoder.surf_token_embeds.weights.2t"][-1],
        "encoder_depths": blocks[:3], "decoder_depths": blocks[3:], "lora": any(".lora_" in n for n in shapes),
    }  # fmt: skip
    if c["embed_dim"] == 256:
        wanted["preset"] = "small"
    released.take("fields/aurora", wanted)


CASES = {
    ("aurora", "fourier_encodings"): encodings,
    ("aurora", "level_resampler"): resampler,
    ("aurora", "encoder"): encoder,
    ("aurora", "decoder"): decoder,
    ("aurora", "full_model"): full,
}
LAYOUTS = {"aurora": layout}
