"""Parity cases of DiT and of the noise schedules that DiT and MAR share. Suffixes as in `dit.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from anyany_image_heads import gaussian
from anyany_image_heads.dit_transformer import waves


def options(c: Mapping[str, Any]) -> dict[str, Any]:
    """The card's options from the reference's arguments."""
    return {
        "side": c["input_size"], "patch": c["patch_size"], "channels": c["in_channels"], "width": c["hidden_size"],
        "layers": c["depth"], "heads": c["num_heads"], "ratio": c.get("mlp_ratio", 4.0), "learned": c["learn_sigma"],
        "classes": c["num_classes"], "drop": c.get("class_dropout_prob", 0.1), "autoencoder": False,
    }  # fmt: skip


def dit(pack: Any) -> dict[str, Any]:
    """The network, and with a learned variance the whole diffusion."""
    c, given = pack.config, pack.inputs
    head = pack.component("image_heads/dit", options(c)).component
    y = head.look_up(given["labels"])
    found: dict[str, Any] = {"out": head.model(given["x"], given["t"], y)}
    if "pos_embed_check" in pack.expected:
        found["pos_embed_check"] = waves(c["input_size"] // c["patch_size"], c["hidden_size"])[0]
    if c["learn_sigma"] and "out_cfg" in pack.expected:
        found |= {"t_embedding": head.model.t_embedder(given["t"]), "tokens": head.model.tokens(given["x"])}
        found |= _guided(head, c, given, y) | _posterior(head, c, given, y) | _training(head, given, y)
        found |= _steps(head, c, given, y, pack.expected) | _loops(head, c, given, y)
    return found


def _guided(head: Any, c: Mapping[str, Any], given: Mapping[str, Any], y: torch.Tensor) -> dict[str, Any]:
    """Both halves of the reference's output hold the guided noise, and their own variances and last channels."""
    x, t, scale = given["x"], given["t"], c["cfg_scale"]
    y2 = torch.cat([y, head.null_C().expand_as(y)])
    out = head.model(torch.cat([x, x]), torch.cat([t, t]), y2)
    null = out[len(x) :, :3]
    first = null + scale * (out[: len(x), :3] - null)
    return {"out_cfg": torch.cat([torch.cat([first, first]), out[:, 3:]], 1)}


def _posterior(head: Any, c: Mapping[str, Any], given: Mapping[str, Any], y: torch.Tensor) -> dict[str, Any]:
    p, x = gaussian.process("linear", c["respacing"]), given["x"]
    t = torch.full((len(x),), len(p) - 1)
    eps, v = gaussian.halves(head.model(x, torch.tensor(p.timesteps)[t], y))
    start, log_var = gaussian.cleaned(p, x, t, eps), gaussian.log_variance(p, v, t)
    clipped = start.clamp(-1, 1)
    return {
        "timestep_map": torch.tensor(p.timesteps), "pred_xstart": start, "pred_xstart_clipped": clipped,
        "p_mean": gaussian.posterior_mean(p, start, x, t), "p_mean_clipped": gaussian.posterior_mean(p, clipped, x, t),
        "p_log_variance": log_var, "p_variance": log_var.exp(),
    }  # fmt: skip


def _training(head: Any, given: Mapping[str, Any], y: torch.Tensor) -> dict[str, Any]:
    p, x, t, noise = head.process, given["x"], given["t"], given["noise"]
    noised = gaussian.noised(p, x, t, noise)
    mse, bound = gaussian.losses(p, head.model(noised, t, y), x, t, noise)
    return {"q_sample": noised, "train_mse": mse, "train_vb": bound, "train_loss": mse + bound}


def _steps(head: Any, c: Mapping[str, Any], given: Mapping[str, Any], y: torch.Tensor,
           expected: list[str]) -> dict[str, Any]:  # fmt: skip
    """One folded step from x, at indices counted from the clean end."""
    p, x, noise = gaussian.process("linear", c["respacing"]), given["x"], given["step_noise"]

    def one(steps: gaussian.Steps, index: int) -> torch.Tensor:
        eps, v = gaussian.halves(head.model(x, torch.full((len(x),), steps.timesteps[index]), y))
        return steps(index, x, eps, v, noise)

    found = {}
    for name in expected:
        kind, _, rest = name.rpartition("_i")
        if kind in ("p_sample", "ddim_reverse"):
            at = int(rest)
            forth = kind == "ddim_reverse"
            steps = gaussian.ddim(p, reverse=True) if forth else gaussian.ancestral(p)
            found[name] = one(steps, at if forth else len(p) - 1 - at)
        elif kind == "ddim_sample":
            at_text, _, eta = rest.partition("_eta")
            found[name] = one(gaussian.ddim(p, float(eta)), len(p) - 1 - int(at_text))
    return found


def stream(values: torch.Tensor, shape: tuple[int, ...]) -> Callable[[int], torch.Tensor]:
    """Draws of one shape, in order; a step's own number is not asked."""
    left = iter(values.split(torch.Size(shape).numel()))
    return lambda _: next(left).reshape(shape)


def _loops(head: Any, c: Mapping[str, Any], given: Mapping[str, Any], y: torch.Tensor) -> dict[str, Any]:
    """The reference draws for both halves, at every step; ours asks for the first half, where a step adds noise."""
    p, z = gaussian.process("linear", c["respacing"]), given["z"]
    y2, scale = torch.cat([y, head.null_C().expand_as(y)]), torch.full((len(y),), float(c["cfg_scale"]))
    loops = {"sample_ddpm_cfg": (gaussian.ancestral(p), "noise_stream"), "sample_ddim_cfg": (gaussian.ddim(p), ""),
             "sample_ddim_eta1_cfg": (gaussian.ddim(p, 1.0), "noise_stream_ddim_eta")}  # fmt: skip
    found = {}
    for name, (steps, source) in loops.items():
        draw = stream(given[source], (2 * len(z), *z.shape[1:])) if source else lambda _: z
        found[name] = head.denoise(steps, y2, scale, lambda i, draw=draw: z if i == 0 else draw(i)[: len(z)])
    return found


def tables(pack: Any) -> dict[str, Any]:
    """Betas, kept steps and tables of every schedule and respacing."""
    names = {"alphas_cumprod": "ab", "betas": "betas", "posterior_log_variance_clipped": "low",
             "posterior_mean_coef1": "x_start", "posterior_mean_coef2": "x_now",
             "sqrt_recipm1_alphas_cumprod": "recip_minus"}  # fmt: skip
    found: dict[str, Any] = {}
    for schedule in pack.config["schedules"]:
        found[f"{schedule}_betas"] = gaussian.betas_of(schedule)
        for respacing in pack.config["respacings"]:
            p, head = gaussian.process(schedule, respacing), f"{schedule}_{respacing.replace(',', '-') or 'full'}"
            found[f"{head}_timestep_map"] = torch.tensor(p.timesteps)
            found |= {f"{head}_{n}": getattr(p, a) for n, a in names.items() if f"{head}_{n}" in pack.expected}
    return found


def layout(released: Any) -> None:
    """A released DiT."""
    released.take("image_heads/dit", options(released.config))


CASES = {("dit", "dit"): dit, ("dit", "schedule_tables"): tables}
LAYOUTS = {"dit": layout}
TOLERANCES = {("dit", "dit"): {"*": 3e-5}}
