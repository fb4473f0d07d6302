"""Arrays of NumPy given for features, embeddings, latents and tokens become tensors of that kind."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from anyany import media
from anyany.engine.coerce import coerce
from anyany.media.errors import MediaError


@pytest.mark.parametrize("kind", ["features", "embedding", "latent"])
def test_an_array_of_numbers_becomes_a_tensor_of_float32(kind: str) -> None:
    found = media.meet(kind, np.arange(6, dtype=np.int16).reshape(2, 3)[:, ::2], {})
    assert found.dtype == torch.float32 and found.tolist() == [[0, 2], [3, 5]]


def test_tokens_are_whole_numbers() -> None:
    assert media.meet("tokens", np.array([3, 1], np.uint8), {}).dtype == torch.int64
    with pytest.raises(MediaError, match="whole numbers, not an array of float64"):
        media.meet("tokens", np.array([0.5]), {})


def test_an_array_of_words_is_no_features() -> None:
    with pytest.raises(MediaError, match="features are numbers"):
        media.meet("features", np.array(["a"]), {})


def test_an_item_may_give_an_array_for_any_input_of_numbers() -> None:
    found = coerce("features", np.ones((8,), np.float64), None, "slots")
    assert isinstance(found, torch.Tensor) and found.dtype == torch.float32
