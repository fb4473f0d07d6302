"""The checker's rules, one at a time, on small specs: what is accepted, and what the graph then says.

What is refused, and in which words, is in tests/specs_bad.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from plugins_for_tests import toy

from anyany.cli import main
from anyany.errors import SpecError
from anyany.spec.check import Checked, check_dict, check_file, check_text
from anyany.spec.graph import Graph

CARDS = toy.registry()


def check(nodes: dict[str, Any], outputs: Any, inputs: dict[str, Any], **more: Any) -> Checked:
    options = {k: more.pop(k) for k in ("profile", "sets", "folder") if k in more}
    spec = {"anyany": 1, "inputs": inputs, "nodes": nodes, "outputs": outputs, **more}
    return check_dict(spec, registry=CARDS, **options)


def graph(nodes: dict[str, Any], outputs: Any, inputs: dict[str, Any], **more: Any) -> Graph:
    return check(nodes, outputs, inputs, **more).expect()


def codes(checked: Checked) -> list[str]:
    return [p.code for p in checked.problems]


def look(feed: str = "photo", **more: Any) -> dict[str, Any]:
    return {"use": "toy/look", "weights": "random:0", "in": feed, **more}


# lists ------------------------------------------------------------------------------------------------------------
def test_the_short_form_maps_and_warns_where_the_long_form_gathers() -> None:
    nodes = {"a": {"use": "toy/join", "in": "texts"}, "b": {"use": "toy/join", "in": {"texts": "texts"}}}
    checked = check(nodes, {"a": "a", "b": "b"}, {"texts": "text*"})
    found = checked.expect().nodes
    assert codes(checked) == ["W301"]
    assert (found["a"].edges["texts"].mode, found["a"].stack) == ("one", ("texts",))
    assert (found["b"].edges["texts"].mode, found["b"].stack) == ("gather", ())


def test_one_value_into_a_list_port_is_a_list_of_one_without_a_warning() -> None:
    checked = check({"a": {"use": "toy/join", "in": "t"}}, {"a": "a"}, {"t": "text"})
    assert codes(checked) == []
    assert checked.expect().nodes["a"].edges["texts"].mode == "one"


def test_a_list_output_is_a_new_list_and_a_tied_one_keeps_its_identity() -> None:
    nodes = {
        "words": {"use": "toy/words", "in": "texts"},
        "mark": {"use": "toy/mark", "in": {"values": "words"}},
        "pair": {"use": "toy/two", "in": {"a": "words", "b": "mark"}},
    }
    found = graph(nodes, {"o": "pair"}, {"texts": "text*"}).nodes
    assert found["words"].gives["words"].stack == ("texts", "words.words")
    assert found["mark"].gives["values"].stack == ("texts", "words.words")
    assert found["pair"].stack == ("texts", "words.words")


def test_a_bracket_of_an_output_is_a_list_named_after_it() -> None:
    found = graph({"up": {"use": "toy/upper", "in": "texts"}}, {"all": ["up", "t"]}, {"texts": "text*", "t": "text"})
    assert found.outputs["all"].flow.stack == ("texts", "outputs.all")


def test_when_opens_by_element_or_by_a_list_that_is_not_empty() -> None:
    nodes = {
        "words": {"use": "toy/words", "in": "texts"},
        "by_list": {"use": "toy/upper", "in": "texts", "when": "words"},
        "by_element": {"use": "toy/upper", "in": "words", "when": "texts"},
    }
    found = graph(nodes, {"a": "by_list", "b": "by_element"}, {"texts": "text*"}).nodes
    by_list, by_element = found["by_list"].when, found["by_element"].when
    assert by_list is not None and (by_list.mode, by_list.mapped) == ("gather", ("texts",))
    assert by_element is not None and (by_element.mode, by_element.mapped) == ("map", ("texts",))
    assert found["by_list"].maybe and found["by_element"].maybe


# absence ----------------------------------------------------------------------------------------------------------
def test_a_hole_makes_a_node_absent_but_never_a_list() -> None:
    nodes = {
        "maybe": {"use": "toy/maybe", "in": "t"},
        "words": {"use": "toy/words", "in": "maybe"},
        "join": {"use": "toy/join", "in": {"texts": "words"}},
        "one": {"use": "toy/join", "in": ["maybe"]},
    }
    found = graph(nodes, {"a": "join", "b": "one"}, {"t": "text"}).nodes
    assert found["words"].maybe and not found["words"].gives["words"].maybe
    assert not found["join"].maybe and not found["one"].maybe


def test_an_input_that_may_be_absent_is_present_when_it_has_a_default() -> None:
    found = graph({"up": {"use": "toy/upper", "in": "t"}}, {"o": "up"}, {"t": {"kind": "text?", "default": "hello"}})
    assert not found.outputs["o"].flow.maybe
    assert found.inputs["t"].default == "hello"


# messages ---------------------------------------------------------------------------------------------------------
def test_text_or_a_medium_becomes_a_message_of_one_part() -> None:
    nodes = {"a": {"use": "toy/chat", "in": "photos"}, "b": {"use": "toy/chat", "in": "t"}}
    found = graph(nodes, {"a": "a", "b": "b"}, {"photos": "image*", "t": "text"}).nodes
    assert found["a"].edges["message"].wrap and found["b"].edges["message"].wrap
    assert found["a"].stack == ("photos",)


def test_places_of_several_images_are_fed_by_a_bracket_in_their_order() -> None:
    nodes = {
        "first": look("a", **{"with": {"width": 128}}),
        "rest": {"of": "first", "in": "more"},
        "think": {
            "use": "toy/think",
            "weights": "random:0",
            "in": {"message": ["a", "more*", "ask"], "image": ["first", "rest*"]},
        },
    }
    found = graph(nodes, {"o": "think.text"}, {"a": "image", "more": "image*", "ask": "text"}).nodes["think"]
    assert (found.edges["image"].mode, found.edges["image"].mapped, found.stack) == ("places", (), ())


def test_a_filled_reply_feeds_another_backbone_with_its_pictures() -> None:
    nodes = {
        "think": {"use": "toy/think", "weights": "random:0", "with": {"signals": {"image": 4}}, "in": "ask"},
        "draw": {"use": "toy/draw", "with": {"size": 8}, "in": "think.image"},
        "look": look("draw", **{"with": {"width": 128}}),
        "again": {
            "use": "toy/think",
            "weights": "random:0",
            "in": {"message": {"fill": "think.reply", "image": "draw"}, "image": "look"},
        },
    }
    found = graph(nodes, {"o": "again.text"}, {"ask": "text"})
    assert found.nodes["again"].edges["image"].mode == "places"
    assert found.nodes["again"].stack == ()


def test_kinds_that_nodes_take_from_a_message_are_in_the_graph() -> None:
    nodes = {"tile": {"use": "toy/tiles", "in": "prompt.image"}, "up": {"use": "toy/upper", "in": "prompt.text"}}
    assert graph(nodes, {"a": "tile", "b": "up"}, {"prompt": "message"}).taken == {"prompt": ("image",)}


# sizes, facets, spaces ----------------------------------------------------------------------------------------------
def test_a_width_travels_with_and_against_the_flow() -> None:
    nodes = {
        "look": look(),
        "one": {"use": "toy/map", "in": "look"},
        "two": {"use": "toy/map", "in": "one"},
        "draw": {"use": "toy/draw", "with": {"size": 8, "cond": 768}, "in": "two"},
    }
    found = graph(nodes, {"o": "draw"}, {"photo": "image"}).nodes
    assert found["one"].sizes == {"inputs": 64, "outputs": 16}  # between the two nothing tells: the default
    assert found["two"].sizes == {"inputs": 16, "outputs": 768}
    assert [a.size for a in found["two"].gives["features"].axes] == [None, 768]


def test_leading_axes_pass_through_a_component_that_does_not_name_them() -> None:
    nodes = {"look": look(), "vector": {"use": "toy/map", "in": "look.cls"}, "map": {"use": "toy/map", "in": "look"}}
    found = graph(nodes, {"a": "vector", "b": "map"}, {"photo": "image"}).nodes
    assert [a.name for a in found["vector"].gives["features"].axes] == ["E"]
    assert found["vector"].gives["features"].kinds == ("embedding",)
    assert [a.name for a in found["map"].gives["features"].axes] == ["N", "E"]


def test_an_input_medium_is_converted_by_the_loader_to_what_the_port_says() -> None:
    nodes = {"hear": {"use": "toy/hear", "in": "prompt.audio"}, "map": {"use": "toy/map", "in": "hear"}}
    found = graph(nodes, {"o": "map"}, {"prompt": "message"}).nodes
    assert found["hear"].edges["audio"].facets == {"rate": 16000}


def test_tokens_are_decoded_by_the_node_that_encoded_them() -> None:
    nodes = {
        "code": {"use": "toy/code", "weights": "random:0", "in": "photo"},
        "back": {"of": "code", "call": "decode", "in": "code"},
    }
    found = graph(nodes, {"o": "back"}, {"photo": "image"}).nodes["back"]
    assert (found.owner, found.weights) == ("code", ("random:0",))


# weights and facts --------------------------------------------------------------------------------------------------
def checkpoint(folder: Path, width: int) -> None:
    folder.mkdir()
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 4)
    (folder / "config.json").write_text(json.dumps({"hidden_size": width}))


def test_a_fact_is_read_from_the_checkpoint_beside_the_spec(tmp_path: Path) -> None:
    checkpoint(tmp_path / "reader", 48)
    nodes = {"read": {"use": "toy/read", "weights": "file:reader", "in": "t"}}
    found = graph(nodes, {"o": "read"}, {"t": "text"}, folder=str(tmp_path)).nodes["read"]
    assert found.facts == {"width": 48}
    assert found.gives["features"].axes[-1].size == 48


def test_weights_that_are_not_there_yet_are_a_note_and_their_sizes_unknown(tmp_path: Path) -> None:
    nodes = {"read": {"use": "toy/read", "weights": "file:later.safetensors", "in": "t"}}
    checked = check(nodes, {"o": "read"}, {"t": "text"}, folder=str(tmp_path))
    assert codes(checked) == []
    assert [n.code for n in checked.notes] == ["W451", "W402"]
    assert checked.expect().nodes["read"].sizes == {"width": None}


def test_a_size_that_nothing_takes_is_no_note(tmp_path: Path) -> None:
    nodes = {
        "read": {"use": "toy/read", "weights": "file:later.safetensors", "in": "t"},
        "up": {"use": "toy/upper", "in": "t", "when": "t"},
    }
    checked = check(nodes, {"o": "up"}, {"t": "text"}, folder=str(tmp_path), train={"stages": ["read"]})
    assert [n.code for n in checked.notes] == ["W451"]


def test_weights_of_the_hub_are_not_asked_for_unless_online(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    nodes = {"read": {"use": "toy/read", "weights": "hub:nobody/nothing", "in": "t"}}
    assert codes(check(nodes, {"o": "read"}, {"t": "text"})) == []


def test_a_corrupt_checkpoint_is_an_error_of_its_node(tmp_path: Path) -> None:
    checkpoint(tmp_path / "reader", 48)
    (tmp_path / "reader" / "config.json").write_text("{")
    nodes = {"read": {"use": "toy/read", "weights": "file:reader", "in": "t"}}
    checked = check(nodes, {"o": "read"}, {"t": "text"}, folder=str(tmp_path))
    assert [(p.code, p.path) for p in checked.problems] == [("E462", "nodes.read.weights")]


# profiles and settings ------------------------------------------------------------------------------------------------
PROFILES = {
    "mini": {"*": {"weights": "random:7", "with": "tiny", "device": "cpu"}},
    "own": {"*": {"dtype": "float16"}, "look": {"dtype": "bfloat16", "with": {"pool": "max"}}},
}


def profiled(profile: str | None) -> Graph:
    nodes = {"look": look(**{"with": {"width": 96, "pool": "mean"}}), "up": {"use": "toy/upper", "in": "t"}}
    return graph(nodes, {"a": "look", "b": "up"}, {"photo": "image", "t": "text"}, profiles=PROFILES, profile=profile)


def test_a_preset_of_a_profile_lies_over_the_options_of_the_node() -> None:
    config: Any = profiled("mini").nodes["look"].config
    assert (config.width, config.resolution, config.pool) == (8, 8, "mean")


def test_settings_for_all_nodes_leave_alone_what_they_do_not_fit() -> None:
    found = profiled("mini").nodes
    assert found["look"].weights == ("random:7",) and found["up"].weights == ()
    assert found["look"].placement.device == "cpu" and found["up"].placement.device == "cpu"


def test_settings_for_a_node_come_after_those_for_all() -> None:
    found = profiled("own").nodes
    assert (found["look"].placement.dtype, found["up"].placement.dtype) == ("bfloat16", "float16")
    config: Any = found["look"].config
    assert (config.width, config.pool) == (96, "max")


def test_a_profile_does_not_undo_what_the_command_line_sets() -> None:
    """Neither an option that its preset holds, nor weights or places that it gives to all nodes."""
    sets = ["nodes.look.with.width=32", "nodes.look.weights=random:3", "nodes.look.dtype=float64"]
    nodes = {"look": look(**{"with": {"width": 96, "pool": "mean"}})}
    for profile, resolution in (("mini", 8), ("own", 32)):
        found = graph(nodes, {"a": "look"}, {"photo": "image"}, profiles=PROFILES, profile=profile, sets=sets)
        config: Any = found.nodes["look"].config
        assert (config.width, config.resolution) == (32, resolution)
        assert found.nodes["look"].weights == ("random:3",) and found.nodes["look"].placement.dtype == "float64"


def test_a_wrong_value_from_the_command_line_is_shown_there_under_a_profile_too() -> None:
    nodes = {"look": look(**{"with": {"width": 96}})}
    found = check(nodes, {"a": "look"}, {"photo": "image"}, profiles=PROFILES, profile="mini",
                  sets=["nodes.look.with.width=wide"])  # fmt: skip
    (told,) = [p for p in found.problems if p.is_error]
    assert told.mark is not None and told.mark.file == "<--set>"


def test_without_a_profile_the_spec_is_as_it_stands() -> None:
    found = profiled(None)
    assert (found.profile, found.nodes["look"].weights) == (None, ("random:0",))
    assert found.nodes["look"].placement.device == "auto"


def test_a_setting_from_the_command_line_reaches_options_and_edges() -> None:
    sets = ["nodes.look.with.width=32", "outputs.extra=look.cls"]
    found = graph({"look": look()}, {"o": "look"}, {"photo": "image"}, sets=sets)
    assert found.outputs["extra"].flow.axes[0].size == 32


def test_a_wrong_setting_is_shown_where_it_was_given() -> None:
    checked = check({"look": look()}, {"o": "look"}, {"photo": "image"}, sets=["nodes.look.with.width=wide"])
    (found,) = checked.problems
    assert found.code == "E106" and found.mark is not None and found.mark.file == "<--set>"


def test_options_that_an_item_may_set_are_in_the_graph() -> None:
    nodes = {"think": {"use": "toy/think", "weights": "random:0", "in": "t"}}
    assert graph(nodes, {"o": "think.text"}, {"t": "text"}).nodes["think"].per_item == ("temperature",)


# the whole ------------------------------------------------------------------------------------------------------------
def test_order_in_the_file_means_nothing_and_the_graph_has_one() -> None:
    nodes = {
        "c": {"use": "toy/upper", "in": "b"},
        "b": {"use": "toy/upper", "in": "a"},
        "a": {"use": "toy/upper", "in": "t"},
    }
    assert graph(nodes, {"o": "c"}, {"t": "text"}).order == ("a", "b", "c")


def test_a_node_named_by_training_alone_is_not_unused() -> None:
    nodes = {
        "up": {"use": "toy/upper", "in": "t"},
        "eye": look("p"),
        "aim": {"use": "toy/score", "in": {"found": "eye", "words": "t"}},
    }
    stage = {"name": "a", "learn": ["eye"], "feed": {"t": "data.t", "p": "data.p"}, "minimise": {"aim.loss": 1.0}}
    train = {"data": {"use": "toy/records", "fields": {"t": "text", "p": "image*"}}, "stages": [stage]}
    inputs = {"t": "text", "p": "image*"}
    assert codes(check(nodes, {"o": "up"}, inputs)) == ["W101", "W101", "W102"]
    assert codes(check(nodes, {"o": "up"}, inputs, train=train)) == []


def test_without_a_graph_expect_raises_everything_that_was_found() -> None:
    with pytest.raises(SpecError, match=r"E110.*\n.*`nothing`") as caught:
        check({"up": {"use": "toy/upper", "in": "nothing"}}, {"o": "up"}, {}).expect()
    assert [p.code for p in caught.value.problems] == ["E110"]


def test_text_file_and_dict_give_the_same_graph(tmp_path: Path) -> None:
    text = "anyany: 1\nname: same\ninputs: {t: text}\nnodes: {up: {use: toy/upper, in: t}}\noutputs: {o: up}\n"
    path = tmp_path / "same.yaml"
    path.write_text(text)
    spec = {"anyany": 1, "name": "same", "inputs": {"t": "text"}, "nodes": {"up": {"use": "toy/upper", "in": "t"}}}
    found = [
        check_text(text, registry=CARDS).expect(),
        check_file(path, registry=CARDS).expect(),
        check_dict({**spec, "outputs": {"o": "up"}}, registry=CARDS).expect(),
    ]
    assert len({(g.name, tuple(g.nodes), g.outputs["o"].flow.kinds, g.order) for g in found}) == 1


# the command ----------------------------------------------------------------------------------------------------------
GOOD = "anyany: 1\ninputs: {photos: image*}\nnodes: {tile: {use: toy/tiles, in: photos}}\noutputs: {o: tile}\n"


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("anyany.registry.default_registry", lambda: CARDS, raising=False)
    path = tmp_path / "good.yaml"
    path.write_text(GOOD)
    return path


def test_the_command_says_what_is_mapped_over_what(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(spec)]) == 0
    assert capsys.readouterr().out == f"{spec}: ok, 1 node, 1 output; tile mapped over photos\n"


def test_the_command_prints_no_problem_as_an_empty_list(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(spec), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_the_command_checks_several_specs_and_fails_for_one(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = spec.with_name("bad.yaml")
    bad.write_text(GOOD.replace("toy/tiles", "toy/tils"))
    assert main(["check", str(spec), str(bad), "--format", "json"]) == 2
    (found,) = json.loads(capsys.readouterr().out)
    assert list(found) == ["code", "file", "line", "column", "path", "message", "help"]
    assert (found["code"], found["line"], found["column"], found["path"]) == ("E101", 3, 21, "nodes.tile.use")


def test_warnings_stop_only_a_strict_check(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec.write_text(GOOD.replace("inputs: {", "inputs: {spare: text, "))
    assert main(["check", str(spec)]) == 0
    assert "warning[W102]" in capsys.readouterr().out
    assert main(["check", "--strict", str(spec)]) == 2


def test_an_unknown_profile_is_told_with_those_there_are(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec.write_text(GOOD + "profiles: {small: {tile: {device: cpu}}}\n")
    assert main(["check", str(spec), "--profile", "smal"]) == 2
    assert "did you mean `small`?" in capsys.readouterr().out
