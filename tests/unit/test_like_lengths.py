"""Sequences of like length run together when a language model learns; no row's loss depends on its neighbours."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from anyany_language import causal_lm
from anyany_language.splicing import alike
from hypothesis import given
from hypothesis import strategies as st

from anyany.api.torch import Rows
from anyany.api.v1 import Media, Message
from anyany.registry import default_registry
from anyany.testing.harness import bench, call

WORDS = ["a", "bb " * 70, "ccc", "dd " * 40, "e e", "f " * 75, "g", "hh"]


@given(st.lists(st.integers(1, 400), min_size=1, max_size=40))
def test_every_row_is_in_one_group_and_padding_never_grows(lengths: list[int]) -> None:
    groups = alike(lengths)
    assert sorted(row for rows in groups for row in rows) == list(range(len(lengths)))
    assert sum(len(rows) * max(lengths[r] for r in rows) for rows in groups) <= len(lengths) * max(lengths)


def test_a_long_row_among_short_ones_goes_apart() -> None:
    assert alike([20, 500, 21, 20]) == [[0, 3, 2], [1]]
    assert alike([20, 22, 21, 20]) == [[0, 3, 2, 1]]


@pytest.mark.parametrize("name", ["language/causal-lm", "language/gated-xattn"])
def test_rows_learn_alike_in_groups_and_all_together(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = name.endswith("xattn")
    made = bench(default_registry().card(name), {"preset": "tiny", **({"visual": 12} if looks else {})}).build()
    shown = [int(looks and i % 2) for i in range(len(WORDS))]
    messages = [Message((w, *[Media(kind="image")] * n)) for w, n in zip(WORDS, shown)]
    rows: dict[str, Any] = {"message": Rows(messages), "target": Rows([Message((f"so {w}",)) for w in WORDS])}
    if looks:
        for block in made.component.gated.values():
            block.attn_gate.fill_(1.0)
        pictures = [torch.randn(3, 12, generator=torch.Generator().manual_seed(i)) for i in range(sum(shown))]
        rows["image"] = Rows(pictures, counts=shown)
    cut: list[int] = []

    def grouped(lengths: list[int]) -> list[list[int]]:
        cut.append(len(alike(lengths)))
        return alike(lengths)

    monkeypatch.setattr(causal_lm, "alike", grouped)
    apart = call(made, "learn", rows, range(len(WORDS)))["loss"]
    assert cut[0] > 1
    monkeypatch.setattr(causal_lm, "alike", lambda lengths: [list(range(len(lengths)))])
    whole = call(made, "learn", rows, range(len(WORDS)))["loss"]
    assert torch.allclose(apart.dense(), whole.dense(), atol=1e-5)
