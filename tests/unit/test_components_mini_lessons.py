"""What the miniature's parts are taught with: classes of slots and cells, words that are misread or not learned."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from anyany_mini import lessons, talk, world
from anyany_mini.lesson_cards import CaptionsConfig, TurnsConfig

from anyany.api.torch import Assets, Build
from anyany.api.v1 import Media

BUILD = Build(node="data", assets=Assets(None))


def turns(**options: Any) -> lessons.Turns:
    return lessons.Turns(TurnsConfig(**options), BUILD)


def words(parts: list[Any]) -> str:
    return "".join(p for p in parts if isinstance(p, str))


def test_a_slot_says_its_word_and_its_things_place() -> None:
    found = lessons.slots_of("a big red ring at the top and a small blue star on the left")
    assert found[:, 4].tolist() == [1, 1, 1, 1, 3, 3, 3, 3]
    assert [found[slot, slot % 4] for slot in range(8)] == [1, 0, 5, 1, 0, 2, 4, 3]
    assert (found >= 0).sum() == 16


def test_the_slots_of_a_thing_that_is_not_there_say_so() -> None:
    found = lessons.slots_of("a big red ring at the top")
    assert all(found[slot, slot % 4] == found[slot, 4] == lessons.NOTHING for slot in range(4, 8))
    with pytest.raises(ValueError, match="not a caption"):
        lessons.slots_of("a ring")


def test_every_caption_is_another_and_the_same_again() -> None:
    source = lessons.Captions(CaptionsConfig(), BUILD)
    assert source.record(5)["caption"] == source.record(5)["caption"] != source.record(6)["caption"]
    assert source.record(5)["slots"].shape == (8, 5)


def test_a_cell_says_what_is_in_it_and_nothing_of_what_is_strange() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        scene = world.strange_scene(rng, world.sample_scene(rng, "seen"))
        cells = lessons.cells_of(scene)
        assert (cells == lessons.EMPTY).all(1).sum() == 9 - len(scene.things)
        for thing in scene.things:
            assert cells[thing.cell, 1] == (lessons.NOT_ASKED if thing.colour == world.OTHER else thing.colour)
            assert cells[thing.cell, 2] == (lessons.NOT_ASKED if thing.shape == world.OTHER else thing.shape)


def test_a_word_is_misread_as_one_of_its_class_and_no_other_is_touched() -> None:
    text, rng = "a big red ring on the left and a small blue star at the top", np.random.default_rng(0)
    assert lessons.misread(text, rng, 0.0) == text
    seen = {lessons.misread(text, rng, 1.0) for _ in range(40)}
    assert len(seen) > 30
    assert all(len(s.split()) == len(text.split()) and world.parse_caption(s) is not None for s in seen)


def test_a_conversation_that_shows_nothing_is_read_as_it_is_to_be_learned() -> None:
    source = turns(about="text")
    for record in (source.record(n) for n in range(60)):
        assert words(record["read"]) == words(record["reply"])
        assert "cells" not in record
        assert bool(record["drawn"]) == any(isinstance(p, Media) for p in record["reply"])


def test_of_a_picture_the_words_read_differ_from_those_learned_in_as_many_tokens() -> None:
    tokenizer, source = talk.build_tokenizer(lines=1000), turns(about="pictures", strange=0.8)
    differ = silent = 0
    for record in (source.record(n) for n in range(60)):
        learned, read = (words(record[name]) for name in ("reply", "read"))
        assert len(tokenizer.encode(learned).ids) == len(tokenizer.encode(read).ids)
        assert talk.PAD not in read
        differ += learned != read
        silent += talk.PAD in learned
        assert record["cells"].shape == (9, 3)
    assert differ > 20 and silent > 10


def test_a_second_turn_has_the_first_as_its_history() -> None:
    record = next(r for r in (turns(about="text").record(n) for n in range(200)) if isinstance(r["prompt"][0], dict))
    roles = [part["role"] for part in record["prompt"] if isinstance(part, dict)]
    assert roles == ["user", "assistant", "user"]


def test_a_rough_picture_is_near_the_clean_one() -> None:
    picture = world.render(world.sample_scene(np.random.default_rng(1), "seen"))
    found = [lessons.roughened(picture, np.random.default_rng(n)) for n in range(12)]
    assert all(f.dtype == np.uint8 and f.shape == picture.shape for f in found)
    far = [np.abs(f.astype(int) - picture).mean() for f in found]
    assert min(far) > 0.1 and max(far) < 14
