"""Connectionist temporal classification (Graves et al. 2006): features of a sound become text, without an alignment.

features: B x [N,D] ragged -> text. A linear layer scores the symbols and the blank (number 0) at every position; greedy
reading takes the best of each, joins repeats and drops blanks. Suffixes: B rows, N positions, D width, V symbols.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from anyany.api.torch import Build, Component, Context, Rows


class Ctc(Component):
    """Options: `CtcConfig`. One parameter pair, `lm_head`, as in transformers' recognisers."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        self.symbols = list(config.symbols)
        self.numbers = {symbol: n for n, symbol in enumerate(self.symbols, 1)}
        self.joint = " " if config.unit == "words" else ""
        width = build.facts.get("width") or config.width or build.sizes["width"]
        self.lm_head = nn.Linear(int(width), len(self.symbols) + 1)

    def transcribe(self, ctx: Context, features: Rows) -> dict[str, Rows]:
        """features: B x [N,D] -> text: the best path's symbols."""
        texts = []
        for row_ND in features:
            best = self.lm_head(row_ND).argmax(-1).unique_consecutive().tolist()
            texts.append(self.joint.join(self.symbols[n - 1] for n in best if n))
        return {"text": ctx.rows(texts)}

    def learn(self, ctx: Context, features: Rows, text: Rows) -> dict[str, Rows]:
        """loss [B]: the negative log probability of the text over all alignments, divided by its symbols.

        Symbols that are none of `symbols` are left out, and a sound with fewer positions than its text needs teaches
        nothing; a note tells of both.
        """
        x_BND, _ = features.padded()
        logs_NBV = self.lm_head(x_BND).float().log_softmax(-1).transpose(0, 1)
        wanted = [self._ids(told, row, ctx) for row, told in enumerate(text.list())]
        for row, (ids, length) in enumerate(zip(wanted, features.lengths, strict=True)):
            needed = len(ids) + sum(a == b for a, b in pairwise(ids))
            if needed > length:
                ctx.note(row, f"a text of {len(ids)} symbols needs {needed} positions; the sound has {length}")
        targets = torch.tensor([n for ids in wanted for n in ids], device=logs_NBV.device)
        lengths = torch.tensor([len(ids) for ids in wanted])
        losses_B = F.ctc_loss(logs_NBV, targets, torch.tensor(features.lengths), lengths, reduction="none",
                              zero_infinity=True)  # fmt: skip
        return {"loss": ctx.rows(losses_B / lengths.clamp(min=1).to(losses_B.device))}

    def _ids(self, text: str, row: int, ctx: Context) -> list[int]:
        units = text.split() if self.joint else list(text)
        unknown = [u for u in units if u not in self.numbers]
        if unknown:
            ctx.note(row, f"{unknown[0]!r} is none of the {len(self.symbols)} symbols, so it is not learned")
        return [self.numbers[u] for u in units if u in self.numbers]
