"""Sound and films out of specs: real files written and read back, one item as among seven, a voice where asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from anyany import media
from anyany.cli import main
from anyany.pipeline import Pipeline, load

ROOT = Path(__file__).resolve().parents[2]
MELODY = ROOT / "examples/melody.wav"
CAPTIONS = [f"caption number {n}" for n in range(7)]


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def mini(name: str, **options: Any) -> Pipeline:
    return load(f"pipelines/{name}.yaml", profile="mini", device="cpu", **options)


def test_a_film_is_written_at_its_rate_and_read_back(tmp_path: Path) -> None:
    code = main(["run", "pipelines/text-to-video.yaml", "--profile", "mini", "--set", "nodes.film.with.fps=5",
                 "--in", "caption=a ring rolls", "--out", str(tmp_path)])  # fmt: skip
    assert code == 0
    film = media.load("video", tmp_path / "0/video.mp4")
    assert film.fps == pytest.approx(5) and film.frames.shape == (4, 3, 16, 16)


def test_sounds_are_written_as_flac_where_that_is_asked_for(tmp_path: Path) -> None:
    code = main(["run", "pipelines/text-to-audio.yaml", "--profile", "mini", "--in", "caption=rain", "--want", "audio",
                 "--sound", "flac", "--out", str(tmp_path)])  # fmt: skip
    assert code == 0 and media.sniff(tmp_path / "0/audio.flac").format == "FLAC"
    assert media.load("audio", tmp_path / "0/audio.flac").samples.shape == (1, 2560)
    assert main(["replay", str(tmp_path)]) == 0  # as WAV: the same samples


def test_a_sound_and_its_spectrogram_by_another_vocoder_are_written_and_read_back(tmp_path: Path) -> None:
    code = main(["run", "pipelines/text-to-audio.yaml", "--profile", "mini", "--in", "caption=rain",
                 "--out", str(tmp_path)])  # fmt: skip
    assert code == 0
    made, plain = (media.load("audio", tmp_path / f"0/{name}.wav") for name in ("audio", "plain"))
    assert made.rate == plain.rate == 16000
    assert made.samples.shape == plain.samples.shape == (1, 2560)
    assert float(made.samples.std()) > 0


@pytest.mark.parametrize(("name", "want"), [("text-to-video", "video"), ("text-to-audio", "audio")])
def test_an_item_of_a_batch_of_seven_is_the_item_alone(name: str, want: str) -> None:
    pipe = mini(name, want=want, seed=3)
    items = [{"id": f"i{n}", "caption": c} for n, c in enumerate(CAPTIONS)]
    together = [r.raised().outputs[want] for r in pipe.map(items)]
    for item, one in zip(items, together):
        [alone] = [r.raised().outputs[want] for r in pipe.map([item])]
        a, b = (v.frames if want == "video" else v.samples for v in (one, alone))
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
    [other] = [r.raised().outputs[want] for r in mini(name, want=want, seed=4).map(items[:1])]
    first, second = (v.frames if want == "video" else v.samples for v in (together[0], other))
    assert not torch.allclose(first, second, atol=1e-4)


def test_a_spoken_question_is_answered_aloud_where_the_model_asks_for_a_sound(tmp_path: Path) -> None:
    code = main(["run", "pipelines/speech-to-speech.yaml", "--profile", "mini", "--out", str(tmp_path),
                 "--in", "prompt={file:examples/melody.wav} What was that?"])  # fmt: skip
    assert code == 0
    said = media.load("audio", tmp_path / "0/said.wav")
    assert said.rate == 16000 and said.seconds > 0.05


def test_a_reply_without_a_sound_builds_no_voice() -> None:
    pipe = mini("speech-to-speech")
    item = {"prompt": ["What was that? ", MELODY], "with": {"think": {"produce": []}}}
    [outputs] = [r.raised().outputs for r in pipe.map([item])]
    assert outputs["said"] is None and isinstance(outputs["text"], str)
    assert "speak" not in pipe.components._built and "think" in pipe.components._built


def test_a_conversation_in_speech() -> None:
    chat = mini("speech-to-speech").chat()
    first = chat.say(MELODY)
    second = chat.say("And again?")
    assert [reply.kinds() for reply in (first, second)] == [("audio",), ("audio",)]
    assert chat.pipe.recorder.node("hear").rows == 1 + 2  # the question; then it and the spoken answer


def test_sound_becomes_tokens_and_sound_again_through_files(tmp_path: Path) -> None:
    spec = tmp_path / "codec.yaml"
    spec.write_text("""
anyany: 1
name: codec
inputs: {sound: audio}
nodes:
  code: {use: audio/rvq, weights: "random:0", with: tiny, in: sound}
  back: {of: code, call: decode, in: code}
outputs: {tokens: code, sound: back}
""")
    assert main(["run", str(spec), "--in", f"sound={MELODY}", "--out", str(tmp_path / "o")]) == 0
    tokens = media.load("tokens", tmp_path / "o/0/tokens.safetensors")
    sound = media.load("audio", tmp_path / "o/0/sound.wav")
    assert sound.rate == 24000 and sound.samples.shape[1] == 320 * len(tokens) // 2
    assert 0 <= sound.seconds - media.load("audio", MELODY).seconds < 320 / 24000


def test_tokens_of_a_codec_are_words_of_a_language_model(tmp_path: Path) -> None:
    """Sound in, sound out, by one vocabulary: 4 to 8 frames of two codebooks are asked for, and are what is decoded."""
    pipe = load(
        """
anyany: 1
name: moshi
inputs: {prompt: message}
nodes:
  code: {use: audio/rvq, weights: "random:0", with: tiny, in: prompt.audio}
  think:
    use: language/causal-lm
    weights: "random:0"
    with: {preset: tiny, context: 4096, max_new_tokens: 24, codebooks: {audio: {length: [8, 16], turns: 2}}}
    in: {message: prompt, audio: code}
  back: {of: code, call: decode, in: think.audio}
outputs: {reply: {fill: think.reply, audio: back}}
""",
        device="cpu",
    )
    item = {"prompt": ["say it again ", MELODY], "with": {"think": {"produce": ["audio"]}}}
    [reply] = [r.raised().outputs["reply"] for r in pipe.map([item])]
    [said] = reply.select("audio")
    assert said.rate == 24000 and said.samples.shape[1] in [n * 320 for n in range(4, 9)]
