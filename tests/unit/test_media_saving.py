"""Saving: texts, results, tensors and messages; whole files or none; previews that need no other file."""

from __future__ import annotations

import json
import math
import os
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

from anyany.kinds.message import Media, Message, Place, Region, Turn
from anyany.media import Audio, MediaError, Video, load, message_parts, preview, save, sniff
from anyany.media.files import atomic

IMAGE = torch.arange(3 * 8 * 8, dtype=torch.uint8).reshape(3, 8, 8)
SOUND = Audio(torch.sin(torch.arange(4000) * 0.3)[None] * 0.5, 8000)
FILM = Video(IMAGE.repeat(6, 1, 1, 1), 6.0, SOUND)


class Page(HTMLParser):
    """Collects tags, their sources and the text of a page, and checks that tags close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.tags: list[str] = []
        self.words = ""
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("img", "meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def test_text_is_written_as_it_is(tmp_path: Path) -> None:
    text = "naïve\r\n文字 \ud800"
    path = save("text", text, tmp_path / "a")
    assert Path(path).read_bytes() == "naïve\r\n文字 \\ud800".encode()
    assert load("text", save("text", "a\nb", tmp_path / "b")) == "a\nb"


def test_a_byte_order_mark_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbfhello")
    assert load("text", tmp_path / "a") == "hello"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("GIF89a is a format", "text"),
        ("BM is a unit", "text"),
        ("[not json", "text"),
        ("{braces}", "text"),
        ('{"a": 1}', "json"),
        ("[1, 2]", "json"),
        ("ID3 tags", "text"),
        ("é" * 3000, "text"),
        ("{\n" + "x" * 5000, "text"),
    ],
)
def test_text_is_told_from_what_it_resembles(tmp_path: Path, text: str, kind: str) -> None:
    assert sniff(text.encode()).kind == kind
    (tmp_path / "a.png").write_text(text)
    assert sniff(tmp_path / "a.png").kind == kind
    assert load("text", tmp_path / "a.png") == text


@pytest.mark.parametrize(
    ("kind", "value", "saved"),
    [
        ("label", "cat", "cat"),
        ("label", 3, 3),
        ("scores", [("cat", 0.75), ("dog", 0.25)], [["cat", 0.75], ["dog", 0.25]]),
        ("scores", torch.tensor([0.5, 0.25]), [0.5, 0.25]),
        ("spans", [(0.0, 1.5, "hello")], [[0.0, 1.5, "hello"]]),
        ("loss", torch.tensor(0.5), 0.5),
        ("metric", math.nan, None),
    ],
)
def test_results_are_written_as_json(tmp_path: Path, kind: str, value: object, saved: object) -> None:
    path = save(kind, value, tmp_path / "a")
    assert json.loads(Path(path).read_text()) == saved
    assert load(kind, path) == saved


def test_boxes_and_points_make_the_round_trip_as_tensors(tmp_path: Path) -> None:
    boxes, points = torch.tensor([[1.0, 2.0, 30.5, 40.0]]), torch.tensor([[1.0, 2.0, 3.0]])
    assert torch.equal(load("boxes", save("boxes", boxes, tmp_path / "a")), boxes)
    assert torch.equal(load("points", save("points", points, tmp_path / "b")), points)
    assert load("boxes", save("boxes", [], tmp_path / "c")).shape == (0, 4)


@pytest.mark.parametrize("kind", ["features", "embedding", "tokens", "latent"])
def test_tensors_are_written_as_safetensors(tmp_path: Path, kind: str) -> None:
    value = torch.arange(12).reshape(3, 4).T  # not contiguous
    path = save(kind, value, tmp_path / "a")
    assert path.endswith(".safetensors")
    assert torch.equal(load(kind, path), value)


def test_fields_keep_their_names(tmp_path: Path) -> None:
    field = {"t2m": torch.ones(2, 3), "u10": torch.zeros(2, 3)}
    found = load("field", save("field", field, tmp_path / "a"))
    assert torch.equal(found["t2m"], field["t2m"])
    assert set(found) == set(field)


def test_what_json_does_not_know_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError) as caught:
        save("label", object(), tmp_path / "a")
    assert caught.value.code == "E524"
    assert os.listdir(tmp_path) == []


# whole files or none -------------------------------------------------------------------------------------
def test_a_failure_midway_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic(str(path)) as temporary:
        Path(temporary).write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_folders_are_made(tmp_path: Path) -> None:
    assert Path(save("text", "x", tmp_path / "new" / "deep" / "a")).read_text() == "x"


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MediaError) as caught:
        save("text", "x", tmp_path / "file" / "a")
    assert caught.value.code == "E523"
    assert caught.value.help


# messages ------------------------------------------------------------------------------------------------
@pytest.fixture
def message(tmp_path: Path) -> Message:
    jpeg = tmp_path / "given.dat"
    from anyany.media.images import pillow

    pillow(IMAGE).save(jpeg, "JPEG")
    return Message(
        (
            "look <b>here</b>: ",
            Media(kind="image", path=str(jpeg)),
            Region(kind="boxes", value=torch.tensor([[1.0, 2.0, 3.0, 4.0]])),
            Region(kind="mask", value=torch.ones(8, 8, dtype=torch.bool), of=0),
            Turn("assistant"),
            "a sound ",
            Media(kind="audio", value=SOUND),
            Media(kind="video", value=FILM),
            Place("image", 1),
        )
    )


def test_a_message_is_saved_with_its_media_beside_it(tmp_path: Path, message: Message) -> None:
    path = save("message", message, tmp_path / "out" / "reply")
    assert sorted(os.listdir(tmp_path / "out")) == [
        "reply-0.jpg", "reply-1.png", "reply-2.wav", "reply-3.mp4", "reply.html", "reply.json",
    ]  # fmt: skip
    assert json.loads(Path(path).read_text()) == [
        "look <b>here</b>: ",
        {"image": "reply-0.jpg"},
        {"boxes": [[1.0, 2.0, 3.0, 4.0]]},
        {"mask": "reply-1.png", "of": 0},
        {"role": "assistant"},
        "a sound ",
        {"audio": "reply-2.wav"},
        {"video": "reply-3.mp4"},
        {"image": None},
    ]


def test_the_original_bytes_of_a_given_file_are_kept(tmp_path: Path, message: Message) -> None:
    save("message", message, tmp_path / "reply")
    assert (tmp_path / "reply-0.jpg").read_bytes() == (tmp_path / "given.dat").read_bytes()


def test_parts_for_programs_have_absolute_paths(tmp_path: Path, message: Message) -> None:
    parts = message_parts(save("message", message, tmp_path / "reply"))
    assert parts[0] == "look <b>here</b>: "
    assert parts[1] == {"image": str(tmp_path / "reply-0.jpg")}
    assert parts[4] == {"role": "assistant"}
    assert parts[-1] == {"image": None}


def test_a_saved_message_loads_again(tmp_path: Path) -> None:
    first = Message(("a ", Media(kind="image", value=IMAGE), Turn("assistant"), "b"))
    found = load("message", save("message", first, tmp_path / "m"))
    assert found.text == "b"
    assert torch.equal(load("image", found.select("image")[0]), IMAGE)


def test_the_page_of_a_message_names_the_media_and_escapes_the_text(tmp_path: Path, message: Message) -> None:
    save("message", message, tmp_path / "my reply")
    page = Page((tmp_path / "my reply.html").read_text())
    files = ["my%20reply-0.jpg", "my%20reply-1.png", "my%20reply-2.wav", "my%20reply-3.mp4"]
    assert page.sources == files
    assert "b" not in page.tags
    assert "look <b>here</b>" in page.words
    assert page.open == []


# previews ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("kind", "value", "tag"),
    [
        ("image", IMAGE, "img"),
        ("image", torch.rand(4, 2000, 30), "img"),
        ("mask", torch.ones(4, 4, dtype=torch.bool), "img"),
        ("audio", SOUND, "audio"),
        ("video", FILM, "video"),
        ("scores", {"<cat>": 0.9, "dog": 0.1}, "table"),
        ("scores", torch.tensor([0.1, 0.9]), "table"),
        ("boxes", torch.ones(2, 4), "table"),
        ("points", torch.ones(2, 2), "table"),
        ("spans", [(0.0, 1.0, "<hi>")], "table"),
        ("spans", [{"start": 0.0, "end": 1.0, "text": "<hi>"}], "table"),
        ("label", "<cat>", "span"),
        ("text", "<script>alert(1)</script>", "span"),
        ("features", torch.rand(5, 9), "span"),
        ("field", {"<t2m>": torch.rand(9, 9)}, "table"),
        ("graph", {"nodes": ["<a>"]}, "span"),
        ("image", None, "span"),
    ],
)
def test_previews_need_no_other_file_and_escape_what_they_show(kind: str, value: object, tag: str) -> None:
    text = preview(kind, value)
    page = Page(text)
    assert page.tags[0] == tag
    assert all(source.startswith("data:") for source in page.sources)
    assert page.open == []
    assert not {"cat", "script", "hi", "a", "t2m"} & set(page.tags)


def test_a_message_is_previewed_with_all_its_media_inside(message: Message) -> None:
    page = Page(preview("message", message))
    assert [s.split(";")[0] for s in page.sources] == [
        "data:image/png", "data:image/png", "data:audio/wav", "data:video/mp4",
    ]  # fmt: skip
    assert "image not made" in page.words


def test_large_pictures_are_previewed_small() -> None:
    noise = torch.randint(0, 255, (3, 2000, 2000), dtype=torch.uint8)
    assert len(preview("image", noise)) < 1_300_000


def test_a_file_is_previewed_by_its_path(tmp_path: Path) -> None:
    path = Path(save("image", IMAGE, tmp_path / "a"))
    assert Page(preview("image", path)).sources[0].startswith("data:image/png")
