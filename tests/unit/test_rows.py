"""Rows: layouts, views, gathers, lists, moves that are none."""

from __future__ import annotations

import pytest
import torch

from anyany.engine.rows import Rows


def packed() -> Rows:
    """Three rows of lengths 2, 0 and 3, width 2."""
    return Rows(torch.arange(10.0).view(5, 2), [0, 2, 2, 5], keys=[(0,), (1,), (2,)])


def test_a_packed_row_is_a_view_of_the_packed_tensor() -> None:
    rows = packed()
    assert len(rows) == 3 and rows.lengths == [2, 0, 3]
    assert rows[2].data_ptr() == rows.data[2:].data_ptr()
    assert rows[-1].shape == (3, 2)


def test_padding_tells_real_positions() -> None:
    padded, mask = packed().padded(-1.0)
    assert padded.shape == (3, 3, 2)
    assert mask.tolist() == [[True, True, False], [False] * 3, [True] * 3]
    assert bool((padded[~mask] == -1).all())


def test_dense_and_packed_agree_and_unlike_shapes_are_refused() -> None:
    rows = Rows([torch.ones(2, 3), torch.zeros(2, 3)])
    assert rows.dense().shape == (2, 2, 3)
    data, offsets = rows.packed()
    assert data.shape == (4, 3) and offsets == [0, 2, 4]
    with pytest.raises(ValueError, match="lengths 0 to 3"):
        packed().dense()
    with pytest.raises(ValueError, match="shapes"):
        Rows([torch.ones(1), torch.ones(2)]).dense()


def test_a_contiguous_selection_is_a_view_and_any_other_a_gather() -> None:
    rows = packed()
    run = rows.select([1, 2])
    assert run.data.data_ptr() == rows.data[2:].data_ptr() and run.lengths == [0, 3]
    swapped = rows.select([2, 0])
    assert [v.tolist() for v in swapped] == [rows[2].tolist(), rows[0].tolist()]
    assert swapped.keys == [(2,), (0,)]


def test_an_empty_selection_is_empty_in_every_layout() -> None:
    for rows in (packed(), Rows(torch.ones(2, 3)), Rows(["a"])):
        assert len(rows.select([])) == 0


def test_groups_are_the_lists_of_a_call() -> None:
    assert Rows(["a", "b", "c"], counts=[2, 0, 1]).groups() == [["a", "b"], [], ["c"]]


def test_cat_keeps_layouts_where_they_agree() -> None:
    both = Rows.cat([packed(), packed()])
    assert both.offsets == [0, 2, 2, 5, 7, 7, 10] and both.data.shape == (10, 2)
    dense = Rows.cat([Rows(torch.ones(2, 3)), Rows(torch.zeros(1, 3))])
    assert isinstance(dense.data, torch.Tensor) and dense.data.shape == (3, 3)
    mixed = Rows.cat([Rows(torch.ones(1, 3)), Rows(torch.ones(1, 4))])
    assert [v.shape[0] for v in mixed] == [3, 4]
    assert Rows.cat([both]) is both


def test_moving_nowhere_gives_the_same_object() -> None:
    for rows in (packed(), Rows(["a"]), Rows([torch.ones(2)])):
        assert rows.to("cpu", torch.float32) is rows


def test_moving_to_another_dtype_changes_floats_only() -> None:
    assert Rows(torch.ones(1, 2)).to(dtype=torch.bfloat16).data.dtype == torch.bfloat16
    whole = Rows(torch.ones(1, 2, dtype=torch.long))
    assert whole.to(dtype=torch.bfloat16) is whole
