"""Zero-shot classification: the name whose embedding lies nearest (CLIP, Radford et al. 2021, arXiv 2103.00020).

embedding [D], labels a list of [D], names a list of texts -> the likeliest name, and a probability for each.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from anyany.api.torch import Component, Context, Rows


class ZeroShot(Component):
    """Options: `ZeroShotConfig`."""

    def guess(self, ctx: Context, embedding: Rows, labels: Rows, names: Rows) -> dict[str, Rows]:
        """label: a name of each row; scores: softmax of `scale` times cosines. Raises ValueError for unlike lists."""
        scores = []
        for one, others, words in zip(embedding.list(), labels.groups(), names.groups()):
            if not words or len(words) != len(others):
                raise ValueError(f"zero-shot wants a name for each label; it got {len(words)} and {len(others)}")
            near = F.normalize(torch.stack(others).float(), dim=-1) @ F.normalize(one.float(), dim=-1)
            chances = (self.config.scale * near).softmax(0).tolist()
            scores.append(dict(zip(words, chances)))
        return {"label": ctx.rows([max(s, key=s.__getitem__) for s in scores]), "scores": ctx.rows(scores)}

    def example_rows(self, call: str, rows: list[int], making: object) -> dict[str, Rows]:
        """Rows for tests: two to four labels each."""
        counts = [2 + row % 3 for row in rows]
        words = [f"name {i}" for n in counts for i in range(n)]

        def drawn(row: int, n: int) -> torch.Tensor:
            return torch.randn(n, making.sizes["width"], generator=torch.Generator().manual_seed(row))  # type: ignore[attr-defined]

        labels = torch.cat([drawn(row, n) for row, n in zip(rows, counts)])
        return {
            "embedding": Rows(torch.cat([drawn(row + 50, 1) for row in rows])),
            "labels": Rows(labels, counts=counts), "names": Rows(words, counts=counts),
        }  # fmt: skip
