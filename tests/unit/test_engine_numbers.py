"""Numbers given for an input of features, an embedding or tokens: arrays and nested lists become tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from anyany.engine.coerce import BadInput, coerce


@pytest.mark.parametrize("value", [[[1, 2], [3, 4]], np.array([[1, 2], [3, 4]]), ((1.0, 2.0), (3.0, 4.0))])
def test_arrays_and_lists_of_numbers_become_tensors(value: Any) -> None:
    found = coerce("features", value, None, "x")
    assert found.dtype == torch.float32 and found.tolist() == [[1, 2], [3, 4]]
    assert coerce("tokens", np.array([3, 1]), None, "x").dtype == torch.int64


def test_a_tensor_stays_the_one_it_is() -> None:
    value = torch.ones(2, 3, dtype=torch.float64)
    assert coerce("embedding", value, None, "x") is value


@pytest.mark.parametrize("value", [[[1, 2], [3]], ["a", "b"], [None]])
def test_what_is_no_array_of_numbers_is_told_with_its_name(value: Any) -> None:
    with pytest.raises(BadInput, match="'x' is features, numbers of one shape"):
        coerce("features", value, None, "x")
