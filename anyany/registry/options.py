"""Options of a card: read off its Config class, and checked when a spec gives `with:`.

Types come from annotations (int, float, str, bool, list, tuple, dict, Literal, X | None), bounds from
`option(...)`.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from anyany.api.v1 import Card, Config, fields_of

REQUIRED = dataclasses.MISSING


@dataclass(frozen=True, kw_only=True, repr=False)
class OptionIssue:
    """What is wrong with one option (None: with all of them together)."""

    option: str | None
    message: str
    help: str | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
class Option:
    """One option of a card. `default` is `REQUIRED` where there is none; `low` and `high` are inclusive."""

    name: str
    type: Any
    default: Any
    doc: str = ""
    per_item: bool = False
    choices: tuple[Any, ...] | None = None
    low: float | None = None
    high: float | None = None

    @property
    def type_name(self) -> str:
        return type_name(self.type)

    @property
    def takes(self) -> str:
        """The type with its article, for sentences: `a whole number or null`."""
        name = self.type_name
        return f"a {name}" if name.startswith(("whole", "number", "list", "mapping")) else name


_KNOWN: dict[type[Config], tuple[Option, ...]] = {}


def options_of(config: type[Config]) -> tuple[Option, ...]:
    """The options of a Config class, as declared. Raises NameError for an annotation nobody knows."""
    if config in _KNOWN:
        return _KNOWN[config]
    hints = typing.get_type_hints(config)
    found = []
    for f in fields_of(config):
        default = f.default
        if default is REQUIRED and f.default_factory is not REQUIRED:
            default = f.default_factory()
        choices = f.metadata.get("choices")
        found.append(Option(
            name=f.name, type=hints[f.name], default=default, doc=f.metadata.get("doc", ""),
            per_item=bool(f.metadata.get("per_item")), choices=None if choices is None else tuple(choices),
            low=f.metadata.get("low"), high=f.metadata.get("high"),
        ))  # fmt: skip
    _KNOWN[config] = tuple(found)
    return _KNOWN[config]


def type_name(hint: Any) -> str:
    """An annotation as users read it: `int`, `list of str`, `"bilinear" or "nearest"`, `int or null`."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return "anything"
    if hint is type(None):
        return "null"
    if origin is typing.Literal:
        return " or ".join(_show(a) for a in args)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(type_name(a) for a in args)
    if origin in (list, tuple, dict) or hint in (list, tuple, dict):
        base = origin or hint
        if base is dict:
            return f"mapping of {type_name(args[1])}" if args else "mapping"
        fixed = base is tuple and args and args[-1] is not Ellipsis
        if fixed and len(set(args)) > 1:
            return f"list ({', '.join(type_name(a) for a in args)})"
        inner = f"list of {type_name(args[0])}" if args else "list"
        return f"{inner} ({len(args)} values)" if fixed else inner
    if hint in _PLAIN:
        return _PLAIN[hint]
    if origin is not None and isinstance(origin, type):
        return f"mapping of {type_name(args[1])}" if issubclass(origin, Mapping) else f"list of {type_name(args[0])}"
    return str(getattr(hint, "__name__", hint))


_PLAIN: dict[Any, str] = {int: "whole number", float: "number", str: "text", bool: "true or false"}


def _show(value: Any) -> str:
    """A value as YAML would write it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"' if len(value) <= 60 else f'"{value[:57]}..."'
    return repr(value)[:80]


class Misfit(Exception):
    """A value does not fit an annotation; the text says what was found."""


_FOUND: dict[type, str] = {
    str: "text", bool: "a truth value", int: "a whole number", float: "a number", list: "a list",
    tuple: "a list", dict: "a mapping", type(None): "null",
}  # fmt: skip


def _found(value: Any) -> str:
    kind = _FOUND.get(type(value), type(value).__name__)
    return kind if isinstance(value, (list, tuple, dict)) or value is None else f"{kind}, {_show(value)}"


def convert(value: Any, hint: Any) -> Any:
    """`value` as the annotation wants it: ints become floats, lists tuples. Raises `Misfit`."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or hint is object:
        return value
    if hint is None or hint is type(None):
        if value is not None:
            raise Misfit(_found(value))
        return None
    if origin is typing.Literal:
        for choice in args:
            if type(choice) is type(value) and choice == value:
                return value
        raise Misfit(_found(value))
    if origin in (typing.Union, types.UnionType):
        return _any_of(value, args)
    base = origin or hint
    if base is dict or base in (Mapping,) or (isinstance(base, type) and issubclass(base, Mapping)):
        return _mapping(value, args)
    if base is not str and isinstance(base, type) and issubclass(base, (list, tuple, typing.Sequence)):
        return _sequence(value, base, args)
    return _plain(value, base)


def _any_of(value: Any, hints: tuple[Any, ...]) -> Any:
    exact = [h for h in hints if isinstance(h, type) and type(value) is h]
    for hint in (*exact, *hints):
        try:
            return convert(value, hint)
        except Misfit:
            continue
    raise Misfit(_found(value))


def _mapping(value: Any, args: tuple[Any, ...]) -> dict[Any, Any]:
    if not isinstance(value, Mapping):
        raise Misfit(_found(value))
    if not args:
        return dict(value)
    found = {}
    for key, inner in value.items():
        try:
            found[convert(key, args[0])] = convert(inner, args[1])
        except Misfit as misfit:
            raise Misfit(f"{misfit} (under `{key}`)") from None
    return found


def _sequence(value: Any, base: type, args: tuple[Any, ...]) -> Any:
    if not isinstance(value, (list, tuple)):
        raise Misfit(_found(value))
    make: type = tuple if issubclass(base, tuple) else list
    if not args:
        return make(value)
    if make is tuple and args[-1] is not Ellipsis:
        if len(value) != len(args):
            raise Misfit(f"a list of {len(value)}")
        hints: tuple[Any, ...] = args
    else:
        hints = (args[0],) * len(value)
    found = []
    for i, (inner, hint) in enumerate(zip(value, hints)):
        try:
            found.append(convert(inner, hint))
        except Misfit as misfit:
            raise Misfit(f"{misfit} (at position {i})") from None
    return make(found)


def _plain(value: Any, base: Any) -> Any:
    if base is bool:
        fits = isinstance(value, bool)
    elif base is int:
        fits = isinstance(value, int) and not isinstance(value, bool)
    elif base is float:
        fits = isinstance(value, (int, float)) and not isinstance(value, bool)
    else:
        fits = isinstance(base, type) and isinstance(value, base)
    if not fits:
        raise Misfit(_found(value))
    try:
        return float(value) if base is float else value
    except OverflowError:
        raise Misfit("a whole number too large for a number") from None


def _bounds(option: Option, value: Any) -> str | None:
    """Why the value is out of the option's bounds, or None."""
    if option.choices is not None and value not in option.choices:
        return f"must be one of {', '.join(_show(c) for c in option.choices)}, found {_show(value)}"
    if isinstance(value, (list, tuple)):
        return next((m for m in (_bounds(option, v) for v in value if isinstance(v, (int, float))) if m), None)
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    if value != value:
        return "must be a number, found .nan"
    if option.low is not None and value < option.low:
        return f"must be at least {option.low:g}, found {_show(value)}"
    if option.high is not None and value > option.high:
        return f"must be at most {option.high:g}, found {_show(value)}"
    return None


def check_option(option: Option, value: Any) -> tuple[Any, OptionIssue | None]:
    """The converted value, or what is wrong with it."""
    try:
        value = convert(value, option.type)
    except Misfit as misfit:
        message = f"option `{option.name}` takes {option.takes}, found {misfit}"
        return None, OptionIssue(option=option.name, message=message, help=_type_help(option, value))
    wrong = _bounds(option, value)
    if wrong is None:
        return value, None
    help = None
    if option.choices is not None and isinstance(value, str):
        from anyany.errors.suggest import did_you_mean

        help = did_you_mean(value, [c for c in option.choices if isinstance(c, str)])
    return None, OptionIssue(option=option.name, message=f"option `{option.name}` {wrong}", help=help)


def _type_help(option: Option, value: Any) -> str | None:
    from anyany.errors.suggest import did_you_mean

    literals = [a for a in typing.get_args(option.type) if isinstance(a, str)]
    if isinstance(value, str) and literals:
        near = did_you_mean(value, literals)
        if near:
            return near
    if isinstance(value, str):
        for hint in (int, float):
            try:
                number = hint(value)
                convert(number, option.type)
            except (ValueError, Misfit, OverflowError):
                continue
            return f"write the number without quotes: `{option.name}: {number}`"
        if option.type is bool and value.lower() in ("yes", "no", "on", "off", "true", "false"):
            return f"write `{option.name}: {'true' if value.lower() in ('yes', 'on', 'true') else 'false'}`"
    if isinstance(value, (str, int, float)) and typing.get_origin(option.type) in (list, tuple):
        return f"write a list: `{option.name}: [{value}]`"
    return f"give {option.takes}" + (f": {option.doc}" if option.doc else "")


def make_config(card: Card, options: Mapping[str, Any] | str | None) -> tuple[Config | None, list[OptionIssue]]:
    """The card's Config from a spec's `with:` (a mapping, or a preset's name), or everything wrong with it.

    `preset` names one of the card's presets; further options override it.
    """
    given: dict[str, Any] = {"preset": options} if isinstance(options, str) else dict(options or {})
    known = {o.name: o for o in options_of(card.config)}
    issues: list[OptionIssue] = []
    values: dict[str, Any] = {}
    if "preset" in given and "preset" not in known:
        preset = given.pop("preset")
        if isinstance(preset, str) and preset in card.presets:
            values.update(card.presets[preset])
        else:
            issues.append(_no_preset(card, preset))
    values.update(given)
    checked: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            issues.append(_unknown(card, name, list(known)))
            continue
        fine, issue = check_option(known[name], value)
        if issue is not None:
            issues.append(issue)
        checked[name] = fine
    for option in known.values():
        if option.default is REQUIRED and option.name not in checked and not issues:
            help = f"add `with: {{{option.name}: …}}`" + (f" ({option.doc})" if option.doc else "")
            issues.append(OptionIssue(option=None, message=f"option `{option.name}` ({option.type_name}) of "
                                      f"`{card.name}` must be given", help=help))  # fmt: skip
    if issues:
        return None, issues
    try:
        return card.config(**checked), []
    except (ValueError, TypeError) as error:  # a Config may check options against each other in __post_init__
        return None, [OptionIssue(option=None, message=f"options of `{card.name}`: {error}")]


def _no_preset(card: Card, preset: Any) -> OptionIssue:
    from anyany.errors.suggest import did_you_mean

    near = did_you_mean(preset, card.presets) if isinstance(preset, str) else None
    have = f"its presets are {', '.join(sorted(card.presets))}" if card.presets else "it has none"
    return OptionIssue(option="preset", message=f"`{card.name}` has no preset {_show(preset)}", help=near or have)


def _unknown(card: Card, name: Any, known: list[str]) -> OptionIssue:
    from anyany.errors.suggest import did_you_mean

    near = did_you_mean(str(name), known)
    have = f"its options are {', '.join(known)}" if known else "it has no options"
    return OptionIssue(option=str(name), message=f"`{card.name}` has no option `{name}`", help=near or have)
