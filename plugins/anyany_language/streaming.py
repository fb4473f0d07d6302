"""Text as it grows, for who watches: pieces of it as they come from the decode loop, without half characters."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from anyany.api.torch import Context

Watch = Callable[[int, list[int], list[bool]], None]


def streamer(
    ctx: Context, rows: Sequence[int], text_of: Callable[[Sequence[int]], str], stops: Collection[int]
) -> Watch | None:
    """What the decode loop calls a step: row i of it is row `rows[i]` of the call. None where nobody watches.

    text_of: the text of a reply as far as its ids go; what it gives for the last of them has then been told, whole.
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
            if token not in stops:
                ids[i].append(token)
            shown[i] = tell(ctx, rows[i], text_of(ids[i]), shown[i], over[i])

    return watch


def tell(ctx: Context, row: int, text: str, shown: str, over: bool) -> str:
    """Emit what is new of a row's text; what has been shown then. Half a character waits, until nothing follows."""
    if (text.endswith("\ufffd") and not over) or len(text) <= len(shown):
        return shown
    ctx.emit(row, text[len(shown) :])
    return text
