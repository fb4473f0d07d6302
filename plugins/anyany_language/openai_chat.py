"""Any OpenAI-compatible chat server as a backbone (OpenAI, vLLM, llama.cpp, …): a message goes out, a reply comes back.

Text, pictures (PNG) and sound (WAV) travel inside the request. No weights; failures of the server are the item's.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
from collections.abc import Mapping
from typing import Any

from anyany.api.torch import Audio, Build, Component, Context, Rows, to_uint8
from anyany.api.v1 import Media, Message

AGAIN = (408, 409, 429, 500, 502, 503, 504)
LONGEST_WAIT = 30.0


class OpenAiChat(Component):
    """Options: `OpenAiChatConfig`. The key is read from the environment, never from the spec."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        if not config.url.startswith(("http://", "https://")):
            raise ValueError(f"url is http:// or https://, not {config.url!r}")

    async def generate(self, ctx: Context, message: Rows) -> dict[str, Rows]:
        """message: B messages. reply: B messages of text; text: B strings.

        Raises ValueError for a part that cannot be sent, and for what the server refuses.
        """
        wanted = {
            name: ctx.option(name, getattr(self.config, name)) for name in ("system", "max_new_tokens", "temperature")
        }
        bodies = [
            self._body(m, {k: v[i] for k, v in wanted.items()}) for i, m in enumerate(message.list())
        ]  # fmt: skip
        answers = await asyncio.gather(*(self._ask(ctx, b) for b in bodies))
        for i, text in enumerate(answers):
            ctx.emit(i, text)
        return {"reply": ctx.rows([Message((a,)) for a in answers]), "text": ctx.rows(list(answers))}

    def _body(self, message: Message, wanted: Mapping[str, Any]) -> dict[str, Any]:
        turns: list[dict[str, Any]] = []
        if wanted["system"]:
            turns.append({"role": "system", "content": wanted["system"]})
        for role, parts in message.turns():
            turns.append({"role": role, "content": _content(parts, role)})
        body = {"model": self.config.model, "messages": turns, "max_tokens": int(wanted["max_new_tokens"]),
                "temperature": float(wanted["temperature"])}  # fmt: skip
        return body if self.config.seed is None else body | {"seed": self.config.seed}

    async def _ask(self, ctx: Context, body: Mapping[str, Any]) -> str:
        """The text of the answer, after as many tries as `retries` allows."""
        for attempt in range(self.config.retries + 1):
            ctx.check()
            status, answer, wait = await asyncio.to_thread(self._post, body)
            if status == 200:
                return _text_of(answer)
            if status not in AGAIN or attempt == self.config.retries:
                break
            await asyncio.sleep(min(LONGEST_WAIT, wait if wait is not None else self.config.wait * 2**attempt))
        said = " ".join(answer.split())[:300]
        where = f"{self.config.url} ({self.config.model})"
        raise ValueError(f"{where} answered {status}: {said}" if status else f"{where} cannot be reached: {said}")

    def _post(self, body: Mapping[str, Any]) -> tuple[int, str, float | None]:
        """(status, or 0 where nobody answers; the answer; seconds to wait where the server says so)."""
        import urllib.error
        import urllib.request

        headers = {"Content-Type": "application/json"}
        key = os.environ.get(self.config.key_env) if self.config.key_env else None
        if key:
            headers["Authorization"] = f"Bearer {key}"
        url = f"{self.config.url.rstrip('/')}/chat/completions"
        request = urllib.request.Request(url, json.dumps(body).encode(), headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=self.config.timeout) as answer:
                return int(answer.status), answer.read().decode("utf-8", "replace"), None
        except urllib.error.HTTPError as error:
            wait = error.headers.get("Retry-After", "")
            text = error.read().decode("utf-8", "replace")
            return int(error.code), text, float(wait) if wait.replace(".", "", 1).isdigit() else None
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            return 0, str(getattr(error, "reason", error)), None


def _content(parts: Any, role: str) -> Any:
    """A turn's content: a string, or parts where it holds media."""
    if all(isinstance(p, str) for p in parts):
        return "".join(parts)
    if role != "user":
        raise ValueError(f"chat servers take media only from the user, not in a turn of the {role}")
    return [{"type": "text", "text": p} if isinstance(p, str) else _media(p) for p in parts]


def _media(part: Any) -> dict[str, Any]:
    kind = part.kind if isinstance(part, Media) else None
    if kind == "image":
        return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_png(part.content)}"}}
    if kind == "audio":
        return {"type": "input_audio", "input_audio": {"data": _wav(part.content), "format": "wav"}}
    raise ValueError(f"a chat server takes text, image and audio, not {kind or type(part).__name__}")


def _png(picture: Any) -> str:
    from PIL import Image

    out = io.BytesIO()
    if isinstance(picture, os.PathLike):  # a file that no node before this one had to decode
        with Image.open(picture) as image:
            image.convert("RGB").save(out, "PNG")
    else:
        pixels = to_uint8(picture).permute(1, 2, 0).numpy()
        Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


def _wav(sound: Audio | os.PathLike[str]) -> str:
    import soundfile

    out = io.BytesIO()
    if isinstance(sound, os.PathLike):
        samples, rate = soundfile.read(sound)
    else:
        samples, rate = sound.samples.cpu().numpy().T, sound.rate
    soundfile.write(out, samples, rate, format="WAV", subtype="PCM_16")
    return base64.b64encode(out.getvalue()).decode()


def _text_of(answer: str) -> str:
    """The reply's text. Raises ValueError where the server sends something else."""
    try:
        content = json.loads(answer)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError):
        raise ValueError(f"the server sent no chat completion: {' '.join(answer.split())[:200]}") from None
    if isinstance(content, list):
        content = "".join(p.get("text", "") for p in content if isinstance(p, dict))
    return str(content or "")
