"""The miniature's ear, voice and conversations: what they take, give and promise. Nothing here needs espeak-ng."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from anyany_mini import dtw, evaluate, exam, sentences, world
from anyany_mini.plugin import TalksConfig
from anyany_mini.talks import Talks
from anyany_mini.voice_head import frames_of, log_mel

import anyany
from anyany.api.torch import Assets, Audio, Build, Rows
from anyany.registry import default_registry
from anyany.testing.harness import bench, call

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def heard() -> exam.Sounds:
    return exam.load("seen")


def wave(samples: Any) -> Audio:
    return Audio(torch.as_tensor(samples)[None], 16000)


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """A corpus of six sentences, of noise."""
    told = ["a big red square on the left", "how many shapes are there", "draw a small blue ring at the top", "say it",
            "draw it", "describe it"]  # fmt: skip
    places = [[at, at / 100] for at in range(80)]
    lines = [{"text": t, "begin": 8000 * n, "length": 8000, "starts": places} for n, t in enumerate(told)]
    (tmp_path / "speech.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    np.random.default_rng(0).integers(-3000, 3000, 48000).astype(np.int16).tofile(tmp_path / "speech.pcm")
    return tmp_path


def talks(folder: Path, **options: Any) -> Talks:
    build = Build(node="data", sizes={}, facts={}, assets=Assets(folder))
    return Talks(TalksConfig(speech=".", **options), build)


def test_slots_begin_at_the_words_they_stand_for() -> None:
    text = "a big red circle at the top left and a small blue star on the right"
    found = sentences.slots(text)
    assert found is not None
    words = ["a big", "red", "circle", "at the top left", "and a small", "blue", "star", "on the right"]
    assert [text[at : at + len(word)] for at, word in zip(found, words, strict=True)] == words


def test_every_answer_has_one_slot_and_other_sentences_have_none() -> None:
    for answer in sentences.ANSWERS:
        assert sorted(sentences.slots(answer) or []) == [-1] * 7 + [0]
    assert sentences.slots("describe it") is None


def test_frames_of_slots_fill_the_sentence() -> None:
    found = frames_of(torch.tensor([0.0, 0.5, -1.0, 1.0, -1.0, -1.0, -1.0, -1.0]), 100)
    assert found.tolist() == [31, 31, 0, 38, 0, 0, 0, 0]


def test_the_recogniser_writes_down_what_is_said(heard: exam.Sounds) -> None:
    pipe = anyany.load(str(ROOT / "pipelines/mini/hear.yaml"))
    told = [case.caption for case in exam.cases("seen", 8)]
    found = [r.raised().outputs["text"] for r in pipe.map([{"audio": wave(w)} for w in heard.captions[:8]])]
    assert sum(a == b for a, b in zip(found, told, strict=True)) >= 7


def test_a_sound_alone_is_heard_as_in_a_batch(heard: exam.Sounds) -> None:
    pipe = anyany.load(str(ROOT / "pipelines/mini/hear.yaml"))
    items = [{"audio": wave(w)} for w in heard.questions[:7]]
    together = [r.raised().outputs["text"] for r in pipe.map(items)]
    assert together == [pipe(**item)["text"] for item in items]


def test_the_voice_says_a_caption_so_that_program_and_recogniser_hear_it(heard: exam.Sounds) -> None:
    speak, hear = (anyany.load(str(ROOT / f"pipelines/mini/{name}.yaml")) for name in ("speak", "hear"))
    cases = exam.cases("seen", 6)
    said = [r.raised().outputs["audio"] for r in speak.map([{"text": c.caption} for c in cases])]
    right = [exam.heard_as(s.samples[0].numpy(), n, heard) for n, s in enumerate(said)]
    assert sum(right) >= 5
    assert [hear(audio=s)["text"] for s in said] == [c.caption for c in cases]


def test_the_marker_of_speech_tells_a_sentence_from_others(heard: exam.Sounds) -> None:
    assert exam.heard_as(heard.captions[3], 3, heard)
    assert not exam.heard_as(heard.captions[4], 3, heard)
    assert not exam.heard_as(np.zeros(16000, np.float32), 3, heard)


def test_warping_forgives_slowness() -> None:
    frames = np.random.default_rng(0).integers(-60, 60, (40, 13)).astype(np.int8)
    slow = frames.repeat(2, 0)
    other = np.random.default_rng(1).integers(-60, 60, (40, 13)).astype(np.int8)
    assert dtw.distance(frames, frames) == 0
    assert dtw.distance(frames, slow) == 0
    assert dtw.distance(frames, other) > 10


def test_conversations_never_show_an_unseen_pair(speech: Path) -> None:
    source = talks(speech)
    shown = 0
    for index in range(300):
        record = source.record(index)
        pictures = [p for p in record["prompt"] if isinstance(p, np.ndarray)]
        shown += len(pictures)
        told = record["drawn"] or record["said"] or "".join(p for p in record["reply"] if isinstance(p, str))
        things = world.parse_caption(told)
        if pictures and things is not None:
            assert not any(world.is_unseen(colour, shape) for _, colour, shape, _ in things)
    assert shown > 100


def test_a_conversation_is_a_function_of_its_number(speech: Path) -> None:
    first, second = talks(speech), talks(speech)
    for index in (0, 7, 250):
        a, b = first.record(index), second.record(index)
        assert (a["drawn"], a["said"], len(a["prompt"])) == (b["drawn"], b["said"], len(b["prompt"]))
    assert {len(talks(speech, seed=s).record(0)["prompt"]) for s in range(30)} == {1, 2}


def test_a_reply_holds_what_its_picture_and_its_sound_show(speech: Path) -> None:
    source = talks(speech)
    for index in range(200):
        record = source.record(index)
        kinds = [getattr(part, "kind", "text") for part in record["reply"]]
        assert ("image" in kinds) == bool(record["drawn"])
        assert ("audio" in kinds) == bool(record["said"])


def test_speech_that_was_not_made_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="anyany_mini\\.corpus"):
        source = talks(tmp_path, about="shown")
        [source.record(index) for index in range(20)]


def test_mels_of_a_very_short_sound_have_frames() -> None:
    assert log_mel(wave(torch.ones(10) * 0.1), 80).shape[1] == 80


@pytest.mark.parametrize("samples", [torch.zeros(100), torch.full((8000,), float("nan"))])
def test_a_sound_that_cannot_be_heard_fails_its_item_alone(samples: torch.Tensor, heard: exam.Sounds) -> None:
    pipe = anyany.load(str(ROOT / "pipelines/mini/hear.yaml"))
    bad, good = pipe.map([{"audio": wave(samples)}, {"audio": wave(heard.questions[0])}])
    assert bad.error is not None and good.raised().outputs["text"]


def test_the_evaluation_marks_right_answers_right_and_empty_ones_wrong(heard: exam.Sounds) -> None:
    told = exam.cases("seen", 3)
    nothing = evaluate.Reply(kinds=("text",), text="", pictures=(), sounds=())
    for line in evaluate.lines("seen", 3, 3):
        assert [line.mark(n, nothing) for n in range(3)] == [0, 0, 0], line.name
        for n, case in enumerate(told):
            text = case.answer if "question" in line.name else case.caption
            best = evaluate.Reply(kinds=line.kinds, text=text, pictures=(world.render(case.scene),),
                                  sounds=(heard.captions[n],))  # fmt: skip
            assert line.mark(n, best) == 1, line.name


def test_word_errors_count_edits_over_words() -> None:
    assert evaluate.word_errors(["a big red ring", ""], ["a big red ring", "one"]) == 1 / 5
    assert evaluate.word_errors(["a red ring"], ["a big red ring"]) == 1 / 4


def test_the_marker_as_a_metric_knows_a_drawing_from_anothers_caption() -> None:
    made = bench(default_registry().card("mini/marks"), {}).build()
    scenes = [world.sample_scene(np.random.default_rng(seed), "any") for seed in (1, 2)]
    pictures = [torch.from_numpy(world.render(s)).permute(2, 0, 1) for s in scenes]
    pictures.append(torch.nn.functional.interpolate(pictures[0][None].float() / 255, (128, 128), mode="bilinear")[0])
    told = Rows([world.caption(scenes[n]) for n in (0, 0, 0)])
    assert call(made, "measure", {"found": Rows(pictures), "wanted": told}, range(3))["match"].list() == [1, 0, 1]
    with pytest.raises(ValueError, match="not a caption"):
        call(made, "measure", {"found": Rows(pictures[:1]), "wanted": Rows(["a house"])}, [0])
