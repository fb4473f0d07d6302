"""Messages: turns, selection, places and their filling, the `--items` format, and templates of the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from anyany.kinds.message import FilePath, Media, Message, Place, Region, Turn, is_path, parse_template
from anyany.media import MediaError, save

CAT, DOG = Media(kind="image", value="cat"), Media(kind="image", value="dog")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    save("image", torch.zeros(3, 4, 4, dtype=torch.uint8), tmp_path / "cat")
    (tmp_path / "notes.txt").write_text("two notes")
    (tmp_path / "data.json").write_text('{"a": 1}')
    return tmp_path


def test_text_is_that_of_the_last_turn_only() -> None:
    message = Message((Turn("system"), "be kind", Turn("user"), "what ", CAT, "is this?"))
    assert message.text == "what is this?"
    assert Message(()).text == ""


def test_parts_before_the_first_turn_are_the_users() -> None:
    message = Message(("hello", Turn("assistant"), "hi", Turn("user"), CAT))
    assert message.turns() == [("user", ("hello",)), ("assistant", ("hi",)), ("user", (CAT,))]


def test_a_role_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="robot"):
        Turn("robot")


def test_select_gives_values_in_order_and_leaves_out_unfilled_places() -> None:
    message = Message((CAT, "and", Place("image", 0), DOG, Region(kind="boxes", value=[[0, 0, 1, 1]])))
    assert message.select("image") == ["cat", "dog"]
    assert message.select("boxes") == [[[0, 0, 1, 1]]]
    assert message.select("audio") == []
    assert message.kinds() == ("image", "boxes")


def test_a_medium_not_decoded_yet_is_selected_as_its_path() -> None:
    (value,) = Message((Media(kind="image", path="cat.png"),)).select("image")
    assert value == FilePath("cat.png")
    assert is_path(value)
    assert not is_path("cat.png")


def test_regions_know_their_image() -> None:
    box, mask = Region(kind="boxes", value=1), Region(kind="boxes", value=2, of=0)
    assert Message((CAT, DOG, box, mask)).regions("boxes") == [(1, 1), (2, 0)]
    assert Message((box,)).regions("boxes") == [(1, None)]


def test_joining_merges_strings_and_moves_region_numbers_along() -> None:
    second = Message((DOG, Region(kind="points", value=1, of=0), "?"))
    joined = Message.join(["look ", "here: ", Message((CAT, "and ")), "", second])
    assert joined.parts == ("look here: ", CAT, "and ", DOG, Region(kind="points", value=1, of=1), "?")


def test_fill_takes_values_in_order_and_none_removes_a_place() -> None:
    reply = Message(("one ", Place("image", 0), "two ", Place("image", 1), Place("audio", 0), "end"))
    filled = reply.fill("image", [None, "picture"])
    assert filled.parts == ("one two ", Media(kind="image", value="picture"), Place("audio", 0), "end")
    assert filled.unfilled() == (Place("audio", 0),)
    assert filled.fill("audio", [None]).unfilled() == ()


def test_filling_regions_and_text_makes_parts_of_their_own_kind() -> None:
    reply = Message((CAT, Place("boxes", 0), Place("text", 0)))
    assert reply.fill("boxes", [7]).fill("text", ["x"]).parts == (CAT, Region(kind="boxes", value=7), "x")


def test_removing_an_image_removes_its_regions_and_renumbers_the_others() -> None:
    reply = Message(
        (Place("image", 0), Region(kind="boxes", value="gone"), DOG, Region(kind="boxes", value="kept", of=1))
    )
    assert reply.fill("image", [None]).parts == (DOG, Region(kind="boxes", value="kept", of=0))


def test_fill_refuses_another_number_of_values_than_places() -> None:
    with pytest.raises(ValueError, match="1 unfilled image places, but 2"):
        Message((Place("image", 0),)).fill("image", ["a", "b"])


def test_messages_of_tensors_compare_by_content() -> None:
    one, two = (Message((Media(kind="image", value=torch.ones(2)),)) for _ in range(2))
    assert one == two
    assert one != Message((Media(kind="image", value=torch.zeros(2)),))


def test_items_format_makes_the_round_trip() -> None:
    data = [
        {"role": "user"},
        "what is ",
        {"image": "cat.png"},
        {"boxes": [[1.0, 2.0, 3.0, 4.0]], "of": 0},
        {"points": [[1.5, 2.0]]},
        {"mask": "mask.png"},
        {"audio": "bark.wav"},
        {"role": "assistant"},
        "a cat",
    ]
    assert json.loads(json.dumps(Message.from_json(data).to_json())) == data


def test_relative_paths_start_at_the_folder_given() -> None:
    assert Message.from_json([{"image": "cat.png"}], "/data").select("image") == [FilePath("/data/cat.png")]
    assert Message.from_json([{"image": "/x/cat.png"}], "/data").select("image") == [FilePath("/x/cat.png")]


def test_what_people_write_in_python_is_taken(files: Path) -> None:
    message = Message.of(["describe ", files / "cat.png", CAT, {"file": str(files / "notes.txt")}])
    assert message.parts == ("describe ", Media(kind="image", path=str(files / "cat.png")), CAT, "two notes")
    assert Message.of("hello").parts == ("hello",)
    assert Message.of(message) is message


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ({"pic": "a.png"}, "unknown tag 'pic'"),
        ({}, "needs one tag"),
        ({"image": "a.png", "audio": "b.wav"}, "needs one tag"),
        ({"image": 3}, "wants a path"),
        ({"image": "a.png", "of": 0}, "only regions"),
        ({"boxes": [[1, 2, 3]]}, "boxes are"),
        ({"boxes": "left"}, "boxes are"),
        ({"boxes": [[1, 2, 3, True]]}, "boxes are"),
        ({"points": [[1, 2], [1, 2, 3]]}, "points are"),
        ({"boxes": [[1, 2, 3, 4]], "of": -1}, "counts the images"),
        ({"role": "robot"}, "role 'robot'"),
        (7, "is 7"),
    ],
)
def test_a_part_written_wrongly_is_named(part: object, says: str) -> None:
    with pytest.raises(MediaError, match=says) as caught:
        Message.from_json(["look", part])
    assert caught.value.code == "E521"
    assert "1" in caught.value.message
    assert caught.value.help


def test_a_region_of_an_image_that_is_not_there_is_refused() -> None:
    with pytest.raises(MediaError, match="of image 2"):
        Message.from_json([{"image": "a.png"}, {"boxes": [[1, 2, 3, 4]], "of": 2}])


def test_a_template_mixes_text_and_files_by_their_content(files: Path) -> None:
    (files / "cat.png").rename(files / "cat.txt")
    message = parse_template("What is in {file:cat.txt}, and {{why}}? {file:notes.txt}{file: data.json }", str(files))
    picture = Media(kind="image", path=str(files / "cat.txt"))
    assert message.parts == ("What is in ", picture, ', and {why}? two notes{"a": 1}')


def test_text_under_the_name_of_a_medium_is_refused(files: Path) -> None:
    """A server's "not found" saved as a picture is nobody's prompt."""
    (files / "gone.png").write_text("not found")
    (files / "page.JPG").write_text("<html>not found</html>")
    (files / "odd.wav").write_text('{"error": 404}')
    for name, found in (("gone.png", "PNG, and it holds text"), ("page.JPG", "text \\(HTML\\)"), ("odd.wav", "JSON")):
        with pytest.raises(MediaError, match=found) as caught:
            parse_template(f"see {{file:{name}}}", str(files))
        assert caught.value.code == "E506"


def test_a_template_has_regions_and_turns(files: Path) -> None:
    message = parse_template("{role:system}be kind{role:user}{image:cat.png}{boxes:1,2,3,4;5,6,7,8}", str(files))
    assert message.parts[:3] == (Turn("system"), "be kind", Turn("user"))
    assert message.parts[4] == Region(kind="boxes", value=[[1, 2, 3, 4], [5, 6, 7, 8]])


@pytest.mark.parametrize(
    ("template", "code", "says"),
    [
        ("look at {image:cat.png", "E520", "character 9 is never closed"),
        ("look at {cat.png}", "E520", "no tag"),
        ("{picture:cat.png}", "E520", "no tag"),
        ("{image:}", "E520", "names nothing"),
        ("{boxes:left}", "E520", "not numbers"),
        ("{boxes:1,2}", "E521", "boxes are"),
        ("{image:dog.png}", "E501", "no such file"),
        ("{role:robot}", "E521", "robot"),
    ],
)
def test_a_template_written_wrongly_says_where(files: Path, template: str, code: str, says: str) -> None:
    with pytest.raises(MediaError) as caught:
        parse_template(template, str(files))
    assert caught.value.code == code
    assert says in caught.value.message
    assert caught.value.help


def test_plain_braces_that_close_nothing_are_text() -> None:
    assert parse_template("a } b }} c").parts == ("a } b } c",)


def test_messages_import_nothing_heavy() -> None:
    import subprocess
    import sys

    code = "import sys, anyany.kinds.message, anyany.kinds.message_io, anyany.media, anyany.media.sniffing\n"
    heavy = ("torch", "numpy", "PIL", "av", "soundfile")
    code += f"print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
