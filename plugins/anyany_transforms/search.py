"""Search: the items whose embeddings lie nearest to a query, exactly, by cosine. Several queries are composed.

query: a list of [D] (a picture and a text, say); keys and items: lists of equal length. Gives the best items in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from anyany.api.torch import Component, Context, Rows

BLOCK = 65536


def composed(queries: Sequence[torch.Tensor], how: str) -> torch.Tensor:
    """[Q,D] of unit length: one for `mean` (of the queries' directions), each by itself for `best`."""
    if not queries:
        raise ValueError("there is nothing to search for: the query is empty")
    units_QD = F.normalize(torch.stack(list(queries)).float(), dim=-1)
    return F.normalize(units_QD.mean(0, keepdim=True), dim=-1) if how == "mean" else units_QD


def nearest(query_QD: torch.Tensor, keys_ND: torch.Tensor, top: int) -> tuple[list[int], list[float]]:
    """(places, cosines) of the `top` keys, best first; equal ones in their order. Keys are of unit length.

    Raises ValueError where the widths differ.
    """
    if query_QD.shape[-1] != keys_ND.shape[-1]:
        wide = f"the query is {query_QD.shape[-1]} wide, the keys {keys_ND.shape[-1]}"
        raise ValueError(f"{wide}: they come from different encoders")
    near_N = torch.cat([(k.float() @ query_QD.to(k.device).T).amax(-1) for k in keys_ND.split(BLOCK)])
    order = near_N.sort(descending=True, stable=True).indices[:top].tolist()
    return order, [float(near_N[i]) for i in order]


class Search(Component):
    """Options: `SearchConfig`."""

    def find(self, ctx: Context, query: Rows, keys: Rows, items: Rows) -> dict[str, Rows]:
        """hits: the best items of each row, best first; scores: their cosines, by place in `items`."""
        tops = ctx.option("top", self.config.top)
        hits: list[list[Any]] = []
        scores = []
        for asked, known, things, top in zip(query.groups(), keys.groups(), items.groups(), tops):
            if len(known) != len(things):
                raise ValueError(f"search wants a key for each item; it got {len(known)} keys and {len(things)} items")
            if not known:
                hits.append([])
                scores.append({})
                continue
            stacked = F.normalize(torch.stack(known).float(), dim=-1)
            order, near = nearest(composed(asked, self.config.how), stacked, int(top))
            hits.append([things[i] for i in order])
            scores.append({str(i): s for i, s in zip(order, near)})
        return {"hits": ctx.lists(hits), "scores": ctx.rows(scores)}

    def example_rows(self, call: str, rows: Sequence[int], making: Any) -> dict[str, Rows]:
        """Rows for tests: galleries of texts."""
        counts = [3 + row % 2 for row in rows]
        keys, queries = [], []
        for row, n in zip(rows, counts):
            drawn = torch.randn(n + 1, making.sizes["width"], generator=torch.Generator().manual_seed(row))
            keys.append(drawn[:n])
            queries.append(drawn[n:])
        items = [f"item {i}" for n in counts for i in range(n)]
        return {
            "query": Rows(torch.cat(queries), counts=[1] * len(rows)), "keys": Rows(torch.cat(keys), counts=counts),
            "items": Rows(items, counts=counts),
        }  # fmt: skip
