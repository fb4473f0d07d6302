"""Rows of numbers as files: CSV, NumPy arrays and PLY clouds become float [N, F]; clouds are written as PLY.

For the kind `points` ([N, 2] or [N, 3]) and for tensors. Loads NumPy files without running what may lie in them.
"""

from __future__ import annotations

import csv
import io
import math
from typing import Any

import torch
from torch import Tensor

from anyany.media.errors import MediaError
from anyany.media.files import check_file, read_all, read_head
from anyany.media.limits import Limits, check_decoded
from anyany.media.sniffing import Sniffed
from anyany.media.texts import load_text

_PLY = {"char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
        "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4",
        "double": "f8", "float64": "f8"}  # fmt: skip
_LONGEST_HEADER = 1 << 16


def load_rows(kind: str, path: str, found: Sniffed, limits: Limits) -> Tensor:
    """The numbers in a file: float32 [N, F], whole numbers as they are for `tokens`. Raises MediaError."""
    if found.format == "NumPy array":
        value = _tensor(_numpy(path, limits), path)
    elif found.format == "ZIP":
        value = _tensor(_npz(path, limits), path)
    elif read_head(path, limits, 4)[:4] in (b"ply\n", b"ply\r"):
        value = _ply(path, limits)
    else:
        value = _table(path, limits)
    if kind == "points" and (value.ndim != 2 or value.shape[1] not in (2, 3)):
        message = f"points are rows of 2 or 3 numbers; what is in it has the shape {list(value.shape)}"
        raise MediaError("E524", message, "keep the coordinates alone", path)
    if kind == "tokens" and not value.is_floating_point():
        return value.long()
    if kind == "tokens" and bool((value == value.round()).all()):
        return value.long().squeeze(-1) if value.ndim == 2 and value.shape[1] == 1 else value.long()
    return value.float()


# NumPy ------------------------------------------------------------------------------------------------
def _numpy(path: str, limits: Limits) -> Any:
    import numpy as np

    try:
        return np.lib.format.read_array(io.BytesIO(read_all(path, limits)), allow_pickle=False)
    except (ValueError, EOFError, OverflowError, MemoryError) as error:
        raise _broken(path, error) from error


def _npz(path: str, limits: Limits) -> Any:
    """The one array of an .npz, or the one called as nothing else could be: `points`, `value` or `arr_0`."""
    import zipfile

    import numpy as np

    try:
        with zipfile.ZipFile(check_file(path, limits)[0]) as packed:
            check_decoded(sum(i.file_size for i in packed.infolist()), limits, path)
            names = [i.filename.removesuffix(".npy") for i in packed.infolist() if i.filename.endswith(".npy")]
            chosen = names[0] if len(names) == 1 else next((n for n in ("points", "value", "arr_0") if n in names), "")
            if not chosen:
                message = f"the file holds {len(names)} arrays: {', '.join(names[:6])}"
                raise MediaError("E524", message, "keep one, or call it `points`", path)
            return np.lib.format.read_array(io.BytesIO(packed.read(chosen + ".npy")), allow_pickle=False)
    except (ValueError, EOFError, OSError, KeyError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise _broken(path, error) from error


def _broken(path: str, error: Exception) -> MediaError:
    return MediaError("E509", f"the NumPy file is damaged, or holds no numbers ({error})", "save it again", path)


def _tensor(array: Any, path: str) -> Tensor:
    import numpy as np

    if array.dtype.kind not in "biuf":
        raise MediaError("E524", f"the array holds {array.dtype}, not numbers", "save numbers", path)
    wide = np.int64 if array.dtype.kind in "biu" else np.float32
    return torch.from_numpy(np.ascontiguousarray(array.astype(wide)))


# text -------------------------------------------------------------------------------------------------
def _table(path: str, limits: Limits) -> Tensor:
    """CSV, TSV or columns with spaces; a first line of names and lines that start with # are passed over."""
    text = load_text(path, limits)
    lines = [(i, line) for i, line in enumerate(text.splitlines(), 1) if line.strip() and not line.startswith("#")]
    rows: list[list[float]] = []
    for place, (number, line) in enumerate(lines):
        cells = _cells(line)
        try:
            rows.append([float(cell) for cell in cells])
        except ValueError:
            if place == 0 and len(lines) > 1:
                continue
            message = f"line {number}: {line.strip()[:40]!r} is no row of numbers"
            raise MediaError("E524", message, "write rows such as 1.5, 2, 0", path) from None
        if len(rows[-1]) != len(rows[0]):
            message = f"line {number} has {len(rows[-1])} numbers, the first has {len(rows[0])}"
            raise MediaError("E524", message, "give every row as many", path)
        if not all(math.isfinite(x) for x in rows[-1]):
            raise MediaError("E524", f"line {number} holds what is no finite number", "mend it there", path)
    if not rows:
        raise MediaError("E524", "there are no rows of numbers in it", "write rows such as 1.5, 2, 0", path)
    return torch.tensor(rows)


def _cells(line: str) -> list[str]:
    for mark in (",", ";", "\t"):
        if mark in line:
            return next(csv.reader([line], delimiter=mark, skipinitialspace=True))
    return line.split()


# PLY --------------------------------------------------------------------------------------------------
def _ply(path: str, limits: Limits) -> Tensor:
    """x, y, z of the vertices of a PLY file, whatever else it holds."""
    import numpy as np

    data = read_all(path, limits)
    end = data.find(b"end_header", 0, _LONGEST_HEADER)
    body = data.find(b"\n", end) + 1
    if end < 0 or not body:
        raise MediaError("E509", "the PLY file has no end of its header", "export it again", path)
    form, count, fields = _ply_header(data[:end].decode("ascii", "replace").splitlines(), path)
    if not {"x", "y"} <= set(fields):
        raise MediaError("E524", "the PLY file's vertices have no x and y", "export the positions", path)
    names = [axis for axis in ("x", "y", "z") if axis in fields]
    check_decoded(8 * count * len(fields), limits, path)
    if form == "ascii":
        rows = [line.split() for line in data[body:].decode("ascii", "replace").splitlines()[:count]]
        columns = [list(fields).index(name) for name in names]
        try:
            found = [[float(row[i]) for i in columns] for row in rows]
        except (ValueError, IndexError):
            raise MediaError("E509", "a vertex of the PLY file is no row of numbers", "export it again", path) from None
        value = torch.tensor(found).reshape(len(found), len(names))
    else:
        order = ">" if form == "binary_big_endian" else "<"
        kind = np.dtype([(name, order + _PLY[what]) for name, what in fields.items()])
        whole = np.frombuffer(data, kind, min(count, (len(data) - body) // kind.itemsize), body)
        value = torch.from_numpy(np.stack([whole[name].astype(np.float32) for name in names], 1))
    if len(value) < count:
        message = f"the PLY file ends too early: it promises {count} vertices and holds {len(value)}"
        raise MediaError("E508", message, "copy it again", path)
    return value


def _ply_header(lines: list[str], path: str) -> tuple[str, int, dict[str, str]]:
    """(format, number of vertices, their fields and types). Vertices must come first."""
    fields: dict[str, str] = {}
    form, count, inside = "", 0, False
    for words in (line.split() for line in lines):
        if words[:1] == ["format"] and len(words) > 1:
            form = words[1]
        elif words[:1] == ["element"] and len(words) == 3:
            if words[1] == "vertex" and words[2].isdigit():
                inside, count = True, int(words[2])
            elif not fields:
                raise MediaError(
                    "E526", "the PLY file begins with other elements than vertices", "export it anew", path
                )
            else:
                inside = False
        elif words[:1] == ["property"] and inside and len(words) == 3:
            if words[1] not in _PLY:
                raise MediaError("E526", f"the PLY file has vertices of type {words[1][:20]!r}", "export it anew", path)
            fields[words[2]] = words[1]
    if form not in ("ascii", "binary_little_endian", "binary_big_endian"):
        raise MediaError("E509", f"the PLY file is of an unknown form, {form[:20]!r}", "export it as ASCII", path)
    return form, count, fields


def write_ply(value: Any, path: str) -> None:
    """A cloud [N, 3] as a binary PLY file."""
    points = torch.as_tensor(value, dtype=torch.float32).detach().cpu()
    head = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(points)}\n"
    head += "".join(f"property float {axis}\n" for axis in "xyz") + "end_header\n"
    with open(path, "wb") as file:
        file.write(head.encode("ascii") + points.contiguous().numpy().astype("<f4").tobytes())


def is_cloud(value: Any) -> bool:
    """Whether points are a cloud in space, [N, 3], rather than places on a picture."""
    return isinstance(value, Tensor) and value.ndim == 2 and value.shape[1] == 3
