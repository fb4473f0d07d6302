"""Optimiser, schedule and the average of weights of a stage. Shapes: any."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn


def optimiser(parameters: Mapping[str, nn.Parameter], options: Mapping[str, Any]) -> torch.optim.Optimizer:
    """AdamW, Adam or SGD; weight decay on matrices alone."""
    ordered = list(parameters.values())
    groups = [
        {"params": [p for p in ordered if p.ndim > 1], "weight_decay": options["weight_decay"]},
        {"params": [p for p in ordered if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [g for g in groups if g["params"]]
    if options["name"] == "sgd":
        return torch.optim.SGD(groups, lr=options["lr"], momentum=options["momentum"])
    kind = torch.optim.AdamW if options["name"] == "adamw" else torch.optim.Adam
    first, second = options["betas"]
    return kind(groups, lr=options["lr"], betas=(float(first), float(second)), eps=options["eps"])


def rate(step: int, steps: int, peak: float, schedule: Mapping[str, Any]) -> float:
    """The learning rate of a step: linear warm-up, then half a cosine, a line, or none of them."""
    warmup = schedule["warmup"]
    if step < warmup:
        return float(peak * (step + 1) / warmup)
    done = min((step - warmup) / max(steps - warmup, 1), 1.0)
    shape = {"cosine": 0.5 * (1 + math.cos(math.pi * done)), "linear": 1 - done, "constant": 1.0}[schedule["name"]]
    final = 1.0 if schedule["name"] == "constant" else schedule["final"]
    return float(peak * (final + (1 - final) * shape)) if schedule["name"] != "constant" else float(peak)


class Average:
    """Exponential moving average of parameters, in float32, with a short memory at the start."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float) -> None:
        self.decay = decay
        self.values = {n: p.detach().float().clone() for n, p in parameters.items()}

    @torch.no_grad()
    def update(self, parameters: Mapping[str, nn.Parameter], step: int) -> None:
        """After step number `step`, counted from 0."""
        keep = min(self.decay, (1 + step) / (10 + step))
        for name, parameter in parameters.items():
            self.values[name].mul_(keep).add_(parameter.detach().float(), alpha=1 - keep)
