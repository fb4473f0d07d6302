"""Windows: a long sound as a list of shorter ones, and where each stands in it. JoinSpans puts together what is heard.

audio: B sounds -> windows: a list of sounds each; places: [{start, end, text}] in seconds of the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from anyany.api.torch import Audio, Component, Context, Rows

SHORTEST = 0.1  # seconds: a rest that is shorter belongs to the window before it
Span = dict[str, Any]


class Windows(Component):
    """Options: `WindowsConfig`."""

    def cut(self, ctx: Context, audio: Rows) -> dict[str, Rows]:
        """Windows without any sound are left out; of a silent sound the first one stays, for who listens to judge."""
        made = [self._windows(sound) for sound in audio.list()]
        return {"windows": ctx.lists([[w for w, _ in row] for row in made]),
                "places": ctx.rows([[place for _, place in row] for row in made])}  # fmt: skip

    def _windows(self, sound: Audio) -> list[tuple[Audio, Span]]:
        rate, length = sound.rate, sound.samples.shape[-1]
        wide = round(self.config.seconds * rate)
        step = max(1, round((self.config.seconds - self.config.overlap) * rate))
        found = []
        for start in range(0, max(length, 1), step):
            end = min(start + wide, length)
            last = length - (start + step) < SHORTEST * rate or end == length
            end = length if last else end
            place = {"start": start / rate, "end": end / rate, "text": ""}
            found.append((Audio(sound.samples[..., start:end], rate), place))
            if last:
                break
        return [w for w in found if bool(w[0].samples.any())] or found[:1]


class JoinSpans(Component):
    """No options."""

    def join(self, ctx: Context, spans: Rows, places: Rows) -> dict[str, Rows]:
        """spans: a list of timed texts for each window; places: where the windows stand. spans: all in time of the
        whole; text: the same without times. Where windows overlap, the first half of the overlap is the earlier's.

        Raises ValueError where there are not as many lists as places.
        """
        joined = [self._joined(heard, where) for heard, where in zip(spans.groups(), places.list())]
        texts = ["".join(s["text"] for s in row).strip() for row in joined]
        return {"spans": ctx.rows(joined), "text": ctx.rows(texts)}

    def _joined(self, heard: Sequence[Sequence[Span]], places: Sequence[Span]) -> list[Span]:
        if len(heard) != len(places):
            raise ValueError(f"spans of {len(heard)} windows, but places of {len(places)}")
        ends = [(a["end"] + b["start"]) / 2 for a, b in pairwise(places)]
        found: list[Span] = []
        for window, place, first, last in zip(heard, places, [float("-inf"), *ends], [*ends, float("inf")]):
            for span in window:
                start, end = span["start"] + place["start"], span["end"] + place["start"]
                if first <= (start + end) / 2 < last:
                    found.append({**span, "start": round(start, 2), "end": round(end, 2)})
        return found

    def example_rows(self, call: str, rows: Sequence[int], making: Any) -> dict[str, Rows]:
        """Rows for tests: one or two windows of two seconds."""
        counts = [1 + row % 2 for row in rows]
        places = [[{"start": 2.0 * i, "end": 2.0 * i + 2, "text": ""} for i in range(n)] for n in counts]
        heard = [[{"start": 0.5, "end": 1.0, "text": f" part {i}"}] for n in counts for i in range(n)]
        return {"spans": Rows(heard, counts=counts), "places": Rows(places)}
