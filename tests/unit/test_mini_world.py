"""The miniature world: what is drawn, said and marked must agree, and unseen pairs must stay out of training pictures.

Pictures are uint8 [64, 64, 3]. Scenes come from seeded generators.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from anyany_mini import marker, talk, world
from PIL import Image, ImageFilter

ROOT = Path(__file__).resolve().parents[2]


def scenes(split: str, count: int = 60, seed: int = 7) -> list[world.Scene]:
    rng = np.random.default_rng(seed)
    return [world.sample_scene(rng, split) for _ in range(count)]


def one(shape: str, colour: str, size: str = "big", cell: int = 4, background: int = 0) -> world.Scene:
    thing = world.place_thing(
        np.random.default_rng(0), colour=world.COLOURS.index(colour), shape=world.SHAPES.index(shape),
        size=world.SIZES.index(size), cell=cell,
    )  # fmt: skip
    return world.Scene(things=(thing,), background=background)


def test_every_rendering_is_marked_as_its_own_caption() -> None:
    for scene in scenes("any"):
        assert marker.mark_picture(world.render(scene), world.caption(scene))["exact"] == 1


@pytest.mark.parametrize("shape", world.SHAPES)
@pytest.mark.parametrize("size", world.SIZES)
def test_the_marker_reads_every_shape_and_size_on_every_background(shape: str, size: str) -> None:
    for background in range(3):
        scene = one(shape, "purple", size, cell=8, background=background)
        (found,) = marker.read_picture(world.render(scene))
        assert found == (world.SIZES.index(size), world.COLOURS.index("purple"), world.SHAPES.index(shape), 8)


def test_the_marker_forgives_a_slight_blur_and_not_a_strong_one() -> None:
    drawn = [(Image.fromarray(world.render(s)), world.caption(s)) for s in scenes("any", 100)]

    def right(sigma: float) -> float:
        blurred = [(np.asarray(i.filter(ImageFilter.GaussianBlur(sigma))), c) for i, c in drawn]
        return float(np.mean([marker.mark_picture(p, c)["exact"] for p, c in blurred]))

    assert right(1) > 0.85
    assert right(4) < 0.5


def test_a_wrong_word_in_the_caption_fails_the_drawing() -> None:
    picture = world.render(one("star", "green", "small", cell=1))
    assert marker.mark_picture(picture, "a small green star at the top")["exact"] == 1
    for wrong in (
        "a big green star at the top", "a small blue star at the top", "a small green ring at the top",
        "a small green star at the top left", "a small green star at the top and a big red square on the left",
    ):  # fmt: skip
        assert marker.mark_picture(picture, wrong)["exact"] == 0


def test_something_in_an_empty_cell_fails_the_drawing() -> None:
    first, second = one("square", "red", cell=0).things[0], one("cross", "blue", cell=8).things[0]
    both = world.Scene(things=(first, second), background=1)
    marks = marker.mark_picture(world.render(both), "a big red square at the top left")
    assert marks["exact"] == 0
    assert marks["shape"] == 1


def test_a_blank_picture_holds_nothing() -> None:
    for ground in world.BACKGROUNDS:
        assert marker.read_picture(np.full((64, 64, 3), ground, np.uint8)) == ()


def test_captions_name_objects_in_row_major_order() -> None:
    scene = world.Scene(
        things=(*one("ring", "red", cell=2).things, *one("cross", "blue", "small", 3).things), background=2
    )
    assert world.caption(scene) == "a big red ring at the top right and a small blue cross on the left"


def test_captions_are_read_back() -> None:
    for scene in scenes("any"):
        things = tuple((t.size, t.colour, t.shape, t.cell) for t in scene.things)
        assert world.parse_caption(world.caption(scene)) == things


@pytest.mark.parametrize(
    "text",
    ["", "a red circle", "a big red circle at the top and", "big red circle at the top", "a big red dog at the top"],
)
def test_what_is_no_caption_is_not_read(text: str) -> None:
    assert world.parse_caption(text) is None


def test_a_caption_mark_counts_attributes_apart() -> None:
    marks = marker.mark_caption("a big red circle at the top", "a big blue circle at the top")
    assert (marks["exact"], marks["colour"], marks["shape"], marks["size"], marks["place"]) == (0, 0, 1, 1, 1)


def test_the_six_unseen_pairs_are_those_of_the_world() -> None:
    pairs = {(c, s) for i, c in enumerate(world.COLOURS) for j, s in enumerate(world.SHAPES) if world.is_unseen(i, j)}
    assert pairs == {
        ("red", "circle"), ("green", "ring"), ("blue", "star"), ("yellow", "cross"),
        ("purple", "triangle"), ("orange", "square"),
    }  # fmt: skip


def has_unseen(scene: world.Scene) -> bool:
    return any(world.is_unseen(t.colour, t.shape) for t in scene.things)


def test_the_seen_split_never_holds_an_unseen_pair_and_the_unseen_one_always_does() -> None:
    assert not any(has_unseen(s) for s in scenes("seen", 400))
    assert all(has_unseen(s) for s in scenes("unseen", 400))


def test_no_training_picture_shows_an_unseen_pair_under_another_name() -> None:
    rng = np.random.default_rng(3)
    palette = np.array(world.RGB)
    pictures = [t.scene for t in (talk.sample_talk(rng) for _ in range(600)) if t.scene is not None]
    strange = 0
    for scene in pictures:
        for thing in scene.things:
            nearest = int(((palette - np.array(thing.rgb)) ** 2).sum(1).argmin())
            assert not world.is_unseen(nearest, thing.shape)
            strange += world.OTHER in (thing.colour, thing.shape)
    assert strange > 50


def test_words_outside_the_palette_are_not_learnt() -> None:
    rng = np.random.default_rng(0)
    scene = one("star", "green")
    odd = replace(scene, things=(replace(scene.things[0], colour=world.OTHER),))
    learnt = [piece.text.strip() for piece in talk.caption_pieces(odd, rng) if piece.learn]
    assert learnt == ["a", "big", "star", "in the center"]


def test_questions_have_one_answer() -> None:
    twin = world.Scene(things=(*one("star", "green", cell=0).things, *one("star", "red", cell=5).things), background=0)
    asked = dict(world.questions(twin))
    assert asked["how many shapes are there"] == "two"
    assert asked["where is the red star"] == "on the right"
    assert asked["what shape is green"] == "a star"
    assert "what color is the star" not in asked


def test_the_same_seed_gives_the_same_picture() -> None:
    first, second = (world.render(scenes("any", 1, seed=11)[0]) for _ in range(2))
    assert np.array_equal(first, second)


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match="seen, unseen or any"):
        world.sample_scene(np.random.default_rng(0), "train")


def test_the_tokenizer_encodes_any_text_and_keeps_words_whole() -> None:
    tokenizer = talk.build_tokenizer(lines=1500)
    for text in ("draw a small red ring", "héllo wörld 😀\n\t", "日本語", "{}[]<>"):
        assert tokenizer.decode(tokenizer.encode(text).ids) == text
    for word in world.COLOURS + world.SHAPES + world.SIZES:
        assert len(tokenizer.encode(f" {word}").ids) == 1
    assert len(tokenizer.encode("".join(talk.SIGNALS)).ids) == len(talk.SIGNALS)
