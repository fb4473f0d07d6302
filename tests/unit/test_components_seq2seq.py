"""Encoder-decoders write as transformers' generate does, and sample each item by its own options and noise.

Suffixes: B rows, L positions, D width.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from anyany.api.torch import Context, Rows
from anyany.api.v1 import Media, Message
from anyany.engine.noise import Noise
from anyany.registry import default_registry
from anyany.testing.harness import bench

TEXTS = ["ask", "a longer question of many words", "two words", "x" * 33]
WARM = {"temperature": 1.5, "top_k": 100, "top_p": 0.95}


def model(arch: str = "t5", **options: Any) -> Any:
    """A tiny one, its matrices drawn wide, so that the likeliest word is a clear choice and replies vary."""
    made = bench(default_registry().card("language/seq2seq"), {"preset": "tiny", "arch": arch, **options}).build()
    generator = torch.Generator().manual_seed(0)
    for parameter in made.component.parameters():
        if parameter.dim() > 1:
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return made


def context(made: Any, rows: list[int], options: list[dict[str, Any]] | None = None, emit: Any = None) -> Context:
    """Row numbers are the items' identities."""
    return Context(node="t5", call="generate", keys=[(i,) for i in range(len(rows))], emit=emit, options=options,
                   noise=Noise(0, [f"item-{r}" for r in rows]), device=made.device, dtype=made.dtype)  # fmt: skip


def said(made: Any, texts: list[str], rows: list[int], *options: dict[str, Any]) -> list[str]:
    per_item = list(options) if len(options) == len(rows) else [*options, *[{}] * (len(rows) - len(options))]
    with torch.inference_mode():
        given = Rows([Message((t,)) for t in texts])
        found: list[str] = made.component.generate(context(made, rows, per_item), given)["text"].list()
    return found


@pytest.mark.parametrize(("arch", "settings"), [
    ("t5", {}), ("t5", {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}), ("mt5", {}),
])  # fmt: skip
def test_greedy_words_are_those_of_transformers_generate(arch: str, settings: dict[str, Any]) -> None:
    made = model(arch, settings=settings)
    lm = made.component
    picture = torch.randn(3, 32, generator=torch.Generator().manual_seed(1))
    messages = [Message((t,)) for t in TEXTS[:3]] + [Message(("see ", Media(kind="image", value="?"), " and say"))]
    image = Rows([picture], counts=[0, 0, 0, 1])
    ctx = context(made, [0, 1, 2, 3])
    with torch.inference_mode():
        mine = lm.generate(ctx, Rows(messages), image=image)["text"].list()
        embeds_BLD, mask_BL = lm._inputs(ctx, Rows(messages), {"image": image})
        ids = lm.model.generate(inputs_embeds=embeds_BLD, attention_mask=mask_BL, do_sample=False, max_new_tokens=8,
                                eos_token_id=lm.end, pad_token_id=256)  # fmt: skip
    theirs = [row[1:] if lm.end not in row else row[1 : row.index(lm.end)] for row in ids.tolist()]
    assert mine == [lm._text(row).strip() for row in theirs]
    assert len(set(mine)) > 1


def test_a_sampled_item_writes_the_same_alone_and_in_a_batch() -> None:
    made = model(inputs=[])
    together = said(made, TEXTS, [0, 1, 2, 3], *[WARM] * 4)
    assert [said(made, [t], [i], WARM)[0] for i, t in enumerate(TEXTS)] == together
    assert said(made, TEXTS[::-1], [3, 2, 1, 0], *[WARM] * 4) == together[::-1]
    assert said(made, TEXTS, [4, 5, 6, 7], *[WARM] * 4) != together


def test_an_items_options_are_its_own() -> None:
    made = model(inputs=[])
    greedy = said(made, TEXTS, [0, 1, 2, 3])
    mixed = said(made, TEXTS, [0, 1, 2, 3], {}, WARM, {"max_new_tokens": 2}, {})
    assert [mixed[0], mixed[3]] == [greedy[0], greedy[3]] and mixed[1] != greedy[1]
    lm = made.component
    assert len(lm.tokenizer(mixed[2]).input_ids) <= len(lm.tokenizer(greedy[2]).input_ids)
    assert said(made, TEXTS[:1], [0], {"temperature": 3.0, "top_k": 1}) == greedy[:1]


def test_text_is_told_as_it_grows() -> None:
    made = model(inputs=[])
    told: list[tuple[int, str]] = []
    ctx = context(made, [0, 1], emit=lambda row, text: told.append((row, text)))
    with torch.inference_mode():
        texts = made.component.generate(ctx, Rows([Message((t,)) for t in TEXTS[:2]]))["text"].list()
    for row, text in enumerate(texts):
        grown = "".join(piece for i, piece in told if i == row)
        assert grown.strip() == text or text.startswith(grown.strip())
    assert len(told) > 2


def test_beams_find_the_same_alone_and_in_a_batch() -> None:
    made = model(inputs=[], beams=3)
    together = said(made, TEXTS, [0, 1, 2, 3])
    assert [said(made, [t], [i])[0] for i, t in enumerate(TEXTS)] == together


def test_a_wrong_temperature_is_an_error() -> None:
    with pytest.raises(ValueError, match="temperature >= 0"):
        said(model(inputs=[]), ["ask"], [0], {"temperature": -1.0})
