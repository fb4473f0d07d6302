"""What a profile makes of a node: weights, options, device and dtype merged, presets expanded.

Order, later wins: the node, the profile's `*`, the profile's entry for the node, what `--set` says of the node.
Source: DESIGN section 3 (profiles).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from anyany.api.v1 import Card
from anyany.errors.suggest import did_you_mean
from anyany.registry.options import options_of
from anyany.spec.marked import SET
from anyany.spec.raw import RawProfile, Settings
from anyany.spec.wires import Check, NodeState
from anyany.spec.yaml_tree import Marked

DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d{1,3})?")
DTYPES = ("float32", "bfloat16", "float16", "float64")
EVERY = "*"


def check_profiles(check: Check) -> None:
    """What a profile says of nodes that are not there, or may not say at all."""
    for profile in check.spec.profiles.values():
        for target, settings in profile.targets.items():
            mark = check.spec.tree.get("profiles").get(profile.name).key_mark(target)  # type: ignore[union-attr]
            if target == EVERY or target in check.spec.lost:
                pass
            elif target not in check.spec.nodes:
                help = did_you_mean(target, check.spec.nodes) or "name a node of the spec, or `*` for all of them"
                check.tell(
                    "E116",
                    f"profile `{profile.name}` sets `{target}`, which is no node",
                    mark=mark,
                    path=settings.path,
                    help=help,
                )
            elif check.spec.nodes[target].of is not None:
                of = check.spec.nodes[target].of
                check.tell(
                    "E116",
                    f"profile `{profile.name}` sets `{target}`, which shares everything with `{of}`",
                    mark=mark,
                    path=settings.path,
                    help=f"set `{of}` instead",
                )
            check_placement(check, settings)


def check_placement(check: Check, settings: Settings) -> None:
    """Device and dtype are known words."""
    if settings.device is not None and not DEVICE.fullmatch(settings.device):
        help = {"gpu": "write `cuda`", "cuda0": "write `cuda:0`"}.get(settings.device.lower())
        check.tell(
            "E118",
            f"`{settings.device}` is not a device",
            mark=settings.mark_of("device"),
            path=f"{settings.path}.device",
            help=help or "write `auto`, `cpu`, `cuda`, `cuda:N` or `mps`",
        )
    if settings.dtype is not None and settings.dtype not in DTYPES:
        short = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16", "half": "float16", "float": "float32"}
        better = short.get(settings.dtype.lower())
        check.tell(
            "E118",
            f"`{settings.dtype}` is not a dtype",
            mark=settings.mark_of("dtype"),
            path=f"{settings.path}.dtype",
            help=f"write `{better}`" if better else f"write one of {', '.join(DTYPES)}",
        )


def merge(check: Check, state: NodeState, card: Card) -> Settings:
    """The node's settings under the check's profile, with presets expanded into options."""
    layers = [state.raw.settings]
    profile = check.spec.profiles.get(check.profile) if check.profile else None
    if profile is not None:
        layers += [*_layers(check, profile, state, card), _by_hand(state.raw.settings)]
    options: dict[str, Any] = {}
    for layer in layers:
        options.update(_expanded(check, card, layer))
    weights = next((s.weights for s in reversed(layers) if s.weights is not None), None)
    return Settings(
        weights=weights,
        options=options,
        device=next((s.device for s in reversed(layers) if s.device is not None), None),
        dtype=next((s.dtype for s in reversed(layers) if s.dtype is not None), None),
        tree=state.raw.tree,
        path=state.raw.path,
    )


def source_of(check: Check, state: NodeState, key: str, option: str | None = None) -> Settings:
    """The layer that gave a key or option its value, for marks."""
    own = _by_hand(state.raw.settings)
    if option in (own.options or {}) or (option is None and getattr(own, key, None) is not None):
        return state.raw.settings
    layers = [state.raw.settings]
    profile = check.spec.profiles.get(check.profile) if check.profile else None
    if profile is not None:
        layers += [profile.targets[t] for t in (EVERY, state.name) if t in profile.targets]
    if option is not None:  # a layer that names the option goes before one whose preset may hold it
        layers.sort(key=lambda layer: option in (layer.options or {}))
    for layer in reversed(layers):
        mark = layer.mark_of(key, option)
        if mark is not None and (
            option is None or option in (layer.options or {}) or "preset" in (layer.options or {})
        ):
            return layer
    return state.raw.settings


def _by_hand(settings: Settings) -> Settings:
    """Of a node's settings, those that `--set` wrote: a profile does not undo them."""
    tree = settings.tree
    told = {key for key in ("weights", "device", "dtype") if _was_set(None if tree is None else tree.get(key))}
    held = None if tree is None else tree.get("with")
    if held is None or not isinstance(held.value, dict):
        options = settings.options if _was_set(held) else None
    else:
        options = {k: v for k, v in (settings.options or {}).items() if _was_set(held.get(k))}
    return Settings(
        weights=settings.weights if "weights" in told else None,
        options=options,
        device=settings.device if "device" in told else None,
        dtype=settings.dtype if "dtype" in told else None,
        tree=tree,
        path=settings.path,
    )


def _was_set(node: Marked | None) -> bool:
    """Whether `--set` wrote a value, or something in it."""
    if node is None:
        return False
    if node.mark.file == SET:
        return True
    inner = node.value.values() if isinstance(node.value, dict) else node.value if isinstance(node.value, list) else ()
    return any(map(_was_set, inner))


def _layers(check: Check, profile: RawProfile, state: NodeState, card: Card) -> list[Settings]:
    """The profile's settings for this node. Those under `*` apply where they can."""
    found: list[Settings] = []
    every = profile.targets.get(EVERY)
    if every is not None:
        known = {o.name for o in options_of(card.config)}
        options = {
            k: v for k, v in (every.options or {}).items() if k in known or (k == "preset" and v in card.presets)
        }
        found.append(
            Settings(
                weights=every.weights if card.weights else None,
                options=options,
                device=every.device,
                dtype=every.dtype,
                tree=every.tree,
                path=every.path,
            )
        )
    own = profile.targets.get(state.name)
    if own is not None:
        found.append(own)
    return found


def _expanded(check: Check, card: Card, layer: Settings) -> Mapping[str, Any]:
    """Options with their preset put in place; an unknown preset stays for `make_config` to refuse."""
    options = dict(layer.options or {})
    preset = options.get("preset")
    if isinstance(preset, str) and preset in card.presets and "preset" not in {o.name for o in options_of(card.config)}:
        del options["preset"]
        return {**card.presets[preset], **options}
    return options
