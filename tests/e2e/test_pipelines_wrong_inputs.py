"""What pictures' tokenizers and heads are given wrongly: told by `check` where it can know, else by the item that has
it, with the place, what there is and what to do; the other items go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations
from typing import Any

import pytest
import torch

from anyany.pipeline import load
from anyany.spec.check import check_dict

HEADS = ("diffusion", "dit", "gan", "mar", "vae", "var", "vq-ar")
VOCABULARIES = {"vq": 32, "multiscale-vq": 32, "seed": 64, "frequency": 64}
KEPT = {"vq": 4, "kl-vae": 4, "frequency": 8, "patch": 4}
"""Tokenizers that may keep a picture's size, and what its sides must then divide by."""


def spec(inputs: Mapping[str, Any], **nodes: Any) -> dict[str, Any]:
    return {"anyany": 1, "name": "wrong", "inputs": dict(inputs), "nodes": nodes, "outputs": {"o": [*nodes][-1]}}


def node(use: str, feed: Any, call: str | None = None, weights: str = "random:0", **options: Any) -> dict[str, Any]:
    made = {"use": use, "with": {"preset": "tiny", **options}, "in": feed, **({"call": call} if call else {})}
    return made if use in ("tokenizers/frequency", "tokenizers/patch") else {**made, "weights": weights}


def codes(one: Mapping[str, Any]) -> set[str]:
    return {p.code for p in check_dict(one).problems}


def middle_fails(one: Mapping[str, Any], good: Any, bad: Any, *words: str) -> None:
    """Of three items the second alone fails: at the last node, in these words."""
    results = list(load(one).map([{"x": good}, {"x": bad}, {"x": good}]))
    assert [r.status for r in results] == ["ok", "failed", "ok"]
    error = results[1].error
    assert error is not None and error.node == [*one["nodes"]][-1]
    for word in words:
        assert word in error.message, error


# classes ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("wrong", ["10", "-1", "red", "2.5", ""])
def test_a_class_out_of_range_fails_its_item_with_the_range(head: str, wrong: str) -> None:
    one = spec({"x": "label"}, draw=node(f"image_heads/{head}", "x", classes=10))
    middle_fails(one, "9", wrong, "draw draws classes 0 to 9", repr(wrong), "give such a number")


@pytest.mark.parametrize("head", HEADS)
def test_a_class_out_of_range_that_the_spec_itself_gives_is_told_by_check(head: str) -> None:
    def told(kind: str, default: Any) -> list[tuple[str, str]]:
        given = {"x": {"kind": kind, "default": default}}
        problems = check_dict(spec(given, draw=node(f"image_heads/{head}", "x", classes=10))).problems
        return [(p.code, p.path) for p in problems]

    assert told("label", "9") == told("label", 0) == told("label*", ["0", "9"]) == told("label?", None) == []
    for wrong in ("10", -1, "red"):
        assert told("label", wrong) == told("label*", ["3", wrong]) == [("E210", "inputs.x.default")]


@pytest.mark.parametrize("head", ["unclip", "stable-unclip"])
def test_a_head_of_embeddings_refuses_classes_in_check(head: str) -> None:
    assert codes(spec({"x": "label"}, draw=node(f"image_heads/{head}", "x"))) == {"E201"}


# tokens -------------------------------------------------------------------------------------------------------------
def ids(card: str) -> torch.Tensor:
    encode = spec({"x": "image"}, code=node(f"tokenizers/{card}", "x"))
    return load(encode)(x=torch.rand(3, 20, 24, generator=torch.Generator().manual_seed(0)))["o"]


@pytest.mark.parametrize("card", VOCABULARIES)
def test_a_token_out_of_the_vocabulary_fails_its_item_with_the_vocabulary(card: str) -> None:
    good, size = ids(card), VOCABULARIES[card]
    one = spec({"x": "tokens"}, back=node(f"tokenizers/{card}", "x", "decode"))
    for wrong in (size, -1):
        bad = good.clone()
        bad[1] = wrong
        middle_fails(one, good, bad, f"token {wrong} is out of the vocabulary of back, 0 to {size - 1}", "what encoded")


@pytest.mark.parametrize("card", VOCABULARIES)
def test_another_number_of_tokens_fails_its_item(card: str) -> None:
    good = ids(card)
    one = spec({"x": "tokens"}, back=node(f"tokenizers/{card}", "x", "decode"))
    middle_fails(one, good, torch.cat([good, good[:1]]), "back", "tokens", str(len(good) + 1))
    if card != "frequency":  # any beginning of its tokens is a picture
        middle_fails(one, good, good[:-1], "back", "tokens", str(len(good) - 1))


@pytest.mark.parametrize(("first", "second"), permutations(VOCABULARIES, 2))
def test_another_tokenizers_decoder_is_refused_by_check(first: str, second: str) -> None:
    one = spec({"x": "image"}, code=node(f"tokenizers/{first}", "x"),
               back=node(f"tokenizers/{second}", "code", "decode"))  # fmt: skip
    (told,) = [p for p in check_dict(one).problems if p.code == "E411"]
    assert "`code` is of the space" in told.message and "`tokens` of `back`" in told.message and "`of:`" in told.help


@pytest.mark.parametrize("card", ["vq", "multiscale-vq", "seed"])
def test_the_same_tokenizer_with_other_weights_is_another_codebook(card: str) -> None:
    def wired(weights: str, **options: Any) -> set[str]:
        return codes(spec({"x": "image"}, code=node(f"tokenizers/{card}", "x"),
                          back=node(f"tokenizers/{card}", "code", "decode", weights, **options)))  # fmt: skip

    assert wired("random:0") == set()
    assert wired("random:1") == {"E411"}
    assert "E410" in wired("random:0", codes=48)


@pytest.mark.parametrize(("head", "tokenizer"), [("var", "multiscale-vq"), ("vq-ar", "vq")])
def test_tokens_that_a_head_writes_want_a_decoder_of_that_vocabulary(head: str, tokenizer: str) -> None:
    def wired(**options: Any) -> set[str]:
        return codes(spec({"x": "label"}, draw=node(f"image_heads/{head}", "x", classes=10, autoencoder=False),
                          back=node(f"tokenizers/{tokenizer}", "draw.tokens", "decode", **options)))  # fmt: skip

    assert wired() == set()
    assert wired(codes=48) == {"E410"}


@pytest.mark.parametrize("head", ["mar", "dit"])
def test_latents_that_a_head_draws_want_a_decoder_of_as_many_channels(head: str) -> None:
    def wired(**options: Any) -> set[str]:
        return codes(spec({"x": "label"}, draw=node(f"image_heads/{head}", "x", classes=10, autoencoder=False),
                          back=node("tokenizers/kl-vae", "draw.latent", "decode", **options)))  # fmt: skip

    assert wired() == set()
    assert wired(latent=8) == {"E401"}


def test_a_latent_of_another_autoencoder_is_a_warning() -> None:
    assert codes(spec({"x": "image"}, code=node("tokenizers/kl-vae", "x"),
                      back=node("tokenizers/kl-vae", "code", "decode", "random:1"))) == {"W401"}  # fmt: skip


# pictures -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("card", KEPT)
@pytest.mark.parametrize("size", [(17, 16), (16, 18), (1, 1)])
def test_a_picture_that_does_not_divide_fails_its_item_with_what_it_must_be(card: str, size: tuple[int, int]) -> None:
    one = spec({"x": "image"}, code=node(f"tokenizers/{card}", "x", "encode", fit="none"))
    height, width = size
    middle_fails(one, torch.rand(3, 16, 24), torch.rand(3, height, width), f"{width}×{height} pixels",
                 f"multiples of {KEPT[card]}", "give `fit: crop`")  # fmt: skip


@pytest.mark.parametrize("card", ["vq", "multiscale-vq", "kl-vae", "frequency", "patch", "seed"])
def test_a_picture_of_any_size_is_fitted_where_that_is_not_forbidden(card: str) -> None:
    pipe = load(spec({"x": "image"}, code=node(f"tokenizers/{card}", "x", "encode")))
    sizes = [(1, 1), (1, 300), (300, 1), (17, 16), (4, 4)]
    found = list(pipe.map([{"x": torch.rand(channels, *size)} for channels in (1, 3, 4) for size in sizes]))
    assert [r.error for r in found] == [None] * 15
    assert len({tuple(r.outputs["o"].shape) for r in found}) == 1


@pytest.mark.parametrize("card", ["vq", "multiscale-vq", "kl-vae", "frequency", "patch", "seed"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_picture_of_no_numbers_fails_its_item(card: str, value: float) -> None:
    one = spec({"x": "image"}, code=node(f"tokenizers/{card}", "x", "encode"))
    bad = torch.full((3, 32, 32), value)
    good, failed = load(one).map([{"x": torch.rand(3, 32, 32)}, {"x": bad}])
    assert good.error is None and failed.error is not None
    assert failed.error.node == "code" and "not numbers" in failed.error.message


# options ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("head", "options", "told"),
    [
        ("dit", {"heads": 3}, "width 32 wants heads that divide it, not 3"),
        ("dit", {"width": 34}, "no multiple of 4"),
        ("dit", {"side": 7}, "side 7 wants a patch that divides it, not 2"),
        ("dit", {"vae_levels": []}, "vae_levels [] wants one number or more"),
        ("dit", {"vae_width": 40}, "does not divide into 32 groups"),
        ("mar", {"heads": 3}, "width 32 wants heads"),
        ("mar", {"decoder_width": 30, "decoder_heads": 4}, "decoder_width 30 wants decoder_heads"),
        ("var", {"heads": 3}, "width 32 wants heads"),
        ("var", {"scales": []}, "scales [] wants sides from 1"),
        ("var", {"scales": [1, 4, 2]}, "the last the largest"),
        ("vq-ar", {"heads": 3}, "width 32 wants heads"),
        ("gan", {"size": 24}, "draws sides 8, 16, 32, …, not 24"),
        ("vae", {"size": 15}, "size 15 is no multiple of 2"),
        ("diffusion", {"heads": 3}, "width 32 wants heads"),
        ("unclip", {"levels": []}, "levels [] wants one number or more"),
        ("unclip", {"width": 40}, "does not divide into 32 groups"),
        ("stable-unclip", {"width": 40}, "does not divide into 32 groups"),
        ("unclip-prior", {"heads": 5}, "width 32 wants heads"),
        ("unclip-prior", {"kind": "lucidrains", "embed": 16}, "as wide inside as its embeddings: 16, not 32"),
    ],
)
def test_options_of_heads_that_do_not_go_together_are_told_by_check(
    head: str, options: dict[str, Any], told: str
) -> None:
    problems = check_dict(spec({"x": "embedding"}, draw=node(f"image_heads/{head}", "x", **options))).problems
    assert [p.code for p in problems] == ["E106"] and told in problems[0].message


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("wrong", [{"steps": 0}, {"steps": 2.5}, {"guidance": -1}, {"guidance": "much"}])
def test_a_wish_out_of_range_fails_its_item(head: str, wrong: dict[str, Any]) -> None:
    pipe = load(spec({"x": "label"}, draw=node(f"image_heads/{head}", "x", classes=10)))
    good, failed = pipe.map([{"x": "1"}, {"x": "1", "with": {"draw": wrong}}])
    assert good.error is None and failed.error is not None
    assert next(iter(wrong)) in failed.error.message


def test_a_number_of_steps_that_a_scheduler_cannot_go_is_told() -> None:
    from anyany.api.torch import scheduler_of

    with pytest.raises(ValueError, match=r"PNDMScheduler cannot go 3 steps .*; ask for other `steps`"):
        scheduler_of({"class": "PNDMScheduler"}, 3)
