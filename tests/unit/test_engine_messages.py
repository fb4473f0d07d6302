"""Messages in a run: selections, places, replies with signals, fill, wrapping, brackets, and parts nobody takes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from plugins_for_tests.engine_pipes import calls, pipe

from anyany.kinds.message import Media, Message
from anyany.pipeline import ItemError

CHAT = """
    inputs: {prompt: message}
    nodes:
      look: {use: et/look, in: prompt.image}
      think: {use: et/think, in: {message: prompt, image: look}}
      lin: {use: et/linear, weights: "random:0", in: think.image}
      draw: {use: et/paint, in: lin}
    outputs:
      reply: {fill: think.reply, image: draw}
"""


def picture(width: int = 16) -> torch.Tensor:
    """A black picture [3,8,width]."""
    return torch.zeros(3, 8, width, dtype=torch.uint8)


def test_values_reach_the_places_of_their_own_message() -> None:
    p = pipe(CHAT)
    results = list(p.map([
        {"prompt": ["a", picture(8), picture(24)]}, {"prompt": "b"}, {"prompt": [picture(16), "c"]},
    ]))  # fmt: skip
    assert [r.outputs["reply"].text for r in results] == ["a|2|(1, 4),(3, 4)", "b|0|", "c|1|(2, 4)"]
    assert calls("look") == [3]
    assert calls("think") == [3]


def test_the_backbone_decides_what_is_drawn_and_a_branch_that_nobody_needs_is_never_built() -> None:
    p = pipe(CHAT)
    assert p(prompt="only words")["reply"].parts == ("only words|0|",)
    assert calls("lin") == []
    assert set(p.components._built) == {"think"}
    reply = p(prompt="draw draw")["reply"]
    assert [type(part) for part in reply.parts] == [str, Media, Media]
    assert {"lin", "draw"} <= set(p.components._built)


def test_a_place_without_a_value_is_removed_and_the_summary_says_so() -> None:
    p = pipe("""
        inputs: {prompt: message, t: "text*"}
        nodes:
          think: {use: et/think, in: {message: prompt}}
          none: {use: et/sift, in: "prompt.text"}
          draw: {use: et/paint, in: think.image, when: none}
        outputs:
          reply: {fill: think.reply, image: draw}
          t: t
    """)
    assert p(prompt="draw x", t=[])["reply"].parts == ("draw x|0|",)
    assert p.recorder.nodes["think"].notes == {"an unfilled image place of the reply was removed": 1}


def test_files_in_a_message_are_decoded_to_the_facets_of_the_port(tmp_path: Path) -> None:
    from anyany import media

    path = media.save("image", picture(16), tmp_path / "p")
    p = pipe(CHAT)
    assert p(prompt=["see ", Path(path)])["reply"].text == "see |1|(2, 4)"


def test_want_text_keeps_what_the_text_needs_alone() -> None:
    p = pipe(CHAT, want="reply.text")
    assert p(prompt="draw")["reply"] == "draw|0|"
    assert [s.name for s in p.plan.steps] == ["look", "think"]


def test_want_image_gives_the_pictures_of_the_reply() -> None:
    p = pipe(CHAT, want=["reply.image"])
    found = p(prompt="draw draw")["reply"]
    assert [v.shape for v in found] == [(3, 4, 4), (3, 4, 4)]
    assert p(prompt="none")["reply"] == []


def test_a_part_that_no_node_takes_fails_its_item_alone() -> None:
    p = pipe(CHAT)
    results = list(p.map([{"prompt": ["hear ", {"audio": "x.wav"}]}, {"prompt": "b"}]))
    assert [r.status for r in results] == ["failed", "ok"]
    assert results[0].error is not None and results[0].error.code == "E605"
    assert "prompt" in results[0].error.message and "audio" in results[0].error.message
    assert "prompt.audio" in results[0].error.help


def test_a_file_that_cannot_be_decoded_fails_its_item_alone(tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\nnot really")
    p = pipe(CHAT)
    results = list(p.map([{"prompt": ["a", {"image": str(broken)}]}, {"prompt": ["b", picture()]}]))
    assert [r.status for r in results] == ["failed", "ok"]
    assert results[0].error is not None and "broken.png" in str(results[0].error)
    assert results[1].outputs["reply"].text == "b|1|(2, 4)"


def test_a_list_of_messages_nests_the_lists_of_their_places() -> None:
    p = pipe(CHAT.replace("prompt: message", "prompts: message*").replace("prompt.", "prompts.").replace(
        "message: prompt,", "message: prompts,"))  # fmt: skip
    replies = p(prompts=["draw", ["a", picture(8)]])["reply"]
    assert [r.text for r in replies] == ["draw|0|", "a|1|(1, 4)"]
    assert [len(r.select("image")) for r in replies] == [1, 0]


def test_a_bracket_joins_pictures_and_a_question_into_one_message_or_one_each() -> None:
    def asked(photos: str) -> str:
        image = "look*" if photos == "photos*" else "look"
        return f"""
            inputs: {{photos: image*, ask: text}}
            nodes:
              look: {{use: et/look, in: photos}}
              think: {{use: et/think, in: {{message: [{photos}, ask], image: [{image}]}}}}
            outputs: {{text: think.text}}
        """

    photos = [picture(8), picture(16)]
    assert pipe(asked("photos*"))(photos=photos, ask="q")["text"] == "q|2|(1, 4),(2, 4)"
    assert pipe(asked("photos"))(photos=photos, ask="q")["text"] == ["q|1|(1, 4)", "q|1|(2, 4)"]


def test_a_text_given_to_a_message_port_becomes_a_message() -> None:
    p = pipe("""
        inputs: {ask: text}
        nodes: {think: {use: et/think, in: {message: ask}}}
        outputs: {text: think.text}
    """)
    assert p(ask="hello")["text"] == "hello|0|"


def test_the_text_of_a_message_is_that_of_its_last_turn() -> None:
    p = pipe("""
        inputs: {prompt: message}
        nodes: {j: {use: et/join, in: {a: prompt.text}}}
        outputs: {out: j}
    """)
    assert p(prompt=["old", {"role": "assistant"}, "mid", {"role": "user"}, "new"])["out"] == "new+-"


def test_an_output_that_shows_an_input_message_is_exempt_from_being_taken() -> None:
    p = pipe("""
        inputs: {prompt: message, t: text}
        nodes: {j: {use: et/join, in: {a: t}}}
        outputs: {same: prompt, j: j}
    """)
    found = p(prompt=["x", {"audio": "nowhere.wav"}], t="t")["same"]
    assert isinstance(found, Message) and found.kinds() == ("audio",)


def test_a_node_that_reads_only_the_text_does_not_drop_a_medium_silently() -> None:
    p = pipe("""
        inputs: {prompt: message}
        nodes: {j: {use: et/join, in: {a: prompt.text}}}
        outputs: {out: j}
    """)
    with pytest.raises(ItemError, match="holds an image that no node takes"):
        p(prompt=["x", picture()])


def test_a_failed_item_is_raised_with_its_node_and_reason() -> None:
    p = pipe("""
        inputs: {t: text}
        nodes: {s: {use: et/sift, in: t}}
        outputs: {out: s}
    """)
    with pytest.raises(ItemError, match=r"E601.*s: .*not to be sifted"):
        p(t="bad!")
