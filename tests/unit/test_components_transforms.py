"""transforms/*: one value of a list, where branches meet, messages from parts, means, things end to end.

Lists arrive as rows with counts; the long way, through specs, is walked as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

import anyany
from anyany.api.torch import Audio, Context, Rows, Video
from anyany.api.v1 import Media, Message, Turn
from anyany.engine.noise import Noise
from anyany.registry import default_registry
from anyany.testing.harness import bench


def call(name: str, options: dict[str, Any], items: int, per_item: Sequence[dict[str, Any]] | None = None,
         **ports: Rows) -> list[Any]:  # fmt: skip
    """What a transform gives for each item, None where absent."""
    made = bench(default_registry().card(f"transforms/{name}"), options)
    component, method = made.build().component, next(iter(made.calls))
    ctx = Context(node="it", call=method, keys=[(i,) for i in range(items)], noise=Noise(0), options=per_item,
                  device=torch.device("cpu"), dtype=torch.float32)  # fmt: skip
    (rows,) = getattr(component, method)(ctx, **ports).values()
    return [g[0] if g else None for g in rows.groups()]


def lists(*groups: list[Any]) -> Rows:
    return Rows([v for g in groups for v in g], counts=[len(g) for g in groups])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"which": "first"}, ["a", None, "d"]),
        ({"which": "last"}, ["c", None, "d"]),
        ({}, ["c", None, "d"]),
        ({"which": "index", "index": 1}, ["b", None, None]),
        ({"which": "index", "index": -2}, ["b", None, None]),
        ({"which": "index", "index": 3}, [None, None, None]),
    ],
)
def test_pick_takes_one_value_or_none(options: dict[str, Any], expected: list[Any]) -> None:
    assert call("pick", options, 3, values=lists(["a", "b", "c"], [], ["d"])) == expected


def test_pick_takes_each_items_own_number() -> None:
    values = lists(["a", "b"], ["c", "d"])
    assert call("pick", {"which": "index"}, 2, [{"index": 1}, {}], values=values) == ["b", "c"]


def test_first_takes_what_is_present_and_a_before_b() -> None:
    a, b = Rows(["a"]), Rows(["b"])
    assert call("first", {}, 1, a=a, b=b) == ["a"]
    assert call("first", {}, 1, a=a) == ["a"]
    assert call("first", {}, 1, b=b) == ["b"]
    with pytest.raises(ValueError, match="neither"):
        call("first", {}, 1)


def test_message_joins_texts_media_and_messages_in_order() -> None:
    picture, sound = torch.zeros(3, 2, 2), Audio(torch.zeros(1, 4), 8)
    film = Video(torch.zeros(2, 3, 2, 2), 5.0)
    shot = Message(("look: ", Media(kind="image", value=picture)))
    (message,) = call("message", {}, 1, values=lists(["a", "b", shot, sound, film]))
    assert message.parts[0] == "ablook: "
    assert [p.kind for p in message.parts[1:]] == ["image", "audio", "video"]
    assert message.parts[1].value is picture


def test_message_opens_turns_in_rotation() -> None:
    (message,) = call("message", {"roles": ["user", "assistant"]}, 1, values=lists(["a", "b", "c"]))
    assert message.parts == (Turn("user"), "a", Turn("assistant"), "b", Turn("user"), "c")
    assert message.text == "c"


def test_message_puts_text_between_but_not_around() -> None:
    assert call("message", {"between": "; "}, 2, values=lists(["a", "b"], [])) == [Message(("a; b",)), Message(())]


def test_message_refuses_what_is_no_part() -> None:
    with pytest.raises(ValueError, match="cannot stand in a message"):
        call("message", {}, 1, values=lists([torch.zeros(4)]))


def test_mean_is_of_each_list() -> None:
    values = lists([torch.tensor([[1.0], [3.0]]), torch.tensor([[3.0], [5.0]])], [torch.tensor([[7.0]])])
    found = call("mean", {}, 2, values=values)
    assert [v.tolist() for v in found] == [[[2.0], [4.0]], [[7.0]]]
    with pytest.raises(ValueError, match="no mean"):
        call("mean", {}, 1, values=lists([torch.zeros(1, 2), torch.zeros(3, 2)]))
    with pytest.raises(ValueError, match="empty list"):
        call("mean", {}, 1, values=lists([]))


def test_concatenate_puts_texts_and_features_end_to_end() -> None:
    assert call("concatenate", {"between": ", "}, 1, values=lists(["a", "b"])) == ["a, b"]
    (found,) = call("concatenate", {}, 1, values=lists([torch.zeros(2, 3), torch.ones(1, 3)]))
    assert found.tolist() == [[0.0] * 3, [0.0] * 3, [1.0] * 3]
    with pytest.raises(ValueError, match="widths"):
        call("concatenate", {}, 1, values=lists([torch.zeros(2, 3), torch.ones(1, 4)]))


def test_resize_shows_the_whole_picture_at_the_size_asked() -> None:
    halves = torch.zeros(3, 8, 20, dtype=torch.uint8)
    halves[:, :, 10:] = 255
    grey = torch.rand(1, 5, 7, generator=torch.Generator().manual_seed(0))
    found = call("resize", {"width": 12, "height": 6}, 2, image=Rows([halves, grey]))
    assert [tuple(v.shape) for v in found] == [(3, 6, 12), (1, 6, 12)]
    assert torch.equal(found[0][0, 0].round(), torch.tensor([0.0] * 6 + [1.0] * 6))
    assert all(float(v.min()) >= 0 and float(v.max()) <= 1 for v in found)
    same = call("resize", {"width": 20, "height": 8}, 1, image=Rows([halves]))
    assert torch.equal(same[0], halves / 255)


def test_resize_refuses_an_empty_picture() -> None:
    with pytest.raises(ValueError, match=r"a pixel or more, not \[3, 0, 4\]"):
        call("resize", {"width": 4}, 1, image=Rows([torch.zeros(3, 0, 4)]))


# through specs -------------------------------------------------------------------------------------------------------
def spec(inputs: dict[str, Any], nodes: dict[str, Any], outputs: dict[str, Any]) -> dict[str, Any]:
    return {"anyany": 1, "name": "t", "inputs": inputs, "nodes": nodes, "outputs": outputs}


def test_a_spec_picks_the_last_picture_of_a_message() -> None:
    node = {"use": "transforms/pick", "in": {"values": "prompt.image"}}
    pipe = anyany.load(spec({"prompt": "message"}, {"last": node}, {"picture": "last"}))
    red, blue = (torch.full((3, 4, 4), v, dtype=torch.uint8) for v in (200, 30))
    assert torch.equal(torch.as_tensor(pipe(prompt=["first ", red, " then ", blue])["picture"]), blue)
    assert pipe(prompt="no picture")["picture"] is None


def test_a_spec_joins_shots_and_a_question() -> None:
    nodes = {"ask": {"use": "transforms/message", "in": ["shots*", "query"]}}
    pipe = anyany.load(spec({"shots": "message*", "query": "message"}, nodes, {"ask": "ask"}))
    red = torch.zeros(3, 4, 4, dtype=torch.uint8)
    message = pipe(shots=[["one ", red], ["two"]], query=[" three"])["ask"]
    assert [p if isinstance(p, str) else p.kind for p in message.parts] == ["one ", "image", "two three"]


def test_a_spec_concatenates_the_texts_of_a_list() -> None:
    node = {"use": "transforms/concatenate", "with": {"between": "-"}, "in": {"values": "words"}}
    pipe = anyany.load(spec({"words": "text*"}, {"whole": node}, {"text": "whole"}))
    assert pipe(words=["a", "b", "c"])["text"] == "a-b-c"
