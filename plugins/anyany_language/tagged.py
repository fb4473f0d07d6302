"""Prompts between tags as requests for media: how a model that writes only text has other models draw, sing or film.

text with `<image>a red fox</image>` -> an open reply with a place for each, and the prompts by kind; and back, for the
history. As tool calls, but in the text itself, so that any chat model can do it (Visual ChatGPT, arXiv 2303.04671).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from anyany.api.torch import Build, Component, Context, Rows
from anyany.api.v1 import Media, Message, Place
from anyany_language.signals import reply_message


@dataclass(frozen=True)
class Prompt:
    """The words that a medium was made from, kept with it."""

    text: str


class Tagged(Component):
    """Options: `TaggedConfig`."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        kinds = "|".join(map(re.escape, config.kinds))
        self._span = re.compile(rf"<({kinds})>((?:(?!<\1>).)*?)</\1>", re.DOTALL)
        self._tag = re.compile(rf"</?({kinds})>")

    def split(self, ctx: Context, message: Rows) -> dict[str, Rows]:
        """message: B replies. reply: B open messages; text: what is not between tags; per kind: a list of prompts.

        Tags that are not closed, and those around nothing, are left out and their words stay.
        """
        limits = ctx.option("most", self.config.most)
        replies, texts = [], []
        prompts: dict[str, list[list[str]]] = {k: [[] for _ in limits] for k in self.config.kinds}
        for i, (one, most) in enumerate(zip(message.list(), limits)):
            parts = self._parts(one.text, {k: group[i] for k, group in prompts.items()}, most)
            replies.append(reply_message(parts))
            texts.append("".join(p for p in parts if isinstance(p, str)).strip())
        out = {"reply": ctx.rows(replies), "text": ctx.rows(texts)}
        return out | {kind: ctx.lists(groups) for kind, groups in prompts.items()}

    def _parts(self, text: str, prompts: dict[str, list[str]], most: dict[str, int]) -> list[str | Place]:
        parts: list[str | Place] = []
        at = 0
        for match in self._span.finditer(text):
            parts.append(self._tag.sub("", text[at : match.start()]))
            at = match.end()
            kind, said = match[1], " ".join(self._tag.sub("", match[2]).split())
            asked = prompts[kind]
            if said and len(asked) < most.get(kind, len(asked) + 1):
                parts.append(Place(kind, len(asked), Prompt(said)))
                asked.append(said)
        parts.append(self._tag.sub("", text[at:]))
        return [p for p in parts if p != ""]

    def write(self, ctx: Context, message: Rows) -> dict[str, Rows]:
        """message: B conversations -> the same, with what the assistant made as tagged words: servers take no media of
        their own."""
        return {"message": ctx.rows([self._written(m) for m in message.list()])}

    def _written(self, message: Message) -> Message:
        parts: list[Any] = []
        role = "user"
        for part in message.parts:
            role = getattr(part, "role", role)
            parts.append(self._words(part) if role == "assistant" and isinstance(part, Media) else part)
        return Message.join(parts)

    def _words(self, media: Media) -> str:
        said = media.tokens.text if isinstance(media.tokens, Prompt) else f"{media.kind} made before"
        return f"<{media.kind}>{said}</{media.kind}>"
