"""Spans under an adversary: a language model that insists on every illegal order still writes whole spans only.

The model is real, its output layer a puppet that wants a given token at each step. Suffixes: B rows, L steps, V
vocabulary. `whole` is the test's own reading of a reply, independent of the state table.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from anyany.api.torch import Asks, Decoder, Generated, Limits, Rules, Sampler, Span, span_rules

VOCAB, WIDTH, STOP = 64, 16, 1
SEPARATOR = 5
SPANS = {
    "image": Span(begin=(10, 11, 12)),  # a signal
    "video": Span(begin=(13, SEPARATOR, 14, SEPARATOR, 15)),  # a signal with separators, as NExT-GPT's second release
    "tokens": Span(begin=(20,), codes=((24, 8),), least=4, most=4, end=(21,)),  # SEED: always so many codes
    "speech": Span(begin=(22,), codes=((32, 6),), least=1, most=5, end=(23,)),  # any number of codes
    "music": Span(begin=(38, 39), codes=((40, 4), (44, 4)), least=2, most=6, end=(48,)),  # two codebooks in turn
    "bare": Span(begin=(49,), codes=((50, 3),), least=2, most=2),  # of fixed length, without an end
}
RULES = span_rules(VOCAB, SPANS, outside=[SEPARATOR])


class Puppet(nn.Module):
    """An output layer that says what a table tells it to, step by step."""

    def __init__(self, logits_BLV: torch.Tensor) -> None:
        super().__init__()
        self.logits_BLV, self.step = logits_BLV, 0

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        at = min(self.step, self.logits_BLV.shape[1] - 1)
        self.step += 1
        return self.logits_BLV[:, at : at + 1].clone()


def said(logits_BLV: torch.Tensor, room: Sequence[int], rules: Rules | None = RULES, asks: Asks | None = None,
         temperature: float = 0.0) -> list[Generated]:  # fmt: skip
    """What a model with these wishes writes."""
    config = AutoConfig.for_model(
        "llama", hidden_size=WIDTH, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=VOCAB,
        max_position_embeddings=512,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    model.set_output_embeddings(Puppet(logits_BLV))
    batch = len(room)
    words = torch.arange(2 * batch).view(batch, 2)
    sampler = Sampler.of([temperature] * batch, [0] * batch, [1.0] * batch, words)
    prompts = [torch.ones(1 + i % 3, WIDTH) for i in range(batch)]
    return Decoder(model).run(prompts, Limits(max_new=room, stop_ids=[STOP]), sampler, rules, asks=asks)


def wanting(rows: Sequence[Sequence[int]], urge: float = 1e9) -> torch.Tensor:
    """Logits [B,L,V] of a model that wants these tokens; behind its last wish a row repeats it."""
    steps = max(map(len, rows))
    logits_BLV = torch.zeros(len(rows), steps, VOCAB)
    for b, row in enumerate(rows):
        for i in range(steps):
            logits_BLV[b, i, row[min(i, len(row) - 1)]] = urge
    return logits_BLV


def whole(ids: Sequence[int], spans: Mapping[str, Span] = SPANS) -> list[str]:
    """The spans of a reply in order; fails where one is cut, nested or of a wrong length, or a part stands alone."""
    inner = {t for s in spans.values() for t in (*s.begin, *s.end, *(t for a, n in s.codes for t in range(a, a + n)))}
    found, at = [], 0
    while at < len(ids):
        name = next((n for n, s in spans.items() if s.begin[0] == ids[at]), None)
        if name is None:
            assert ids[at] not in inner - {SEPARATOR}, f"{ids[at]} stands alone at {at} of {ids}"
            at += 1
            continue
        span, start = spans[name], at
        for token in span.begin:
            assert at < len(ids) and ids[at] == token, f"{name} breaks at {at} of {ids}"
            at += 1
        count = 0
        while at < len(ids) and span.codes and count < span.most:
            first, size = span.codes[count % len(span.codes)]
            if not first <= ids[at] < first + size:
                break
            at, count = at + 1, count + 1
        assert span.least <= count <= span.most and count % max(1, len(span.codes)) == 0, f"{name}: {count} codes"
        assert list(ids[at : at + len(span.end)]) == list(span.end), f"{name} from {start} does not end in {ids}"
        at += len(span.end)
        found.append(name)
    return found


def paths() -> dict[int, list[int]]:
    """A way from outside to each state, token by token."""
    found: dict[int, list[int]] = {0: []}
    queue = [0]
    while queue:
        state = queue.pop(0)
        for token in range(VOCAB):
            after = int(RULES.next_SC[state, RULES.class_V[token]])
            if after >= 0 and after not in found:
                found[after] = [*found[state], token]
                queue.append(after)
    return found


# the adversary -------------------------------------------------------------------------------------------------------
def test_every_illegal_transition_is_refused_and_the_span_still_comes_whole() -> None:
    """From each state, a row for each illegal token, which the model then wants for ever; one wants to stop."""
    ways = paths()
    assert len(ways) == len(RULES.next_SC), "every state can be reached"
    rows, room = [], []
    for state, way in ways.items():
        for token in [*range(VOCAB), STOP]:
            if int(RULES.next_SC[state, RULES.class_V[token]]) < 0 or (token == STOP and state):
                rows.append([*way, token])
                room.append(len(way) + int(RULES.need_S[state]) + 1 + len(rows) % 4)
    assert len(rows) > 1200
    made = said(wanting(rows), room)
    for row, way, most in zip(made, rows, room):
        whole(row.ids)
        assert len(row.ids) <= most
        assert row.ids[: len(way) - 1] == way[:-1], "what was legal was written as wanted"


def test_a_span_that_would_not_fit_does_not_begin() -> None:
    """Each first token, wanted for ever, with room for 1 to 12 tokens."""
    rows, room = [], []
    for span in SPANS.values():
        for n in range(1, 13):
            rows.append([span.begin[0]])
            room.append(n)
    for row, most, way in zip(said(wanting(rows), room), room, rows):
        names = whole(row.ids)
        span = next(s for s in SPANS.values() if s.begin[0] == way[0])
        assert len(row.ids) == most
        assert len(names) == (most >= span.shortest) * len(names)
        assert bool(names) == (most >= span.shortest)


@pytest.mark.parametrize("temperature", [0.0, 1.0, 0.1])
@pytest.mark.parametrize("seed", range(4))
def test_random_spans_and_random_wishes(seed: int, temperature: float) -> None:
    """Spans of drawn shapes; wishes that are noise, huge, infinite or no numbers at all."""
    draw = random.Random(seed)
    spans, at = {}, 8
    for n in range(draw.randint(1, 4)):
        begin = tuple(range(at, at + draw.randint(1, 3)))
        at += len(begin)
        turn = draw.randint(0, 2)
        codes = tuple((at + 3 * i, 3) for i in range(turn))
        at += 3 * turn
        least = turn * draw.randint(0, 2)
        most = max(turn, least + turn * draw.randint(0, 2)) if turn else 0
        end = (at,) if turn and (least != most or draw.random() < 0.5) else ()
        at += len(end)
        spans[f"s{n}"] = Span(begin=begin, codes=codes, least=least, most=most, end=end)
    rules = span_rules(VOCAB, spans)
    batch, steps = 48, 24
    generator = torch.Generator().manual_seed(seed)
    logits_BLV = torch.randn(batch, steps, VOCAB, generator=generator) * 8
    logits_BLV[8:16] *= 1e30
    logits_BLV[16:20] = float("-inf")
    logits_BLV[20:24] = float("nan")
    logits_BLV[24:28, :, 8:at] = float("inf")
    logits_BLV[28:32, :, STOP] = float("inf")
    room = [1 + b % steps for b in range(batch)]
    for row, most in zip(said(logits_BLV, room, rules, temperature=temperature), room):
        whole(row.ids, spans)
        assert len(row.ids) <= most


def test_well_formed_wishes_are_written_as_they_are() -> None:
    """Natural logits: the constraint changes no id, greedy or drawn."""
    text = [2, 3, 20, 24, 31, 25, 24, 21, 4, 22, 32, 37, 23, 5, 10, 11, 12, 13, 5, 14, 5, 15, 38, 39, 40, 47, 43, 44,
            48, 49, 50, 52, 6, STOP]  # fmt: skip
    for temperature in (0.0, 1.0):
        free = said(wanting([text], 60.0), [60], None, temperature=temperature)
        held = said(wanting([text], 60.0), [60], temperature=temperature)
        assert free[0].ids == held[0].ids == text[:-1]
    assert whole(text[:-1]) == ["tokens", "speech", "image", "video", "music", "bare"]


def test_states_are_kept_for_signals_and_not_for_codes() -> None:
    text = [2, 10, 11, 12, 20, 24, 25, 26, 27, 21, 13, 5, 14, 5, 15, STOP]
    (row,) = said(wanting([text]), [40])
    assert [h is not None for h in row.hidden] == [t in (10, 11, 12, 13, 14, 15, 5) for t in text[:-1]]


# what rows ask -------------------------------------------------------------------------------------------------------
def asks(batch: int, **given: Sequence[object]) -> Asks:
    plain: dict[str, Sequence[object]] = {"produce": [None] * batch, "most": [{}] * batch, "threshold": [0.0] * batch}
    return Asks(**(plain | given))  # type: ignore[arg-type]


def test_a_script_is_kept_whatever_the_model_wants() -> None:
    """It stops at once, never stops, wants other kinds, or another order: the reply holds what was asked, in order."""
    script = ["image", "tokens", "image", "music"]
    shortest = sum(SPANS[n].shortest for n in script)
    wishes = [[STOP], [2], [20], [38], [22], [3, 10, 11, 12, 10], [2, 2, 2, STOP]]
    for room in (shortest, shortest + 1, shortest + 5, 60):
        made = said(wanting(wishes), [room] * len(wishes), asks=asks(len(wishes), produce=[script] * len(wishes)))
        assert [whole(row.ids) for row in made] == [script] * len(wishes)
    assert made[0].stopped and len(made[1].ids) == 60, "it stops when it has said all, and may go on"


def test_an_empty_script_is_text_alone() -> None:
    wishes = [[10], [20, 24], [STOP], [2]]
    made = said(wanting(wishes), [8] * 4, asks=asks(4, produce=[[]] * 4))
    assert [whole(row.ids) for row in made] == [[]] * 4
    assert [len(r.ids) for r in made] == [8, 8, 0, 8]


def test_rows_ask_for_different_things_in_one_batch() -> None:
    wishes = [[10], [10], [10], [10]]
    given = asks(4, produce=[None, ["speech"], [], None], most=[{}, {}, {}, {"image": 1}])
    made = said(wanting(wishes), [9] * 4, asks=given)
    assert [whole(row.ids) for row in made] == [["image"] * 3, ["speech"], [], ["image"]]


def test_a_maximum_holds_for_each_kind() -> None:
    wishes = [[10, 11, 12, 20, 24, 24, 24, 24, 21] * 4]
    made = said(wanting(wishes), [36], asks=asks(1, most=[{"image": 2, "tokens": 0}]))
    assert whole(made[0].ids) == ["image", "image"]


def test_a_span_less_likely_than_the_threshold_does_not_begin() -> None:
    """Two tokens share the mass: the signal, a little ahead, and a word."""
    logits_BLV = torch.full((2, 8, VOCAB), -50.0)
    logits_BLV[..., 10], logits_BLV[..., 2] = 0.4, 0.0  # 60 % and 40 %
    made = said(logits_BLV, [8, 8], asks=asks(2, threshold=[0.55, 0.65]))
    assert [bool(whole(r.ids)) for r in made] == [True, False]


def test_a_script_that_does_not_fit_or_names_a_stranger_is_an_error() -> None:
    with pytest.raises(ValueError, match="takes 6 tokens, and there is room for 5"):
        said(wanting([[2]]), [5], asks=asks(1, produce=[["tokens"]]))
    with pytest.raises(ValueError, match="cannot produce smell; it can produce image, video"):
        said(wanting([[2]]), [5], asks=asks(1, produce=[["smell"]]))


# spans that cannot be ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("span", "said_so"), [
    (Span(begin=()), "no token that begins"),
    (Span(begin=(1,), codes=((4, 2), (6, 2)), least=1, most=4, end=(2,)), "no number of turns of 2"),
    (Span(begin=(1,), codes=((4, 2),), least=3, most=2, end=(2,)), "no number of turns"),
    (Span(begin=(1,), codes=((4, 2),)), "codes without a length"),
    (Span(begin=(1,), least=2, most=2), "a length without codes"),
    (Span(begin=(1,), codes=((4, 2),), least=1, most=2), "no token that ends them"),
    (Span(begin=(99,)), "beyond the vocabulary of 64"),
    (Span(begin=(-3,)), "beyond the vocabulary"),
    (Span(begin=(1,), codes=((60, 8),), least=1, most=2, end=(2,)), "token 67 of a span"),
    (Span(begin=(1,), codes=((4, 4),), least=0, most=2, end=(5,)), "share token 5"),
])  # fmt: skip
def test_a_span_that_could_not_come_whole_is_an_error(span: Span, said_so: str) -> None:
    with pytest.raises(ValueError, match=said_so):
        span_rules(VOCAB, {"image": span})


def test_two_spans_that_begin_alike_are_an_error() -> None:
    with pytest.raises(ValueError, match="share token 9"):
        span_rules(VOCAB, {"a": [9, 10], "b": [9, 11]})


def test_a_separator_among_the_codes_of_another_span_lets_none_of_them_stand_outside() -> None:
    spans = {"image": Span(begin=(10, 33, 11)), "speech": Span(begin=(22,), codes=((32, 6),), least=2, most=2)}
    rules = span_rules(VOCAB, spans, outside=[33])
    for token in range(32, 38):
        (row,) = said(wanting([[token]]), [4], rules)
        assert row.ids == ([33] * 4 if token == 33 else [0] * 4), "33 stands anywhere, the other codes in their span"


def test_a_separator_that_begins_a_span_is_an_error() -> None:
    with pytest.raises(ValueError, match="token 10 begins a span and stands outside"):
        span_rules(VOCAB, {"image": [10, 5, 11]}, outside=[10])
