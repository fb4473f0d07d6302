"""Three turns in which what was produced is asked about in the next: by signals to decoders, and as one stream."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from anyany_language.chat import pieces

from anyany.chat import Chat
from anyany.kinds.message import Media, Message, Turn
from anyany.pipeline import load

ROOT = Path(__file__).resolve().parents[2]
SCENE = ROOT / "examples/scene.png"


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def asked(kinds: list[str]) -> Mapping[str, Mapping[str, Any]]:
    """Options of a turn whose reply must hold these media: random weights ask for nothing by themselves."""
    return {"think": {"produce": kinds}}


def talk(name: str, produced: list[str]) -> tuple[Chat, list[Message]]:
    """Three turns with a spec's mini profile: one that draws, one that asks about it, one that does both."""
    chat = load(f"pipelines/{name}.yaml", profile="mini", device="cpu").chat()
    first = chat.say("Make something like ", SCENE, options=asked(produced))
    second = chat.say("What is in it?", options=asked([]))
    third = chat.say("Once more.", options=asked(["image"]))
    return chat, [first, second, third]


def test_by_signals_every_produced_medium_goes_through_its_encoder_in_the_next_turn() -> None:
    chat, (first, second, third) = talk("nextgpt", ["image", "audio", "video"])
    assert [p.kind for p in first.parts if isinstance(p, Media)] == ["image", "audio", "video"]
    assert not second.kinds() and third.kinds() == ("image",)
    rows = {name: stats.rows for name, stats in chat.pipe.recorder.nodes.items()}
    assert rows["look"] == 1 + 2 + 2  # the scene; then it and the picture that was drawn, twice
    assert (rows["hear"], rows["watch"]) == (2, 2)
    assert (rows["draw"], rows["sing"], rows["film"]) == (2, 1, 1)
    assert [role for role, _ in chat.history.turns()] == ["user", "assistant"] * 3
    assert len(chat.history.select("image")) == 3


def test_as_one_stream_the_produced_picture_is_the_very_tokens_that_were_written() -> None:
    chat, (first, second, third) = talk("one-stream", ["image"])
    [drawn] = [p for p in first.parts if isinstance(p, Media)]
    assert not second.kinds() and third.kinds() == ("image",)
    kept = [p for p in chat.history.parts if isinstance(p, Media)]
    assert kept[0].path == str(SCENE) and kept[1] == drawn and len(kept) == 3
    assert drawn.tokens is not None and kept[1].tokens is drawn.tokens


def test_what_is_asked_about_is_what_was_drawn() -> None:
    """Another picture in its place is another prompt: what the model reads comes from the pixels."""
    pipe = load(ROOT / "pipelines/quickstart.yaml", profile="mini", device="cpu", want="reply.text")
    think = pipe.components.get("think").component
    seen: list[torch.Tensor] = []
    before = think._produce
    think._produce = lambda ctx, prompts: seen.extend(prompts) or before(ctx, prompts)
    pictures = [torch.zeros(3, 64, 64), torch.ones(3, 64, 64)]
    for picture in pictures:
        drawn = Media(kind="image", value=picture)
        pipe(prompt=Message(("draw", Turn("assistant"), drawn, Turn("user"), "what is it?")))
    dark, light = seen
    assert dark.shape == light.shape
    other = [i for i in range(len(dark)) if not torch.equal(dark[i], light[i])]
    assert other and other == list(range(other[0], other[-1] + 1)) and len(other) < len(dark)


def test_a_produced_medium_stands_behind_the_signals_that_it_came_of() -> None:
    class Plain:
        chat_template = None

    history = Message(("draw ", Media(kind="image", path="a.png"), Turn("assistant"), Media(kind="image", path="b.png"),
                       Turn("user"), "why?"))  # fmt: skip
    signals = {"image": ["[IMG0]", "[IMG1]"]}
    again = pieces(history, Plain(), "plain", signals=signals, seen=("image",))
    assert again == ["draw ", ("image", 0), "\n[IMG0][IMG1]", ("image", 1), "\nwhy?"]
    assert pieces(history, Plain(), "plain", signals=signals) == ["draw ", ("image", 0), "\n[IMG0][IMG1]\nwhy?"]
