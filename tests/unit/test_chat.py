"""Conversations in Python: what a turn sees of the turns before it, and what a failed turn leaves behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from anyany_language.chat import pieces
from plugins_for_tests.engine_pipes import pipe

from anyany import media
from anyany.chat import Chat
from anyany.cli.inline import drawn, named_terminal
from anyany.engine.failures import ItemError
from anyany.errors import CallError
from anyany.kinds.message import Media, Message, Turn
from anyany.media.errors import MediaError

TALKER = """
inputs: {prompt: message}
nodes:
  look: {use: et/look, in: prompt.image}
  think: {use: et/think, in: {message: prompt, image: look}}
  draw: {use: et/paint, in: think.image}
outputs: {reply: {fill: think.reply, image: draw}}
"""


@pytest.fixture
def chat() -> Chat:
    """A toy that says how many pictures it sees, and draws one for each `draw` it is told."""
    return pipe(TALKER).chat()


def picture(width: int) -> torch.Tensor:
    return torch.zeros(3, 8, width, dtype=torch.uint8)


def test_a_produced_picture_is_seen_in_the_next_turn_and_the_one_after(chat: Chat) -> None:
    assert chat.say("draw").text.startswith("draw|0|")
    assert chat.say("what is it?").text == "what is it?|1|(1, 4)"
    assert chat.say("and this? ", picture(16)).text == "and this? |2|(1, 4),(2, 4)"
    roles = [role for role, _ in chat.history.turns()]
    assert roles == ["user", "assistant"] * 3
    assert [len(chat.history.select(kind)) for kind in ("image", "audio")] == [2, 0]


def test_the_reply_to_a_first_turn_is_what_a_run_gives() -> None:
    talker = pipe(TALKER)
    said, ran = talker.chat().say("draw one"), talker(prompt="draw one")["reply"]
    assert [p for p in said.parts if isinstance(p, str)] == [p for p in ran.parts if isinstance(p, str)]
    assert torch.equal(said.select("image")[0], ran.select("image")[0])


def test_a_turn_that_fails_is_forgotten(chat: Chat, tmp_path: Path) -> None:
    chat.say("hello")
    before = chat.history
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    with pytest.raises(ItemError, match=r"broken\.png"):
        chat.say("see ", tmp_path / "broken.png")
    with pytest.raises(MediaError):
        chat.say("see ", tmp_path / "nowhere.png")
    with pytest.raises(MediaError, match="part 0"):
        chat.say(3.5)
    with pytest.raises(CallError, match="no turns of its own"):
        chat.say(Turn("assistant"), "I said so")
    assert chat.history is before
    assert chat.say("still there?").text == "still there?|0|"


def test_reset_forgets_what_was_said_but_not_the_system(tmp_path: Path) -> None:
    chat = pipe(TALKER).chat(system="be brief")
    chat.say("draw")
    chat.reset()
    assert chat.history == Message((Turn("system"), "be brief"))
    assert chat.say("x").text == "x|0|"


def test_the_page_needs_no_other_file_and_survives_a_file_that_went_away(chat: Chat, tmp_path: Path) -> None:
    path = Path(media.save("image", picture(8), tmp_path / "p"))
    chat.say("<b>look</b> ", path)
    chat.say("draw")
    path.unlink()
    page = chat.page()
    assert "&lt;b&gt;look&lt;/b&gt;" in page and "cannot be shown" in page
    assert page.count("data:image/png;base64,") == 1
    assert "src=" in page and 'src="http' not in page and "file:" not in page


def test_without_a_message_all_outputs_together_are_the_reply() -> None:
    chat = pipe("""
        inputs: {prompt: message, word: {kind: text, default: nothing}}
        nodes:
          think: {use: et/think, in: {message: prompt}}
          plus: {use: et/join, in: {a: think.text, b: word}}
          far: {use: et/length, in: word}
          draw: {use: et/paint, in: far}
        outputs: {each: think.image, said: plus, shown: draw}
        """).chat(word="something")
    reply = chat.say("hello")
    assert [p if isinstance(p, str) else p.kind for p in reply.parts] == ["hello|0|+something", "image"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("inputs: {t: text}\nnodes: {p: {use: et/pass, in: t}}\noutputs: {o: p}", "takes no message"),
        (
            "inputs: {m: message}\nnodes: {t: {use: et/think, in: m}, s: {use: et/split, in: t.text}}\noutputs: {o: s}",
            "nothing that can be said",
        ),
    ],
)
def test_a_spec_that_nobody_can_talk_to_is_told_as_such(body: str, words: str) -> None:
    with pytest.raises(CallError, match=words):
        pipe("\n" + body).chat()


# in the terminal ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("env", "found"),
    [
        ({"TERM": "xterm-kitty", "KITTY_WINDOW_ID": "1"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, "iterm"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, "iterm"),
        ({"TERM": "tmux-256color", "KITTY_WINDOW_ID": "1"}, ""),
        ({"TERM": "xterm-kitty", "TMUX": "/tmp/x"}, ""),
        ({"TERM": "dumb"}, ""),
        ({"TERM": "xterm-256color"}, None),
    ],
)
def test_terminals_are_known_by_their_environment(env: dict[str, str], found: str | None) -> None:
    assert named_terminal(env) == found


def unsixel(text: str) -> dict[tuple[int, int], int]:
    """(column, row) -> colour of a sixel drawing, by a reader written from the format's description alone."""
    body = text[text.index('"') : text.index("\x1b\\")]
    pixels: dict[tuple[int, int], int] = {}
    x = y = colour = at = 0

    def number(at: int) -> tuple[int, int]:
        end = at
        while end < len(body) and body[end].isdigit():
            end += 1
        return int(body[at:end]), end

    at = body.index("#")
    while at < len(body):
        char, repeat = body[at], 1
        if char == "#":
            colour, at = number(at + 1)
            if at < len(body) and body[at] == ";":
                while body[at] in ";0123456789":
                    at += 1
            continue
        if char in "$-":
            x, y, at = 0, y + 6 * (char == "-"), at + 1
            continue
        if char == "!":
            repeat, at = number(at + 1)
            char = body[at]
        for _ in range(repeat):
            for bit in range(6):
                if (ord(char) - 63) >> bit & 1:
                    pixels[x, y + bit] = colour
            x += 1
        at += 1
    return pixels


def test_sixels_draw_every_pixel_once_in_its_colour() -> None:
    image = torch.zeros(3, 9, 13, dtype=torch.uint8)
    image[0, 2:7, 3:9] = 255
    pixels = unsixel(drawn(Media(kind="image", value=image), "sixel"))
    assert set(pixels) == {(x, y) for x in range(13) for y in range(9)}
    red = {place for place, colour in pixels.items() if colour == pixels[3, 2]}
    assert red == {(x, y) for x in range(3, 9) for y in range(2, 7)}


def test_kitty_and_iterm_get_a_whole_png() -> None:
    import base64
    import io

    from PIL import Image

    noise = torch.randint(0, 256, (3, 90, 120), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    part: Any = Media(kind="image", value=noise)
    chunks = drawn(part, "kitty").strip().split("\x1b\\")[:-1]
    assert len(chunks) > 2 and all("m=1" in c.partition(";")[0] for c in chunks[:-1])
    assert "m=0" in chunks[-1].partition(";")[0]
    kitty = "".join(c.partition(";")[2] for c in chunks)
    iterm = drawn(part, "iterm").partition(":")[2].rstrip("\n\a")
    for data in (kitty, iterm):
        assert Image.open(io.BytesIO(base64.b64decode(data, validate=True))).size == (120, 90)


def test_an_order_puts_the_parts_of_a_users_turn_and_of_no_other() -> None:
    picture, sound = Media(kind="image"), Media(kind="audio")
    message = Message((picture, "what is ", sound, "it", Turn("assistant"), picture, "so"))

    def told(order: tuple[str, ...]) -> list[Any]:
        return pieces(message, None, "plain", answer=False, order=order)

    assert told(()) == [("image", 0), "what is ", ("audio", 0), "it\n", ("image", 1), "so"]
    assert told(("text", "audio")) == ["what is it", ("audio", 0), ("image", 0), "\n", ("image", 1), "so"]
    assert told(("image",))[:2] == [("image", 0), "what is "]
