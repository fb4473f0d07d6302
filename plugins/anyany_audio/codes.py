"""Whisper's tokens: prompts, timestamps and text; a byte vocabulary where there is no checkpoint.

Ids from `first_time` on are times in steps of 20 ms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anyany.api.torch import Assets

STEP = 0.02
_BYTES = 256
_MARKS = ("<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|translate|>", "<|transcribe|>",
          "<|nospeech|>", "<|notimestamps|>")  # fmt: skip
OWN_VOCAB = _BYTES + len(_MARKS)
"""Ids of the byte vocabulary before its times."""


class Codes:
    """The vocabulary of one Whisper."""

    def __init__(self, assets: Assets) -> None:
        self._own: Any = None
        if assets.path("tokenizer.json") is not None or assets.path("vocab.json") is not None:
            from transformers import AutoTokenizer

            self._own = AutoTokenizer.from_pretrained(str(assets.folder), local_files_only=True)
        self.ids = self._table()
        self.end, self.start = self.ids["<|endoftext|>"], self.ids["<|startoftranscript|>"]
        self.plain = self.ids["<|notimestamps|>"]
        self.first_time = self.plain + 1
        names = (n for n in self.ids if n.startswith("<|") and 2 <= len(n[2:-2]) <= 3 and n[2:-2].isalpha())
        self.languages = {n[2:-2]: self.ids[n] for n in names}

    def _table(self) -> dict[str, int]:
        if self._own is None:
            return {name: _BYTES + i for i, name in enumerate(_MARKS)}
        known = self._own.get_vocab()
        missing = [m for m in ("<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>") if m not in known]
        if missing:
            raise ValueError(f"the tokenizer lacks {missing[0]}; it is not Whisper's")
        return {n: i for n, i in known.items() if n.startswith("<|") and n.endswith("|>")}

    def prompt(self, language: int | None, task: str, times: bool) -> list[int]:
        """What the decoder starts with. An English-only Whisper knows neither languages nor tasks."""
        ids = [self.start]
        if language is not None:
            ids += [language, self.ids[f"<|{task}|>"]]
        return ids if times else [*ids, self.plain]

    def language(self, name: str) -> int:
        """The id of a language code such as `de`. Raises ValueError with those there are."""
        if name not in self.languages:
            raise ValueError(
                f"Whisper does not know the language {name!r}; it knows {', '.join(sorted(self.languages))}"
            )
        return self.languages[name]

    def text(self, ids: Sequence[int]) -> str:
        """Text of ids; marks and times are left out."""
        kept = [i for i in ids if i < min(self.end, self.start)]
        if self._own is not None:
            return str(self._own.decode(kept))
        return bytes(kept).decode("utf-8", "replace")

    def segments(self, ids: Sequence[int], offset: float, length: float) -> tuple[list[dict[str, Any]], float]:
        """(timed pieces of text, seconds that the window settled).

        A window whose text ends in a pair of times is settled up to the last of them; any other, wholly.
        """
        found, run, begin = [], [], 0.0
        for token in ids:
            if token < self.first_time:
                run.append(token)
                continue
            at = min(length, (token - self.first_time) * STEP)
            if run:
                found.append(_span(offset + begin, offset + at, self.text(run)))
                run = []
            begin = at
        open_end = bool(run)
        if open_end:
            found.append(_span(offset + begin, offset + length, self.text(run)))
        pair = len(ids) > 1 and ids[-1] >= self.first_time and ids[-2] >= self.first_time
        settled = begin if pair and begin > 0 and not open_end else length
        return [s for s in found if s["text"].strip()], settled


def _span(start: float, end: float, text: str) -> dict[str, Any]:
    return {"start": round(start, 2), "end": round(end, 2), "text": text}
