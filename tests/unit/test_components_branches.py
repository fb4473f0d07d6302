"""Routing by label, sounds in windows: element by element through a whole spec, and what their parts give alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch

from anyany import pipeline
from anyany.api.torch import Audio, Rows
from anyany.api.v1 import Media, Message
from anyany.registry import default_registry
from anyany.registry.options import make_config
from anyany.testing.harness import bench, call

TINY = {"weights": "random:0", "with": "tiny"}


def component(name: str, **options: Any) -> Any:
    return bench(default_registry().card(f"transforms/{name}"), options).build()


# route ---------------------------------------------------------------------------------------------------------------
def routed(to: list[str], labels: list[str], **options: Any) -> dict[str, list[list[Any]]]:
    rows = range(len(labels))
    given = {"value": Rows([f"v{i}" for i in rows]), "label": Rows(labels)}
    found = call(component("route", to=to, **options), "route", given, list(rows))
    return {name: out.groups() for name, out in found.items()}


def test_a_value_goes_where_its_label_says_and_is_absent_elsewhere() -> None:
    found = routed(["chart", "photo"], ["photo", "chart", "Photo "])
    assert found == {"chart": [[], ["v1"], []], "photo": [["v0"], [], ["v2"]]}


def test_other_labels_go_where_otherwise_says_or_are_told() -> None:
    assert routed(["chart", "rest"], ["cat", "chart"], otherwise="rest") == {
        "chart": [[], ["v1"]],
        "rest": [["v0"], []],
    }
    with pytest.raises(ValueError, match="'cat' is none of chart, photo"):
        routed(["chart", "photo"], ["cat"])


@pytest.mark.parametrize(("options", "said"), [
    ({"to": []}, "names the outputs"), ({"to": ["a", "a"]}, "each once"), ({"to": ["two words"]}, "letters"),
    ({"to": ["a"], "otherwise": "b"}, "one of a"), ({}, "to"),
])  # fmt: skip
def test_outputs_that_cannot_be_are_refused_by_check(options: dict[str, Any], said: str) -> None:
    config, issues = make_config(default_registry().card("transforms/route"), options)
    assert config is None and said in issues[0].message


def test_each_picture_of_a_message_takes_its_own_way() -> None:
    spec = {
        "anyany": 1, "name": "route-by-class", "inputs": {"prompt": "message"},
        "nodes": {
            "sort": {"use": "vision/classify", "in": "prompt.image", "weights": "random:0",
                     "with": {"preset": "tiny", "names": ["chart", "photo"]}},
            "split": {"use": "transforms/route", "with": {"to": ["chart", "photo"]},
                      "in": {"value": "prompt.image", "label": "sort"}},
            "a": {"use": "vision/clip", "in": "split.chart", **TINY},
            "b": {"use": "vision/dino", "in": "split.photo", "weights": "random:0",
                  "with": {"preset": "tiny", "resolution": 21}},
            "either": {"use": "transforms/first", "in": {"a": "a.patches", "b": "b.patches"}},
            "see": {"use": "adapters/mlp", "in": "either", "weights": "random:0", "with": {"preset": "tiny"}},
            "think": {"use": "language/causal-lm", "in": {"message": "prompt", "image": "see"}, **TINY},
        },
        "outputs": {"text": "think.text", "labels": "sort", "seen": "either"},
    }  # fmt: skip
    generator = torch.Generator().manual_seed(3)
    pictures = [torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8, generator=generator) for _ in range(6)]
    pictures += [torch.zeros(3, 32, 32, dtype=torch.uint8), torch.full((3, 32, 32), 255, dtype=torch.uint8)]
    message = Message((*(Media(kind="image", value=p) for p in pictures), "what?"))
    found = pipeline.load(spec)(prompt=message)
    assert set(found["labels"]) == {"chart", "photo"}
    places = {"chart": 16, "photo": 9}  # patches that each encoder gives
    assert [len(seen) for seen in found["seen"]] == [places[label] for label in found["labels"]]
    assert isinstance(found["text"], str) and len(found["seen"]) == 8


# windows -------------------------------------------------------------------------------------------------------------
def sound(seconds: float, rate: int = 100) -> Audio:
    return Audio(torch.arange(1, round(seconds * rate) + 1).float()[None], rate)


def cut(audio: Audio, **options: Any) -> tuple[list[Audio], list[dict[str, Any]]]:
    found = call(component("windows", **options), "cut", {"audio": Rows([audio])}, [0])
    return found["windows"].groups()[0], found["places"][0]


@pytest.mark.parametrize(("seconds", "options", "lengths"), [
    (2.5, {"seconds": 1.0}, [1.0, 1.0, 0.5]), (2.0, {"seconds": 1.0}, [1.0, 1.0]), (0.4, {"seconds": 1.0}, [0.4]),
    (2.05, {"seconds": 1.0}, [1.0, 1.05]), (2.5, {"seconds": 1.0, "overlap": 0.5}, [1.0] * 4),
])  # fmt: skip
def test_windows_cover_the_sound_and_a_tiny_rest_joins_the_last(
    seconds: float, options: dict[str, float], lengths: list[float]
) -> None:
    whole = sound(seconds)
    windows, places = cut(whole, **options)
    assert [w.samples.shape[-1] / w.rate for w in windows] == lengths
    for window, place in zip(windows, places):
        start, end = round(place["start"] * 100), round(place["end"] * 100)
        assert torch.equal(window.samples, whole.samples[:, start:end])
    assert places[0]["start"] == 0 and places[-1]["end"] == seconds


def test_silent_windows_are_left_out_but_a_silent_sound_keeps_one() -> None:
    samples = torch.ones(1, 300)
    samples[:, 100:200] = 0
    _, places = cut(Audio(samples, 100), seconds=1.0)
    assert [p["start"] for p in places] == [0.0, 2.0]
    assert len(cut(Audio(torch.zeros(1, 300), 100), seconds=1.0)[0]) == 1


def heard(*windows: list[tuple[float, float, str]], at: list[tuple[float, float]]) -> Any:
    spans = [[{"start": a, "end": b, "text": t} for a, b, t in window] for window in windows]
    places = [{"start": a, "end": b, "text": ""} for a, b in at]
    given = {"spans": Rows(spans, counts=[len(spans)]), "places": Rows([places])}
    return call(component("join-spans"), "join", given, [0])


def test_times_become_those_of_the_whole() -> None:
    found = heard([(0.0, 1.0, " one")], [(0.5, 1.5, " two")], at=[(0, 2), (2, 4)])
    assert found["spans"][0] == [{"start": 0.0, "end": 1.0, "text": " one"}, {"start": 2.5, "end": 3.5, "text": " two"}]
    assert found["text"][0] == "one two"


def test_what_two_overlapping_windows_heard_is_said_once() -> None:
    found = heard([(0, 2, " a"), (2.1, 2.7, " b"), (3.2, 3.6, " c")], [(0.1, 0.7, " b"), (1.2, 1.6, " c")],
                  at=[(0, 4), (2, 6)])  # fmt: skip
    assert found["text"][0] == "a b c"
    assert [s["start"] for s in found["spans"][0]] == [0, 2.1, 3.2]


def test_spans_without_a_place_are_an_error() -> None:
    with pytest.raises(ValueError, match="spans of 2 windows, but places of 1"):
        heard([], [], at=[(0, 2)])


def test_a_sound_of_another_rate_is_heard_in_windows_by_a_whole_spec(tmp_path: Path) -> None:
    spec = {
        "anyany": 1, "name": "whisper-windows", "inputs": {"speech": "audio*"},
        "nodes": {
            "cut": {"use": "transforms/windows", "with": {"seconds": 1.5}, "in": "speech"},
            "hear": {"use": "audio/whisper", "in": "cut", **TINY},
            "join": {"use": "transforms/join-spans", "in": {"spans": "hear.spans", "places": "cut.places"}},
        },
        "outputs": {"text": "join.text", "times": "join"},
    }  # fmt: skip
    files = []
    for i, seconds in enumerate((4.0, 1.0)):
        files.append(tmp_path / f"{i}.wav")
        soundfile.write(files[-1], torch.sin(torch.arange(round(44100 * seconds)) * 0.05).numpy(), 44100)
    found = pipeline.load(spec)(speech=[str(f) for f in files])
    assert len(found["text"]) == 2
    for spans, seconds in zip(found["times"], (4.0, 1.0)):
        assert all(0 <= s["start"] <= s["end"] <= seconds + 0.01 for s in spans)
    assert any(s["start"] >= 1.5 for s in found["times"][0])
