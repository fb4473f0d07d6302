"""Regions know their picture: through messages, through torch, drawn beside their files; subtitles beside spans."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from plugins_for_tests.engine_pipes import pipe

from anyany import media
from anyany.kinds.message import Media, Message, Region
from anyany.media.drawing import SMALL, drawn
from anyany.media.errors import MediaError
from anyany.media.regions import OnImage, image_of, on_image
from anyany.media.spans import rows_of, srt, vtt


def grey(width: int = 40, height: int = 20) -> torch.Tensor:
    return torch.full((3, height, width), 128, dtype=torch.uint8)


# values -----------------------------------------------------------------------------------------------------------
def test_what_torch_makes_of_a_region_stays_on_its_picture() -> None:
    image = grey()
    box = on_image([[1.0, 2, 3, 4], [5, 6, 7, 8]], image, 2)
    for made in (box[:1], box.to(torch.float64), box + 1, box.clone()):
        assert isinstance(made, OnImage) and made.image is image and made.of == 2
    assert image_of(torch.zeros(1, 4)) is None and image_of(torch.cat([box, box])) is None


def test_a_region_taken_from_a_message_knows_which_picture_it_lies_on(tmp_path: Path) -> None:
    Image.new("RGB", (8, 6)).save(tmp_path / "second.png")
    Image.new("L", (8, 6), 255).save(tmp_path / "mask.png")
    first = [Media(kind="image", value=grey()), {"boxes": [[1, 2, 3, 4]]}]
    message = [*first, tmp_path / "second.png", {"boxes": [0, 0, 5, 5]}, {"boxes": [[2, 2, 4, 4]], "of": 0}]
    p = pipe("""
        inputs: {m: message}
        nodes: {keep: {use: transforms/message, in: [m]}}
        outputs: {boxes: m.boxes, all: keep}
    """)
    found = p(m=message)["boxes"]
    assert [v.tolist() for v in found] == [[[1, 2, 3, 4]], [[0, 0, 5, 5]], [[2, 2, 4, 4]]]
    assert [v.of for v in found] == [0, 1, 0]
    assert [tuple(v.image.shape) for v in found] == [(3, 20, 40), (3, 6, 8), (3, 20, 40)]


def test_a_region_before_any_picture_lies_on_none() -> None:
    p = pipe("""
        inputs: {m: message}
        nodes: {keep: {use: transforms/message, in: [m]}}
        outputs: {points: m.points, all: keep}
    """)
    (found,) = p(m=[{"points": [[1, 2]]}])["points"]
    assert found.tolist() == [[1, 2]] and found.image is None and found.of is None


def test_a_region_whose_picture_is_damaged_fails_its_item_alone(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    p = pipe("""
        inputs: {m: message}
        nodes: {keep: {use: transforms/message, in: [m]}}
        outputs: {boxes: m.boxes, all: keep}
    """)
    bad = {"id": "bad", "m": [Media(kind="image", path=str(tmp_path / "bad.png")), {"boxes": [[1, 2, 3, 4]]}]}
    good = {"id": "good", "m": [Media(kind="image", value=grey()), {"boxes": [[1, 2, 3, 4]]}]}
    one, two = p.map([bad, good])
    assert (one.status, two.status) == ("failed", "ok")
    assert one.error is not None and one.error.code in ("E508", "E509", "E515")


# files ------------------------------------------------------------------------------------------------------------
def test_boxes_are_written_as_json_and_drawn_on_their_picture(tmp_path: Path) -> None:
    boxes = on_image([[4.0, 4, 30, 15]], grey())
    path = media.save("boxes", boxes, tmp_path / "found")
    (picture,) = media.companions("boxes", boxes, tmp_path / "found").values()
    assert json.loads(Path(path).read_text()) == [[4, 4, 30, 15]]
    assert torch.equal(media.load("boxes", path), boxes.as_subclass(torch.Tensor))
    with Image.open(picture) as image:
        scale = image.width // 40
        assert image.getpixel((4 * scale + 2, 10 * scale)) != (128, 128, 128)
        assert image.getpixel((20 * scale, 10 * scale)) == (128, 128, 128)


def test_a_small_picture_is_drawn_on_larger_and_a_large_one_as_it_is() -> None:
    box = torch.tensor([[0.0, 0, 5, 5]])
    assert max(drawn("boxes", box, grey()).size) >= SMALL
    assert drawn("boxes", box, grey(600, 300)).size == (600, 300)


def test_a_mask_tints_what_it_covers_and_points_are_dots() -> None:
    mask = torch.zeros(20, 40, dtype=torch.bool)
    mask[5:15, 10:30] = True
    shown = drawn("mask", mask, grey())
    scale = shown.width // 40
    assert shown.getpixel((20 * scale, 10 * scale)) != (128, 128, 128)
    assert shown.getpixel((2 * scale, 2 * scale)) == (128, 128, 128)
    dots = drawn("points", torch.tensor([[20.0, 10.0]]), grey())
    assert dots.getpixel((20 * scale, 10 * scale)) != (128, 128, 128)


@pytest.mark.parametrize("box", [[float("nan"), 0, 9, 9], [-500, -500, 5000, 5000], [30, 15, 2, 1], [3, 3, 3, 3]])
def test_a_box_of_any_numbers_is_drawn_without_complaint(box: list[float]) -> None:
    assert drawn("boxes", torch.tensor([box]), grey()).size[0] >= SMALL


def test_regions_of_no_picture_have_no_drawing(tmp_path: Path) -> None:
    assert media.companions("boxes", torch.tensor([[0.0, 0, 1, 1]]), tmp_path / "x") == {}
    assert media.companions("mask", torch.ones(4, 4, dtype=torch.bool), tmp_path / "x") == {}


def test_a_message_shows_its_regions_on_their_picture_and_reads_back(tmp_path: Path) -> None:
    reply = Message(("here ", Region(kind="boxes", value=on_image([[4.0, 4, 30, 15]], grey()))))
    path = media.save("message", reply, tmp_path / "reply")
    parts = json.loads(Path(path).read_text())
    assert parts[1] == {"boxes": [[4.0, 4.0, 30.0, 15.0]], "drawn": "reply-boxes-0-drawn.png"}
    assert (tmp_path / "reply-boxes-0-drawn.png").exists()
    assert 'src="reply-boxes-0-drawn.png"' in (tmp_path / "reply.html").read_text()
    assert Message.from_json(parts).regions("boxes") == [([[4.0, 4.0, 30.0, 15.0]], None)]


def test_a_preview_of_boxes_shows_them_on_their_picture() -> None:
    shown = media.preview("boxes", on_image([[4.0, 4, 30, 15]], grey()))
    assert "data:image/png" in shown and "<table" in shown
    assert "data:image/png" not in media.preview("boxes", torch.tensor([[4.0, 4, 30, 15]]))


# spans ------------------------------------------------------------------------------------------------------------
SPANS = [{"start": 0.0, "end": 1.5, "text": " hello"}, {"start": 3661.25, "end": 3662.0, "text": "a <b> & c\n\nd"}]


def test_spans_are_written_as_subtitles_of_both_kinds(tmp_path: Path) -> None:
    paths = media.companions("spans", SPANS, tmp_path / "said")
    assert Path(paths["srt"]).read_text() == (
        "1\n00:00:00,000 --> 00:00:01,500\nhello\n\n2\n01:01:01,250 --> 01:01:02,000\na <b> & c\nd\n"
    )
    assert Path(paths["vtt"]).read_text() == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nhello\n\n01:01:01.250 --> 01:01:02.000\na &lt;b&gt; &amp; c\nd\n"
    )


def test_spans_come_in_order_of_time_and_an_open_end_is_its_start() -> None:
    rows = rows_of([{"start": 2, "end": None, "text": "b"}, [1.0, 0.5, "a"]])
    assert rows == [(1.0, 1.0, "a"), (2.0, 2.0, "b")]
    assert srt([]) == "" and vtt([]).startswith("WEBVTT")


ENDLESS = {"start": float("inf"), "end": 1, "text": ""}


@pytest.mark.parametrize("value", ["text", [3], [{"start": 1}], [["x", 2, "t"]], [ENDLESS]])
def test_spans_that_are_none_are_told(value: object) -> None:
    with pytest.raises(MediaError, match=r"spans are|a span goes"):
        rows_of(value)
