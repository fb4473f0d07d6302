"""Weather fields: named quantities on a grid of the Earth, at the surface, fixed, and on pressure levels.

Files: `.npz` (NumPy) and classic NetCDF. Names there: surf_NAME [T,H,W], static_NAME [H,W], atmos_NAME [T,L,H,W],
latitude [H], longitude [W], level [L] in hPa, time (of the last step), rollout_step.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import torch
from torch import Tensor

from anyany.media.errors import MediaError
from anyany.media.limits import Limits, check_decoded
from anyany.media.netcdf import read_netcdf
from anyany.media.sniffing import Sniffed

GROUPS = ("surf", "static", "atmos")
_HELP = ("write surf_NAME [T,H,W], static_NAME [H,W], atmos_NAME [T,L,H,W], latitude, longitude, level and time, "
         "as examples/README.md tells")  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class Field:
    """Fields of one moment with those before it: T times, L levels, H latitudes, W longitudes; float32 on the CPU.

    surf: NAME -> [T,H,W]; static: NAME -> [H,W]; atmos: NAME -> [T,L,H,W], in physical units. lat: degrees, falling;
    lon: degrees 0...360, rising; levels: hPa. time: UTC, of the last of the T. step: how often it was forecast from
    data (0: data itself).
    """

    surf: Mapping[str, Tensor]
    static: Mapping[str, Tensor]
    atmos: Mapping[str, Tensor]
    lat: Tensor
    lon: Tensor
    levels: tuple[float, ...]
    time: datetime
    step: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """(L, H, W)."""
        return len(self.levels), len(self.lat), len(self.lon)


def check_field(field: Any, path: str | None = None) -> Field:
    """The value, if it is a field whose grids and names agree and whose numbers are finite. Raises MediaError."""

    def wrong(text: str) -> MediaError:
        return MediaError("E524", text, _HELP, path)

    if not isinstance(field, Field):
        raise wrong(f"a field is a `Field`, not a {type(field).__name__}")
    levels, height, width = field.shape
    if min(height, width) < 2 or not (field.surf or field.atmos):
        raise wrong("a field has two latitudes and longitudes at least, and a variable on them")
    if not bool((field.lat.diff() < 0).all()) or float(field.lat.abs().max()) > 90:
        raise wrong("latitudes fall from north to south, within 90 and -90")
    if not bool((field.lon.diff() > 0).all()) or not 0 <= float(field.lon.min()) <= float(field.lon.max()) < 360:
        raise wrong("longitudes rise from 0 to below 360")
    times = {v.shape[0] for v in (*field.surf.values(), *field.atmos.values())}
    for group, middle in (("surf", ()), ("static", None), ("atmos", (levels,))):
        for name, value in getattr(field, group).items():
            shape = (height, width) if middle is None else (*sorted(times)[:1], *middle, height, width)
            if tuple(value.shape) != shape:
                raise wrong(f"{group}_{name} is {list(value.shape)}, but the grid says {list(shape)}")
            if not bool(torch.isfinite(value).all()):
                raise wrong(f"{group}_{name} holds values that are no numbers")
    return field


# files ----------------------------------------------------------------------------------------------------------
def load_field(path: str, found: Sniffed, limits: Limits) -> Field:
    """The field in a `.npz` or classic NetCDF file. Raises MediaError."""
    if found.format == "HDF5":
        message = "this is a NetCDF-4 (HDF5) file; classic NetCDF and .npz are read here"
        raise MediaError("E526", message, "convert it once: nccopy -k classic IN.nc OUT.nc", path)
    read = {"ZIP": _read_npz, "NetCDF": read_netcdf}.get(found.format)
    if read is None:
        raise MediaError("E506", f"expected a field in .npz or NetCDF, found {found}", "convert it first", path)
    return check_field(_field(read(path, limits), path), path)


def _read_npz(path: str, limits: Limits) -> dict[str, Any]:
    import numpy

    try:
        with zipfile.ZipFile(path) as packed:
            check_decoded(sum(entry.file_size for entry in packed.infolist()), limits, path)
        with numpy.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise MediaError("E509", f"the .npz file is damaged ({error})", "write it again", path) from error


def _field(arrays: Mapping[str, Any], path: str) -> Field:
    def need(*names: str) -> Any:
        for name in names:
            if name in arrays:
                return arrays[name]
        raise MediaError("E524", f"the file lacks {names[0]!r}; it holds {', '.join(sorted(arrays)) or 'nothing'}",
                         _HELP, path)  # fmt: skip

    def group(name: str, plain: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
        found = {k.removeprefix(f"{name}_"): arrays[k] for k in arrays if k.startswith(f"{name}_")}
        return {k: plain(_floats(v, f"{name}_{k}", path)) for k, v in found.items()}

    levels = arrays.get("level", arrays.get("atmos_levels", ()))
    lat, lon = need("latitude", "lat"), need("longitude", "lon")
    return Field(
        surf=group("surf", lambda x: _times(x, 3)), static=group("static", lambda x: x.reshape(x.shape[-2:])),
        atmos=group("atmos", lambda x: _times(x, 4)) if len(levels) else {},
        lat=_floats(lat, "latitude", path), lon=_floats(lon, "longitude", path),
        levels=tuple(float(x) for x in levels), time=_moment(need("time"), path),
        step=int(_last(arrays.get("rollout_step", 0))),
    )  # fmt: skip


def _floats(value: Any, name: str, path: str) -> Tensor:
    import numpy

    if getattr(value, "dtype", None) is None or value.dtype.kind not in "fiu":
        raise MediaError("E524", f"{name} holds no numbers", _HELP, path)
    return torch.from_numpy(numpy.ascontiguousarray(value, dtype=numpy.float32).copy())


def _times(value: Tensor, rank: int) -> Tensor:
    """[T,...] of a single moment, or of a batch of one."""
    if value.dim() == rank - 1:
        return value[None]
    return value[0] if value.dim() == rank + 1 and value.shape[0] == 1 else value


def _last(value: Any) -> Any:
    import numpy

    flat = numpy.asarray(value).reshape(-1)
    return flat[-1] if len(flat) else 0


def _moment(value: Any, path: str) -> datetime:
    """A datetime64, text in ISO form, or seconds since 1970."""
    last = _last(value)
    try:
        if last.dtype.kind == "M":
            return datetime.fromtimestamp(float(last.astype("datetime64[s]").astype("int64")), UTC)
        if last.dtype.kind in "US":
            text = last.decode() if isinstance(last, bytes) else str(last)
            moment = datetime.fromisoformat(text)
            return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        return datetime.fromtimestamp(float(last), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise MediaError("E524", f"the time {last!r} cannot be read ({error})", "write it as 2023-01-01T06:00:00",
                         path) from error  # fmt: skip


def write_npz(field: Field, path: str) -> None:
    """Write a field as a compressed `.npz` file that `load_field` reads. Raises MediaError."""
    import numpy

    check_field(field)
    arrays: dict[str, Any] = {f"{g}_{n}": v.numpy() for g in GROUPS for n, v in getattr(field, g).items()}
    arrays |= {"latitude": field.lat.numpy(), "longitude": field.lon.numpy(), "level": numpy.array(field.levels),
               "time": numpy.datetime64(field.time.astimezone(UTC).replace(tzinfo=None), "s"),
               "rollout_step": numpy.array(field.step)}  # fmt: skip
    with open(path, "wb") as file:
        numpy.savez_compressed(file, **arrays)
