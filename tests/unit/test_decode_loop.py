"""The decode loop against transformers' own generate(), and against itself: alone, in a batch, under span rules.

Tiny models with random weights, strong enough that replies vary. Prompts are embeddings, ragged, with foreign vectors
spliced in where a medium would stand.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from anyany.api.torch import Decoder, Limits, Rules, Sampler, mixed_mask, span_rules
from anyany.engine.decode import cache_kind, left_pad

VOCAB, WIDTH, STOP, NEW = 97, 32, 2, 20
STOPS = list(range(STOP, VOCAB, 8))
STATIC = ["llama", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "mistral", "phi", "phi3", "gpt2", "gpt_neox"]
OTHERS = ["mamba", "mamba2", "falcon_mamba", "opt", "stablelm", "olmo", "falcon", "starcoder2", "granite", "cohere"]
NAMES = {
    "gpt2": {"n_embd": WIDTH, "n_layer": 2, "n_head": 4, "n_positions": 256},
    "qwen3": {"head_dim": 8},
    "gemma": {"head_dim": 8},
    "gemma2": {"head_dim": 8, "sliding_window": 8},
    "gemma3_text": {"head_dim": 8, "sliding_window": 8},
    "mistral": {"sliding_window": 8},
    "mamba2": {"num_heads": 8, "head_dim": 8, "state_size": 8, "n_groups": 2},
}


def tiny(arch: str, seed: int = 0) -> nn.Module:
    """A random model of two layers; matrices are drawn wide so that the likeliest token is a clear choice."""
    sizes = {
        "hidden_size": WIDTH, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": VOCAB, "max_position_embeddings": 256, "pad_token_id": 0,
        "bos_token_id": 1, "eos_token_id": STOP,
    } | NAMES.get(arch, {})  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(arch, **sizes)).eval()
        for parameter in model.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, 0, 0.3)
    return model.requires_grad_(False)


def ragged_prompts(model: nn.Module) -> list[torch.Tensor]:
    """Four prompts of 5, 16, 2 and 9 positions; three of the second are vectors of no token."""
    generator = torch.Generator().manual_seed(1)
    table = model.get_input_embeddings()
    prompts = [table(torch.randint(3, VOCAB, (n,), generator=generator)) for n in (5, 13, 2, 9)]
    spliced = torch.randn(3, WIDTH, generator=generator)
    prompts[1] = torch.cat([prompts[1][:4], spliced, prompts[1][4:]])
    return prompts


def words_of(rows: list[int]) -> torch.Tensor:
    """Noise words [B,2] of rows by their number."""
    return torch.tensor([[7919 * r + 13, 104729 * r + 5] for r in rows], dtype=torch.int64)


def sampler(rows: list[int], temperature: float = 0.0, top_k: int = 0, top_p: float = 1.0) -> Sampler:
    return Sampler.of([temperature] * len(rows), [top_k] * len(rows), [top_p] * len(rows), words_of(rows))


def limits(batch: int, new: int = NEW) -> Limits:
    return Limits(max_new=[new] * batch, stop_ids=[STOP])


def generated(model: nn.Module, prompts: list[torch.Tensor], stops: Sequence[int] = (STOP,)) -> list[list[int]]:
    """What transformers' generate() says to the same left-padded embeddings, up to the stop token."""
    embeds, pads = left_pad(prompts)
    mask = torch.ones(embeds.shape[:2], dtype=torch.int64)
    for row, pad in enumerate(pads):
        mask[row, :pad] = 0
    out = model.generate(inputs_embeds=embeds, attention_mask=mask, max_new_tokens=NEW, do_sample=False,
                         pad_token_id=0, eos_token_id=list(stops))  # fmt: skip
    return [list(itertools.takewhile(lambda token: token not in stops, ids)) for ids in out.tolist()]


@pytest.fixture(scope="module")
def llama() -> nn.Module:
    return tiny("llama")


@pytest.mark.parametrize("arch", STATIC + OTHERS)
def test_greedy_ids_equal_transformers_generate(arch: str) -> None:
    model = tiny(arch)
    prompts = ragged_prompts(model)
    mine = Decoder(model).run(prompts, limits(4), sampler([0, 1, 2, 3]))
    assert [row.ids for row in mine] == generated(model, prompts)


def test_the_architectures_of_the_readme_are_those_tested_here() -> None:
    readme = Path(__file__).resolve().parents[2] / "plugins/anyany_language/README.md"
    told = re.search(r"spliced in, for:([^()]*)\(static cache\), and([^()]*)\(", readme.read_text("utf-8"))
    assert told is not None
    assert [[name.strip() for name in part.split(",")] for part in told.groups()] == [STATIC, OTHERS]


@pytest.mark.parametrize("arch", [*STATIC, "mamba", "opt"])
def test_a_prompt_alone_gives_the_ids_it_gives_in_a_batch(arch: str) -> None:
    model = tiny(arch)
    prompts = ragged_prompts(model)
    together = Decoder(model).run(prompts, limits(4), sampler([0, 1, 2, 3], temperature=0.8, top_k=20))
    for row, prompt in enumerate(prompts):
        alone = Decoder(model).run([prompt], limits(1), sampler([row], temperature=0.8, top_k=20))
        assert alone[0].ids == together[row].ids


@pytest.mark.parametrize("arch", STATIC)
def test_tested_architectures_keep_a_static_cache(arch: str) -> None:
    assert cache_kind(AutoConfig.for_model(arch)) == "static"


@pytest.mark.parametrize("arch", ["llama", "qwen2", "gpt2", "mamba", "opt"])
def test_rows_that_stop_early_stop_where_generate_stops(arch: str) -> None:
    """With many stop tokens the rows of a batch end at different steps."""
    model = tiny(arch)
    prompts = ragged_prompts(model)
    mine = Decoder(model).run(prompts, Limits(max_new=[NEW] * 4, stop_ids=STOPS), sampler([0, 1, 2, 3]))
    assert [row.ids for row in mine] == generated(model, prompts, STOPS)
    assert len({len(row.ids) for row in mine}) > 1 and any(row.stopped for row in mine)


def test_the_stop_token_is_left_out_and_noted(llama: nn.Module) -> None:
    prompts = ragged_prompts(llama)
    free = Decoder(llama).run(prompts, limits(4), sampler([0, 1, 2, 3]))
    stop = free[0].ids[5]
    cut = Decoder(llama).run(prompts, Limits(max_new=[NEW] * 4, stop_ids=[STOP, stop]), sampler([0, 1, 2, 3]))
    assert cut[0].stopped and cut[0].ids == free[0].ids[: free[0].ids.index(stop)]


def test_each_row_keeps_its_own_limit(llama: nn.Module) -> None:
    prompts = ragged_prompts(llama)
    free = Decoder(llama).run(prompts, limits(4), sampler([0, 1, 2, 3]))
    short = Decoder(llama).run(prompts, Limits(max_new=[1, 7, 3, NEW], stop_ids=[STOP]), sampler([0, 1, 2, 3]))
    assert [row.ids for row in short] == [row.ids[:n] for row, n in zip(free, (1, 7, 3, NEW))]
    assert not short[0].stopped


def test_an_empty_prompt_is_refused(llama: nn.Module) -> None:
    with pytest.raises(ValueError, match="empty prompt"):
        Decoder(llama).run([torch.zeros(0, WIDTH)], limits(1), sampler([0]))


def test_a_model_that_would_forget_its_prompt_is_refused() -> None:
    """RWKV keeps a state under a name of its own; handed another, it drops it and reads each token alone."""
    model = tiny("rwkv")
    with pytest.raises(ValueError, match="rwkv keeps what it read in a way unknown here"):
        Decoder(model).run(ragged_prompts(model), limits(4), sampler([0, 1, 2, 3]))


def test_watch_sees_every_token_once_in_order(llama: nn.Module) -> None:
    seen: list[tuple[int, int]] = []

    def watch(step: int, tokens: list[int], over: list[bool]) -> None:
        seen.append((step, tokens[0]))

    rows = Decoder(llama).run(ragged_prompts(llama)[:1], limits(1), sampler([0]), watch=watch)
    assert seen == list(enumerate(rows[0].ids))


def test_check_stops_the_run(llama: nn.Module) -> None:
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        Decoder(llama).run(ragged_prompts(llama), limits(4), sampler([0, 1, 2, 3]), check=check)
    assert calls == 4


def test_sampling_repeats_itself_and_follows_its_words(llama: nn.Module) -> None:
    prompts = ragged_prompts(llama)
    first = Decoder(llama).run(prompts, limits(4), sampler([0, 1, 2, 3], temperature=2.0))
    again = Decoder(llama).run(prompts, limits(4), sampler([0, 1, 2, 3], temperature=2.0))
    other = Decoder(llama).run(prompts, limits(4), sampler([4, 5, 6, 7], temperature=2.0))
    assert [r.ids for r in first] == [r.ids for r in again]
    assert [r.ids for r in first] != [r.ids for r in other]


def test_mixed_temperatures_keep_greedy_rows_greedy(llama: nn.Module) -> None:
    prompts = ragged_prompts(llama)
    greedy = Decoder(llama).run(prompts, limits(4), sampler([0, 1, 2, 3]))
    warm = Sampler.of([0, 2.0, 0, 2.0], [0] * 4, [1.0] * 4, words_of([0, 1, 2, 3]))
    mixed = Decoder(llama).run(prompts, limits(4), warm)
    assert [mixed[0].ids, mixed[2].ids] == [greedy[0].ids, greedy[2].ids]


# runs that see themselves whole --------------------------------------------------------------------------------------
RUNS = [[(1, 4)], [(0, 3), (5, 12)], [], [(8, 9)]]


@pytest.mark.parametrize("arch", ["llama", "qwen2", "qwen3", "phi", "gpt2", "gpt_neox"])
def test_runs_of_a_prompt_see_each_other_whole(arch: str) -> None:
    """The ids are those of passes over each whole sequence under the mixed mask, without cache or padding."""
    model = tiny(arch)
    prompts = ragged_prompts(model)
    mine = Decoder(model).run(prompts, limits(4, 6), sampler([0, 1, 2, 3]), together=RUNS)
    plain = Decoder(model).run(prompts, limits(4, 6), sampler([0, 1, 2, 3]))
    for prompt, runs, row in zip(prompts, RUNS, mine):
        whole, ids = prompt, []
        for _ in row.ids:
            mask = mixed_mask([0], [len(whole)], [runs], len(whole), dtype=whole.dtype, device="cpu")
            logits = model(inputs_embeds=whole[None], attention_mask=mask, use_cache=False).logits
            ids.append(int(logits[0, -1].argmax()))
            whole = torch.cat([whole, model.get_input_embeddings()(torch.tensor(ids[-1:]))])
        assert row.ids == ids
    assert [r.ids for r in mine] != [r.ids for r in plain]


@pytest.mark.parametrize("arch", ["mamba", "opt", "gemma3_text", "mistral"])
def test_a_model_that_cannot_see_runs_whole_says_so(arch: str) -> None:
    """A state, positions read off the mask, windows: the mixed mask would be another one."""
    model = tiny(arch)
    with pytest.raises(ValueError, match="cannot see runs whole"):
        Decoder(model).run(ragged_prompts(model), limits(4), sampler([0, 1, 2, 3]), together=RUNS)


def test_the_mixed_mask_is_causal_outside_its_runs() -> None:
    seen = mixed_mask([1], [4], [[(1, 3)]], 5, dtype=torch.float32, device="cpu", keys=6)[0, 0] == 0
    assert seen.int().tolist() == [
        [0, 0, 0, 0, 0, 0],  # padding
        [0, 1, 0, 0, 0, 0],
        [0, 1, 1, 1, 0, 0],
        [0, 1, 1, 1, 0, 0],
        [0, 1, 1, 1, 1, 0],
    ]


# spans ---------------------------------------------------------------------------------------------------------------
IMAGE, AUDIO = [90, 91, 92, 93], [94, 95, 96]


class Urge(nn.Module):
    """An output layer that adds a bias to some tokens: an adversary that wants to write signals all the time."""

    def __init__(self, inner: nn.Module, bias_V: torch.Tensor) -> None:
        super().__init__()
        self.inner, self.bias_V = inner, bias_V

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.inner(hidden) + self.bias_V


def urged(bias: float, tokens: list[int], seed: int = 0) -> nn.Module:
    model = tiny("llama", seed)
    bias_V = torch.zeros(VOCAB)
    bias_V[tokens] = bias
    model.set_output_embeddings(Urge(model.get_output_embeddings(), bias_V))
    return model


def spans_of(ids: list[int]) -> list[list[int]]:
    """The runs of signal tokens that begin with a first token; fails on any signal token outside such a run."""
    found, at = [], 0
    while at < len(ids):
        span = {IMAGE[0]: IMAGE, AUDIO[0]: AUDIO}.get(ids[at])
        if span is None:
            assert ids[at] not in IMAGE + AUDIO, f"signal token {ids[at]} outside a span at {at} of {ids}"
            at += 1
            continue
        assert ids[at : at + len(span)] == span, f"broken span at {at} of {ids}"
        found.append(span)
        at += len(span)
    return found


@pytest.mark.parametrize("bias", [3.0, 8.0, 50.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_under_rules_no_span_is_cut_nested_or_out_of_order(bias: float, seed: int) -> None:
    model = urged(bias, IMAGE + AUDIO, seed)
    rules = span_rules(VOCAB, {"image": IMAGE, "audio": AUDIO})
    room = Limits(max_new=[NEW, 11, 6, 3], stop_ids=[STOP])
    rows = Decoder(model).run(ragged_prompts(model), room, sampler([0, 1, 2, 3], temperature=1.0), rules)
    for row in rows:
        spans = spans_of(row.ids)
        states = [h is not None for h in row.hidden]
        assert states == [token in IMAGE + AUDIO for token in row.ids]
        assert sum(states) == sum(map(len, spans))
    assert bias < 8 or any(spans_of(row.ids) for row in rows)


def test_the_end_waits_for_a_span_however_much_it_is_wanted() -> None:
    """A model that wants to stop at once after the first signal token still writes the whole span."""
    model = urged(60.0, [STOP])
    prompts = ragged_prompts(model)
    rules = span_rules(VOCAB, {"image": IMAGE})
    forced = Rules(class_V=rules.class_V, next_SC=rules.next_SC.clone(), need_S=rules.need_S)
    forced.next_SC[0, 0] = -1  # nothing but a span may begin
    rows = Decoder(model).run(prompts, Limits(max_new=[4] * 4, stop_ids=[STOP]), sampler([0, 1, 2, 3]), forced)
    assert [row.ids for row in rows] == [IMAGE] * 4


def test_a_span_that_would_not_fit_never_begins() -> None:
    model = urged(60.0, [IMAGE[0]])
    rules = span_rules(VOCAB, {"image": IMAGE})
    room = Limits(max_new=[3, 4, 5, 7], stop_ids=[STOP])
    rows = Decoder(model).run(ragged_prompts(model), room, sampler([0, 1, 2, 3]), rules)
    assert [len(spans_of(row.ids)) for row in rows] == [0, 1, 1, 1]


def test_rules_leave_the_likelihoods_of_legal_tokens_alone() -> None:
    logits = torch.randn(3, VOCAB, generator=torch.Generator().manual_seed(0))
    rules = span_rules(VOCAB, {"image": IMAGE, "audio": AUDIO})
    masked = rules.mask(logits, torch.zeros(3, dtype=torch.int64), torch.full((3,), 20))
    illegal = IMAGE[1:] + AUDIO[1:]
    legal = [t for t in range(VOCAB) if t not in illegal]
    assert torch.equal(masked[:, legal], logits[:, legal])
    assert bool(torch.isinf(masked[:, illegal]).all())


def test_rules_change_nothing_where_no_signal_is_wanted() -> None:
    model = urged(-60.0, IMAGE)
    prompts = ragged_prompts(model)
    free = Decoder(model).run(prompts, limits(4), sampler([0, 1, 2, 3]))
    ruled = Decoder(model).run(prompts, limits(4), sampler([0, 1, 2, 3]), span_rules(VOCAB, {"image": IMAGE}))
    assert [r.ids for r in ruled] == [r.ids for r in free]


@pytest.mark.parametrize("arch", ["llama", "gemma3_text", "gpt2", "mamba", "opt"])
def test_hidden_states_are_of_the_step_that_consumed_the_signal(arch: str) -> None:
    """The same reply run through the model at once gives the same states at the signals' own positions."""
    model = tiny(arch)
    rules = span_rules(VOCAB, {"image": IMAGE})
    forced = Rules(class_V=rules.class_V, next_SC=rules.next_SC.clone(), need_S=rules.need_S)
    forced.next_SC[0, 0] = -1
    prompts = ragged_prompts(model)
    rows = Decoder(model).run(prompts, Limits(max_new=[4] * 4, stop_ids=[STOP]), sampler([0, 1, 2, 3]), forced)
    for prompt, row in zip(prompts, rows):
        whole = torch.cat([prompt, model.get_input_embeddings()(torch.tensor(row.ids))])
        states = model(inputs_embeds=whole[None], output_hidden_states=True).hidden_states[-1][0]
        torch.testing.assert_close(torch.stack(row.hidden), states[len(prompt) :], atol=1e-4, rtol=1e-4)
