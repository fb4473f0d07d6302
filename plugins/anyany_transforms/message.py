"""Message: texts, media and messages become one message, in order.

values: a list of text, pictures [C,H,W], sounds, films and messages; message: all their parts, or a turn each.
"""

from __future__ import annotations

from typing import Any

import torch

from anyany.api.torch import Audio, Component, Context, Rows, Video
from anyany.api.v1 import Media, Message, Region, Turn


class JoinMessage(Component):
    """Options: `MessageConfig`."""

    def join(self, ctx: Context, values: Rows) -> dict[str, Rows]:
        """values: B lists. message: B messages; an empty list gives an empty one."""
        return {"message": ctx.rows([self._message(group) for group in values.groups()])}

    def _message(self, values: list[Any]) -> Message:
        roles, entries = self.config.roles, []
        for number, value in enumerate(values):
            if number and self.config.between:
                entries.append(self.config.between)
            if roles:
                entries.append(Turn(roles[number % len(roles)]))
            entries.append(_part(value))
        return Message.join(entries)


def _part(value: Any) -> Any:
    """A value as a part: what it is tells its kind. Raises ValueError for what cannot stand in a message."""
    if isinstance(value, (str, Message, Media, Region)):
        return value
    if isinstance(value, Audio):
        return Media(kind="audio", value=value)
    if isinstance(value, Video):
        return Media(kind="video", value=value)
    if isinstance(value, torch.Tensor) and value.dim() == 3:
        return Media(kind="image", value=value)
    raise ValueError(f"a {type(value).__name__} cannot stand in a message")
