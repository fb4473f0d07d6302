"""One request to a chat server: the answer whole, or piece by piece as server-sent events. The standard library's HTTP.

Events are lines `data: {…}` that each hold a piece in choices[0].delta.content; `data: [DONE]` is the last.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Answer:
    """status: the server's, 0 where nobody answers. text: the reply for 200, else what was said. wait: seconds that
    the server asks to wait. begun: pieces had come before it failed, so that asking again would say them twice."""

    status: int
    text: str
    wait: float | None = None
    begun: bool = False


def post(url: str, body: Mapping[str, Any], key: str | None, timeout: float,
         tell: Callable[[str], None] | None = None) -> Answer:  # fmt: skip
    """Ask once. With `tell` the answer is asked for as a stream, and each piece told; a server that does not stream
    tells it whole. Raises ValueError for an answer that is no chat completion."""
    import urllib.error
    import urllib.request

    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    sent = json.dumps(dict(body) | ({"stream": True} if tell is not None else {})).encode()
    request = urllib.request.Request(f"{url.rstrip('/')}/chat/completions", sent, headers, method="POST")
    pieces: list[str] = []
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            if tell is not None and "event-stream" in answer.headers.get("Content-Type", ""):
                return _streamed(answer, pieces, tell)
            text = text_of(answer.read().decode("utf-8", "replace"))
            if tell is not None:
                tell(text)
            return Answer(status=200, text=text)
    except urllib.error.HTTPError as error:
        asked = error.headers.get("Retry-After", "")
        wait = float(asked) if asked.replace(".", "", 1).isdigit() else None
        return Answer(status=int(error.code), text=error.read().decode("utf-8", "replace"), wait=wait)
    except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
        return Answer(status=0, text=str(getattr(error, "reason", error)) or type(error).__name__, begun=bool(pieces))


def _streamed(answer: Any, pieces: list[str], tell: Callable[[str], None]) -> Answer:
    over = False
    for line in answer:
        name, _, data = line.decode("utf-8", "replace").strip().partition(":")
        if name != "data":  # empty lines, comments that keep the line open, names of events
            continue
        if data.strip() == "[DONE]":
            over = True
            break
        piece, ended = _piece(data)
        over = over or ended
        if piece:
            pieces.append(piece)
            tell(whole(piece))
    if over:
        return Answer(status=200, text=whole("".join(pieces)))
    return Answer(status=0, text=f"the answer broke off after {len(''.join(pieces))} characters", begun=bool(pieces))


def _piece(data: str) -> tuple[str, bool]:
    """(the piece of text that an event holds, whether it says that the answer is complete)."""
    try:
        event = json.loads(data)
        if event.get("error"):
            raise ValueError(f"the server broke off: {_said(event['error'])}")
        choice = (event.get("choices") or [{}])[0]
        return str((choice.get("delta") or {}).get("content") or ""), bool(choice.get("finish_reason"))
    except (json.JSONDecodeError, LookupError, TypeError, AttributeError):
        raise ValueError(f"the server sent no event of a chat completion: {' '.join(data.split())[:200]}") from None


def _said(error: Any) -> str:
    return str(error.get("message", error) if isinstance(error, dict) else error)[:300]


def text_of(answer: str) -> str:
    """The reply's text of a whole completion. Raises ValueError where the server sends something else."""
    try:
        content = json.loads(answer)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError):
        raise ValueError(f"the server sent no chat completion: {' '.join(answer.split())[:200]}") from None
    if isinstance(content, list):
        content = "".join(p.get("text", "") for p in content if isinstance(p, dict))
    return whole(str(content or ""))


def whole(text: str) -> str:
    """Text as files and tokenizers take it: halves of characters, which JSON may spell alone, are joined or marked."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
