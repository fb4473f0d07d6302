"""Parity cases of schedulers: folded into numbers where a scheduler is linear, by its own steps elsewhere.

A trajectory [S,B,...] is walked on given answers of the network, one a step.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import torch

from anyany.api.torch import DrawnNoise, fold, scheduler_of

CLASSES = {
    "ddim": "DDIM", "ddpm": "DDPM", "flow": "FlowMatchEulerDiscrete", "unclip": "UnCLIP", "euler": "EulerDiscrete",
    "dpmpp": "DPMSolverMultistep", "euler_ancestral": "EulerAncestralDiscrete", "pndm": "PNDM", "heun": "HeunDiscrete",
}  # fmt: skip


def made(variant: Mapping[str, Any]) -> Any:
    """A variant's scheduler, its steps set."""
    scheduler = scheduler_of({"class": f"{CLASSES[variant['kind']]}Scheduler", **variant["args"]})
    scheduler.set_timesteps(variant["steps"], **variant.get("set", {}))
    return scheduler


def trajectory(variant: Mapping[str, Any], given: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
    """The sample after each step."""
    scheduler, options = made(variant), dict(variant.get("step", {}))
    x = given["sample"] * (scheduler.init_noise_sigma if variant["kind"] == "euler" else 1.0)
    folded, walked = fold(scheduler, options), []
    after = (
        {a: int(b) for a, b in itertools.pairwise(scheduler.timesteps.tolist())} if variant["kind"] == "unclip" else {}
    )
    for index, t in enumerate(scheduler.timesteps):
        found, noise = given["model_outputs"][index], given["noise"][index]
        if folded is not None:
            x = folded.step(index, x, found, noise if folded.width[index] else None)
        else:
            scheduler.scale_model_input(x, t)
            if after:
                options["prev_timestep"] = after.get(t.item())
            with DrawnNoise(lambda shape, draw, noise=noise: noise):
                x = scheduler.step(found, t, x, return_dict=False, **options)[0]
        walked.append(x)
    return walked


def steps(pack: Any) -> dict[str, Any]:
    """Every variant: its timesteps and tables, its trajectory, forward noising."""
    given, found = pack.inputs, {}
    for name, variant in pack.config["variants"].items():
        scheduler = made(variant)
        made_here = {
            "timesteps": scheduler.timesteps, "sigmas": getattr(scheduler, "sigmas", None),
            "alphas_cumprod": getattr(scheduler, "alphas_cumprod", None),
            "trajectory": torch.stack(trajectory(variant, given)),
        }  # fmt: skip
        clean, noise, t = given["clean"], given["noise"][0], given["add_noise_t"]
        if f"{name}_add_noise" in pack.expected:
            made_here["add_noise"] = scheduler.add_noise(clean, noise, t)
        if f"{name}_velocity" in pack.expected:
            made_here["velocity"] = scheduler.get_velocity(clean, noise, t)
        if f"{name}_scale_noise" in pack.expected:
            at = scheduler.timesteps[[0, variant["steps"] // 2]]
            made_here |= {"scale_noise": scheduler.scale_noise(clean, at, noise), "scale_noise_t": at}
        found |= {f"{name}_{k}": v for k, v in made_here.items() if f"{name}_{k}" in pack.expected}
    return found


CASES = {("schedulers", "diffusers_steps"): steps}
