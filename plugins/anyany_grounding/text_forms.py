"""How models write coordinates: Shikra's decimals, its variants, and Ferret's thousandths; writing and reading.

Shikra: Chen et al. 2023, arXiv 2306.15195. Ferret: You et al. 2023, arXiv 2310.07704. Fractions 0...1, x before y.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

DIGIT = r"\d(?:\.\d*)?"
"""Shikra reads one digit and optional decimals; nothing else is a coordinate."""
Row = tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Form:
    """A way to write coordinates. Brackets around a mention, commas within a box, semicolons between boxes.

    digits: decimals printed. bins: location tokens where coordinates are words. thousand: whole numbers 0...1000.
    """

    brackets: tuple[str, str] = ("[", "]")
    digits: int = 3
    bins: int = 0
    thousand: bool = False

    def write(self, rows: Sequence[Row]) -> str:
        """The text of one mention: boxes, or points, of fractions."""
        if self.bins:
            return self._tokens(rows)
        start, end = self.brackets
        if self.thousand:
            return " ".join(start + ", ".join(str(int(x * 1000)) for x in row) + end for row in rows)
        return start + ";".join(",".join(f"{x:.{self.digits}f}" for x in row) for row in rows) + end

    def _tokens(self, rows: Sequence[Row]) -> str:
        kind = "p" if rows and len(rows[0]) == 2 else "b"
        words = (" ".join(f"<bin_{round((self.bins - 1) * x)}>" for x in row) for row in rows)
        return f"<{kind}_st>" + f"<{kind}_sep>".join(words) + f"<{kind}_ed>"

    def read(self, text: str, columns: int) -> list[list[Row]]:
        """The mentions in a text: rows of `columns` numbers each, in order; anything malformed is passed over."""
        if self.bins:
            return self._read_tokens(text, columns)
        return [self._rows(inner) for inner in re.findall(self._mention(columns), text)]

    def mentions(self, text: str, columns: int) -> list[str]:
        """The well written mentions in a text, as they stand there."""
        if self.bins:
            return re.findall(self._token_mention(columns, gap=r"\s*"), text)
        return [m.group() for m in re.finditer(self._mention(columns), text)]

    def example(self) -> str:
        """How a box is written, for messages."""
        return f"box or point as in {self.write([(0.25, 0.5, 0.75, 1.0)])}"

    def near(self, text: str) -> list[str]:
        """What looks meant as coordinates: numbers, commas and semicolons in brackets, well written or not."""
        if self.bins:
            return re.findall(r"<[bp]_st>[^<]*(?:<(?:bin_-?\d+|[bp]_sep)>[^<]*)*(?:<[bp]_ed>)?", text)
        start, end = (re.escape(b) for b in self.brackets)
        found = (one.strip() for one in re.findall(rf"{start}[-\d.,;\s]*{end}?", text))
        return [one for one in found if "," in one and any(c.isdigit() for c in one)]

    def _mention(self, columns: int) -> str:
        start, end = (re.escape(b) for b in self.brackets)
        if self.thousand:
            row = ", ".join([r"\d{1,4}"] * columns)
            return rf"{start}({row}){end}"
        row = ",".join([DIGIT] * columns)
        return rf"{start}({row}(?:;{row})*){end}"

    def _rows(self, inner: str) -> list[Row]:
        scale = 1000.0 if self.thousand else 1.0
        return [tuple(float(x) / scale for x in row.split(",")) for row in inner.split(";")]

    def _read_tokens(self, text: str, columns: int) -> list[list[Row]]:
        found = re.findall(self._token_mention(columns), re.sub(r"\s", "", text))
        top, cut = self.bins - 1, "<b_sep>" if columns == 4 else "<p_sep>"
        return [[tuple(int(k) / top for k in re.findall(r"\d+", row)) for row in one.split(cut)] for one in found]

    def _token_mention(self, columns: int, gap: str = "") -> str:
        kind = "b" if columns == 4 else "p"
        row = rf"(?:{gap}<bin_\d+>)" + f"{{{columns}}}"
        return rf"<{kind}_st>{row}(?:{gap}<{kind}_sep>{row})*{gap}<{kind}_ed>"


FORMS = {
    "shikra": Form(),
    "parentheses": Form(brackets=("(", ")")),
    "tokens": Form(bins=1001),
    "ferret": Form(thousand=True),
}
