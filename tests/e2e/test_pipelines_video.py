"""Films in messages: Flamingo and LLaVA-NeXT-Video in their mini profiles, on the example film and others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import anyany
from anyany.api.torch import Video
from anyany.api.v1 import Media

ROOT = Path(__file__).parents[2]
PICTURE, CLIP, GIF = (ROOT / "examples" / n for n in ("scene-seen-1.png", "clip-seen-1.mp4", "clip-seen-1.gif"))


def piped(name: str, **outputs: str) -> Any:
    """The spec with further outputs."""
    spec = yaml.safe_load((ROOT / f"pipelines/{name}.yaml").read_text("utf-8"))
    return anyany.load({**spec, "outputs": {**spec["outputs"], **outputs}}, profile="mini")


def film(frames: int, fps: float = 2.0, seed: int = 0) -> Media:
    noise = torch.randint(0, 256, (frames, 3, 16, 16), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return Media(kind="video", value=Video(noise, fps))


@pytest.fixture(scope="module")
def flamingo() -> Any:
    return piped("flamingo", seen="see", watched="watch")


def test_flamingo_sees_each_picture_and_each_film_of_a_message(flamingo: Any) -> None:
    found = flamingo(prompt=[PICTURE, " a star. ", CLIP, " two things. ", film(12), PICTURE, " and this?"])
    assert [len(found["seen"]), len(found["watched"])] == [2, 2]
    assert {tuple(v.shape) for v in (*found["seen"], *found["watched"])} == {(4, 32)}
    assert not torch.allclose(found["watched"][0], found["watched"][1])


def test_a_message_without_films_or_without_anything_runs_as_well(flamingo: Any) -> None:
    assert flamingo(prompt=[PICTURE, " a star."])["watched"] == []
    assert isinstance(flamingo(prompt="only words")["text"], str)


def test_a_film_of_the_gif_is_seen_nearly_as_that_of_the_mp4(flamingo: Any) -> None:
    (one,), (two,) = (flamingo(prompt=[path, " what?"])["watched"] for path in (CLIP, GIF))
    (other,) = flamingo(prompt=[film(8, 4.0), " what?"])["watched"]
    assert (one - two).abs().max() < 0.2 * (one - other).abs().max()


def test_messages_with_films_of_all_lengths_are_the_same_in_a_batch_and_alone() -> None:
    pipe = piped("llava-video", watched="watch")
    prompts = [[film(n, seed=n), " what?", *([PICTURE] if n % 2 else [])] for n in (1, 7, 3, 40)]
    prompts += [["no film"], [film(2), film(5, seed=9), " both?"]]
    together = [r.raised().outputs for r in pipe.map({"prompt": p} for p in prompts)]
    for prompt, found in zip(prompts, together):
        alone = pipe(prompt=prompt)
        assert alone["text"] == found["text"]
        assert alone["times"] == found["times"]
        for a, b in zip(alone["watched"], found["watched"]):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_a_frame_costs_a_quarter_of_its_patches_and_has_a_time() -> None:
    found = piped("llava-video", watched="watch")(prompt=[CLIP, " what?"])
    (times,), (watched,) = found["times"], found["watched"]
    assert len(times) == 16
    assert watched.shape == (16 * 4, 32)
    assert [round(s["start"], 3) for s in times[:3]] == [0.0, 0.125, 0.25]


def test_a_film_without_frames_fails_its_item_under_its_node(flamingo: Any) -> None:
    empty = Media(kind="video", value=Video(torch.zeros(0, 3, 8, 8), 8.0))
    (bad, good) = flamingo.map([{"prompt": [empty, " what?"]}, {"prompt": [film(4), " what?"]}])
    assert bad.error is not None
    assert "film is [T, C, H, W]" in bad.error.message
    assert good.status == "ok"
