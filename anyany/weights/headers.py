"""Safetensors headers: names, shapes, dtypes and offsets of tensors, read without reading any tensor.

Format: 8 bytes little-endian header length N, N bytes of JSON, then the tensors' bytes
(github.com/huggingface/safetensors, "Format"). Files, folders and shards; bytes fetched elsewhere too.
"""

from __future__ import annotations

import json
import os
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field

from . import access
from .errors import WeightsError
from .layout import PIPELINE, Layout, choose, pickle_refused

BITS: dict[str, int] = {
    "BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8,
    "F8_E8M0": 8, "F8_E5M2FNUZ": 8, "F8_E4M3FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32, "C64": 64, "F64": 64, "I64": 64, "U64": 64,
}  # fmt: skip
FLOAT_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "float64": 8, "float8_e4m3fn": 1, "float8_e5m2": 1}
MAX_HEADER = 100_000_000  # the safetensors library's own limit
_AGAIN = "fetch or write it again"
_FORMATS = {
    b"GGUF": "a GGUF file",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUM": "a NumPy file",
    b"<!DO": "a web page",
    b"<htm": "a web page",
}


@dataclass(frozen=True, kw_only=True, repr=False)
class TensorInfo:
    """One tensor of a file. dtype: safetensors' name (F32, BF16, ...); start, end: bytes in the data part.

    name: what its file calls it, with every prefix.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int
    file: str

    @property
    def count(self) -> int:
        """Number of values."""
        count = 1
        for size in self.shape:
            count *= size
        return count

    @property
    def nbytes(self) -> int:
        """Bytes as stored."""
        return self.end - self.start


@dataclass(frozen=True, kw_only=True, repr=False)
class Header:
    """The tensors of one set of weights, over all its files; metadata: safetensors' `__metadata__`."""

    tensors: Mapping[str, TensorInfo]
    files: tuple[str, ...]
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors as stored."""
        return sum(info.nbytes for info in self.tensors.values())

    def under(self, prefix: str) -> Header:
        """Only the tensors whose names start with prefix, which is cut off."""
        if not prefix:
            return self
        kept = {name[len(prefix) :]: info for name, info in self.tensors.items() if name.startswith(prefix)}
        files = tuple(file for file in self.files if any(info.file == file for info in kept.values()))
        return Header(tensors=kept, files=files, metadata=self.metadata)

    def beneath(self, head: str) -> Header:
        """The same tensors, their names put under head (a pipeline's part: "unet.")."""
        if not head:
            return self
        moved = {head + name: info for name, info in self.tensors.items()}
        return Header(tensors=moved, files=self.files, metadata=self.metadata)


def weight_bytes(header: Header, dtype: str | None = None) -> int:
    """Bytes the tensors take once loaded as dtype ("bfloat16", or "torch.bfloat16"); None: as stored.

    Only floating tensors change their dtype at load; whole numbers and booleans keep theirs.
    """
    if dtype is None:
        return header.nbytes
    size = FLOAT_BYTES[str(dtype).removeprefix("torch.")]
    total = 0
    for info in header.tensors.values():
        total += info.count * size if info.dtype.startswith(("F", "BF")) else info.nbytes
    return total


def read_header(path: str) -> Header:
    """The header of a safetensors file, of an index and its shards, or of a folder holding either."""
    layout, root = read_layout(path)
    return header_of_layout(layout, root)


def read_layout(path: str, *, allow_pickle: bool = False) -> tuple[Layout, str]:
    """Layout of a file or folder on disk, and the folder its names are relative to."""
    if os.path.isdir(path):
        try:
            names = _files_in(path)
        except OSError as error:
            raise unreadable(path, error) from None
        return choose(names, "", where=path, allow_pickle=allow_pickle), path
    root, name = os.path.split(path)
    if not os.path.exists(path):
        raise _absent(path, root)
    if not os.path.isfile(path):
        raise WeightsError("E453", f"{path} is neither a file nor a folder.", "name a safetensors file or its folder")
    try:
        names = os.listdir(root or ".")
    except OSError:
        names = [name]
    return choose({*names, name}, name, where=root or ".", allow_pickle=allow_pickle), root


def _files_in(path: str) -> list[str]:
    """Names of a folder's files; of a pipeline, those of its parts' folders too."""
    names: list[str] = []
    folders: list[str] = []
    for entry in os.scandir(path):
        (folders if entry.is_dir() else names).append(entry.name)
    if PIPELINE in names:
        for folder in folders:
            names += [
                f"{folder}/{entry.name}" for entry in os.scandir(os.path.join(path, folder)) if not entry.is_dir()
            ]
    return names


def header_of_layout(layout: Layout, root: str) -> Header:
    """Reads the header, or every shard's, and checks the shards against their index."""
    if layout.parts:
        return _joined([header_of_layout(part, root).beneath(head) for head, part in layout.leaves])
    if not layout.index:
        return _merge({os.path.join(root, name): None for name in layout.weights})
    index_path = os.path.join(root, layout.index)
    try:
        placed = parse_index(access.read_bytes(index_path), index_path)
    except OSError as error:
        raise unreadable(index_path, error) from None
    folder = os.path.dirname(index_path)
    wanted: dict[str, set[str] | None] = {}
    for name, shard in placed.items():
        names = wanted.setdefault(os.path.join(folder, shard), set())
        assert names is not None
        names.add(name)
    gone = [shard for shard in wanted if not os.path.exists(shard)]
    if gone:
        raise WeightsError(
            "E458",
            f"{index_path} names {len(wanted)} shards; {len(gone)} are missing: {', '.join(gone[:5])}.",
            "fetch the checkpoint again, whole",
        )
    return _merge(wanted)


def _joined(headers: list[Header]) -> Header:
    tensors = {name: info for header in headers for name, info in header.tensors.items()}
    return Header(tensors=tensors, files=tuple(file for header in headers for file in header.files))


def _merge(wanted: Mapping[str, set[str] | None]) -> Header:
    tensors: dict[str, TensorInfo] = {}
    metadata: dict[str, str] = {}
    for path, names in wanted.items():
        header = read_file_header(path)
        if names is not None and names != set(header.tensors):
            odd = sorted(names ^ set(header.tensors))
            raise WeightsError(
                "E458",
                f"the index and {path} disagree over {len(odd)} tensors: {', '.join(odd[:5])}.",
                "fetch the checkpoint again, whole",
            )
        tensors.update(header.tensors)
        metadata.update(header.metadata)
    return Header(tensors=tensors, files=tuple(wanted), metadata=metadata)


def read_file_header(path: str) -> Header:
    """The header of one safetensors file."""
    try:
        with access.open_file(path) as handle:
            size = os.fstat(handle.fileno()).st_size
            start = handle.read(8)
            length = header_length(start, path, size)
            blob = handle.read(length)
    except OSError as error:
        raise unreadable(path, error) from None
    access.note(path, read=8 + len(blob))
    return parse_header(blob, path, data_bytes=size - 8 - length)


def header_length(start: bytes, where: str, size: int | None) -> int:
    """Length of the JSON from a file's first 8 bytes; size: the whole file's, None where unknown."""
    length = int.from_bytes(start, "little")
    fits = size is None or length <= size - 8
    if len(start) == 8 and 2 <= length <= MAX_HEADER and fits:
        return length
    # Only now the guesses: a valid length may begin with any of these bytes.
    _refuse_other_formats(start, where)
    if len(start) < 8:
        raise WeightsError("E457", f"{where} is truncated: it has only {len(start)} bytes.", _AGAIN)
    if 2 <= length <= MAX_HEADER and size is not None:
        raise WeightsError(
            "E457",
            f"{where} is truncated: its header should have {length:,} bytes, but only {size - 8:,} follow.",
            _AGAIN,
        )
    raise WeightsError(
        "E456",
        f"{where} is not safetensors, or is corrupt: it claims a header of {length:,} bytes.",
        "name a safetensors file, or fetch it again",
    )


def _refuse_other_formats(start: bytes, where: str) -> None:
    if start[:4] == b"PK\x03\x04" or start[:1] == b"\x80":
        raise pickle_refused(os.path.dirname(where) or ".", os.path.basename(where))
    if start.startswith(b"version "):
        help = "run `git lfs pull` in its folder"
        raise WeightsError("E456", f"{where} is a Git LFS pointer, not the weights themselves.", help)
    known = _FORMATS.get(start[:4]) or ("a text file" if start[:1] in (b"{", b"[", b"<") else None)
    if known:
        raise WeightsError("E456", f"{where} is {known}, not safetensors.", "name a safetensors file")


def parse_header(blob: bytes, where: str, *, data_bytes: int | None) -> Header:
    """Reads and checks a header's JSON. data_bytes: size of the data part, None where unknown."""
    try:
        raw = json.loads(blob.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise _corrupt(where, f"its header is not JSON ({error})") from None
    if not isinstance(raw, dict):
        raise _corrupt(where, "its header is not a JSON object")
    metadata = raw.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _corrupt(where, "its metadata is not a map of texts")
    tensors = {name: _tensor(name, entry, where) for name, entry in raw.items()}
    end = 0
    for name, info in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        if info.start != end:
            trouble = "overlaps another" if info.start < end else "leaves a gap before it"
            raise _corrupt(where, f"tensor {name} at bytes {info.start:,} to {info.end:,} {trouble}")
        end = info.end
    if data_bytes is not None and data_bytes < end:
        raise WeightsError(
            "E457",
            f"{where} is truncated: its tensors need {end:,} bytes, but only {data_bytes:,} are there.",
            _AGAIN,
        )
    if data_bytes is not None and data_bytes > end:
        raise WeightsError(
            "E457",
            f"{where} has {data_bytes - end:,} bytes after its last tensor.",
            _AGAIN,
        )
    return Header(tensors=tensors, files=(where,), metadata=metadata)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name appears twice")
    return table


def _tensor(name: str, entry: object, where: str) -> TensorInfo:
    if not isinstance(entry, dict):
        raise _corrupt(where, f"tensor {name} has no description")
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in BITS:
        raise _corrupt(where, f"tensor {name} has the unknown dtype {dtype!r}")
    if not _sizes(shape) or not _sizes(offsets) or len(offsets) != 2:  # type: ignore[arg-type]
        raise _corrupt(where, f"tensor {name} has a bad shape or bad offsets")
    assert isinstance(shape, list) and isinstance(offsets, list)
    info = TensorInfo(name=name, dtype=dtype, shape=tuple(shape), start=offsets[0], end=offsets[1], file=where)
    if info.nbytes * 8 != info.count * BITS[dtype]:
        raise _corrupt(where, f"tensor {name} ({dtype}, shape {shape}) does not fill its {info.nbytes:,} bytes")
    return info


def _sizes(value: object) -> bool:
    return isinstance(value, list) and all(type(size) is int and 0 <= size < 2**63 for size in value)


def parse_index(blob: bytes, where: str) -> dict[str, str]:
    """From tensor names to shard file names, of a `*.safetensors.index.json`."""
    try:
        placed = json.loads(blob)["weight_map"]
    except (ValueError, RecursionError, KeyError, TypeError):
        placed = None
    if not isinstance(placed, dict) or not placed:
        raise WeightsError("E458", f"{where} is not an index of shards: it has no weight_map.", "fetch it again")
    for name, shard in placed.items():
        if not isinstance(shard, str) or posixpath.basename(shard) != shard or not shard.endswith(".safetensors"):
            raise WeightsError(
                "E458", f"{where} places {name} in {shard!r}, which is no shard beside it.", "fetch it again"
            )
    return placed


def _corrupt(where: str, what: str) -> WeightsError:
    return WeightsError("E456", f"{where} is corrupt: {what}.", _AGAIN)


def unreadable(path: str, error: OSError) -> WeightsError:
    """The error for a file the system refuses to give."""
    return WeightsError(
        "E453", f"{path} cannot be read: {error.strerror or error}.", "check the path and its permissions"
    )


def _absent(path: str, root: str) -> WeightsError:
    import difflib

    try:
        names = os.listdir(root or ".")
    except OSError:
        names = []
    near = difflib.get_close_matches(os.path.basename(path), names, n=1)
    if near:
        help = f"did you mean {os.path.join(root, near[0])}?"
    else:
        help = "a file: path is relative to the folder of the spec"
    return WeightsError("E453", f"there is no {path}.", help)
