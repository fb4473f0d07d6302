"""`anyany chat` as a user calls it: scripts on standard input, a terminal, Ctrl-C, files, the shipped quickstart."""

from __future__ import annotations

import io
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from plugins_for_tests.engine_pipes import registry

from anyany import media
from anyany.cli import main
from anyany.cli.run_show import harmless
from anyany.media.images import meet_image

ROOT = Path(__file__).resolve().parents[2]
SPEC = """
anyany: 1
name: talker
about: A toy that says how many pictures it sees.
inputs: {prompt: message}
nodes:
  look: {use: et/look, in: prompt.image}
  think: {use: et/think, in: {message: prompt, image: look}}
  draw: {use: et/paint, in: think.image}
outputs: {reply: {fill: think.reply, image: draw}}
"""
Call = Callable[..., tuple[int, list[str], str]]


@pytest.fixture
def chat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """`anyany chat talker.yaml ...` with the given lines on standard input: (exit code, lines of stdout, stderr)."""
    monkeypatch.setattr("anyany.registry.default_registry", registry)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "talker.yaml").write_text(SPEC)
    media.save("image", torch.zeros(3, 8, 16, dtype=torch.uint8), tmp_path / "p")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")

    def run(script: str | bytes, *argv: str) -> tuple[int, list[str], str]:
        data = script.encode() if isinstance(script, str) else script
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
        code = main(["chat", "talker.yaml", "--out", "o", *argv])
        found = capsys.readouterr()
        return code, found.out.splitlines(), found.err

    return run


def test_a_script_of_turns_is_answered_line_by_line_with_files_in_any_turn(chat: Call, tmp_path: Path) -> None:
    code, out, err = chat("draw\n\nsee {file:p.png}\nhow \\\nmany\n")
    assert code == 0
    assert out == ["draw|0|", "o/turn-0/reply-0.png", "see |2|(1, 4),(2, 4)", "how ", "many|2|(1, 4),(2, 4)"]
    assert media.load("image", tmp_path / "o/turn-0/reply-0.png").shape == (3, 4, 4)
    assert err == "the conversation is in o/chat.html\n"
    assert (tmp_path / "o/chat.html").read_text("utf-8").count("data:image/png;base64,") == 2


def test_broken_files_and_wrong_braces_fail_their_turn_alone(chat: Call) -> None:
    code, out, err = chat("see {file:nope.png}\nsee {file:broken.png}\nsee {\nsee {fiel:p.png}\nhello\n")
    assert (code, out) == (1, ["hello|0|"])
    assert [line[:13] for line in err.splitlines() if line.startswith("failed")] == [
        "failed [E501]", "failed [E508]", "failed [E520]", "failed [E520]",
    ]  # fmt: skip
    assert "Traceback" not in err


def test_lines_that_are_no_text_fail_alone(chat: Call) -> None:
    code, out, err = chat(b"one\ntwo \xff\nthree\n")
    assert (code, out) == (1, ["one|0|", "three|0|"])
    assert "line 2 is not UTF-8" in err


def test_commands_save_reset_help_and_end(chat: Call, tmp_path: Path) -> None:
    script = "draw\n/save deep/talk.html\n/reset\nsee\n/sav\n/help\n//home\n/quit\nnever\n"
    code, out, err = chat(script)
    assert code == 0
    assert out == ["draw|0|", "o/turn-0/reply-0.png", "see|0|", "/home|0|"]
    assert "did you mean `/save`" in err and "/reset  forget" in err
    saved, first, second = (
        (tmp_path / p).read_text("utf-8") for p in ("deep/talk.html", "o/chat.html", "o/chat-2.html")
    )
    assert saved == first and "draw|0|" in first and "see|0|" not in first
    assert "see|0|" in second and "draw|0|" not in second


def test_a_page_that_cannot_be_written_ends_nothing(chat: Call) -> None:
    code, out, err = chat("a\n/save /proc/none/x.html\nb\n")
    assert (code, out) == (0, ["a|0|", "b|0|"])
    assert "the page cannot be written" in err and "Traceback" not in err


def test_json_prints_one_object_a_turn_and_nothing_else(chat: Call) -> None:
    code, out, _ = chat("draw\nsee {file:nope.png}\nsee {file:broken.png}\n/help\n", "--json")
    told = [json.loads(line) for line in out]
    assert code == 1
    assert [t["status"] for t in told] == ["ok", "failed", "failed"]
    assert told[0]["outputs"]["reply"]["parts"][0] == "draw|0|"
    assert "nope.png" in told[1]["error"] and "broken.png" in told[2]["error"]


def test_a_conversation_without_turns_leaves_no_page(chat: Call, tmp_path: Path) -> None:
    assert chat("\n/quit\n") == (0, [], "")
    assert not (tmp_path / "o/chat.html").exists()


# a terminal -----------------------------------------------------------------------------------------------
SLOW = """
import sys, time
sys.path.insert(0, {tests!r})
from anyany.api.v1 import Message
from plugins_for_tests import engine_toys
from anyany.registry import default_registry
class Slow(engine_toys.Plain):
    def run(self, ctx, message, image=None):
        text = ""
        for i in range(600 if "long" in message[0].text else 3):
            ctx.check()
            text += f"w{{i}} "
            ctx.emit(0, f"w{{i}} ")
            time.sleep(0.1 if "long" in message[0].text else 0)
        turns = len(message[0].turns())
        text += f"after {{turns}}"
        ctx.emit(0, f"after {{turns}}")
        return {{"reply": ctx.rows([Message((text,))]), "text": ctx.rows([text]), "image": ctx.lists([[]])}}
engine_toys.Think = Slow
default_registry().add("et", engine_toys)
from anyany.cli import main
sys.exit(main(sys.argv[1:]))
"""


class Terminal:
    """A process on a terminal of its own."""

    def __init__(self, command: list[str], folder: Path) -> None:
        import pty

        self.master, slave = pty.openpty()
        env = {**os.environ, "TERM": "dumb", "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(command, cwd=folder, stdin=slave, stdout=slave, stderr=slave, env=env,
                                        start_new_session=True, preexec_fn=_controlling)  # fmt: skip
        os.close(slave)
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def until(self, words: str, seconds: float = 60.0) -> str:
        """What was printed up to `words`, which must come."""
        end = time.monotonic() + seconds
        while words not in self.seen:
            assert time.monotonic() < end, f"{words!r} never came; seen: {self.seen!r}"
            if select.select([self.master], [], [], 0.2)[0]:
                self.seen += os.read(self.master, 65536).decode()
        before, _, self.seen = self.seen.partition(words)
        return before + words


def _controlling() -> None:
    """Make the standard input the controlling terminal, so that Ctrl-C reaches the process."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    (tmp_path / "talker.yaml").write_text(SPEC)
    code = SLOW.format(tests=str(ROOT / "tests"))
    made = Terminal([sys.executable, "-c", code, "chat", "talker.yaml", "--out", "o"], tmp_path)
    yield made
    if made.process.poll() is None:
        made.process.kill()
    made.process.wait()
    os.close(made.master)


def test_in_a_terminal_text_streams_once_and_ctrl_c_stops_the_reply_but_not_the_chat(terminal: Terminal) -> None:
    terminal.until("> ")
    terminal.type("short\r")
    answer = terminal.until("> ")
    assert answer.count("w0 w1 w2 after 1") == 1
    terminal.type("a long one\r")
    terminal.until("w3 ")  # it is streaming: far from its end
    terminal.type("\x03")
    assert "after" not in terminal.until("the turn is forgotten")
    terminal.until("> ")
    time.sleep(1)  # the prompt stands a moment before its line is waited for; no hand is that fast
    terminal.type("\x03")
    terminal.until("Ctrl-D or /quit ends")
    terminal.type("short\r")
    assert "w2 after 3" in terminal.until("after 3")  # user, assistant, user: the stopped turn is not among them
    terminal.until("> ")
    terminal.type("/quit\r")
    terminal.until("the conversation is in o/chat.html")
    assert terminal.process.wait(timeout=30) == 0


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_terminal_that_is_closed_leaves_the_transcript(terminal: Terminal, tmp_path: Path, number: int) -> None:
    terminal.until("> ")
    terminal.type("short\r")
    terminal.until("after 1")
    terminal.until("> ")
    terminal.type("a long one\r")
    terminal.until("w3 ")
    terminal.process.send_signal(number)
    assert terminal.process.wait(timeout=30) == 128 + number
    page = (tmp_path / "o/chat.html").read_text("utf-8")
    assert "after 1" in page and "a long one" not in page


def test_a_terminal_that_is_closed_between_turns_leaves_the_transcript_too(terminal: Terminal, tmp_path: Path) -> None:
    terminal.until("> ")
    terminal.type("short\r")
    terminal.until("after 1")
    terminal.until("> ")
    time.sleep(1)  # the prompt stands a moment before its line is waited for
    terminal.process.send_signal(signal.SIGHUP)
    terminal.until("the conversation is in o/chat.html")
    assert terminal.process.wait(timeout=30) == 128 + signal.SIGHUP
    assert "after 1" in (tmp_path / "o/chat.html").read_text("utf-8")


def test_what_a_model_writes_does_not_steer_the_terminal() -> None:
    assert harmless("\x1b]0;owned\x07\x9b2J\rhi\n\tön 漢") == "\ufffd]0;owned\ufffd\ufffd2J\ufffdhi\n\tön 漢"


# the shipped weights --------------------------------------------------------------------------------------
def test_with_the_shipped_weights_a_drawn_picture_is_looked_at_in_the_next_turns(tmp_path: Path) -> None:
    """Three turns: one draws, the next ones ask; the picture that was drawn goes through `look` in each of them."""
    from anyany.pipeline import load

    chat = load(ROOT / "pipelines" / "quickstart.yaml", device="cpu").chat()
    first = chat.say("draw a big red ring on the left")
    [drawn] = first.select("image")
    pixels = meet_image(drawn, {"channels": 3})
    assert pixels.shape == (3, 64, 64)
    looks = chat.pipe.recorder.node("look")
    assert looks.rows == 0
    second = chat.say("what is in the picture?")
    assert second.text and looks.rows == 1
    third = chat.say("draw a small blue cross at the top")
    assert len(third.select("image")) == 1 and looks.rows == 2
    assert [len(parts) for _, parts in chat.history.turns()] == [1] * 6
