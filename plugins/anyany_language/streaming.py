"""Text as it grows, for who watches: pieces of it as they come from the decode loop, without half characters."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from anyany.api.torch import Context

Watch = Callable[[int, list[int], list[bool]], None]


def streamer(
    ctx: Context, rows: Sequence[int], decode: Callable[[Sequence[int]], str], silent: Callable[[int], bool]
) -> Watch | None:
    """What the decode loop calls a step: row i of it is row `rows[i]` of the call. None where nobody watches.

    silent: tokens that are no text.
    """
    if not ctx.streaming:
        return None
    ids: list[list[int]] = [[] for _ in rows]
    shown, ended = [""] * len(rows), [False] * len(rows)

    def watch(step: int, tokens: list[int], over: list[bool]) -> None:
        for i, token in enumerate(tokens):
            if ended[i]:
                continue
            ended[i] = over[i]
            if silent(token):
                continue
            ids[i].append(token)
            text = decode(ids[i])
            if not text.endswith("\ufffd") and len(text) > len(shown[i]):
                ctx.emit(rows[i], text[len(shown[i]) :])
                shown[i] = text

    return watch
