"""The numbers of a stage: steps, batch, optimiser, schedule. One table of names, defaults and bounds.

They may stand under `train` for all stages, or in a stage. Source: DESIGN section 8.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeGuard

from anyany.errors import suggest
from anyany.spec.yaml_tree import Marked, to_plain

Rule = tuple[Any, str, Callable[[Any], bool]]


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value as written is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _whole(low: int) -> Callable[[Any], bool]:
    return lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= low


def _number(low: float, high: float = float("inf")) -> Callable[[Any], bool]:
    return lambda v: is_number(v) and low <= v <= high


def _one_of(*names: str) -> Callable[[Any], bool]:
    return lambda v: v in names


def _pair(v: Any) -> bool:
    return isinstance(v, (list, tuple)) and len(v) == 2 and all(_number(0, 1)(b) and b < 1 for b in v)


PLAIN: Mapping[str, Rule] = {
    "steps": (1000, "a whole number of 1 or more", _whole(1)),
    "batch": (32, "items a step, on all processes together: a whole number of 1 or more", _whole(1)),
    "accumulate": (1, "parts that a step is computed in: a whole number of 1 or more", _whole(1)),
    "seed": (0, "a whole number", _whole(0)),
    "clip": (1.0, "largest norm of the gradient, 0 for none", _number(0)),
    "ema": (0.0, "decay of the average of weights that is saved, 0 for none, below 1", _number(0, 0.999999)),
    "precision": ("float32", "`float32` or `bfloat16`", _one_of("float32", "bfloat16")),
    "checkpointing": (False, "`true` or `false`", lambda v: isinstance(v, bool)),
    "cache": (True, "`true` or `false`", lambda v: isinstance(v, bool)),
    "save_every": (200, "steps between checkpoints: a whole number of 1 or more", _whole(1)),
    "log_every": (10, "steps between lines of the log: a whole number of 1 or more", _whole(1)),
}
OPTIM: Mapping[str, Rule] = {
    "name": ("adamw", "`adamw`, `adam` or `sgd`", _one_of("adamw", "adam", "sgd")),
    "lr": (1e-4, "a learning rate above 0", lambda v: _number(0)(v) and v > 0),
    "betas": ([0.9, 0.999], "two numbers of 0 or more, below 1", _pair),
    "eps": (1e-8, "a number above 0", lambda v: _number(0)(v) and v > 0),
    "weight_decay": (0.01, "a number of 0 or more; of matrices only", _number(0)),
    "momentum": (0.9, "a number of 0 to 1, for sgd", _number(0, 1)),
}
SCHEDULE: Mapping[str, Rule] = {
    "name": ("cosine", "`cosine`, `linear` or `constant`", _one_of("cosine", "linear", "constant")),
    "warmup": (0, "steps of warming up: a whole number of 0 or more", _whole(0)),
    "final": (0.0, "the share of the rate that is left at the end, 0 to 1", _number(0, 1)),
}
SETTINGS = (*PLAIN, "optim", "schedule")
Tell = Callable[..., None]


def defaults() -> dict[str, Any]:
    """Every setting at its default."""
    plain = {name: rule[0] for name, rule in PLAIN.items()}
    return {**plain, "optim": {n: r[0] for n, r in OPTIM.items()}, "schedule": {n: r[0] for n, r in SCHEDULE.items()}}


def read_settings(tree: Marked, path: str, tell: Tell) -> dict[str, Any]:
    """The settings written in a mapping, alone; what is wrong is told and left out."""
    found: dict[str, Any] = {}
    for name, rule in PLAIN.items():
        given = tree.get(name)
        if given is not None and _fits(given, rule, f"{path}.{name}", tell):
            found[name] = to_plain(given)
    for name, rules in (("optim", OPTIM), ("schedule", SCHEDULE)):
        given = tree.get(name)
        if given is None:
            continue
        if not isinstance(given.value, dict):
            tell("E707", f"`{name}` is a mapping, and this is {given.what}", mark=given.mark, path=f"{path}.{name}",
                 help=f"write `{name}: {{{next(iter(rules))}: {next(iter(rules.values()))[0]}}}`")  # fmt: skip
            continue
        found[name] = _table(given, rules, f"{path}.{name}", tell)
    return found


def _table(tree: Marked, rules: Mapping[str, Rule], path: str, tell: Tell) -> dict[str, Any]:
    found = {}
    for key, given in tree.items():
        if key not in rules:
            help = suggest.did_you_mean(key, rules) or f"its keys are {', '.join(f'`{k}`' for k in rules)}"
            tell("E707", f"`{path.rpartition('.')[2]}` has no key `{key}`", mark=tree.key_mark(key),
                 path=f"{path}.{key}", help=help)  # fmt: skip
        elif _fits(given, rules[key], f"{path}.{key}", tell):
            found[key] = to_plain(given)
    return found


def _fits(given: Marked, rule: Rule, path: str, tell: Tell) -> bool:
    plain = to_plain(given)
    if rule[2](plain):
        return True
    tell("E707", f"`{path.rpartition('.')[2]}` is {rule[1]}, and this is {plain!r}", mark=given.mark, path=path,
         help=f"write for instance `{rule[0]}`")  # fmt: skip
    return False


def merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Defaults, then each layer over them; `optim` and `schedule` key by key."""
    found = defaults()
    for layer in layers:
        for name, value in layer.items():
            found[name] = {**found[name], **value} if isinstance(value, Mapping) else value
    return found
