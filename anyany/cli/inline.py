"""Pictures drawn inside a terminal: kitty's graphics protocol, iTerm2's inline images, sixels. Elsewhere paths do.

Sources: sw.kovidgoyal.net/kitty/graphics-protocol, iterm2.com/documentation-images.html, DEC STD 070 (sixels).
"""

from __future__ import annotations

import base64
import io
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anyany.kinds.message import Media

PROTOCOLS = ("kitty", "iterm", "sixel")
SIDE = 384
"""Longest side of a drawn picture in pixels."""
CHUNK = 4096
ANSWER = 0.25
"""Seconds a terminal has to say whether it knows sixels."""


def protocol_of(wanted: str) -> str | None:
    """What pictures are drawn with: `wanted`, or for "auto" what this terminal understands; None for paths alone."""
    if wanted != "auto":
        return None if wanted == "none" else wanted
    if not sys.stdout.isatty():
        return None
    known = named_terminal(os.environ)
    if known is not None:
        return known or None
    return "sixel" if sys.stdin.isatty() and _says_sixel() else None


def named_terminal(env: Mapping[str, str]) -> str | None:
    """The protocol of a terminal known by its environment; "" where pictures would not pass; None where unknown."""
    term, program = env.get("TERM", ""), env.get("TERM_PROGRAM", "")
    if env.get("TMUX") or term.startswith(("screen", "tmux")) or term in ("", "dumb", "linux"):
        return ""
    if env.get("KITTY_WINDOW_ID") or term in ("xterm-kitty", "xterm-ghostty") or program == "ghostty":
        return "kitty"
    if program in ("iTerm.app", "WezTerm") or env.get("LC_TERMINAL") == "iTerm2":
        return "iterm"
    return None


def _says_sixel() -> bool:
    """Ask the terminal for its attributes (DA1); a 4 among them means sixels. False where it does not answer."""
    try:
        import select
        import termios
        import tty
    except ImportError:  # not a Unix
        return False
    try:
        handle = sys.stdin.fileno()
        before = termios.tcgetattr(handle)
    except (OSError, ValueError, termios.error):
        return False
    answer = b""
    try:
        tty.setcbreak(handle)
        os.write(sys.stdout.fileno(), b"\x1b[c")
        while not answer.endswith(b"c") and select.select([handle], [], [], ANSWER)[0]:
            answer += os.read(handle, 64)
    finally:
        termios.tcsetattr(handle, termios.TCSAFLUSH, before)
    return b"4" in answer.partition(b"?")[2].rstrip(b"c").split(b";")[1:]


def drawn(part: Media, protocol: str) -> str:
    """The characters that draw a picture or a film's first frame; "" for what has no picture."""
    from anyany.media import load
    from anyany.media.images import meet_image, pillow

    if part.kind not in ("image", "video"):
        return ""
    value = load(part.kind, part.path) if part.value is None else part.value
    image = pillow(meet_image(value.frames[0] if part.kind == "video" else value, {"channels": 3}))
    image.thumbnail((SIDE, SIDE))
    return {"kitty": _kitty, "iterm": _iterm, "sixel": _sixel}[protocol](image) + "\n"


def _png(image: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _kitty(image: Any) -> str:
    data = base64.b64encode(_png(image)).decode("ascii")
    pieces = [data[i : i + CHUNK] for i in range(0, len(data), CHUNK)]
    heads = ["f=100,a=T,"] + [""] * (len(pieces) - 1)
    return "".join(
        f"\x1b_G{head}m={int(piece is not pieces[-1])};{piece}\x1b\\" for head, piece in zip(heads, pieces)
    )  # fmt: skip


def _iterm(image: Any) -> str:
    data = _png(image)
    return f"\x1b]1337;File=inline=1;size={len(data)}:{base64.b64encode(data).decode('ascii')}\a"


def _sixel(image: Any) -> str:
    """Bands of six rows; in each, every colour that occurs draws its pixels, run lengths packed."""
    import numpy as np

    paletted = image.quantize(255)
    index_HW = np.asarray(paletted)
    colours = np.asarray(paletted.getpalette() or [], dtype=int).reshape(-1, 3) * 100 // 255
    out = [f'\x1bPq"1;1;{image.width};{image.height}']
    out += [f"#{i};2;{r};{g};{b}" for i, (r, g, b) in enumerate(colours.tolist())]
    for top in range(0, image.height, 6):
        band = index_HW[top : top + 6]
        weights = (1 << np.arange(len(band)))[:, None]
        lines = [f"#{c}" + _packed(((band == c) * weights).sum(0).tolist()) for c in np.unique(band).tolist()]
        out.append("$".join(lines) + "-")
    return "".join([*out, "\x1b\\"])


def _packed(row: list[int]) -> str:
    """One colour's columns of a band as sixel characters."""
    from itertools import groupby

    runs = ((value, len(list(same))) for value, same in groupby(row))
    return "".join(f"!{n}{chr(63 + value)}" if n > 3 else chr(63 + value) * n for value, n in runs)
