"""Classic NetCDF files (versions 1, 2 and 5), read without any library: dimensions, attributes, whole variables.

The format: https://docs.unidata.ucar.edu/nug/current/file_format_specifications.html. NetCDF-4 is HDF5 and not read.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Any

from anyany.media.errors import MediaError
from anyany.media.files import read_all
from anyany.media.limits import Limits

_TYPES = {1: "i1", 2: "S1", 3: ">i2", 4: ">i4", 5: ">f4", 6: ">f8", 7: "u1", 8: ">u2", 9: ">u4", 10: ">i8", 11: ">u8"}
_DIMENSIONS, _VARIABLES, _ATTRIBUTES = 10, 11, 12


def read_netcdf(path: str, limits: Limits) -> dict[str, Any]:
    """Every variable as a NumPy array, with `scale_factor`, `add_offset` and times applied. Raises MediaError."""
    try:
        return _Reader(read_all(path, limits)).variables()
    except (struct.error, ValueError, IndexError, KeyError, OverflowError, MemoryError) as error:
        raise MediaError("E509", f"the NetCDF file is damaged ({error or type(error).__name__})", "write it again",
                         path) from error  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Variable:
    name: str
    dims: list[int]
    attributes: dict[str, Any]
    dtype: str
    size: int
    begin: int


class _Reader:
    def __init__(self, data: bytes) -> None:
        if data[:3] != b"CDF" or data[3] not in (1, 2, 5):
            raise ValueError("it does not begin as one")
        self.data, self.at, self.version = data, 4, data[3]
        self.records = self.count()
        self.dims = self.list_of(_DIMENSIONS, lambda: (self.name(), self.count()))
        self.list_of(_ATTRIBUTES, self.attribute)
        self.found = self.list_of(_VARIABLES, self.variable)

    # words -------------------------------------------------------------------------------------------------------
    def take(self, form: str) -> int:
        (value,) = struct.unpack_from(">" + form, self.data, self.at)
        self.at += struct.calcsize(">" + form)
        return int(value)

    def count(self) -> int:
        return self.take("q" if self.version == 5 else "i")

    def name(self) -> str:
        return self.bytes(self.count()).decode("utf-8", "replace")

    def bytes(self, length: int) -> bytes:
        if length < 0 or self.at + length > len(self.data):
            raise ValueError("it ends too early")
        found = self.data[self.at : self.at + length]
        self.at += -(-length // 4) * 4
        return found

    def list_of(self, tag: int, one: Any) -> list[Any]:
        found, count = self.take("i"), self.count()
        if found not in (0, tag) or not 0 <= count <= 100_000:
            raise ValueError("its header makes no sense")
        return [one() for _ in range(count)]

    def attribute(self) -> tuple[str, Any]:
        import numpy

        name, dtype = self.name(), _TYPES[self.take("i")]
        raw = self.bytes(self.count() * numpy.dtype(dtype).itemsize)
        return name, raw.decode("utf-8", "replace") if dtype == "S1" else numpy.frombuffer(raw, dtype)

    def variable(self) -> _Variable:
        name = self.name()
        dims = [self.count() for _ in range(self.count())]
        attributes = dict(self.list_of(_ATTRIBUTES, self.attribute))
        dtype, size = _TYPES[self.take("i")], self.count()
        begin = self.take("i" if self.version == 1 else "q")
        return _Variable(name=name, dims=dims, attributes=attributes, dtype=dtype, size=size, begin=begin)

    # values ------------------------------------------------------------------------------------------------------
    def variables(self) -> dict[str, Any]:
        recorded = [v for v in self.found if v.dims and self.dims[v.dims[0]][1] == 0]
        stride = sum(v.size for v in recorded)
        return {v.name: _meaning(self.values(v, stride, len(recorded)), v.attributes) for v in self.found}

    def values(self, variable: _Variable, stride: int, recorded: int) -> Any:
        import numpy

        shape = [self.dims[d][1] for d in variable.dims]
        dtype = numpy.dtype(variable.dtype)
        if not shape or shape[0] != 0:
            return numpy.frombuffer(self.data, dtype, _product(shape), variable.begin).reshape(shape)
        each = _product(shape[1:])
        step = each * dtype.itemsize if recorded == 1 else stride  # a lone record variable is not padded
        parts = [numpy.frombuffer(self.data, dtype, each, variable.begin + i * step) for i in range(self.records)]
        return numpy.stack(parts).reshape([self.records, *shape[1:]]) if parts else numpy.zeros([0, *shape[1:]], dtype)


def _product(shape: list[int]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total


def _meaning(values: Any, attributes: dict[str, Any]) -> Any:
    """Packed values unpacked, missing ones NaN, "hours since 1900-01-01" as seconds since 1970, text joined."""
    import numpy

    if values.dtype.kind == "S":
        return numpy.array(b"".join(values.reshape(-1).tolist()).rstrip(b"\0 "))
    missing = [attributes[n] for n in ("_FillValue", "missing_value") if n in attributes]
    packed = "scale_factor" in attributes or "add_offset" in attributes
    out = values.astype(values.dtype.newbyteorder("="))
    if packed or any(len(m) for m in missing):
        empty = numpy.isin(values, numpy.concatenate([numpy.atleast_1d(m) for m in missing])) if missing else None
        out = values.astype("f8") * _number(attributes, "scale_factor", 1.0) + _number(attributes, "add_offset", 0.0)
        if empty is not None:
            out[empty] = numpy.nan
    units = str(attributes.get("units", ""))
    return _seconds(out, units) if " since " in units else out


def _number(attributes: dict[str, Any], name: str, default: float) -> float:
    return float(attributes[name][0]) if name in attributes else default


def _seconds(values: Any, units: str) -> Any:
    """Times counted from a moment, as in "hours since 1900-01-01 00:00:0.0", as seconds since 1970."""
    from datetime import UTC, datetime

    unit, _, start = units.partition(" since ")
    scale = {"second": 1, "s": 1, "minute": 60, "min": 60, "hour": 3600, "h": 3600, "day": 86400, "d": 86400}.get(
        unit.strip().lower().removesuffix("s") or "s"
    )
    found = [int(x) for x in re.findall(r"\d+", start)[:6]]
    if scale is None or len(found) < 3:
        raise ValueError(f"times in {units!r}")
    return values.astype("f8") * scale + datetime(*found, tzinfo=UTC).timestamp()  # type: ignore[arg-type]
