"""The loop of a model that writes token by token and is not one of the decode loop's: each row by its own options.

Sampling takes counter noise, so that an item writes the same alone and in a batch. Suffixes: B rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from anyany.api.torch import Context, Sampler
from anyany_language.streaming import tell

Step = Callable[[torch.Tensor | None], torch.Tensor]


def write(ctx: Context, config: Any, step: Step, room: Sequence[int], stops: Sequence[int],
          decode: Callable[[list[int]], str]) -> list[list[int]]:  # fmt: skip
    """The ids of each row, its stop token left out: at most `room` of them.

    step: logits [B,V] after the tokens [B] just chosen, or after the prompts (None). The config has `temperature`,
    `top_k` and `top_p`, which an item may set for itself. Text is streamed as it grows, without half characters.
    """
    wanted = [ctx.option(name, getattr(config, name)) for name in ("temperature", "top_k", "top_p")]
    sampler = Sampler.of(*wanted, ctx.noise_words())
    ids: list[list[int]] = [[] for _ in room]
    over = [n <= 0 for n in room]
    shown = [""] * len(room)
    token_B: torch.Tensor | None = None
    for count in range(max(room, default=0)):
        if all(over):
            break
        ctx.check()
        token_B = sampler.pick(step(token_B), count)
        for i, token in enumerate(token_B.tolist()):
            if over[i]:
                continue
            if token not in stops:
                ids[i].append(token)
            over[i] = token in stops or len(ids[i]) >= room[i]
            if ctx.streaming:
                shown[i] = tell(ctx, i, decode(ids[i]), shown[i], over[i])
    return ids
