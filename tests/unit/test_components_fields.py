"""fields/aurora and transforms/rollout, fields as files and maps: grids, times and names, step by step.

T times, L levels, H latitudes, W longitudes.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from anyany_perceiver.aurora import Aurora
from anyany_perceiver.aurora_card import AURORA
from anyany_perceiver.aurora_swin import shifted_mask
from PIL import Image
from plugins_for_tests.engine_pipes import pipe
from safetensors.torch import save_file

from anyany import media
from anyany.api.torch import Build, Context, Field, Rows, init_random
from anyany.engine.noise import Noise
from anyany.errors import SpecError
from anyany.media.errors import MediaError
from anyany.media.fields import check_field, write_npz
from anyany.media.maps import coloured
from anyany.registry.options import make_config
from anyany.testing.harness import bench

WEATHER = Path(__file__).parents[2] / "examples" / "weather.npz"


def aurora(**options: Any) -> Aurora:
    config, issues = make_config(AURORA, {"preset": "tiny", **options})
    assert config is not None, issues
    made = Aurora(config, Build(node="step"))
    init_random(made, 0)
    return made.eval()


def field(height: int = 8, width: int = 12, **more: Any) -> Field:
    made = aurora().example_field(0, (height // 4, width // 4), bool(height % 4))
    return replace(made, **more)


def stepped(model: Aurora, *fields: Field) -> list[Any]:
    ctx = Context(node="step", call="step", keys=[(i,) for i in range(len(fields))], noise=Noise(0),
                  device=torch.device("cpu"), dtype=torch.float32)  # fmt: skip
    with torch.inference_mode():
        found = model.step(ctx, Rows(list(fields)))["field"]
    return found.groups() if found.counts is not None else found.list()


def same(a: Field, b: Field) -> bool:
    groups = ("surf", "static", "atmos")
    return all(torch.equal(getattr(a, g)[n], getattr(b, g)[n]) for g in groups for n in getattr(a, g)) and (
        a.time, a.step, a.levels) == (b.time, b.step, b.levels)  # fmt: skip


# files ------------------------------------------------------------------------------------------------------------
def test_a_field_written_is_read_back(tmp_path: Path) -> None:
    one = field(step=3)
    path = media.save("field", one, tmp_path / "now")
    assert path.endswith(".npz") and same(media.load("field", path), one)


def test_the_example_is_weather_at_two_times() -> None:
    one = media.load("field", WEATHER)
    assert one.shape == (3, 17, 32) and one.surf["2t"].shape == (2, 17, 32) and one.time.hour == 6
    assert WEATHER.stat().st_size < 100_000


def netcdf(version: int, variables: dict[str, tuple[list[str], np.ndarray, dict[str, Any]]], record: str = "") -> bytes:
    """A classic NetCDF file, written as the format's description says; `record` names the unlimited dimension."""
    wide = ">q" if version == 5 else ">i"
    sizes: dict[str, int] = {}
    for dims, values, _ in variables.values():
        sizes |= dict(zip(dims, values.shape))
    names = list(sizes)
    code = {"f4": 5, "f8": 6, "i4": 4, "i2": 3}

    def count(n: int) -> bytes:
        return struct.pack(wide, n)

    def text(value: bytes) -> bytes:
        return count(len(value)) + value + b"\0" * (-len(value) % 4)

    def attributes(found: dict[str, Any]) -> bytes:
        out = struct.pack(">i", 12) + count(len(found)) if found else struct.pack(">i", 0) + count(0)
        for name, value in found.items():
            out += text(name.encode())
            out += struct.pack(">i", 2) + text(value.encode()) if isinstance(value, str) else (
                struct.pack(">i", 6) + count(1) + struct.pack(">d", value))  # fmt: skip
        return out

    def padded(values: np.ndarray) -> bytes:
        raw = np.asarray(values).astype(values.dtype.newbyteorder(">")).tobytes()
        return raw + b"\0" * (-len(raw) % 4)

    def head(begins: dict[str, int]) -> bytes:
        out = b"CDF" + bytes([version]) + count(sizes.get(record, 0) if record else 0)
        out += struct.pack(">i", 10) + count(len(names))
        out += b"".join(text(n.encode()) + count(0 if n == record else sizes[n]) for n in names)
        out += attributes({}) + struct.pack(">i", 11) + count(len(variables))
        for name, (dims, values, told) in variables.items():
            each = values[0] if record and dims[:1] == [record] else values
            out += text(name.encode()) + count(len(dims)) + b"".join(count(names.index(d)) for d in dims)
            out += attributes(told) + struct.pack(">i", code[values.dtype.str[1:]]) + count(len(padded(each)))
            out += struct.pack(">i" if version == 1 else ">q", begins.get(name, 0))
        return out

    fixed = [n for n, (dims, _, _) in variables.items() if not record or dims[:1] != [record]]
    moving = [n for n in variables if n not in fixed]
    at, body, begins = len(head({})), b"", {}
    for name in fixed:
        begins[name] = at + len(body)
        body += padded(variables[name][1])
    for turn in range(sizes.get(record, 0) if record else 0):
        for name in moving:
            begins.setdefault(name, at + len(body))
            body += padded(variables[name][1][turn])
    return head(begins) + body


def weather_file(version: int, record: str = "") -> bytes:
    t2 = np.arange(24, dtype="i2").reshape(2, 3, 4)
    z = np.arange(48, dtype="f4").reshape(2, 2, 3, 4)
    return netcdf(version, {
        "latitude": (["latitude"], np.array([80, 0, -80], "f4"), {}),
        "longitude": (["longitude"], np.array([0, 90, 180, 270], "f4"), {}),
        "level": (["level"], np.array([500, 850], "i4"), {}),
        "time": (["time"], np.array([0, 6], "i4"), {"units": "hours since 2020-02-29 00:00:0.0"}),
        "surf_2t": (["time", "latitude", "longitude"], t2, {"scale_factor": 0.5, "add_offset": 250.0}),
        "atmos_z": (["time", "level", "latitude", "longitude"], z, {}),
        "static_lsm": (["latitude", "longitude"], np.ones((3, 4), "f8"), {}),
    }, record)  # fmt: skip


@pytest.mark.parametrize("version", [1, 2, 5])
@pytest.mark.parametrize("record", ["", "time"])
def test_classic_netcdf_of_every_version_is_read_packed_or_in_records(
    tmp_path: Path, version: int, record: str
) -> None:
    (tmp_path / "w.nc").write_bytes(weather_file(version, record))
    one = media.load("field", tmp_path / "w.nc")
    assert one.surf["2t"][1, 2].tolist() == [260.0, 260.5, 261.0, 261.5]
    assert one.atmos["z"].shape == (2, 2, 3, 4) and float(one.atmos["z"][1, 1, 2, 3]) == 47
    assert (one.levels, one.time) == ((500.0, 850.0), datetime(2020, 2, 29, 6, tzinfo=UTC))


def test_a_netcdf_file_cut_anywhere_is_told_and_never_a_traceback(tmp_path: Path) -> None:
    whole, path = weather_file(1, "time"), tmp_path / "w.nc"
    for length in range(4, len(whole), 37):
        path.write_bytes(whole[:length])
        with pytest.raises(MediaError):
            media.load("field", path)


@pytest.mark.parametrize(("content", "text"), [
    (b"\x89HDF\r\n\x1a\n" + bytes(64), "HDF5"), (b"CDF\x01" + b"\xff" * 64, "damaged"),
    (b"PK\x03\x04" + bytes(64), "damaged"), (b"2t,10u\n1,2\n", "expected a field"),
])  # fmt: skip
def test_files_that_hold_no_field_are_told(tmp_path: Path, content: bytes, text: str) -> None:
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(MediaError) as told:
        media.load("field", tmp_path / "w")
    assert text in str(told.value)


def test_an_npz_without_what_a_field_needs_names_it(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", surf_2t=np.zeros((2, 3, 4)))
    with pytest.raises(MediaError, match="lacks 'latitude'"):
        media.load("field", tmp_path / "w.npz")


@pytest.mark.parametrize(("change", "text"), [
    ({"lat": torch.linspace(-80, 80, 8)}, "fall from north"), ({"lon": torch.linspace(0, 360, 12)}, "below 360"),
    ({"levels": (500.0,)}, "the grid says"), ({"surf": {"2t": torch.full((2, 8, 12), float("nan"))}}, "no numbers"),
    ({"surf": {}, "atmos": {}}, "a variable"),
])  # fmt: skip
def test_fields_that_contradict_themselves_are_told(change: dict[str, Any], text: str) -> None:
    with pytest.raises(MediaError, match=text):
        check_field(replace(field(), **change))


def test_a_map_shows_every_variable_with_its_range(tmp_path: Path) -> None:
    (path,) = media.companions("field", field(), tmp_path / "now").values()
    with Image.open(path) as image:
        assert image.width > 700 and image.height > 500
    ends = coloured(torch.tensor([[0.0, 0.5, 1.0, float("nan")]]), 0.0, 1.0)[0].tolist()
    assert ends[0][2] > ends[0][0] and ends[2][0] > ends[2][2] and ends[3] == [128, 128, 128]
    assert coloured(torch.full((2, 2), 5.0), 5.0, 5.0).unique().numel() <= 3


# Aurora -----------------------------------------------------------------------------------------------------------
def test_a_step_keeps_its_history_and_moves_time_and_count_on() -> None:
    model, now = aurora(), field()
    (made,) = stepped(model, now)
    assert made.time == now.time + timedelta(hours=6) and made.step == 1
    assert torch.equal(made.surf["2t"][0], now.surf["2t"][1]) and made.surf["2t"].shape == now.surf["2t"].shape
    assert same(replace(made, surf={}, atmos={}, time=now.time, step=0), replace(now, surf={}, atmos={}))


def test_the_last_row_of_latitudes_is_left_out_where_it_is_one_too_many() -> None:
    (made,) = stepped(aurora(), field(height=9))
    assert len(made.lat) == 8 and made.surf["msl"].shape[-2] == 8 and made.static["lsm"].shape[0] == 8


def test_a_field_with_fewer_variables_levels_and_times_is_moved_too() -> None:
    whole = field()
    less = replace(whole, surf={"2t": whole.surf["2t"][1:]}, static={}, atmos={"z": whole.atmos["z"][1:, :1]},
                   levels=whole.levels[:1])  # fmt: skip
    (made,) = stepped(aurora(), less)
    assert list(made.surf) == ["2t"] and made.atmos["z"].shape == (1, 1, 8, 12)


@pytest.mark.parametrize(("change", "text"), [
    ({"surf": {"snow": torch.zeros(2, 8, 12)}}, "knows no surf_snow"), ({"atmos": {}}, "pressure levels"),
    ({"levels": (501.0, 502.0)}, "no statistics for 'z' at 501, 502 hPa"),
    ({"surf": {"2t": torch.zeros(3, 8, 12)}}, "at most 2"),
])  # fmt: skip
def test_fields_that_the_model_cannot_move_are_told(change: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        stepped(aurora(), replace(field(), **change))


@pytest.mark.parametrize("size", [(10, 12), (8, 10), (4, 12)])
def test_grids_that_are_no_whole_patches_are_told(size: tuple[int, int]) -> None:
    model = aurora()
    whole = model.example_field(0, (4, 4))
    height, width = size
    cut = {g: {n: x[..., :height, :width] for n, x in getattr(whole, g).items()} for g in ("surf", "static", "atmos")}
    with pytest.raises(ValueError, match="want multiples of it"):
        stepped(model, replace(whole, **cut, lat=whole.lat[:height], lon=whole.lon[:width]))


def test_fields_on_unlike_grids_go_together_as_they_go_alone() -> None:
    model, one, two = aurora(), field(), field(height=12, width=16)
    assert [same(a, b) for a, (b,) in zip(stepped(model, one, two), (stepped(model, one), stepped(model, two)))] == [
        True, True]  # fmt: skip


def test_low_rank_additions_end_with_their_steps() -> None:
    model, now = aurora(lora_steps=1), field()
    for name, value in model.named_parameters():
        if ".lora_B" in name:
            value.data.zero_()
    (bare,) = stepped(model, now)
    (late,) = stepped(aurora(lora_steps=1), replace(now, step=1))
    (early,) = stepped(aurora(lora_steps=1), now)
    assert torch.equal(late.surf["2t"][1], bare.surf["2t"][1])
    assert not torch.allclose(early.surf["2t"][1], bare.surf["2t"][1])


def test_older_files_with_joined_variables_load_as_todays(tmp_path: Path) -> None:
    model = aurora()
    tensors = dict(model.state_dict())
    surf, atmos = (*model.config.surf, *model.config.static), model.config.atmos
    for group, names in (("surf", surf), ("atmos", atmos)):
        parts = [tensors.pop(f"encoder.{group}_token_embeds.weights.{n}") for n in names]
        tensors[f"encoder.{group}_token_embeds.weight"] = torch.cat(parts, 1)
    for group, names in (("surf", model.config.surf), ("atmos", atmos)):
        for kind in ("weight", "bias"):
            parts = [tensors.pop(f"decoder.{group}_heads.{n}.{kind}") for n in names]
            tensors[f"decoder.{group}_head.{kind}"] = torch.stack(parts, 1).flatten(0, 1)
    save_file({f"net.{n}": t.contiguous().clone() for n, t in tensors.items()}, tmp_path / "old.safetensors")
    built = bench(AURORA, "tiny").build(f"file:{tmp_path / 'old.safetensors'}").component
    found = built.state_dict()
    assert all(torch.equal(found[name], value) for name, value in model.state_dict().items())


def test_shifted_windows_see_across_the_date_line_and_not_over_the_poles() -> None:
    mask = shifted_mask((2, 4, 4), (2, 2, 2), (0, 1, 1))
    assert mask.shape == (4, 8, 8)
    top_right, bottom_left = mask[1], mask[2]  # windows down and across; tokens: level, row, column
    assert float(top_right.abs().max()) == 0  # columns 3 and 0 of the rolled grid are neighbours on the Earth
    assert float(bottom_left[0, 2]) == -100 and float(bottom_left[0, 1]) == 0  # rows there are the south and north pole


@pytest.mark.parametrize(("options", "text"), [
    ({"encoder_depths": (1, 1, 1)}, "one a stage"), ({"heads": 3}, "16 by 3 heads"),
    ({"window": (2, 2)}, "three sides"),
])  # fmt: skip
def test_sizes_that_do_not_go_together_are_told(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        aurora(**options)


# roll-out ---------------------------------------------------------------------------------------------------------
OUTSIDE = """
    inputs: {now: field}
    nodes:
      step: {use: fields/aurora, weights: "random:0", with: tiny, in: now}
      days: {use: transforms/rollout, with: {steps: 3}, in: {first: now, step: {of: step}}}
    outputs: {forecast: days}
"""
INSIDE = """
    inputs: {now: field}
    nodes: {days: {use: fields/aurora, weights: "random:0", with: {preset: tiny, steps: 3}, in: now}}
    outputs: {forecast: days}
"""


def test_a_rollout_around_the_model_is_the_rollout_inside_it() -> None:
    around, inside = pipe(OUTSIDE), pipe(INSIDE)
    first, second = around(now=WEATHER)["forecast"], inside(now=WEATHER)["forecast"]
    assert [f.step for f in first] == [1, 2, 3] and all(same(a, b) for a, b in zip(first, second))
    assert around.recorder.node("step").calls == 0  # it was only given to the other node, and did not run by itself


def test_each_item_may_say_how_many_steps_it_wants() -> None:
    found = list(pipe(OUTSIDE).map([{"now": WEATHER, "with": {"steps": 1}}, {"now": WEATHER}]))
    assert [len(r.outputs["forecast"]) for r in found] == [1, 3]


def test_rollout_of_any_other_node_works_by_its_main_input_and_output() -> None:
    p = pipe("""
        inputs: {t: text}
        nodes:
          twice: {use: transforms/concatenate}
          roll: {use: transforms/rollout, with: {steps: 2}, in: {first: t, step: {of: twice}}}
        outputs: {out: roll}
    """)
    assert p(t="ab")["out"] == ["ab", "ab"]


@pytest.mark.parametrize(("node", "text"), [
    ("{use: fields/aurora, weights: 'random:0', with: {preset: tiny, steps: 2}, in: now}", "gives a list"),
    ("{use: transforms/first, in: {a: now, b: now}}", None),
    ("{use: et/split}", "failed"),
])  # fmt: skip
def test_nodes_that_cannot_be_called_again_are_told(node: str, text: str | None) -> None:
    try:
        p = pipe(f"""
            inputs: {{now: field}}
            nodes:
              step: {node}
              days: {{use: transforms/rollout, in: {{first: now, step: {{of: step}}}}}}
            outputs: {{out: days}}
        """)
    except SpecError:
        return
    (result,) = p.map([{"now": WEATHER}])
    if text is None:
        assert result.status == "ok"
    else:
        assert result.status == "failed" and result.error is not None
        assert text == "failed" or text in result.error.message


def test_writing_a_field_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="a field is a `Field`"):
        write_npz({"a": 1}, str(tmp_path / "x.npz"))  # type: ignore[arg-type]


# learning ---------------------------------------------------------------------------------------------------------
def learned(model: Aurora, now: Field, then: Field) -> torch.Tensor:
    ctx = Context(node="step", call="learn", keys=[(0,)], noise=Noise(0), device=torch.device("cpu"),
                  dtype=torch.float32)  # fmt: skip
    return model.learn(ctx, Rows([now]), Rows([then]))["loss"].dense().sum()


def test_a_few_steps_of_training_lower_the_error_of_the_next_field() -> None:
    model, now = aurora(), field()
    then = aurora().example_field(5, (2, 3))
    then = replace(then, atmos={n: x[:, :2] for n, x in then.atmos.items()}, levels=now.levels)
    step = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for _ in range(12):
        loss = learned(model, now, then)
        step.zero_grad()
        loss.backward()
        step.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]
    assert all(p.grad is not None for n, p in model.named_parameters() if not n.startswith("backbone"))


def test_a_target_on_another_grid_is_told() -> None:
    with pytest.raises(ValueError, match="the target is on"):
        learned(aurora(), field(), field(height=12))
