"""Gated cross-attention, encoders and encoder-decoders, a remote chat server: what their papers and servers promise.

Suffixes: B rows, L text positions, V vocabulary or visual width. Servers here are real ones on this machine.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
import torch

from anyany.api.torch import Audio, Rows
from anyany.api.v1 import Media, Message, Turn
from anyany.registry import default_registry
from anyany.testing.harness import bench, call


def component(name: str, **options: Any) -> Any:
    """A tiny component with random weights."""
    return bench(default_registry().card(name), {"preset": "tiny", **options}).build()


# gated cross-attention -----------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def flamingo() -> Any:
    return component("language/gated-xattn", visual=12, layers=3).component


def logits(model: Any, seen: Any, ids_BL: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode(), model.looking(seen):
        found: torch.Tensor = model.model(input_ids=ids_BL, use_cache=False).logits
        return found


@pytest.fixture(scope="module")
def ids_BL() -> torch.Tensor:
    return torch.randint(0, 256, (2, 9), generator=torch.Generator().manual_seed(0))


def media(seed: int, count: int) -> list[torch.Tensor]:
    return [torch.randn(4 + i, 12, generator=torch.Generator().manual_seed(seed + i)) for i in range(count)]


TIMES = [[0, 1, 1, 1, 2, 2, 2, 2, 2], [1, 1, 1, 1, 1, 1, 2, 2, 2]]


def test_closed_gates_give_the_frozen_model_bit_for_bit(flamingo: Any, ids_BL: torch.Tensor) -> None:
    seen = flamingo.seen([(media(0, 2), TIMES[0]), (media(5, 2), TIMES[1])], 9, left=False)
    kept = [(b.attn_gate.clone(), b.ff_gate.clone()) for b in flamingo.gated.values()]
    frozen = logits(flamingo, None, ids_BL)
    assert not torch.equal(logits(flamingo, seen, ids_BL), frozen)
    for block in flamingo.gated.values():
        block.attn_gate.zero_()
        block.ff_gate.zero_()
    closed = logits(flamingo, seen, ids_BL)
    for block, (attn, ff) in zip(flamingo.gated.values(), kept):
        block.attn_gate.copy_(attn)
        block.ff_gate.copy_(ff)
    assert torch.equal(closed, frozen)


def test_a_word_changes_only_with_the_image_before_it() -> None:
    flamingo = component("language/gated-xattn", visual=12, layers=2, every=2).component
    for block in flamingo.gated.values():
        block.attn_gate.fill_(1.0)
    one, two = media(0, 2)
    other, another = media(7, 2)  # of the same lengths: the numbers of the rest are to stay the same bits

    def hidden(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        (block,) = flamingo.gated.values()
        x = torch.randn(1, 9, 32, generator=torch.Generator().manual_seed(3))
        with torch.inference_mode():
            out: torch.Tensor = block(x, flamingo.seen([([first, second], TIMES[0])], 9, left=False))
        return out[0]

    before, first, second = hidden(one, two), hidden(other, two), hidden(one, another)
    assert torch.equal(before[:1], first[:1]) and torch.equal(before[:1], second[:1])
    assert not torch.allclose(before[1:4], first[1:4]) and torch.equal(before[4:], first[4:])
    assert torch.equal(before[1:4], second[1:4]) and not torch.allclose(before[4:], second[4:])


def test_a_message_without_media_is_read_by_the_frozen_model_alone(flamingo: Any) -> None:
    made = component("language/gated-xattn", visual=12)
    rows = call(made, "generate", {"message": Rows([Message(("hello",))])}, [0])
    assert isinstance(rows["text"][0], str)


def searched(made: Any, pictures: list[torch.Tensor], texts: list[str]) -> list[str]:
    """Replies to a picture and a text each."""
    messages = [Message((Media(kind="image", value="?"), t)) for t in texts]
    given = {"message": Rows(messages), "image": Rows(pictures, counts=[1] * len(texts))}
    return list(call(made, "generate", given, list(range(len(texts))))["text"])


def test_beams_look_at_the_picture_of_their_row() -> None:
    made = component("language/gated-xattn", visual=12, beams=3, inputs=["image"])
    for parameter in made.component.parameters():
        if parameter.dim() > 1:
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.4)
    for block in made.component.gated.values():
        block.attn_gate.fill_(1.0)
    pictures, texts = media(0, 3), ["what?", "and what is this here?", "so"]
    together = searched(made, pictures, texts)
    assert [searched(made, [p], [t])[0] for p, t in zip(pictures, texts)] == together
    assert searched(made, [media(9, 1)[0], *pictures[1:]], texts)[1:] == together[1:]
    assert searched(made, media(9, 3), texts) != together


def test_beams_of_closed_gates_are_those_of_the_frozen_model() -> None:
    made = component("language/gated-xattn", visual=12, beams=3, inputs=["image"])
    for block in made.component.gated.values():
        block.attn_gate.zero_()
        block.ff_gate.zero_()
    prompt = made.component._embed_ids([made.component.mark, *range(97, 105)])
    made.component._rows = [([media(0, 1)[0]], [1] * 9)]
    mine = made.component._beams([prompt], [8])
    ids = made.component.model.generate(inputs_embeds=prompt[None], num_beams=3, do_sample=False, max_new_tokens=8,
                                        attention_mask=torch.ones(1, 9), pad_token_id=256,
                                        eos_token_id=made.component.stops)  # fmt: skip
    assert mine[0].ids == [t for t in ids[0].tolist() if t not in made.component.stops]


def test_a_language_model_without_a_checkpoint_searches_by_beams() -> None:
    made = component("language/causal-lm", beams=3, inputs=["image"])
    pictures, texts = [torch.randn(n, 32) for n in (2, 5)], ["what?", "and this, what is it?"]
    together = searched(made, pictures, texts)
    assert [searched(made, [p], [t])[0] for p, t in zip(pictures, texts)] == together


# masked words and encoder-decoders -----------------------------------------------------------------------------------
def test_filling_changes_only_the_masks() -> None:
    made = component("language/masked-lm")
    out = call(made, "fill", {"text": Rows(["a [MASK] day", "no more [MASK]"])}, [0, 1])
    assert len(out["scores"][0]) == 5
    ids, real = made.component.words.batch(["a [MASK] day"], "cpu")
    masked = ids == made.component.words.mask
    assert int(masked.sum()) == 1 and bool(real[masked].all())


def test_a_text_without_a_mask_cannot_be_filled() -> None:
    with pytest.raises(ValueError, match=r"no \[MASK\]"):
        call(component("language/masked-lm"), "fill", {"text": Rows(["nothing is missing"])}, [0])


def test_a_text_beyond_the_positions_is_an_error() -> None:
    with pytest.raises(ValueError, match="302 tokens long"):
        call(component("language/masked-lm"), "encode", {"text": Rows(["x" * 300])}, [0])


def test_an_encoder_decoder_learns_what_it_then_says() -> None:
    made = component("language/seq2seq", inputs=[])
    model = made.component
    for p in model.parameters():
        p.requires_grad_(True)
    step = torch.optim.Adam(model.parameters(), lr=1e-2)
    given = {"message": Rows([Message(("ask",))]), "target": Rows(["yes"])}
    from anyany.engine.context import Context
    from anyany.engine.noise import Noise

    ctx = Context(node="t5", call="learn", keys=[(0,)], noise=Noise(0), device=made.device, dtype=made.dtype)
    for _ in range(30):
        step.zero_grad()
        model.learn(ctx, **given)["loss"].dense().mean().backward()
        step.step()
    assert call(made, "generate", {"message": given["message"]}, [0])["text"][0] == "yes"


# sound ---------------------------------------------------------------------------------------------------------------
def tone(seconds: float) -> Audio:
    time = torch.arange(round(16000 * seconds)) / 16000
    return Audio(torch.sin(2 * torch.pi * 440 * time)[None], 16000)


def test_a_long_sound_is_heard_in_windows() -> None:
    made = component("audio/whisper-encoder")  # windows of two seconds
    rows = call(made, "encode", {"audio": Rows([tone(5.0), tone(1.0)])}, [0, 1])["features"]
    assert [r.shape[0] for r in rows] == [250, 50]


def test_times_of_a_long_sound_go_on_from_window_to_window() -> None:
    made = component("audio/whisper")
    spans = call(made, "transcribe", {"audio": Rows([tone(5.0)])}, [0])["spans"][0]
    assert all(0 <= s["start"] <= s["end"] <= 5.0 for s in spans)
    assert [s["start"] for s in spans] == sorted(s["start"] for s in spans)


@pytest.mark.parametrize(("sound", "said"), [
    (Audio(torch.zeros(1, 16000), 16000), "silent"),
    (Audio(torch.ones(1, 100), 16000), "at least 25"),
    (Audio(torch.ones(1, 8000), 8000), "8000 samples a second"),
])  # fmt: skip
def test_a_sound_that_cannot_be_heard_is_an_error(sound: Audio, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call(component("audio/whisper-encoder"), "encode", {"audio": Rows([sound])}, [0])


# a chat server -------------------------------------------------------------------------------------------------------
class Chat(BaseHTTPRequestHandler):
    """Echoes the number of parts; busy at first; refuses the word `forbidden`."""

    asked: list[dict[str, Any]]
    keys: list[str | None]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        type(self).asked.append(body)
        type(self).keys.append(self.headers.get("Authorization"))
        last = body["messages"][-1]["content"]
        if len(type(self).asked) == 1:
            return self._answer(503, {"error": "busy"})
        if "forbidden" in str(last):
            return self._answer(400, {"error": {"message": "that word is refused"}})
        return self._answer(200, {"choices": [{"message": {"content": f"{len(last)} parts"}}]})

    def _answer(self, status: int, value: Any) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    Chat.asked, Chat.keys = [], []
    running = HTTPServer(("127.0.0.1", 0), Chat)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}/v1"
    running.shutdown()
    running.server_close()


def ask(url: str, message: Message, **options: Any) -> str:
    import anyany.pipeline as pipeline

    spec = {"anyany": 1, "name": "remote", "inputs": {"prompt": "message"},
            "nodes": {"think": {"use": "language/openai-chat", "in": "prompt",
                                "with": {"url": url, "wait": 0.0, "retries": 1, **options}}},
            "outputs": {"text": "think.text"}}  # fmt: skip
    return str(pipeline.load(spec)(prompt=message)["text"])


def test_a_message_with_a_picture_and_a_sound_reaches_the_server(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "secret")
    picture = Media(kind="image", value=torch.zeros(3, 4, 5, dtype=torch.uint8))
    message = Message(("look", picture, Media(kind="audio", value=tone(0.1)), "and say"))
    assert ask(server, message, key_env="A_KEY", system="be brief") == "4 parts"
    sent = Chat.asked[-1]["messages"]
    assert sent[0] == {"role": "system", "content": "be brief"}
    assert [p["type"] for p in sent[1]["content"]] == ["text", "image_url", "input_audio", "text"]
    assert sent[1]["content"][1]["image_url"]["url"].startswith("data:image/png;base64,iVBOR")
    assert Chat.keys[-1] == "Bearer secret"


def test_a_busy_server_is_asked_again_and_turns_keep_their_roles(server: str) -> None:
    message = Message((Turn("user"), "one", Turn("assistant"), "two", Turn("user"), "three"))
    assert ask(server, message) == "5 parts"  # five letters of a plain string
    assert [t["role"] for t in Chat.asked[-1]["messages"]] == ["user", "assistant", "user"]
    assert len(Chat.asked) == 2


def test_what_the_server_refuses_is_the_items_error(server: str) -> None:
    with pytest.raises(Exception, match="that word is refused"):
        ask(server, Message(("forbidden",)))


def test_a_server_that_is_not_there_is_an_error_with_its_address() -> None:
    with pytest.raises(Exception, match=r"127\.0\.0\.1:9/v1 .* cannot be reached"):
        ask("http://127.0.0.1:9/v1", Message(("hello",)))


# byte pairs ----------------------------------------------------------------------------------------------------------
def test_trained_byte_pairs_write_every_text_and_are_read_beside_weights(tmp_path: Any) -> None:
    from anyany_language.bpe import train
    from anyany_language.pretrained import tokenizer_of

    from anyany.api.torch import Assets

    made = train(["a red circle on the left, a red ring on the right"] * 20, 300, ["[IMG0]"])
    made.save(str(tmp_path / "tokenizer.json"))
    read = tokenizer_of(Assets(tmp_path))
    text = "a red 漢字 circle [IMG0]"
    assert read.decode(read(text).input_ids) == text
    assert len(read("a red circle").input_ids) < len("a red circle") / 2


def test_a_byte_pair_vocabulary_holds_all_bytes() -> None:
    from anyany_language.bpe import train

    with pytest.raises(ValueError, match="take 258"):
        train(["text"], 200)


def test_openflamingos_blocks_lie_over_a_language_model(flamingo: Any, tmp_path: Any) -> None:
    from safetensors.torch import save_file

    from anyany.engine.build import build_component

    words = {k: v.contiguous() for k, v in flamingo.model.state_dict().items()}
    blocks = {f"lang_encoder.model.layers.{k.replace('.', '.gated_cross_attn_layer.', 1)}": v
              for k, v in flamingo.gated.state_dict().items()}  # fmt: skip
    table = words["model.embed_tokens.weight"] + 1
    save_file(words, tmp_path / "base.safetensors")
    over = blocks | {"lang_encoder.model.embed_tokens.weight": table, "perceiver.latents": torch.zeros(2, 3)}
    save_file(over, tmp_path / "over.safetensors")
    made = bench(default_registry().card("language/gated-xattn"), {"preset": "tiny", "visual": 12, "layers": 3})
    files = (f"file:{tmp_path}/base.safetensors", f"file:{tmp_path}/over.safetensors")
    read = build_component(made.node("generate", files)).component
    assert torch.equal(read.model.get_input_embeddings().weight, table)
    assert all(
        torch.equal(a, b) for a, b in zip(read.gated.state_dict().values(), flamingo.gated.state_dict().values())
    )
