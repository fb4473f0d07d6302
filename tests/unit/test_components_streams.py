"""Signals and token streams of language models: what is written comes back as it was, and what is asked for is made.

Suffixes: B rows, L tokens, D width, K tokens of a signal, N codes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from anyany_language.bpe import train
from anyany_language.causal_cards import CausalLmConfig, codebook_settings
from anyany_language.chat import pieces
from anyany_language.codebooks import Sizes, Written, lay_out, sizes
from anyany_language.pretrained import tokenizer_of
from anyany_language.signals import signal_tokens, split_reply

from anyany.api.torch import Assets, Build, Context, Rows, Sampler, Span
from anyany.api.v1 import Media, Message, Place, Turn
from anyany.engine.noise import Noise
from anyany.registry import default_registry
from anyany.testing.harness import bench

BOOKS = {"image": {"codes": 16, "length": 4}, "audio": {"codes": 12, "length": [2, 8], "turns": 2}}
PICTURE = Media(kind="image", value=torch.zeros(3, 2, 2))


def model(**options: Any) -> Any:
    """A tiny language model with random weights."""
    return bench(default_registry().card("language/causal-lm"), {"preset": "tiny", **options}).build()


def context(call: str, count: int, options: list[dict[str, Any]] | None = None, emit: Any = None) -> Context:
    return Context(node="think", call=call, keys=[(i,) for i in range(count)], options=options, emit=emit,
                   noise=Noise(0, [f"item-{i}" for i in range(count)]), device=torch.device("cpu"),
                   dtype=torch.float32)  # fmt: skip


def said(built: Any, messages: list[Message], options: list[dict[str, Any]] | None = None, emit: Any = None,
         **ports: Rows) -> Any:  # fmt: skip
    with torch.inference_mode():
        return built.component.generate(context("generate", len(messages), options, emit), Rows(messages), **ports)


def first(rows: Rows) -> list[Any]:
    """The list of the first row."""
    return list(next(iter(rows.groups())))


@pytest.fixture(scope="module")
def stream() -> Any:
    return model(inputs=[], codebooks=BOOKS, max_new_tokens=40)


# codes as words ------------------------------------------------------------------------------------------------------
def test_codes_become_words_between_marks_and_come_back(stream: Any) -> None:
    image, audio = stream.component.books["image"], stream.component.books["audio"]
    codes = torch.tensor([0, 15, 7, 7])
    ids = image.write(codes)
    assert len(ids) == 6 and torch.equal(image.read(ids), codes)
    assert torch.equal(audio.read(audio.write([5, 6, 0, 11])), torch.tensor([5, 6, 0, 11]))
    assert not set(ids) & set(audio.write([5, 6]))


@pytest.mark.parametrize(("kind", "codes", "told"), [
    ("image", [0, 16], "code 16 of image is beyond its codebook of 16"),
    ("image", [-1], "code -1 of image"),
    ("image", [], "0 codes of image"),
    ("audio", [1, 2], "code 1 of audio is of codebook 0, not 1"),
    ("audio", [1, 7, 2], "3 codes of audio, where some in turns of 2"),
])  # fmt: skip
def test_codes_that_are_none_of_the_codebooks_are_an_error(stream: Any, kind: str, codes: list[int], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        stream.component.books[kind].write(torch.tensor(codes))


def test_a_reply_holds_what_was_asked_in_order_with_codes_of_legal_lengths(stream: Any) -> None:
    wanted = [["image", "audio", "image"], ["audio"], [], None]
    out = said(stream, [Message(("hi",))] * 4, [{"produce": w} for w in wanted])
    kinds = [[p.kind for p in m.unfilled()] for m in out["reply"].list()]
    assert kinds[:3] == wanted[:3]
    images, sounds = list(out["image"].groups()), list(out["audio"].groups())
    assert [len(g) for g in images][:3] == [2, 0, 0] and [len(g) for g in sounds][:3] == [1, 1, 0]
    for codes in (c for g in images for c in g):
        assert codes.shape == (4,) and set(codes.tolist()) <= set(range(16))
    for codes in (c for g in sounds for c in g):
        assert len(codes) % 2 == 0 and 2 <= len(codes) <= 8
        assert bool((codes // 6 == torch.arange(len(codes)) % 2).all())


def test_the_history_holds_the_very_tokens_that_were_written(stream: Any) -> None:
    """A picture made in turn one is read in turn two from its own tokens, not from what a tokenizer sees in it."""
    out = said(stream, [Message(("draw",))], [{"produce": ["image"]}])
    codes = first(out["image"])[0]
    reply = out["reply"].list()[0].fill("image", [PICTURE.value])
    assert isinstance(reply.parts[-1], Media) and isinstance(reply.parts[-1].tokens, Written)
    chat = Message.join([Message(("draw",)), Turn("assistant"), reply, Turn("user"), "what is it?"])
    seen_again = Rows([(codes + 1) % 16], counts=[1])
    lm = stream.component
    with torch.inference_mode():
        (own,) = lm._prompts(context("generate", 1), Rows([chat]), {"image": seen_again})
        strange = Message(tuple(PICTURE if isinstance(p, Media) else p for p in chat.parts))
        (same,) = lm._prompts(context("generate", 1), Rows([strange]), {"image": Rows([codes], counts=[1])})
        (other,) = lm._prompts(context("generate", 1), Rows([strange]), {"image": seen_again})
    assert torch.equal(own, same) and not torch.equal(own, other)


def test_tokens_of_another_model_are_not_taken_for_ones_own(stream: Any) -> None:
    media = Media(kind="image", value=PICTURE.value, tokens=Written(hand=object(), value=(1, 2, 3)))
    with torch.inference_mode():
        (read,) = stream.component._prompts(context("generate", 1), Rows([Message((media,))]),
                                            {"image": Rows([torch.tensor([1, 2, 3, 4])], counts=[1])})  # fmt: skip
    assert len(read) == 6


def test_nothing_of_a_medium_is_streamed_as_text(stream: Any) -> None:
    heard: list[str] = []
    out = said(stream, [Message(("hi",))], [{"produce": ["image", "audio"]}], emit=lambda row, text: heard.append(text))
    assert "".join(heard).strip() == out["text"].list()[0]


def test_what_is_streamed_is_the_text_of_the_reply_to_its_last_half_character(monkeypatch: pytest.MonkeyPatch) -> None:
    """Separators inside signals are no text; half a character at the end, or before a medium, is told all the same."""
    built = model(inputs=[], signals={"image": 3}, signal_separator=" ", max_new_tokens=40)
    lm = built.component
    umlaut, gap, signal = lm._text_ids("ü"), lm._text_ids(" "), lm.spans["image"].begin
    for ids in ([*gap, umlaut[0], *signal, umlaut[1], *gap, umlaut[0]], [*signal, *signal, *gap, *umlaut, lm.stops[0]],
                [umlaut[0], lm.stops[0]], [lm.stops[0]]):  # fmt: skip
        wished = iter([*ids, *[gap[0]] * 60])
        monkeypatch.setattr(Sampler, "pick", lambda self, logits_BV, step: torch.tensor([next(wished)]))  # noqa: B023
        heard: list[str] = []
        asked = {"max_new_tokens": len(ids)}
        out = said(built, [Message(("hi",))], [asked], emit=lambda row, text: heard.append(text))  # noqa: B023
        parts = [p for p in out["reply"].list()[0].parts if isinstance(p, str)]
        assert "".join(heard).strip() == "".join(parts).strip()
        assert out["image"].list() or signal[0] not in ids


def test_names_and_order_of_codes_are_those_of_the_checkpoints_tokenizer(tmp_path: Path) -> None:
    """SEED-LLaMA's names, in front of the bytes and with the closing mark first."""
    names = ["</img>", "<img>", *(f"<img_{i:05d}>" for i in range(8))]
    train(["some words"], 270, names).save(str(tmp_path / "tokenizer.json"))
    assets = Assets(tmp_path)
    tokenizer = tokenizer_of(assets)
    build = Build(node="think", assets=assets, sizes={"image_codes": 8, "image_length": 2})
    told = {"begin": "<img>", "end": "</img>", "token": "<img_{:05d}>"}
    options = codebook_settings(CausalLmConfig(codebooks={"image": told}))
    (book,) = lay_out(options, build, tokenizer, 9999)
    assert tokenizer.convert_ids_to_tokens(book.write([7, 0])) == ["<img>", "<img_00007>", "<img_00000>", "</img>"]
    with pytest.raises(ValueError, match="has no </image>, a token of the codebook of image"):
        lay_out(codebook_settings(CausalLmConfig(codebooks={"image": {"begin": "<img>"}})), build, tokenizer, 0)


@pytest.mark.parametrize(("options", "told"), [
    ({"signals": {"image": 2}, "codebooks": ["image"]}, "in one way"),
    ({"codebooks": {"image": {"lenght": 3}}}, "has no 'lenght'"),
    ({"codebooks": {"image": {"length": [3, 2]}}}, "the least and the most"),
    ({"codebooks": {"image": {"length": 0}}}, "the least and the most"),
    ({"codebooks": {"image": {"turns": 0}}}, "`turns` of the codebook of image is a number from 1"),
    ({"codebooks": {"image": {"end": "", "length": [1, 2]}}}, "an `end` where its length varies"),
    ({"codebooks": {"image": {"token": "<img>"}}}, "a name with a place for a code"),
    ({"codebooks": {"image": {"token": "<img_{x}>"}}}, "a name with a place for a code"),
    ({"codebooks": {"image": {"read": "sounds"}}}, "as tokens or features"),
    ({"produce": ["smell"]}, "`produce` names smell"),
    ({"most": {"image": 1}}, "`most` names image"),
    ({"signals": {"image": 0}}, "at least one token"),
])  # fmt: skip
def test_options_that_cannot_be_are_told_before_anything_is_built(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        CausalLmConfig(**options)


def test_what_nothing_fixes_is_told_with_the_option_that_does() -> None:
    told = codebook_settings(CausalLmConfig(codebooks=["image"]))["image"]
    with pytest.raises(ValueError, match=r"how long the image of think is; give .*codebooks: {image: {length"):
        sizes("image", told, Build(node="think", sizes={"image_codes": 4, "image_length": None}))
    assert sizes("image", told, Build(node="think", sizes={"image_codes": 4, "image_length": 9})) == Sizes(
        codes=4, least=9, most=9, turns=1
    )
    with pytest.raises(ValueError, match="do not divide into 3 turns"):
        model(inputs=[], codebooks={"audio": {"codes": 12, "length": [2, 8], "turns": 3}})


# learning ------------------------------------------------------------------------------------------------------------
def test_a_stream_learns_to_write_the_picture_it_is_taught() -> None:
    built = model(inputs=[], codebooks={"image": {"codes": 16, "length": 4}}, max_new_tokens=12)
    lm = built.component.train()
    for p in lm.parameters():
        p.requires_grad_(True)
    codes = torch.tensor([3, 1, 4, 15])
    step = torch.optim.Adam(lm.parameters(), lr=1e-2)
    given = {"message": Rows([Message(("pi",))]), "target": Rows([Message(("so ", PICTURE))]),
             "target_image": Rows([codes], counts=[1])}  # fmt: skip
    for _ in range(25):
        step.zero_grad()
        loss = lm.learn(context("learn", 1), **given)["loss"].dense().mean()
        loss.backward()
        step.step()
    lm.eval().requires_grad_(False)
    out = said(built, [Message(("pi",))])
    assert loss.item() < 0.1 and torch.equal(first(out["image"])[0], codes)
    assert out["text"].list() == ["so"]


def test_a_target_without_its_tokens_is_an_error(stream: Any) -> None:
    given = {"message": Rows([Message(("a",))]), "target": Rows([Message((PICTURE,))])}
    with pytest.raises(ValueError, match="holds image 1, but port `target_image` has none"):
        stream.component.learn(context("learn", 1), **given)
    two = Rows([torch.zeros(4, dtype=torch.int64)] * 2, counts=[2])
    with pytest.raises(ValueError, match="holds 1 of image, and port `target_image` has 2"):
        stream.component.learn(context("learn", 1), **given, target_image=two)


# signals -------------------------------------------------------------------------------------------------------------
def test_signals_have_the_names_of_either_release() -> None:
    assert signal_tokens({"image": 2, "audio": 1, "smell": 1}) == {
        "image": ["[IMG0]", "[IMG1]"], "audio": ["[AUD0]"], "smell": ["[SMELL0]"]}  # fmt: skip
    newer = signal_tokens({"image": 3}, {"image": "<image_{:02d}>"}, " ")
    assert newer == {"image": ["<image_00>", " ", "<image_01>", " ", "<image_02>"]}


def test_a_reply_is_split_at_spans_of_any_length() -> None:
    spans = {"image": Span(begin=[10, 11]), "audio": Span(begin=[20], codes=[(21, 5)], least=1, most=3, end=[29])}
    ids = [1, 2, 10, 11, 20, 21, 22, 29, 20, 25, 29, 3]
    parts, found = split_reply(ids, spans, lambda run: "".join(map(str, run)))
    assert parts == ["12", Place("image", 0), Place("audio", 0), Place("audio", 1), "3"]
    assert found == [("image", 2, 4), ("audio", 4, 8), ("audio", 8, 11)]


def test_a_signal_carries_states_with_separators_and_input_embeddings_where_told() -> None:
    plain = model(inputs=[], signals={"image": 3}, signal_separator=" ", max_new_tokens=8)
    summed = model(inputs=[], signals={"image": 3}, signal_separator=" ", signal_state="sum", max_new_tokens=8)
    hidden, both = (first(said(m, [Message(("x",))], [{"produce": ["image"]}])["image"])[0]
                    for m in (plain, summed))  # fmt: skip
    span = summed.component.spans["image"].begin
    assert hidden.shape == (5, 32) and [span[1], span[3]] == 2 * summed.component.tokenizer(" ").input_ids
    torch.testing.assert_close(both - hidden, summed.component._embed_ids(span).detach())


def test_a_separator_of_several_tokens_is_an_error() -> None:
    with pytest.raises(ValueError, match="2 tokens long"):
        model(signals={"image": 2}, signal_separator=", ")


def test_a_fed_and_a_written_signal_carry_the_same_states() -> None:
    """Teacher forcing and the decode loop meet: the states of the same text are the same."""
    built = model(inputs=[], signals={"image": 2}, signal_state="sum", max_new_tokens=4)
    out = said(built, [Message(("hi",))], [{"produce": ["image", "image"]}])  # room for two signals and no text
    target = Message((PICTURE, PICTURE))
    with torch.inference_mode():
        learnt = built.component.learn(context("learn", 1), Rows([Message(("hi",))]), Rows([target]))
    for written, fed in zip(first(out["image"]), first(learnt["image"]), strict=True):
        torch.testing.assert_close(fed, written, atol=1e-4, rtol=1e-4)


def test_marks_stand_around_media_of_their_kind_alone() -> None:
    plain, marked = model(), model(marks={"image": ("<Img>", "</Img>")})
    message = Message(("look ", PICTURE, " and hear ", Media(kind="audio", value=None, path="a.wav")))
    ports = {"image": Rows([torch.zeros(3, 32)], counts=[1]), "audio": Rows([torch.zeros(2, 32)], counts=[1])}
    with torch.inference_mode():
        (bare,), (framed,) = (m.component._prompts(context("generate", 1), Rows([message]), ports)
                              for m in (plain, marked))  # fmt: skip
    assert len(framed) - len(bare) == len("<Img></Img>")
    assert torch.equal(framed[: len("look ")], bare[: len("look ")])


# new tokens ----------------------------------------------------------------------------------------------------------
def saved(folder: Path, more: int = 0) -> str:
    """A tiny llama with a tokenizer and so many rows more than it has tokens; its weights source."""
    from safetensors.torch import save_file
    from transformers import AutoConfig, AutoModelForCausalLM

    folder.mkdir()
    words = train(["some words"], 300)
    words.save(str(folder / "tokenizer.json"))
    rows = words.get_vocab_size() + more
    config = AutoConfig.for_model("llama", hidden_size=16, intermediate_size=16, num_hidden_layers=1,
                                  num_attention_heads=2, vocab_size=rows, max_position_embeddings=64)  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(rows)
        net = AutoModelForCausalLM.from_config(config)
    config.save_pretrained(folder)
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, folder / "model.safetensors")
    return f"file:{folder}"


def loaded(options: dict[str, Any], *sources: str) -> Any:
    from anyany.engine.build import build_component

    made = bench(default_registry().card("language/causal-lm"), {"inputs": [], "max_new_tokens": 12, **options})
    return build_component(made.node("generate", sources))


def test_a_token_without_a_row_is_an_error_with_what_to_do(tmp_path: Path) -> None:
    base = saved(tmp_path / "base")
    with pytest.raises(Exception, match=r"rows, none for \[IMG1\].*`new_tokens: mean`"):
        loaded({"signals": {"image": 2}}, base)
    with pytest.raises(Exception, match="none for a token of its codebooks"):
        loaded({"codebooks": {"image": {"codes": 8, "length": 2}}}, base)


def test_new_rows_begin_at_the_mean_and_are_written(tmp_path: Path) -> None:
    base = saved(tmp_path / "base")
    built = loaded(
        {"signals": {"audio": 2}, "codebooks": {"image": {"codes": 8, "length": 2}}, "new_tokens": "mean"}, base
    )
    lm = built.component
    table = lm.model.get_input_embeddings().weight
    own = table.shape[0] - 12
    assert lm.model.get_output_embeddings().weight.shape[0] == lm.vocab == own + 12
    assert own == len(lm.tokenizer) - 2, "two signals were added to the tokenizer"
    torch.testing.assert_close(table[own:], table[:own].mean(0).expand(12, -1))
    out = said(built, [Message(("some",))], [{"produce": ["audio", "image"]}])
    assert [p.kind for p in out["reply"].list()[0].unfilled()] == ["audio", "image"]


def test_rows_laid_over_a_base_are_the_tokens_own(tmp_path: Path) -> None:
    base, over = saved(tmp_path / "base"), saved(tmp_path / "over", 2)
    lm = loaded({"signals": {"image": 2}}, base, over).component
    assert lm.vocab == len(lm.tokenizer)
    whole = loaded({"signals": {"image": 2}}, over).component
    assert torch.equal(lm.model.get_input_embeddings().weight, whole.model.get_input_embeddings().weight)


def test_next_gpts_delta_brings_lora_and_rows_over_the_base(tmp_path: Path) -> None:
    """As its first release is saved: peft's names under `llama_model.`, whole tables of more rows, adapters."""
    from safetensors.torch import save_file

    base, over = saved(tmp_path / "base"), saved(tmp_path / "over", 2)
    rows = loaded({"signals": {"image": 2}}, over).component.model
    head = "llama_model.base_model.model."
    a, b = torch.randn(4, 16), torch.randn(16, 4)
    delta = {
        f"{head}model.embed_tokens.weight": rows.get_input_embeddings().weight,
        f"{head}lm_head.weight": rows.get_output_embeddings().weight,
        f"{head}model.layers.0.self_attn.q_proj.lora_A.default.weight": a,
        f"{head}model.layers.0.self_attn.q_proj.lora_B.default.weight": b,
        "llama_proj.weight": torch.zeros(16, 3),
    }
    save_file(delta, tmp_path / "delta.safetensors")
    (tmp_path / "adapter_config.json").write_text('{"lora_alpha": 8, "r": 4}')
    made = loaded({"signals": {"image": 2}}, base, f"file:{tmp_path}/delta.safetensors#llama_model.").component
    plain = loaded({"signals": {"image": 2}, "new_tokens": "mean"}, base).component
    assert made.vocab == len(made.tokenizer)
    assert torch.equal(made.model.get_output_embeddings().weight, rows.get_output_embeddings().weight)
    moved = made.model.model.layers[0].self_attn.q_proj.weight - plain.model.model.layers[0].self_attn.q_proj.weight
    torch.testing.assert_close(moved, 2 * b @ a, atol=1e-5, rtol=1e-5)


# templates -----------------------------------------------------------------------------------------------------------
def test_vicunas_first_template_names_who_speaks(stream: Any) -> None:
    chat = Message(
        (Turn("system"), "Be kind.", Turn("user"), "hi ", PICTURE, Turn("assistant"), "hello", Turn("user"), "?")
    )
    found = pieces(chat, stream.component.tokenizer, "human")
    assert found == ["Be kind.\n### Human: hi ", ("image", 0), "\n### Assistant: hello\n### Human: ?\n### Assistant:"]


# projection ----------------------------------------------------------------------------------------------------------
def projection(**options: Any) -> Any:
    told = {"preset": "tiny", "inputs": 12, "outputs": 6, "queries": 5, **options}
    return bench(default_registry().card("adapters/signal-projection"), told).build()


@pytest.mark.parametrize("mode", ["transformer", "qformer"])
def test_signals_of_unlike_lengths_are_projected_as_they_are_alone(mode: str) -> None:
    built = projection(mode=mode)
    rows = [torch.randn(n, 12, generator=torch.Generator().manual_seed(n)) for n in (4, 8, 1)]
    with torch.inference_mode():
        together = built.component.project(context("project", 3), Rows(rows))["features"].dense()
        alone = [built.component.project(context("project", 1), Rows([r]))["features"].dense()[0] for r in rows]
    assert together.shape == (3, 5, 6)
    torch.testing.assert_close(together, torch.stack(alone), atol=1e-5, rtol=1e-5)
