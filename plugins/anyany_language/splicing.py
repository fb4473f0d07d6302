"""Rows of token ids and features as one batch: embedded, put end to end, cut, padded on either side.

As LLaVA does it (Liu et al. 2023, arXiv 2304.08485), and with NExT-GPT's placeholders (Wu et al. 2024, arXiv
2309.05519). Shape suffixes: B rows, L longest row, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

IGNORED = -100
PLACEHOLDERS = {-200: "image", -300: "video", -400: "audio"}  # NExT-GPT's
Run = list[int] | torch.Tensor


@dataclass(frozen=True, kw_only=True)
class Spliced:
    """embeds [B,L,D] and positions [B,L], zeros on padding; mask [B,L] bool; labels [B,L], -100 elsewhere."""

    embeds: torch.Tensor
    mask: torch.Tensor
    positions: torch.Tensor
    labels: torch.Tensor


def splice(
    rows: Sequence[Sequence[Run]],
    labels: Sequence[Sequence[int]] | None,
    embed: Callable[[Sequence[int]], torch.Tensor],
    left: bool = False,
    limit: int | None = None,
) -> Spliced:
    """A row is runs in order: token ids, or features [N,D]; its labels are those of its ids alone.

    left: pad on the left. limit: rows are cut at their end to so many places, through features if need be.
    """
    embeds, wanted = [], []
    for i, row in enumerate(rows):
        parts = [run if isinstance(run, torch.Tensor) else embed(run) for run in row if len(run)]
        embeds.append(torch.cat(parts)[:limit])
        wanted.append(_labels(row, labels[i] if labels is not None else None)[:limit])
    longest, width = max(e.shape[0] for e in embeds), embeds[0].shape[-1]
    batch = embeds[0].new_zeros(len(rows), longest, width)
    mask = torch.zeros(len(rows), longest, dtype=torch.bool, device=batch.device)
    positions = torch.zeros(len(rows), longest, dtype=torch.int64, device=batch.device)
    targets = torch.full((len(rows), longest), IGNORED, dtype=torch.int64, device=batch.device)
    for i, (row_LD, target) in enumerate(zip(embeds, wanted)):
        count = row_LD.shape[0]
        where = slice(longest - count, longest) if left else slice(0, count)
        batch[i, where], mask[i, where] = row_LD, True
        positions[i, where] = torch.arange(count, device=batch.device)
        targets[i, where] = torch.tensor(target, device=batch.device)
    return Spliced(embeds=batch, mask=mask, positions=positions, labels=targets)


def runs(ids: Sequence[int], media: Mapping[str, Iterator[torch.Tensor]]) -> list[Run]:
    """A row of ids with negative placeholders as runs: each becomes the next medium [D] or [N,D] of its kind.

    Raises ValueError where a kind has no medium left.
    """
    out: list[Run] = [[]]
    for token in ids:
        if token >= 0:
            out[-1].append(token)  # type: ignore[union-attr]
            continue
        kind = PLACEHOLDERS[token]
        medium = next(media.get(kind, iter(())), None)
        if medium is None:
            raise ValueError(f"the prompt has a place for {kind}, but no {kind} is left for it")
        out += [medium[None] if medium.dim() == 1 else medium, []]
    return out


def _labels(row: Sequence[Run], given: Sequence[int] | None) -> list[int]:
    """A label a place: the given ones on ids, -100 on features."""
    out: list[int] = []
    rest = iter(given or ())
    for run in row:
        blank = isinstance(run, torch.Tensor) or given is None
        out += [IGNORED if blank else next(rest) for _ in range(len(run))]
    return out


def alike(lengths: Sequence[int], saving: int = 256) -> list[list[int]]:
    """Rows in groups of like length, shortest first: cut wherever that saves an eighth of a group's places and at least
    `saving` of them, what a pass of its own costs.
    """
    order = sorted(range(len(lengths)), key=lambda row: lengths[row])
    groups, waiting = [], [order]
    while waiting:
        rows = waiting.pop()
        whole = len(rows) * lengths[rows[-1]]
        saved = [(at * (lengths[rows[-1]] - lengths[rows[at - 1]]), at) for at in range(1, len(rows))]
        best, at = max(saved, default=(0, 0))
        if best >= max(saving, whole / 8):
            waiting += [rows[at:], rows[:at]]
        else:
            groups.append(rows)
    return groups
