"""Safetensors headers: what is read without a tensor, and what is said of files that are none."""

from __future__ import annotations

import json
import pickle
import random
import struct

import pytest
import torch
from safetensors.torch import save_file

from anyany.weights import access
from anyany.weights.errors import WeightsError
from anyany.weights.headers import read_header, weight_bytes


def packed(header: object, data: bytes = b"") -> bytes:
    """A safetensors file with this header, whatever it says."""
    blob = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(blob)) + blob + data


def entry(start: int, end: int, dtype: str = "U8", shape: list | None = None) -> dict:
    return {"dtype": dtype, "shape": [end - start] if shape is None else shape, "data_offsets": [start, end]}


@pytest.fixture
def checkpoint(tmp_path):
    """A folder with two shards and their index: a [4, 3] float32, b [2] bfloat16, c [5] int64."""
    save_file({"a": torch.zeros(4, 3), "b": torch.zeros(2, dtype=torch.bfloat16)}, tmp_path / "m-1.safetensors")
    save_file({"c": torch.arange(5)}, tmp_path / "m-2.safetensors")
    placed = {"a": "m-1.safetensors", "b": "m-1.safetensors", "c": "m-2.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": placed}))
    return tmp_path


def test_names_shapes_and_dtypes_of_a_file_are_read_without_its_tensors(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file({"x.y": torch.zeros(1000, 30, dtype=torch.float16)}, path, metadata={"format": "pt"})
    with access.watch() as reads:
        header = read_header(str(path))
    assert header.tensors["x.y"].shape == (1000, 30)
    assert header.tensors["x.y"].dtype == "F16"
    assert header.nbytes == 60_000
    assert header.metadata == {"format": "pt"}
    assert reads.files == (str(path),)
    assert reads.total < 300


def test_shards_are_one_set_of_weights(checkpoint):
    header = read_header(str(checkpoint))
    assert {name: info.shape for name, info in header.tensors.items()} == {"a": (4, 3), "b": (2,), "c": (5,)}
    assert header.nbytes == 48 + 4 + 40
    assert len(header.files) == 2
    assert read_header(str(checkpoint / "model.safetensors.index.json")).tensors.keys() == header.tensors.keys()


def test_bytes_after_loading_follow_the_dtype_of_floats_only(checkpoint):
    header = read_header(str(checkpoint))
    assert weight_bytes(header) == 92
    assert weight_bytes(header, "float32") == 14 * 4 + 40
    assert weight_bytes(header, str(torch.bfloat16)) == 14 * 2 + 40


def test_a_prefix_selects_and_is_cut_off(tmp_path):
    save_file({"v.a": torch.zeros(1), "t.a": torch.zeros(2)}, tmp_path / "w.safetensors")
    assert list(read_header(str(tmp_path)).under("v.").tensors) == ["a"]


@pytest.mark.parametrize(
    ("data", "code", "said"),
    [
        (b"", "E457", "only 0 bytes"),
        (b"abc", "E457", "only 3 bytes"),
        (packed({"a": entry(0, 8)}, b"1234"), "E457", "truncated"),
        (packed({"a": entry(0, 2)}, b"1234"), "E457", "2 bytes after"),
        (packed({})[:-1], "E457", "truncated"),
        (struct.pack("<Q", 2**60) + b"x" * 50, "E456", "header of 1,152,921,504,606,846,976 bytes"),
        (packed(b"not json"), "E456", "not JSON"),
        (packed(b"\xff\xfe{}"), "E456", "not JSON"),
        (packed(b"[" * 100_000), "E456", "not JSON"),
        (packed([1]), "E456", "not a JSON object"),
        (packed(b'{"a": {}, "a": {}}'), "E456", "twice"),
        (packed({"a": entry(0, 4), "b": entry(2, 6)}, b"123456"), "E456", "overlaps"),
        (packed({"a": entry(0, 2), "b": entry(4, 6)}, b"123456"), "E456", "gap"),
        (packed({"a": entry(0, 4, "F99")}, b"1234"), "E456", "unknown dtype"),
        (packed({"a": entry(0, 4, "F32", [2])}, b"1234"), "E456", "does not fill"),
        (packed({"a": entry(0, 4, "F32", [-1])}, b"1234"), "E456", "bad shape"),
        (packed({"a": 3}), "E456", "no description"),
        (packed({"__metadata__": {"a": 1}}), "E456", "metadata"),
        (b'{"weights": "text"}', "E456", "a text file"),
        (b"<!DOCTYPE html><html>", "E456", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "E456", "Git LFS"),
        (b"GGUF\x03\0\0\0aaaaaaaaaaa", "E456", "GGUF"),
    ],
)
def test_a_file_that_is_no_safetensors_is_named_for_what_it_is(tmp_path, data, code, said):
    path = tmp_path / "w.safetensors"
    path.write_bytes(data)
    with pytest.raises(WeightsError) as caught:
        read_header(str(path))
    assert caught.value.code == code
    assert said in caught.value.message
    assert str(path) in caught.value.message
    assert caught.value.help


def test_a_pickle_under_a_wrong_name_says_how_to_convert_it(tmp_path):
    for name, write in (("new", torch.save), ("old", lambda x, f: pickle.dump(x, open(f, "wb")))):  # noqa: SIM115
        path = tmp_path / f"{name}.safetensors"
        write({"a": torch.zeros(2)}, path)
        with pytest.raises(WeightsError, match="pickle") as caught:
            read_header(str(path))
        assert caught.value.code == "E455"
        assert "anyany convert" in caught.value.help


def test_headers_that_begin_like_a_pickle_are_read(tmp_path):
    blob = json.dumps({"a": entry(0, 4)}).encode().ljust(0x0280)
    path = tmp_path / "w.safetensors"
    path.write_bytes(packed(blob, b"1234"))
    assert path.read_bytes()[:2] == b"\x80\x02"
    assert list(read_header(str(path)).tensors) == ["a"]


def test_a_missing_shard_is_named(checkpoint):
    (checkpoint / "m-2.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"m-2\.safetensors") as caught:
        read_header(str(checkpoint))
    assert caught.value.code == "E458"


def test_an_index_that_disagrees_with_its_shards_is_refused(checkpoint):
    save_file({"d": torch.arange(5)}, checkpoint / "m-2.safetensors")
    with pytest.raises(WeightsError, match="disagree over 2 tensors: c, d"):
        read_header(str(checkpoint))


@pytest.mark.parametrize("placed", [{"a": "../x.safetensors"}, {"a": 3}, {}, [], "x"])
def test_an_index_that_leaves_its_folder_or_is_none_is_refused(checkpoint, placed):
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps({"weight_map": placed}))
    with pytest.raises(WeightsError) as caught:
        read_header(str(checkpoint))
    assert caught.value.code == "E458"


def test_a_folder_is_searched_and_what_it_lacks_is_said(tmp_path):
    with pytest.raises(WeightsError, match="no safetensors weights") as caught:
        read_header(str(tmp_path))
    assert caught.value.code == "E454"
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(WeightsError, match="is a pickle") as caught:
        read_header(str(tmp_path))
    assert "pytorch_model.safetensors" in caught.value.help
    for name in "ab":
        save_file({"x": torch.zeros(1)}, tmp_path / f"{name}.safetensors")
    with pytest.raises(WeightsError, match=r"2 safetensors files.*a\.safetensors, b\.safetensors") as caught:
        read_header(str(tmp_path))
    assert caught.value.code == "E454"
    save_file({"best": torch.zeros(1)}, tmp_path / "model.safetensors")
    assert list(read_header(str(tmp_path)).tensors) == ["best"]


def test_an_absent_file_is_said_with_its_neighbour(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "weights.safetensors")
    with pytest.raises(WeightsError, match="there is no") as caught:
        read_header(str(tmp_path / "wieghts.safetensors"))
    assert caught.value.code == "E453"
    assert "weights.safetensors" in caught.value.help


def test_no_damage_to_a_file_is_more_than_a_weights_error(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file({"layer.weight": torch.zeros(3, 2), "layer.bias": torch.zeros(3)}, path)
    whole = path.read_bytes()
    dice = random.Random(0)
    refused = 0
    for _ in range(500):
        data = bytearray(whole)
        for _ in range(dice.randint(1, 4)):
            data[dice.randrange(min(len(data), 180))] = dice.randrange(256)
        path.write_bytes(bytes(data[: dice.randint(0, len(data))]))
        try:
            read_header(str(path))
        except WeightsError:
            refused += 1
    assert refused > 400
