"""Sparse attention and the language model around it: patterns against their definition, cached words, published size.

Suffixes: B rows, H heads, N positions, d head width.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from anyany_language.sparse_attention import Pattern, attend
from torch.utils.flop_counter import FlopCounterMode

from anyany.api.torch import Context, Rows
from anyany.api.v1 import Message
from anyany.engine.noise import Noise
from anyany.registry import default_registry
from anyany.testing.harness import bench, call

PATTERNS = [Pattern(kind="dense", stride=4), Pattern(kind="local", stride=4), Pattern(kind="strided", stride=4),
            Pattern(kind="fixed", stride=4, summary=1), Pattern(kind="fixed", stride=5, summary=3),
            Pattern(kind="local", stride=1), Pattern(kind="fixed", stride=4, summary=4)]  # fmt: skip


def drawn(length: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(length)
    return [torch.randn(2, 3, length, 8, generator=generator) for _ in range(3)]


def defined(kind: str, i: int, j: int, stride: int, summary: int) -> bool:
    """Whether position i sees position j, as the paper writes it."""
    if j > i:
        return False
    return {
        "dense": True,
        "local": i - j < stride,
        "strided": (i - j) % stride == 0,
        "fixed": i // stride == j // stride or j % stride >= stride - summary,
    }[kind]


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
@pytest.mark.parametrize("length", [1, 3, 4, 5, 8, 21])
def test_blocks_give_what_the_definition_gives(pattern: Pattern, length: int) -> None:
    q, k, v = drawn(length)
    mask = torch.tensor([[defined(pattern.kind, i, j, pattern.stride, pattern.summary) for j in range(length)]
                         for i in range(length)])  # fmt: skip
    at = torch.arange(length)
    assert torch.equal(pattern.seen(at, at), mask)
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    torch.testing.assert_close(attend(q, k, v, pattern), expected, atol=1e-6, rtol=1e-5)


def test_a_position_that_is_not_seen_changes_nothing() -> None:
    pattern = Pattern(kind="fixed", stride=4, summary=1)
    q, k, v = drawn(12)
    before = attend(q, k, v, pattern)
    v[:, :, 1] += 5  # in the first block, and no summary of it
    after = attend(q, k, v, pattern)
    assert torch.equal(before[:, :, 4:], after[:, :, 4:]) and not torch.equal(before[:, :, 1:4], after[:, :, 1:4])


def test_strided_after_local_reaches_everything_before() -> None:
    at = torch.arange(16)
    steps = [Pattern(kind=kind, stride=4).seen(at, at).float() for kind in ("local", "strided")]
    assert torch.equal((steps[1] @ steps[0]) > 0, torch.ones(16, 16).tril().bool())


def scores(pattern: Pattern, length: int) -> int:
    """FLOPs of attention alone over so many positions."""
    q, k, v = (torch.empty(1, 1, length, 64, device="meta") for _ in range(3))
    with FlopCounterMode(display=False) as counter:
        attend(q, k, v, pattern)
    return int(counter.get_total_flops())


@pytest.mark.parametrize(("kind", "growth"), [("dense", 16), ("local", 4), ("strided", 16)])
def test_cost_of_a_fixed_stride_grows_as_told(kind: str, growth: int) -> None:
    pattern = Pattern(kind=kind, stride=64)
    assert scores(pattern, 4096) == growth * scores(pattern, 1024)


def test_sparse_patterns_cost_a_part_of_dense_attention() -> None:
    dense = scores(Pattern(kind="dense", stride=64), 4096)
    assert scores(Pattern(kind="local", stride=64), 4096) == dense * 2 * 64 // 4096
    assert scores(Pattern(kind="strided", stride=64), 4096) == dense // 64
    assert scores(Pattern(kind="fixed", stride=64, summary=8), 4096) == dense * (64 + 8 * 64) // 4096


@pytest.mark.parametrize(("wrong", "said"), [
    ({"kind": "banded", "stride": 4}, "one of dense, local"), ({"kind": "fixed", "stride": 4, "summary": 5}, "1 to 4"),
])  # fmt: skip
def test_a_pattern_that_is_none_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Pattern(**wrong)


# the model -----------------------------------------------------------------------------------------------------------
def model(**options: Any) -> Any:
    return bench(default_registry().card("language/adaptive-lm"), {"preset": "tiny", "inputs": [], **options}).build()


@pytest.mark.parametrize("attention", [["dense"], ["dense", "local"], ["local", "strided"], ["fixed"]], ids=str)
def test_a_word_at_a_time_gives_the_states_of_the_whole_text(attention: list[str]) -> None:
    lm = model(attention=attention).component
    ids = torch.randint(0, 258, (19,), generator=torch.Generator().manual_seed(1)).tolist()
    with torch.inference_mode():
        whole, _ = lm.whole(lm.embed(ids)[None])
        _, found = lm.whole(lm.embed(ids[:7])[None])
        cache = [(F.pad(k, (0, 0, 0, 12)), F.pad(v, (0, 0, 0, 12))) for k, v in found]
        steps = [lm.next(torch.tensor([t]), torch.tensor([7 + i]), cache)[0] for i, t in enumerate(ids[7:])]
    torch.testing.assert_close(torch.stack(steps), whole[0, 7:], atol=1e-5, rtol=1e-4)


def said(made: Any, texts: list[str], rows: list[int], **options: Any) -> list[str]:
    """What it writes; the row numbers are the items' identities."""
    ctx = Context(node="lm", call="generate", keys=[(i,) for i in range(len(rows))],
                  noise=Noise(0, [f"item-{r}" for r in rows]), device=made.device, dtype=made.dtype,
                  options=[options] * len(rows))  # fmt: skip
    with torch.inference_mode():
        found: list[str] = made.component.generate(ctx, Rows([Message((t,)) for t in texts]))["text"].list()
    return found


def test_an_item_writes_the_same_alone_and_in_a_ragged_batch() -> None:
    made = model(attention=["fixed", "strided"])
    texts = ["a", "a longer text of many words", "two words", "x" * 40]
    warm = {"temperature": 1.0, "top_k": 50, "top_p": 0.9}
    together = said(made, texts, [0, 1, 2, 3], **warm)
    assert [said(made, [t], [i], **warm)[0] for i, t in enumerate(texts)] == together
    assert said(made, texts[:1], [7], **warm) != together[:1]


def test_it_learns_what_it_then_says() -> None:
    made = model()
    lm = made.component.requires_grad_(True)
    step = torch.optim.Adam(lm.parameters(), lr=1e-2)
    given = {"message": Rows([Message(("ask",))]), "target": Rows([Message(("yes",))])}
    ctx = Context(node="lm", call="learn", keys=[(0,)], noise=Noise(0), device=made.device, dtype=made.dtype)
    for _ in range(30):
        step.zero_grad()
        lm.learn(ctx, **given)["loss"].dense().mean().backward()
        step.step()
    assert call(made, "generate", {"message": given["message"]}, [0])["text"][0] == "yes"


def test_the_loss_is_the_mean_negative_log_probability_of_the_target() -> None:
    made = model()
    lm = made.component
    given = {"message": Rows([Message(("ab",))]), "target": Rows([Message(("cd",))])}
    loss = call(made, "learn", given, [0])["loss"].dense()[0]
    ids = [lm.end, *lm.tokenizer("abcd").input_ids]
    with torch.inference_mode():
        log_probs = lm.adaptive_softmax.log_probs(lm.whole(lm.embed(ids)[None])[0][0])
    expected = -(log_probs[2, ids[3]] + log_probs[3, ids[4]] + log_probs[4, lm.end]) / 3
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-5)


def test_a_text_beyond_the_context_is_an_error() -> None:
    with pytest.raises(ValueError, match="601 tokens long; bench takes at most 511"):
        call(model(), "generate", {"message": Rows([Message(("x" * 600,))])}, [0])


def test_trained_byte_pairs_are_its_words(tmp_path: Any) -> None:
    from anyany_language.bpe import train
    from safetensors.torch import save_file

    train(["a red circle on the left"] * 20, 300).save(str(tmp_path / "tokenizer.json"))
    options = {"vocab": 300, "cutoffs": [64, 160]}
    weights = {f"decoder.{k}": v for k, v in model(**options).component.state_dict().items() if "tail" not in k}
    distinct = {k: v.contiguous().clone() for k, v in weights.items()}
    save_file(distinct, tmp_path / "model.safetensors")
    made = bench(default_registry().card("language/adaptive-lm"), {"preset": "tiny", "inputs": [], **options})
    read = made.build(f"file:{tmp_path}/model.safetensors")
    assert len(read.component.tokenizer("a red circle").input_ids) < 8
    assert isinstance(call(read, "generate", {"message": Rows([Message(("a red",))])}, [0])["text"][0], str)
