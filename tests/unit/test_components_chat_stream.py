"""A chat server's answer as it comes: pieces in order on the terminal, and what happens where a stream breaks.

The server is a real one on this machine; it answers what the question's first word asks for.
"""

from __future__ import annotations

import io
import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from anyany import pipeline
from anyany.cli import main

PIECES = ["A ", "red ", "cir", "cle, ", "漢字"]


class Chat(BaseHTTPRequestHandler):
    """Streams where it is asked to, piece by piece; `bodies` are the requests."""

    protocol_version = "HTTP/1.0"
    bodies: list[dict[str, Any]]
    gate: threading.Event

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        type(self).bodies.append(body)
        word = str(body["messages"][-1]["content"]).split()[0]
        if word == "busy" and len(type(self).bodies) == 1:
            return self._whole(503, {"error": "busy"})
        if not body.get("stream") or word == "deaf":
            return self._whole(200, {"choices": [{"message": {"content": "".join(PIECES)}}]})
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.end_headers()
        getattr(self, f"_{word}", self._well)()
        return None

    def _whole(self, status: int, value: Any) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _halved(self) -> None:
        """A fox in two halves, and a half that nothing follows."""
        self._say(["a \ud83e", "\udd8a b\udfff"])
        self._event("[DONE]")

    def _event(self, value: Any) -> None:
        self.wfile.write(f"data: {value if isinstance(value, str) else json.dumps(value)}\n\n".encode())
        self.wfile.flush()

    def _say(self, pieces: list[str]) -> None:
        for piece in pieces:
            self._event({"choices": [{"delta": {"content": piece}}]})

    def _well(self) -> None:
        self.wfile.write(b": keep-alive\n\n")
        self._event({"choices": [{"delta": {"role": "assistant"}}]})
        self._say(PIECES[:2])
        type(self).gate.wait(5)  # the rest comes only when the first pieces have been seen
        self._say(PIECES[2:])
        self._event({"choices": [], "usage": {"total_tokens": 9}})
        self._event("[DONE]")

    def _unmarked(self) -> None:
        self._say(PIECES)
        self._event({"choices": [{"delta": {}, "finish_reason": "stop"}]})

    def _broken(self) -> None:
        self._say(PIECES[:2])

    def _failing(self) -> None:
        self._say(PIECES[:1])
        self._event({"error": {"message": "out of memory"}})

    def _garbled(self) -> None:
        self._event("{not json")

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    Chat.bodies, Chat.gate = [], threading.Event()
    running = ThreadingHTTPServer(("127.0.0.1", 0), Chat)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}/v1"
    running.shutdown()
    running.server_close()


def spec(url: str, **options: Any) -> dict[str, Any]:
    think = {"use": "language/openai-chat", "in": "prompt", "with": {"url": url, "wait": 0.0, "retries": 1, **options}}
    return {"anyany": 1, "name": "remote", "inputs": {"prompt": "message"}, "nodes": {"think": think},
            "outputs": {"text": "think.text"}}  # fmt: skip


def watched(url: str, question: str, **options: Any) -> tuple[Any, list[str]]:
    """(the result, the pieces told); the gate opens at the second piece."""
    told: list[str] = []

    def emit(item: str, node: str, text: str) -> None:
        told.append(text)
        if len(told) == 2:
            Chat.gate.set()

    pipe = pipeline.load(spec(url, **options))
    (result,) = pipe.run([pipe.item({"prompt": question}, "0")], emit=emit)
    return result, told


def test_pieces_are_told_while_the_rest_is_still_to_come(server: str) -> None:
    result, told = watched(server, "well then")
    assert told == PIECES and result.outputs["text"] == "".join(PIECES)
    assert Chat.bodies[0]["stream"] is True


def test_nothing_is_streamed_where_nobody_watches(server: str) -> None:
    assert pipeline.load(spec(server))(prompt="well")["text"] == "".join(PIECES)
    assert "stream" not in Chat.bodies[0]


@pytest.mark.parametrize(("question", "options"), [("deaf", {}), ("well", {"stream": False})], ids=["server", "option"])
def test_a_server_that_does_not_stream_is_told_whole(server: str, question: str, options: dict[str, Any]) -> None:
    result, told = watched(server, question, **options)
    assert told == ["".join(PIECES)] and result.outputs["text"] == told[0]


def test_an_answer_that_says_it_is_complete_needs_no_last_mark(server: str) -> None:
    assert watched(server, "unmarked")[0].outputs["text"] == "".join(PIECES)


def test_a_busy_server_is_asked_again_before_anything_was_told(server: str) -> None:
    Chat.gate.set()
    result, told = watched(server, "busy")
    assert result.outputs["text"] == "".join(PIECES) and told == PIECES and len(Chat.bodies) == 2


def test_halves_of_characters_are_joined_and_lone_ones_marked(server: str) -> None:
    result, told = watched(server, "halved")
    assert result.outputs["text"] == "a \U0001f98a b\ufffd"
    assert "".join(told).isprintable(), "what is told can be written to any terminal"


@pytest.mark.parametrize(("question", "said"), [
    ("broken", "broke off after 6 characters"), ("failing", "out of memory"), ("garbled", "no event of a chat"),
])  # fmt: skip
def test_a_stream_that_breaks_is_the_items_error_and_is_not_asked_again(server: str, question: str, said: str) -> None:
    result, _ = watched(server, question)
    assert result.status == "failed" and said in str(result.error) and len(Chat.bodies) == 1


class Terminal(io.StringIO):
    """Takes text as a terminal does; opens the gate when it has the second piece."""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if "red" in text:
            Chat.gate.set()
        return super().write(text)


def test_words_appear_on_the_terminal_once(server: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import yaml

    file, screen = tmp_path / "remote.yaml", Terminal()
    file.write_text(yaml.safe_dump(spec(server), sort_keys=False))
    monkeypatch.setattr(sys, "stdout", screen)
    assert main(["run", str(file), "--in", "prompt=well", "--out", str(tmp_path / "out")]) == 0
    assert screen.getvalue().count("A red circle, 漢字") == 1
