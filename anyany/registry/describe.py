"""Cards and kinds as plain JSON: what the cache keeps, so that lists, schema and suggestions need no import.

Shape of a card: {name, major, role, about, options: [...], presets, calls: {name: {takes, gives}} or null}.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from anyany.api.v1 import Call, Card, FactValues, Kind, Port, Var
from anyany.registry.options import REQUIRED, Option, make_config, options_of, type_name


def plain(value: Any) -> Any:
    """A value as JSON can hold it; what it cannot becomes its text."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(v) for v in value]
    return str(value)


def describe_option(option: Option) -> dict[str, Any]:
    """One option; no "default" key where it must be given."""
    found: dict[str, Any] = {
        "name": option.name,
        "type": type_name(option.type),
        "schema": schema_of(option.type),
    }
    if option.default is not REQUIRED:
        found["default"] = plain(option.default)
    if option.choices is not None:
        found["choices"] = plain(option.choices)
    for key in ("doc", "per_item", "low", "high"):
        if getattr(option, key) not in ("", None, False):
            found[key] = getattr(option, key)
    return found


def schema_of(hint: Any) -> dict[str, Any]:
    """An annotation as JSON Schema; {} for what it cannot say."""
    import types
    import typing

    origin, args = typing.get_origin(hint), typing.get_args(hint)
    plain_types = {int: "integer", float: "number", str: "string", bool: "boolean", type(None): "null"}
    if hint in plain_types:
        return {"type": plain_types[hint]}
    if origin is typing.Literal:
        return {"enum": plain(args)}
    if origin in (typing.Union, types.UnionType):
        parts = [schema_of(a) for a in args]
        return {"anyOf": parts} if all(parts) else {}
    base = origin or hint
    if isinstance(base, type) and issubclass(base, Mapping):
        inner = schema_of(args[1]) if args else {}
        return {"type": "object", **({"additionalProperties": inner} if inner else {})}
    if isinstance(base, type) and base is not str and issubclass(base, (list, tuple)):
        fixed = base is tuple and args and args[-1] is not Ellipsis
        if fixed:
            return {"type": "array", "prefixItems": [schema_of(a) for a in args], "minItems": len(args),
                    "maxItems": len(args)}  # fmt: skip
        inner = schema_of(args[0]) if args else {}
        return {"type": "array", **({"items": inner} if inner else {})}
    return {}


def describe_port(port: Port) -> dict[str, Any]:
    """A port: its text (`features* [N D=768]`), kinds, axes, sizes, facets, and what is unusual."""
    sizes = {a: s if isinstance(s, int) else None for a, s in port.sizes.items()}
    found: dict[str, Any] = {"text": port_text(port), "kinds": list(port.kinds), "axes": list(port.axes)}
    found.update(sizes=sizes, facets={k: _facet(v) for k, v in port.facets.items()})
    for key in ("many", "optional", "per", "ties", "space", "open", "doc"):
        if getattr(port, key):
            found[key] = getattr(port, key)
    if port.native:
        found["native"] = sorted(port.native)
    return found


def _facet(value: Any) -> Any:
    return f"<{value.name}>" if isinstance(value, Var) else plain(value)


def port_text(port: Port) -> str:
    """`features* [N=32 D]`: kinds, list or optional, axes with known sizes, facets."""
    suffix = "*" * port.many + "?" * port.optional
    axes = [f"{a}={port.sizes[a]}" if isinstance(port.sizes.get(a), int) else a for a in port.axes]
    facets = [f"{k}={v}" for k, v in port.facets.items() if not isinstance(v, Var)]
    text = "|".join(port.kinds) + suffix
    return text + (f" [{' '.join(axes)}]" if axes else "") + (f" {' '.join(facets)}" if facets else "")


def describe_call(call: Call) -> dict[str, Any]:
    found: dict[str, Any] = {
        "takes": {name: describe_port(p) for name, p in call.takes.items()},
        "gives": {name: describe_port(p) for name, p in call.gives.items()},
    }
    return {**found, **({"teach": call.teach} if call.teach else {})}


def default_calls(card: Card) -> Mapping[str, Call]:
    """The card's calls with default options (tiny ones, where some must be given) and unknown facts."""
    config, issues = make_config(card, {})
    if config is None and "tiny" in card.presets:
        config, issues = make_config(card, "tiny")
    if config is None:
        raise ValueError(issues[0].message)
    return card.calls(config, FactValues({}, tuple(card.facts.sources)))


def describe_card(card: Card) -> dict[str, Any]:
    """Everything of a card that is worth knowing without importing its plugin."""
    found: dict[str, Any] = {
        "name": card.name, "major": card.major, "role": card.role, "about": card.about, "source": card.source,
        "weights": card.weights, "runtime": card.runtime, "impl": card.impl,
        "options": [describe_option(o) for o in options_of(card.config)], "presets": plain(card.presets),
        "facts": sorted(card.facts.sources),
    }  # fmt: skip
    try:
        found["calls"] = {name: describe_call(call) for name, call in default_calls(card).items()}
    except Exception as error:  # a card may need options before it can tell its ports: shown, not hidden
        found["calls"], found["calls_error"] = None, f"{type(error).__name__}: {error}"
    return found


def describe_kind(kind: Kind) -> dict[str, Any]:
    return asdict(kind)


def kind_from(data: Mapping[str, Any]) -> Kind:
    """The kind that `describe_kind` wrote."""
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
    return Kind(**fields)
