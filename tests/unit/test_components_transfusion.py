"""language/transfusion: who sees whom, what is learned, and replies in which text and pictures take turns.

Suffixes: B rows, L positions, P patches, D width, C H W a latent's.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from anyany_language.lines import Line, ReadLines, hidden_of
from anyany_language.patches import cut, joined

from anyany.api.torch import Context, Rows
from anyany.api.v1 import Media, Message, Place, Turn
from anyany.engine.noise import Noise
from anyany.registry import default_registry
from anyany.testing.harness import bench

PICTURE = Media(kind="image", value=torch.zeros(3, 2, 2))


def model(**options: Any) -> Any:
    told = {"preset": "tiny", "channels": 3, **options}
    return bench(default_registry().card("language/transfusion"), told).build().component


def context(call: str, count: int, options: list[dict[str, Any]] | None = None) -> Context:
    return Context(node="think", call=call, keys=[(i,) for i in range(count)], options=options, dtype=torch.float32,
                   noise=Noise(0, [f"item-{i}" for i in range(count)]), device=torch.device("cpu"))  # fmt: skip


def said(made: Any, messages: list[Message], options: list[dict[str, Any]] | None = None, **ports: Rows) -> Any:
    with torch.inference_mode():
        return made.generate(context("generate", len(messages), options), Rows(messages), **ports)


def latent(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*(shape or (3, 4, 4)), generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def fusion() -> Any:
    return model()


# who sees whom -------------------------------------------------------------------------------------------------------
def test_patches_are_cut_row_by_row_and_joined_again() -> None:
    x_BCHW = latent(0, 2, 3, 4, 6)
    patches_BPV = cut(x_BCHW, 2)
    assert patches_BPV.shape == (2, 6, 12)
    assert torch.equal(patches_BPV[0, 1], x_BCHW[0, :, 0:2, 2:4].flatten())
    assert torch.equal(joined(patches_BPV, 3, 2, 4, 6), x_BCHW)


def line_of(made: Any, before: str, picture: torch.Tensor, after: str) -> Line:
    return made._prompt(Message((before, PICTURE, after)), "", {0: picture})


def test_text_is_causal_and_a_picture_sees_itself_whole(fusion: Any) -> None:
    """Changing the last patch changes every patch and the text behind, and nothing before the picture."""
    other = latent(1).clone()
    other[:, 2:, 2:] += 1
    with torch.inference_mode():
        lines = [line_of(fusion, "abc", p, "de") for p in (latent(1), other)]
        one_LD, two_LD = hidden_of(fusion.model, lines)
    changed = ((one_LD - two_LD).abs().amax(-1) > 1e-6).tolist()
    assert changed == [False] * 4 + [True] * 4 + [True] * 3  # a b c <image> | 4 patches | </image> d e
    with torch.inference_mode():
        text_LD, longer_LD = hidden_of(fusion.model, [line_of(fusion, "abc", latent(1), t) for t in ("de", "dx")])
    torch.testing.assert_close(text_LD[:-1], longer_LD[:-1])


def test_patches_behind_a_prefix_are_seen_as_in_one_pass(fusion: Any) -> None:
    """Cached prefixes of unlike lengths, pictures inside, read twice: the same states as whole lines give."""
    with torch.inference_mode():
        prefixes = [line_of(fusion, "abc", latent(1), "d"), fusion._prompt(Message(("e",)), "", {})]
        x_BPD = fusion.patches.positions(torch.stack([latent(2), latent(3)]), torch.tensor([7, 900]))
        seen = ReadLines(fusion.model, prefixes)
        for _ in range(2):
            found_BPD = seen(x_BPD, torch.tensor([0, 1]))
        for i, line in enumerate(prefixes):
            line.add(x_BPD[i], together=True)
        whole = hidden_of(fusion.model, prefixes)
    for i in range(2):
        torch.testing.assert_close(found_BPD[i], whole[i][-4:], atol=1e-5, rtol=1e-5)


# replies -------------------------------------------------------------------------------------------------------------
def test_text_and_pictures_take_turns_as_asked(fusion: Any) -> None:
    wanted = [["image", "image"], [], ["image"]]
    out = said(fusion, [Message(("draw",))] * 3, [{"produce": w} for w in wanted])
    assert [[p.kind for p in m.unfilled()] for m in out["reply"].list()] == wanted
    groups = [list(g) for g in out["image"].groups()]
    assert [len(g) for g in groups] == [2, 0, 1]
    assert all(v.shape == (3, 4, 4) and bool(v.isfinite().all()) for g in groups for v in g)
    assert not torch.equal(*groups[0]), "each picture is drawn from noise of its own"


def test_guidance_and_steps_are_an_items_own(fusion: Any) -> None:
    told = [{"produce": ["image"], **more} for more in ({}, {"guidance": 1.0}, {"steps": 2})]
    out = said(fusion, [Message(("draw",))] * 3, told)
    first, plain, short = (list(g)[0] for g in out["image"].groups())  # noqa: RUF015
    assert not torch.allclose(first, plain) and not torch.allclose(first, short)
    again = said(fusion, [Message(("draw",))], [{"produce": ["image"]}])
    torch.testing.assert_close(list(again["image"].groups())[0][0], first, atol=1e-5, rtol=1e-5)  # noqa: RUF015


def test_a_picture_of_the_history_is_the_latent_that_was_drawn(fusion: Any) -> None:
    out = said(fusion, [Message(("draw",))], [{"produce": ["image"]}])
    reply = out["reply"].list()[0].fill("image", [PICTURE.value])
    chat = Message.join([Message(("draw",)), Turn("assistant"), reply, Turn("user"), "what is it?"])
    drawn, other = next(iter(out["image"].groups()))[0], latent(9)
    with torch.inference_mode():
        (own,) = fusion._prompts(context("generate", 1), Rows([chat]), Rows([other], counts=[1]))
        strange = Message(tuple(PICTURE if isinstance(p, Media) else p for p in chat.parts))
        (same,) = fusion._prompts(context("generate", 1), Rows([strange]), Rows([drawn], counts=[1]))
    assert torch.equal(own.embeds(), same.embeds()) and len(own.runs) == 1


def test_where_no_picture_fits_the_text_goes_on_without_one() -> None:
    """A context of 24: a picture takes 6 of its positions, so late in a reply there is none."""
    small = model(context=24, max_new_tokens=64)
    out = said(small, [Message(("0123456789",))] * 2, [{}, {"produce": []}])
    for reply in out["reply"].list():
        assert isinstance(reply, Message)
    with pytest.raises(ValueError, match="to produce 3 pictures takes 28 positions of 24"):
        said(small, [Message(("0123456789",))], [{"produce": ["image"] * 3}])
    full = said(small, [Message(("0123456789",))], [{"produce": ["image"] * 2}])
    assert [p for p in full["reply"].list()[0].parts if isinstance(p, Place)] == [Place("image", 0), Place("image", 1)]


class Urge(torch.nn.Module):
    """An output layer that wants some tokens all the time."""

    def __init__(self, inner: torch.nn.Module, bias_V: torch.Tensor) -> None:
        super().__init__()
        self.inner, self.bias_V = inner, bias_V

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.inner(hidden) + self.bias_V
        return found


@pytest.mark.parametrize("wanted", ["begin", "end", "both"])
def test_a_model_that_wants_marks_all_the_time_writes_whole_pictures_alone(wanted: str) -> None:
    """Beginnings until no picture fits, and never an end of its own."""
    made = model(context=40, max_new_tokens=30, steps=1)
    bias_V = torch.zeros(made.model.config.vocab_size)
    bias_V[[t for n, t in (("begin", made.begin), ("end", made.end)) if wanted in (n, "both")]] = 1e6
    made.model.set_output_embeddings(Urge(made.model.get_output_embeddings(), bias_V))
    out = said(made, [Message(("hello",)), Message(("a longer beginning",))], [{}, {"most": {"image": 1}}])
    counts = [len(list(g)) for g in out["image"].groups()]
    assert counts == ([0, 0] if wanted == "end" else [5, 1])  # 5 of 6 positions each fit behind the first prompt's 5
    assert [len(m.unfilled()) for m in out["reply"].list()] == counts


@pytest.mark.parametrize(("ports", "message", "told"), [
    ({}, Message(("a", PICTURE)), "holds image 1, but port `image` has none"),
    ({"image": Rows([torch.zeros(3, 3, 4)], counts=[1])}, Message(("a", PICTURE)), r"multiples of 2, not \[3, 3, 4\]"),
    ({"image": Rows([torch.zeros(4, 4, 4)], counts=[1])}, Message(("a", PICTURE)), r"3 channels .* not \[4, 4, 4\]"),
    ({}, Message(("x" * 600,)), "600 positions long; think takes at most 511"),
    ({}, Message(()), "is empty"),
])  # fmt: skip
def test_what_cannot_be_read_is_an_error(fusion: Any, ports: dict[str, Rows], message: Message, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        said(fusion, [message], **ports)


@pytest.mark.parametrize(("options", "told"), [
    ({"size": [4, 5]}, "does not divide into patches of 2"),
    ({"produce": ["audio"]}, "text and image, not audio"),
    ({"arch": "mamba"}, "cannot see runs whole"),
    ({"arch": "gemma2", "settings": {"head_dim": 8}}, "cannot see runs whole"),
])  # fmt: skip
def test_options_that_cannot_be_are_told(options: dict[str, Any], told: str) -> None:
    with pytest.raises(Exception, match=told):
        model(**options)


# learning ------------------------------------------------------------------------------------------------------------
def test_words_and_pictures_are_learned_together() -> None:
    """One picture and its words: both losses fall, and what is drawn then lies much nearer to it than before."""
    made = model(drop=0.0, steps=20, guidance=1.0, size=[2, 2])
    wanted = torch.tensor([1.0, -1.0, 0.5])[:, None, None].expand(3, 2, 2).contiguous()
    rows = 8
    given = {"message": Rows([Message(("draw",))] * rows), "target": Rows([Message(("so ", PICTURE))] * rows),
             "target_image": Rows([wanted] * rows, counts=[1] * rows)}  # fmt: skip

    def apart() -> float:
        drawn = said(made, [Message(("draw",))] * 4, [{"produce": ["image"]}] * 4)
        return torch.stack([g[0] - wanted for g in drawn["image"].groups()]).square().mean().item()

    before = apart()
    for p in made.train().parameters():
        p.requires_grad_(True)
    optimiser = torch.optim.Adam(made.parameters(), lr=1e-2)
    first: dict[str, float] = {}
    for step in range(60):
        ctx = Context(node="think", call="learn", keys=[(i,) for i in range(rows)], device=torch.device("cpu"),
                      noise=Noise(step, [f"{i}" for i in range(rows)]), dtype=torch.float32)  # fmt: skip
        out = made.learn(ctx, **given)
        optimiser.zero_grad()
        out["loss"].dense().mean().backward()
        optimiser.step()
        now = {k: v.dense().mean().item() for k, v in out.items()}
        first = first or now
    made.eval().requires_grad_(False)
    assert now["text_loss"] < first["text_loss"] / 20 and now["image_loss"] < first["image_loss"] / 2
    assert now["loss"] == pytest.approx(now["text_loss"] + 5 * now["image_loss"], rel=1e-4)
    assert apart() < before / 3
    out = said(made, [Message(("draw",))])
    assert out["text"].list() == ["so"] and len(next(iter(out["image"].groups()))) == 1, "unasked, as it was taught"


def test_gradients_reach_every_weight(fusion: Any) -> None:
    made = model()
    for p in made.parameters():
        p.requires_grad_(True)
    out = made.learn(context("learn", 1), Rows([Message(("a", PICTURE))]), Rows([Message(("b", PICTURE))]),
                     Rows([latent(0)], counts=[1]), Rows([latent(1)], counts=[1]))  # fmt: skip
    out["loss"].dense().sum().backward()
    assert [n for n, p in made.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(("target", "count", "told"), [
    (Message(("b", PICTURE)), 0, "no latent"),
    (Message(("b",)), 1, "1 latents more than the target has pictures"),
    (Message((Media(kind="audio", value=None, path="a.wav"),)), 1, "holds a audio"),
])  # fmt: skip
def test_a_target_and_its_latents_belong_together(fusion: Any, target: Message, count: int, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        fusion.learn(context("learn", 1), Rows([Message(("a",))]), Rows([target]), None,
                     Rows([latent(0)] * count, counts=[count]))  # fmt: skip
