"""language/causal-lm while it learns: what is read in the target's place, and tokens of the target that pad."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from anyany_language.causal_cards import CAUSAL_LM

from anyany.api.torch import Context, Rows
from anyany.api.v1 import Message
from anyany.engine.noise import Noise
from anyany.testing.harness import bench


@pytest.fixture(scope="module")
def model() -> Any:
    return bench(CAUSAL_LM, {"preset": "tiny", "inputs": []}).build().component


def loss(model: Any, target: str, **read: Any) -> torch.Tensor:
    ctx = Context(node="think", call="learn", keys=[(0,)], noise=Noise(0), device=torch.device("cpu"),
                  dtype=torch.float32)  # fmt: skip
    with torch.inference_mode():
        return model.learn(ctx, Rows([Message(("ask",))]), Rows([Message((target,))]), **read)["loss"].data[0]


def by_hand(model: Any, shown: str, wanted: list[int]) -> torch.Tensor:
    prompt, answer = (model.tokenizer(t, add_special_tokens=False).input_ids for t in ("ask", shown))
    ids = torch.tensor([[*prompt, *answer, *model.stops]])
    with torch.inference_mode():
        logits = model.model(input_ids=ids).logits[0, len(prompt) - 1 : -1]
        return F.cross_entropy(logits, torch.tensor([*wanted, *model.stops]))


def test_the_words_to_be_learned_stand_behind_those_that_are_read(model: Any) -> None:
    wanted = model.tokenizer("a red ring", add_special_tokens=False).input_ids
    found = loss(model, "a red ring", read=Rows([Message(("a big ring",))], counts=[1]))
    torch.testing.assert_close(found, by_hand(model, "a big ring", wanted), atol=1e-5, rtol=1e-5)
    assert float((found - loss(model, "a red ring")).abs()) > 1e-3


def test_where_nothing_is_read_instead_the_target_is(model: Any) -> None:
    assert torch.equal(loss(model, "a ring", read=Rows([], counts=[0])), loss(model, "a ring"))


def test_tokens_that_pad_a_target_are_not_learned(model: Any) -> None:
    silent = model.tokenizer.pad_token
    wanted = model.tokenizer("a r", add_special_tokens=False).input_ids
    wanted[2] = -100
    found = loss(model, f"a {silent}", read=Rows([Message(("a x",))], counts=[1]))
    torch.testing.assert_close(found, by_hand(model, "a x", wanted), atol=1e-5, rtol=1e-5)


def test_what_is_read_is_as_long_as_the_target(model: Any) -> None:
    with pytest.raises(ValueError, match="`read` is 3 tokens long and the target 2"):
        loss(model, "a", read=Rows([Message(("ab",))], counts=[1]))
