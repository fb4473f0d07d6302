"""Options: presets merge, types come from annotations, bounds from `option(...)`, wrong ones are explained.

Every issue names the option, says what was found and, where it can, what to write instead.
"""

from __future__ import annotations

from typing import Any, Literal

import pytest

from anyany.api.v1 import Call, Card, Config, Port, card, option
from anyany.registry import make_config
from anyany.registry.describe import describe_card, schema_of
from anyany.registry.options import options_of, type_name


class Everything(Config):
    width: int = option(8, low=1, high=64, doc="features a token")
    rate: float = option(0.5, low=0.0, high=1.0)
    name: str = "a"
    flag: bool = False
    stem: str = option("patch", choices=("patch", "conv"))
    mode: Literal["soft", "hard"] = "soft"
    layers: int | None = None
    mean: tuple[float, ...] = (0.5,)
    pair: tuple[int, int] = (1, 2)
    stop: list[str] = option([])
    signals: dict[str, int] = option({}, per_item=True)
    size: int | tuple[int, int] = 32
    anything: Any = None


CALLS = {"run": Call(takes={"x": Port("text")}, gives={"y": Port("text")})}


def toy(config: type[Config] = Everything, **more: Any) -> Card:
    return card("toy/thing", role="transform", calls=CALLS, impl="a:B", config=config, **more)


def made(options: Any, **more: Any) -> Any:
    config, issues = make_config(toy(**more), options)
    assert issues == []
    return config


def issue(options: Any, **more: Any) -> tuple[str | None, str, str | None]:
    config, issues = make_config(toy(**more), options)
    assert config is None and len(issues) == 1
    return issues[0].option, issues[0].message, issues[0].help


@pytest.mark.parametrize(
    ("given", "name", "value"),
    [
        ({}, "width", 8),
        (None, "width", 8),
        ({"width": 3}, "width", 3),
        ({"rate": 1}, "rate", 1.0),
        ({"mean": [1, 0.5]}, "mean", (1.0, 0.5)),
        ({"pair": [3, 4]}, "pair", (3, 4)),
        ({"stop": ["a"]}, "stop", ["a"]),
        ({"signals": {"image": 4}}, "signals", {"image": 4}),
        ({"layers": None}, "layers", None),
        ({"layers": 2}, "layers", 2),
        ({"size": 7}, "size", 7),
        ({"size": [7, 9]}, "size", (7, 9)),
        ({"mode": "hard"}, "mode", "hard"),
        ({"anything": {"a": [1]}}, "anything", {"a": [1]}),
    ],
)
def test_fitting_values_are_taken_and_converted(given: Any, name: str, value: Any) -> None:
    found = getattr(made(given), name)
    assert found == value and type(found) is type(value)


def test_a_preset_is_merged_and_further_options_override_it() -> None:
    presets = {"tiny": {"width": 2, "rate": 0.25}}
    assert (made("tiny", **presets).width, made({"preset": "tiny"}, **presets).rate) == (2, 0.25)
    both = made({"preset": "tiny", "width": 5}, **presets)
    assert (both.width, both.rate) == (5, 0.25)


def test_defaults_are_not_shared_between_configs() -> None:
    made({}).stop.append("changed")
    assert made({}).stop == []


@pytest.mark.parametrize(
    ("given", "option_", "message", "help_"),
    [
        ({"widht": 3}, "widht", "`toy/thing` has no option `widht`", "did you mean `width`?"),
        ({"width": 2.5}, "width", "option `width` takes a whole number, found a number, 2.5",
         "give a whole number: features a token"),
        ({"width": "8"}, "width", 'option `width` takes a whole number, found text, "8"',
         "write the number without quotes: `width: 8`"),
        ({"rate": "1e-4"}, "rate", 'option `rate` takes a number, found text, "1e-4"',
         "write the number without quotes: `rate: 0.0001`"),
        ({"width": True}, "width", "option `width` takes a whole number, found a truth value, true",
         "give a whole number: features a token"),
        ({"width": 0}, "width", "option `width` must be at least 1, found 0", None),
        ({"width": 65}, "width", "option `width` must be at most 64, found 65", None),
        ({"rate": float("nan")}, "rate", "option `rate` must be a number, found .nan", None),
        ({"flag": "yes"}, "flag", 'option `flag` takes true or false, found text, "yes"', "write `flag: true`"),
        ({"flag": 1}, "flag", "option `flag` takes true or false, found a whole number, 1", "give true or false"),
        ({"stem": "cnov"}, "stem", 'option `stem` must be one of "patch", "conv", found "cnov"',
         "did you mean `conv`?"),
        ({"mode": "sfot"}, "mode", 'option `mode` takes "soft" or "hard", found text, "sfot"', "did you mean `soft`?"),
        ({"stop": "end"}, "stop", 'option `stop` takes a list of text, found text, "end"',
         "write a list: `stop: [end]`"),
        ({"stop": ["a", 3]}, "stop", "option `stop` takes a list of text, found a whole number, 3 (at position 1)",
         "give a list of text"),
        ({"pair": [1, 2, 3]}, "pair", "option `pair` takes a list of whole number (2 values), found a list of 3",
         "give a list of whole number (2 values)"),
        ({"signals": {"image": "4"}}, "signals",
         'option `signals` takes a mapping of whole number, found text, "4" (under `image`)',
         "give a mapping of whole number"),
        ({"name": None}, "name", "option `name` takes text, found null", "give text"),
    ],
)  # fmt: skip
def test_wrong_values_are_explained(given: Any, option_: str, message: str, help_: str | None) -> None:
    assert issue(given) == (option_, message, help_)


def test_an_unknown_preset_names_those_there_are() -> None:
    assert issue("tniy", tiny={}) == ("preset", '`toy/thing` has no preset "tniy"', "did you mean `tiny`?")
    assert issue("huge") == ("preset", '`toy/thing` has no preset "huge"', "it has none")


def test_all_wrong_options_are_told_at_once() -> None:
    config, issues = make_config(toy(), {"widht": 1, "rate": 2, "flag": 3})
    assert config is None
    assert [i.option for i in issues] == ["widht", "rate", "flag"]


class Needs(Config):
    path: str = option(doc="the folder to read")

    def __post_init__(self) -> None:
        if self.path == "/":
            raise ValueError("`path` may not be the root")


def test_an_option_without_a_default_must_be_given() -> None:
    assert issue({}, config=Needs) == (
        None, "option `path` (text) of `toy/thing` must be given", "add `with: {path: …}` (the folder to read)"
    )  # fmt: skip
    assert made({"path": "x"}, config=Needs).path == "x"


def test_a_config_may_check_its_options_against_each_other() -> None:
    assert issue({"path": "/"}, config=Needs)[1] == "options of `toy/thing`: `path` may not be the root"


def test_types_are_named_as_users_say_them() -> None:
    names = {o.name: o.type_name for o in options_of(Everything)}
    assert names["layers"] == "whole number or null"
    assert names["size"] == "whole number or list of whole number (2 values)"
    assert names["mode"] == '"soft" or "hard"'
    assert type_name(tuple[int, str]) == "list (whole number, text)"


@pytest.mark.parametrize(
    ("hint", "schema"),
    [
        (int, {"type": "integer"}),
        (float | None, {"anyOf": [{"type": "number"}, {"type": "null"}]}),
        (list[str], {"type": "array", "items": {"type": "string"}}),
        (dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
        (Literal["a", "b"], {"enum": ["a", "b"]}),
        (Any, {}),
        (int | Any, {}),
    ],
)
def test_types_become_json_schema(hint: Any, schema: dict[str, Any]) -> None:
    assert schema_of(hint) == schema


def test_a_card_that_needs_options_is_described_without_its_ports() -> None:
    told = describe_card(toy(config=Needs))
    assert told["calls"] is None and "must be given" in told["calls_error"]
    assert "default" not in told["options"][0]
