"""Any OpenAI-compatible chat server as a backbone (OpenAI, vLLM, llama.cpp, …): a message goes out, a reply comes back.

Text, pictures (PNG) and sound (WAV) travel inside the request; words are streamed where somebody watches. No weights;
failures of the server are the item's.
"""

from __future__ import annotations

import asyncio
import base64
import io
import os
from collections.abc import Mapping
from typing import Any

from anyany.api.torch import Audio, Build, Component, Context, Rows, to_uint8
from anyany.api.v1 import Media, Message
from anyany_language.chat_server import post

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
        answers = await asyncio.gather(*(self._ask(ctx, i, b) for i, b in enumerate(bodies)))
        if not self.config.stream:
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

    async def _ask(self, ctx: Context, row: int, body: Mapping[str, Any]) -> str:
        """The text of the answer, after as many tries as `retries` allows; told as it comes where somebody watches."""
        loop = asyncio.get_running_loop()
        key = os.environ.get(self.config.key_env) if self.config.key_env else None

        def tell(piece: str) -> None:  # called in the thread that reads
            ctx.check()
            loop.call_soon_threadsafe(ctx.emit, row, piece)

        watched = tell if ctx.streaming and self.config.stream else None
        for attempt in range(self.config.retries + 1):
            ctx.check()
            answer = await asyncio.to_thread(post, self.config.url, body, key, self.config.timeout, watched)
            if answer.status == 200:
                return answer.text
            if answer.begun or answer.status not in AGAIN or attempt == self.config.retries:
                break
            await asyncio.sleep(
                min(LONGEST_WAIT, answer.wait if answer.wait is not None else self.config.wait * 2**attempt)
            )
        said = " ".join(answer.text.split())[:300]
        where = f"{self.config.url} ({self.config.model})"
        if answer.begun:
            raise ValueError(f"{where}: {said}")
        raise ValueError(f"{where} answered {answer.status}: {said}" if answer.status
                         else f"{where} cannot be reached: {said}")  # fmt: skip


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
