"""Token ids with placeholders, as NExT-GPT writes its prompts: each is replaced by the next medium of its kind.

ids [L] with negative placeholders, media [D] or [N,D] -> embeddings [M,D]. Rows without media consume none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch

PLACEHOLDERS = {"image": -200, "video": -300, "audio": -400}
NO_LABEL = -100


def splice(
    ids_L: torch.Tensor, labels_L: torch.Tensor | None, embed: Callable[[torch.Tensor], torch.Tensor],
    media: Mapping[str, Iterator[torch.Tensor]],
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """(embeddings [M,D], labels [M]; media have none). Raises ValueError where a kind has no medium left."""
    kinds = {code: kind for kind, code in PLACEHOLDERS.items()}
    parts: list[torch.Tensor] = []
    labels: list[torch.Tensor] = []
    start = 0
    labels_L = torch.full_like(ids_L, NO_LABEL) if labels_L is None else labels_L
    for at in [*torch.nonzero(ids_L < 0).flatten().tolist(), ids_L.shape[0]]:
        if at > start:
            parts.append(embed(ids_L[start:at]))
            labels.append(labels_L[start:at])
        if at < ids_L.shape[0]:
            kind = kinds[int(ids_L[at])]
            medium = next(media.get(kind, iter(())), None)
            if medium is None:
                raise ValueError(f"the prompt has a place for {kind}, but no {kind} is left for it")
            medium = medium[None] if medium.dim() == 1 else medium
            parts.append(medium)
            labels.append(ids_L.new_full((medium.shape[0],), NO_LABEL))
        start = at + 1
    return torch.cat(parts), torch.cat(labels)


def padded(rows: Sequence[torch.Tensor], value: float, left: bool = False) -> torch.Tensor:
    """Rows [M,...] as one tensor, `value` in the padding."""
    longest = max(r.shape[0] for r in rows)
    out = rows[0].new_full((len(rows), longest, *rows[0].shape[1:]), value)
    for i, row in enumerate(rows):
        where = slice(longest - row.shape[0], longest) if left else slice(0, row.shape[0])
        out[i, where] = row
    return out
