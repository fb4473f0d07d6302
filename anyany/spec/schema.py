"""The JSON Schema of specs (draft 2020-12), generated from what the installed cards say of themselves.

Editors complete names and options with it. It knows shapes, names and types; what needs the whole graph, such as
kinds and lists, only `anyany check` knows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from anyany.spec.edge_syntax import FORMS
from anyany.spec.settings import DEVICE, DTYPES
from anyany.spec.shape import NAME

Schema = dict[str, Any]
DRAFT = "https://json-schema.org/draft/2020-12/schema"
WORD = r"[A-Za-z_][A-Za-z0-9_-]*"
REF = rf"^{WORD}(\.{WORD}){{0,2}}$"
STARRED = rf"^{WORD}(\.{WORD}){{0,2}}\*?$"
WEIGHTS = r"^(hub:[^/\s]+/\S+|file:\S.*|bundle:[^/\s]+/\S+|random:\d+)$"


def schema(registry: Any) -> Schema:
    """The schema for the components of a registry (its descriptions; nothing is imported that is cached)."""
    cards = {c["name"]: c for d in registry.describe().values() for c in sorted(d["cards"], key=lambda c: c["major"])}
    kinds = sorted(registry.kinds())
    return {
        "$schema": DRAFT,
        "title": "anyany spec",
        "description": "A multimodal pipeline on one page. `anyany check` tells what a schema cannot know.",
        "type": "object",
        "properties": {
            "anyany": {"const": 1, "description": "version of the spec language"},
            "name": {"type": "string", "description": "name of the pipeline (default: the file's)"},
            "about": {"type": "string", "description": "one line for people"},
            "inputs": _named({"$ref": "#/$defs/input"}, "what an item gives: name and kind"),
            "nodes": _named({"$ref": "#/$defs/node"}, "the components in use", least=1),
            "outputs": _named({"$ref": "#/$defs/edge"}, "what a run writes: name and edge", least=1),
            "profiles": _named({"$ref": "#/$defs/profile"}, "named settings for devices, dtypes, weights and options"),
            "train": {"type": "object", "description": "data and stages of training"},
        },
        "required": ["anyany", "nodes", "outputs"],
        "additionalProperties": False,
        "$defs": {
            "input": _input(kinds),
            "edge": _edge(),
            "entry": {"anyOf": [{"type": "string", "pattern": STARRED}, {"$ref": "#/$defs/fill"}]},
            "fill": _fill(),
            "of": _of(),
            "weights": _weights(),
            "node": _node(cards),
            "profile": {"type": "object", "additionalProperties": {"$ref": "#/$defs/settings"}},
            "settings": _settings(),
            "options": {name: _options(card) for name, card in cards.items()},
        },
    }


def _named(value: Schema, description: str, least: int = 0) -> Schema:
    found: Schema = {
        "type": "object",
        "description": description,
        "propertyNames": {"pattern": f"^{NAME.pattern}$"},
        "additionalProperties": value,
    }
    if least:
        found["minProperties"] = least
    return found


def _input(kinds: Sequence[str]) -> Schema:
    usable = [k for k in kinds if k not in ("loss", "metric")]
    kind: Schema = {"enum": [k + s for k in usable for s in ("", "*", "?")]}
    long = {
        "type": "object",
        "properties": {
            "kind": kind,
            "default": {"description": "used where an item does not give the input; media as a path"},
            "about": {"type": "string"},
        },
        "required": ["kind"],
        "additionalProperties": False,
    }
    return {"description": "a kind, with `*` for a list or `?` where it may be absent", "anyOf": [kind, long]}


def _edge() -> Schema:
    bracket = {"type": "array", "items": {"$ref": "#/$defs/entry"}, "minItems": 1}
    return {
        "description": FORMS,
        "anyOf": [{"type": "string", "pattern": REF}, bracket, {"$ref": "#/$defs/fill"}],
    }


def _fill() -> Schema:
    return {
        "type": "object",
        "properties": {"fill": {"$ref": "#/$defs/edge"}},
        "required": ["fill"],
        "additionalProperties": {"$ref": "#/$defs/edge"},
    }


def _of() -> Schema:
    return {
        "type": "object",
        "description": "a node itself, for a port of kind `node`",
        "properties": {"of": {"type": "string", "pattern": f"^{WORD}$"}},
        "required": ["of"],
        "additionalProperties": False,
    }


def _weights() -> Schema:
    one = {"type": "string", "pattern": WEIGHTS}
    return {
        "description": "`hub:ORG/NAME`, `file:PATH`, `bundle:NAMESPACE/PATH`, `random:SEED`; a list overlays",
        "anyOf": [one, {"type": "array", "items": one, "minItems": 1}],
    }


def _placement() -> dict[str, Schema]:
    return {
        "device": {"type": "string", "pattern": f"^({DEVICE.pattern})$"},
        "dtype": {"enum": list(DTYPES)},
        "weights": {"$ref": "#/$defs/weights"},
    }


def _settings() -> Schema:
    options = {"anyOf": [{"type": "string"}, {"type": "object"}], "description": "options, or the name of a preset"}
    return {"type": "object", "properties": {**_placement(), "with": options}, "additionalProperties": False}


def _node(cards: Mapping[str, Any]) -> Schema:
    texts = {"type": "array", "items": {"type": "string"}, "minItems": 1}
    feed = {"anyOf": [{"$ref": "#/$defs/edge"}, {"$ref": "#/$defs/of"}]}
    ports = {"type": "object", "additionalProperties": feed, "minProperties": 1}
    versions = [{"pattern": "^" + name + r"@\d+$"} for name in cards]
    return {
        "type": "object",
        "properties": {
            "use": {
                "type": "string",
                "description": "a component of an installed plugin",
                "anyOf": [{"enum": sorted(cards)}, *versions],
            },
            "of": {"type": "string", "pattern": f"^{WORD}$", "description": "the node whose weights this one shares"},
            "call": {"type": "string", "description": "what the component is to do (default: its first call)"},
            "with": {"anyOf": [{"type": "string"}, {"type": "object"}], "description": "options, or a preset's name"},
            "in": {"description": "what feeds it: an edge, or edges by port", "anyOf": [feed, ports]},
            "when": {"$ref": "#/$defs/edge", "description": "open only where this value is present"},
            "skip": {"anyOf": [{"type": "string"}, texts], "description": "tensors that may be left unused"},
            **_placement(),
        },
        "additionalProperties": False,
        "oneOf": [
            {"required": ["use"]},
            {"required": ["of"], "not": {"anyOf": [{"required": [k]} for k in ("with", "weights", "device", "dtype")]}},
        ],
        "allOf": [_of_card(name, card) for name, card in cards.items()],
    }


def _of_card(name: str, card: Mapping[str, Any]) -> Schema:
    """What holds for the nodes that use a component."""
    properties: Schema = {"with": {"$ref": f"#/$defs/options/{_pointer(name)}"}}
    if card.get("about"):
        properties["use"] = {"description": card["about"]}
    found: Schema = {
        "if": {"properties": {"use": {"const": name}}, "required": ["use"]},
        "then": {"properties": properties},
    }
    if not card["weights"]:
        found["then"]["not"] = {"required": ["weights"]}
    return found


def _pointer(name: str) -> str:
    """A name as a part of a JSON pointer."""
    return name.replace("~", "~0").replace("/", "~1")


def _options(card: Mapping[str, Any]) -> Schema:
    properties = {o["name"]: _option(o) for o in card["options"]}
    presets = list(card.get("presets", ()))
    if presets and "preset" not in properties:
        properties["preset"] = {"enum": presets, "description": "a named set of options"}
    table: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    required = [o["name"] for o in card["options"] if "default" not in o]
    if required and not presets:
        table["required"] = required
    return {"description": card.get("about", ""), "anyOf": [table, *([{"enum": presets}] if presets else [])]}


def _option(option: Mapping[str, Any]) -> Schema:
    found: Schema = dict(option["schema"])
    if option.get("doc"):
        found["description"] = option["doc"]
    if "default" in option:
        found["default"] = option["default"]
    if option.get("choices"):
        found["enum"] = list(option["choices"])
    numeric = found.get("type") in ("integer", "number")
    for key, name in (("low", "minimum"), ("high", "maximum")):
        if numeric and option.get(key) is not None:
            found[name] = option[key]
    return found
