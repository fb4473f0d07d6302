"""The miniature's second image head: captions drawn code by code, from the slots that its diffusion head takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from anyany_mini import marker, world

import anyany

ROOT = Path(__file__).resolve().parents[2]


def marks(picture: torch.Tensor, caption: str) -> dict[str, float]:
    assert tuple(picture.shape) == (3, 64, 64)
    return marker.mark_picture(picture.mul(255).round().byte().permute(1, 2, 0).numpy(), caption)


def scenes(split: str, count: int, jitter: float = 0.25) -> list[world.Scene]:
    rng = np.random.default_rng(world.EVAL_SEED + 77)
    return [world.sample_scene(rng, split, jitter) for _ in range(count)]


@pytest.fixture(scope="module")
def head() -> Any:
    return anyany.load(str(ROOT / "pipelines/mini/vq-ar.yaml"))


def exact(head: Any, split: str, count: int) -> float:
    captions = [world.caption(scene) for scene in scenes(split, count)]
    found = [result.raised().outputs["picture"] for result in head.map([{"text": text} for text in captions])]
    return float(np.mean([marks(p, c)["exact"] for p, c in zip(found, captions, strict=True)]))


def test_captions_of_seen_pairs_are_drawn(head: Any) -> None:
    assert exact(head, "seen", 24) >= 0.7


def test_captions_of_unseen_pairs_are_drawn_more_often_than_not(head: Any) -> None:
    assert exact(head, "unseen", 24) >= 0.5


def test_a_drawing_does_not_depend_on_those_beside_it(head: Any) -> None:
    texts = [world.caption(scene) for scene in scenes("any", 7)]
    together = [r.raised().outputs["picture"] for r in head.map([{"text": text} for text in texts])]
    again = [r.raised().outputs["picture"] for r in head.map([{"text": text} for text in texts[:2]])]
    for one, two in zip(together, again):
        assert torch.allclose(torch.as_tensor(one), torch.as_tensor(two), atol=1e-4)


def test_the_tokenizer_gives_a_scene_back_so_that_the_marker_reads_it() -> None:
    pipe = anyany.load(str(ROOT / "pipelines/mini/tokenizer.yaml"))
    told = scenes("any", 20)
    pictures = [torch.from_numpy(world.render(scene)).permute(2, 0, 1) for scene in told]
    results = [r.raised().outputs for r in pipe.map([{"picture": picture} for picture in pictures])]
    assert all(torch.as_tensor(r["tokens"]).shape == (144,) for r in results)
    found = [marks(r["picture"], world.caption(scene))["exact"] for r, scene in zip(results, told, strict=True)]
    assert np.mean(found) >= 0.8


def test_the_whole_miniature_draws_with_it_what_it_is_told_aloud() -> None:
    pipe = anyany.load(str(ROOT / "pipelines/mini-vq-ar.yaml"))
    reply = pipe(prompt=["draw it and describe it ", ROOT / "examples/spoken.wav"])["reply"]
    kinds = ["text" if isinstance(part, str) else part.kind for part in reply.parts]
    assert kinds == ["image", "text"]
    found = marks(reply.parts[0].value, "a small yellow ring at the top and a big blue cross on the left")
    assert found["count"] == found["place"] == 1


def test_the_two_miniatures_differ_in_nothing_but_their_head() -> None:
    first, second = (yaml.safe_load((ROOT / "pipelines" / n).read_text("utf-8"))["nodes"]
                     for n in ("mini.yaml", "mini-vq-ar.yaml"))  # fmt: skip
    assert set(second) - set(first) == {"codes", "picture"}
    assert {n for n in first if first[n] != second[n]} == {"draw"} and first["draw"]["in"] == second["draw"]["in"]
