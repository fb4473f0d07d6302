"""Flow as .flo and in Middlebury's colours; points and rows of numbers from CSV, NumPy and PLY; broken files."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from anyany.media import MediaError, load, preview, save
from anyany.media.flow import coloured, wheel

CLOUD = torch.tensor([[0.0, 1.0, 2.0], [3.5, -4.25, 5.0]])


def flow_of(right: float, down: float) -> torch.Tensor:
    return torch.tensor([right, down]).view(2, 1, 1).expand(2, 4, 6).clone()


# flow -------------------------------------------------------------------------------------------------
def test_a_flow_makes_the_round_trip_and_lies_beside_its_picture(tmp_path: Path) -> None:
    flow = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0)) * 9
    path = save("flow", flow, tmp_path / "f")
    assert path.endswith("f.flo") and torch.equal(load("flow", path), flow)
    assert load("image", tmp_path / "f.png").shape == (3, 5, 7)


def test_a_flow_file_is_what_middleburys_tools_read(tmp_path: Path) -> None:
    flow = torch.arange(12.0).reshape(2, 2, 3)
    data = Path(save("flow", flow, tmp_path / "f")).read_bytes()
    assert struct.unpack("<f", data[:4]) == (202021.25,) and struct.unpack("<ii", data[4:12]) == (3, 2)
    assert struct.unpack("<12f", data[12:]) == (0, 6, 1, 7, 2, 8, 3, 9, 4, 10, 5, 11)


@pytest.mark.parametrize(("right", "down", "colour"), [
    (1.0, 0.0, (255, 0, 0)), (-1.0, 0.0, (0, 209, 255)), (0.0, 1.0, (255, 229, 0)), (0.0, -1.0, (88, 0, 255)),
])  # fmt: skip
def test_the_hue_says_where_to_as_on_middleburys_wheel(right: float, down: float, colour: tuple[int, ...]) -> None:
    found = coloured(flow_of(right, down))[:, 0, 0].float()
    assert (found - torch.tensor(colour)).abs().max() <= 3


def test_the_wheel_has_the_steps_of_the_original() -> None:
    assert wheel().shape == (55, 3)
    corners = [wheel()[i].tolist() for i in (0, 15, 21, 25, 36, 49)]
    assert corners == [[255, 0, 0], [255, 255, 0], [0, 255, 0], [0, 255, 255], [0, 0, 255], [255, 0, 255]]


def test_no_motion_is_white_and_an_unknown_one_black() -> None:
    flow = flow_of(0.0, 0.0)
    flow[0, 0, 0], flow[1, 0, 1], flow[0, 0, 2], flow[0, 1, 0] = float("nan"), float("inf"), 1e10, 3.0
    shown = coloured(flow)
    assert (shown[:, 0, :3] == 0).all() and (shown[:, 2] == 255).all() and shown[:, 1, 0].tolist() == [255, 0, 0]


def test_what_is_farther_than_asked_is_darkened() -> None:
    assert coloured(flow_of(2.0, 0.0), most=1.0)[:, 0, 0].tolist() == [191, 0, 0]


@pytest.mark.parametrize("value", [torch.zeros(3, 4, 4), torch.zeros(2, 0, 4), [[1.0]], None])
def test_what_is_no_flow_is_refused(value: object, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"\[2, H, W\]"):
        save("flow", value, tmp_path / "f")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("data", "code"), [
    (b"PIEH" + struct.pack("<ii", 3, 2) + bytes(40), "E508"), (b"PIEH\0\0", "E506"),
    (b"PIEH" + struct.pack("<ii", -3, 2) + bytes(48), "E515"), (b"PIEH" + struct.pack("<ii", 10**5, 10**5), "E511"),
    (b"[1, 2]", "E506"),
])  # fmt: skip
def test_a_broken_flow_file_is_told(data: bytes, code: str, tmp_path: Path) -> None:
    (tmp_path / "f.flo").write_bytes(data)
    with pytest.raises(MediaError) as error:
        load("flow", tmp_path / "f.flo")
    assert error.value.code == code


def test_a_flow_is_shown_as_a_picture() -> None:
    assert "data:image/png" in preview("flow", flow_of(3.0, 4.0)) and "5.0 pixels" in preview("flow", flow_of(3.0, 4.0))


# points -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("text", [
    "0,1,2\n3.5,-4.25,5\n", "x, y, z\n0, 1, 2\n\n3.5, -4.25, 5\n", "# a cloud\n0 1 2\n3.5 -4.25 5",
    "0;1;2\r\n3.5;-4.25;5\r\n", "0\t1\t2\n3.5\t-4.25\t5\n",
])  # fmt: skip
def test_points_come_from_tables_of_numbers(text: str, tmp_path: Path) -> None:
    (tmp_path / "cloud.csv").write_bytes(text.encode())
    assert torch.equal(load("points", tmp_path / "cloud.csv"), CLOUD)


def test_points_come_from_numpy_files(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", CLOUD.numpy().astype(np.float64))
    np.savez(tmp_path / "b.npz", points=CLOUD.numpy(), colours=np.zeros(3))
    np.savez_compressed(tmp_path / "c.npz", whatever=CLOUD.numpy())
    for name in ("a.npy", "b.npz", "c.npz"):
        assert torch.equal(load("points", tmp_path / name), CLOUD)


def test_a_cloud_is_written_as_ply_and_read_back(tmp_path: Path) -> None:
    path = save("points", CLOUD, tmp_path / "cloud")
    assert path.endswith(".ply") and torch.equal(load("points", path), CLOUD)
    assert save("points", CLOUD[:, :2], tmp_path / "flat").endswith(".json")


@pytest.mark.parametrize("order", ["<", ">"])
def test_other_fields_of_a_ply_are_passed_over(order: str, tmp_path: Path) -> None:
    head = ["ply", f"format binary_{'little' if order == '<' else 'big'}_endian 1.0", "comment by hand",
            "element vertex 2", "property uchar red", "property double x", "property float y", "property float z",
            "element face 1", "property list uchar int vertex_indices", "end_header\n"]  # fmt: skip
    body = b"".join(struct.pack(order + "Bdff", 9, *row) for row in CLOUD.tolist()) + b"\3abc"
    (tmp_path / "a.ply").write_bytes("\n".join(head).encode() + body)
    assert torch.equal(load("points", tmp_path / "a.ply"), CLOUD)


def test_a_ply_in_letters_is_read_with_any_line_ends(tmp_path: Path) -> None:
    text = "ply\r\nformat ascii 1.0\r\nelement vertex 2\r\nproperty float x\r\nproperty float y\r\nproperty float z\r\n"
    (tmp_path / "a.ply").write_bytes((text + "end_header\r\n0 1 2\r\n3.5 -4.25 5\r\n").encode())
    assert torch.equal(load("points", tmp_path / "a.ply"), CLOUD)


def test_features_and_tokens_come_from_tables_too(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1,2,3,4\n5,6,7,8\n")
    assert load("features", tmp_path / "a.csv").tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    (tmp_path / "b.txt").write_text("5\n0\n17\n")
    found = load("tokens", tmp_path / "b.txt")
    assert found.tolist() == [5, 0, 17] and found.dtype == torch.int64


def test_lists_of_numbers_are_tensors_of_their_kind(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[[1, 2], [3, 4.5]]")
    assert load("features", tmp_path / "a.json").tolist() == [[1, 2], [3, 4.5]]
    (tmp_path / "b.json").write_text("[5, 0, 17]")
    assert load("tokens", tmp_path / "b.json").dtype == torch.int64
    for kind, text in (("features", "[1, 2]"), ("tokens", "[1.5]"), ("features", '[["a"]]'), ("features", "[[1], []]")):
        (tmp_path / "c.json").write_text(text)
        with pytest.raises(MediaError, match=f"{kind} are"):
            load(kind, tmp_path / "c.json")


@pytest.mark.parametrize(("name", "data", "code"), [
    ("words.csv", b"a,b\nc,d\n", "E524"), ("uneven.csv", b"1,2\n3\n", "E524"), ("nan.csv", b"1,nan\n", "E524"),
    ("four.csv", b"1,2,3,4\n", "E524"), ("names.csv", b"x,y,z\n", "E524"), ("a.zip", b"PK\3\4 nothing", "E509"),
    ("cut.npy", b"\x93NUMPY\1\0v\0{'descr'", "E509"),
    ("cut.ply", b"ply\nformat binary_little_endian 1.0\nelement vertex 2\nproperty float x\nproperty float y\n"
                b"end_header\n\0", "E508"),
    ("headless.ply", b"ply\nformat ascii 1.0\n", "E509"),
    ("flat.ply", b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float u\nend_header\n1\n", "E524"),
    ("faces.ply", b"ply\nformat ascii 1.0\nelement face 1\nproperty int a\nelement vertex 1\nend_header\n", "E526"),
    ("huge.ply", b"ply\nformat binary_little_endian 1.0\nelement vertex 99999999999\nproperty float x\n"
                 b"property float y\nend_header\n", "E513"),
])  # fmt: skip
def test_broken_points_are_told(name: str, data: bytes, code: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(MediaError) as error:
        load("points", tmp_path / name)
    assert error.value.code == code, error.value


def test_a_numpy_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(MediaError, match="holds no numbers"):
        load("points", tmp_path / "a.npy")


def test_many_points_are_drawn_and_few_are_listed() -> None:
    assert preview("points", torch.rand(60, 3)).count("<circle") == 60
    assert "<table" in preview("points", torch.rand(3, 2))
