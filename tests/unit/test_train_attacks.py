"""Training as a stranger meets it: broken specs, broken data, broken disks. Each ends in an error with a code."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from anyany.cli import main
from anyany.errors import AnyanyError
from anyany.spec.check import check_file, check_text
from anyany.train import checkpoint
from anyany.train.run import train_stages

ROOT = Path(__file__).resolve().parents[2]
SPEC = """
anyany: 1
name: t
inputs: {picture: image}
nodes:
  look: {use: vision/clip, weights: "random:0", with: tiny, in: picture}
  see: {use: adapters/mlp, weights: "random:1", with: {outputs: 8}, in: look.patches}
  like: {use: adapters/mlp, weights: "random:5", with: {outputs: 8}, in: look.patches}
outputs: {found: see}
train:
  data: {use: sources/jsonl, with: {path: d.jsonl}, fields: {picture: image}}
  batch: 2
  log_every: 1
  save_every: 1
  stages:
    - name: a
      learn: [see]
      feed: {picture: data.picture}
      add: {gap: {use: objectives/match-conditioning, in: {found: see, wanted: like}}}
      minimise: {gap.loss: 1.0}
      steps: 3
      optim: {lr: 1.0e-2}
      validate:
        every: 50
        items: 2
        add: {far: {use: metrics/mean-squared-error, in: {found: see, wanted: like}}}
        measure: [far]
        at_most: {far: 1000}
    - name: b
      learn: [see]
      feed: {picture: data.picture}
      add: {gap: {use: objectives/match-conditioning, in: {found: see, wanted: like}}}
      minimise: {gap.loss: 1.0}
      steps: 2
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    scenes = sorted((ROOT / "examples").glob("scene-*.png"))
    (tmp_path / "d.jsonl").write_text("".join(json.dumps({"picture": str(s)}) + "\n" for s in scenes[:3]))
    path = tmp_path / "t.yaml"
    path.write_text(SPEC)
    return path


def train(spec: Path, *stages: str, out: str = "runs", resume: bool = False, watch: Any = None, **sets: Any) -> Path:
    found = check_file(str(spec), sets=[f"{k}={json.dumps(v)}" for k, v in sets.items()])
    found.expect()
    train_stages(found.stages, spec.parent / out, resume=resume, cpu=True, watch=watch, only=stages or ("a",))
    return spec.parent / out / (stages or ("a",))[-1]


def refused(*given: Any, **options: Any) -> tuple[str, str]:
    with pytest.raises(AnyanyError) as error:
        train(*given, **options)
    problem = error.value.problems[0]
    assert problem.help
    return problem.code, problem.message


def notes(kept: list[str]) -> Any:
    return lambda event, values: kept.append(values["text"]) if event == "note" else None


# specs ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("old", "new", "code", "told"),
    [
        ("{far: 1000}", "{far: .inf}", "E041", "a number"),
        ("{far: 1000}", "{far: .nan}", "E041", "a number"),
        ("every: 50", "every: true", "E707", "`every`"),
        ("items: 2", "items: 0", "E707", "`items`"),
        ("{gap.loss: 1.0}", "{gap.loss: .inf}", "E702", "weight"),
        ("learn: [see]", "learn: [see.]", "E704", "`see.` is neither"),
        ("learn: [see]", "learn: [.see]", "E704", "`.see` is neither"),
        ("learn: [see]", "lora: {see: {alpha: x}}", "E707", "`alpha`"),
        ("learn: [see]", "lora: {see: {alpha: 0}}", "E707", "`alpha`"),
        ("learn: [see]", "lora: {see: {dropout: 1}}", "E707", "`dropout`"),
        ("learn: [see]", "lora: {see: {rank: true}}", "E707", "`rank`"),
        ("{lr: 1.0e-2}", "{lr: .inf}", "E707", "`lr`"),
        ("{lr: 1.0e-2}", "{betas: [0.9, 1.0]}", "E707", "below 1"),
        ("steps: 3", "clip: .inf", "E707", "`clip`"),
        ("batch: 2", "batch: 3\n  accumulate: 2", "E707", "a multiple of `accumulate`"),
    ],
)
def test_a_number_that_no_run_can_use_is_told_by_the_check(old: str, new: str, code: str, told: str) -> None:
    assert old in SPEC
    problems = [p for p in check_text(SPEC.replace(old, new, 1), "t.yaml").problems if p.is_error]
    assert code in [p.code for p in problems]
    problem = next(p for p in problems if p.code == code)
    assert told in f"{problem.message} {problem.help}"
    assert problem.mark is not None and problem.help


# checkpoints and folders ---------------------------------------------------------------------------------------------
class Stop(Exception):
    pass


def cut(spec: Path, at: int = 3, **options: Any) -> Path:
    """A run that died right after a step; two checkpoints lie there."""

    def watch(event: str, values: Any) -> None:
        if event == "step" and values["step"] == at:
            raise Stop

    with pytest.raises(Stop):
        train(spec, out="cut", watch=watch, **options)
    return spec.parent / "cut" / "a"


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("name", "how"),
    [("state.json", shorten), ("state.json", Path.unlink), ("model.safetensors", shorten),
     ("average.safetensors", Path.unlink)],
)  # fmt: skip
def test_a_damaged_newest_checkpoint_is_left_aside_for_the_one_before(spec: Path, name: str, how: Any) -> None:
    whole = train(spec, out="whole", **{"train.stages.0.ema": 0.9})
    folder = cut(spec, **{"train.stages.0.ema": 0.9})
    how(checkpoint.folders(folder)[0] / name)
    kept: list[str] = []
    resumed = train(spec, out="cut", resume=True, watch=notes(kept), **{"train.stages.0.ema": 0.9})
    assert "checkpoint-00000002 is damaged" in kept[0] and kept[1] == "a: going on after step 1"
    first, second = load_file(whole / "see.safetensors"), load_file(resumed / "see.safetensors")
    assert all(torch.equal(first[n], second[n]) for n in first)


def test_a_run_whose_checkpoints_are_all_damaged_is_refused(spec: Path) -> None:
    for folder in checkpoint.folders(cut(spec)):
        shorten(folder / "model.safetensors")
    code, message = refused(spec, out="cut", resume=True)
    assert code == "E716" and "checkpoint-00000001 is damaged" in message


@pytest.mark.parametrize(
    ("sets", "what"),
    [
        ({"train.stages.0.steps": 9}, "settings (steps)"),
        ({"nodes.see.with": {"outputs": 8, "hidden": 24}}, "graph"),
        ({"train.stages.0.minimise": {"gap.loss": 2.0}}, "data"),
        ({"train.data.with": {"path": "e.jsonl"}}, "data"),
    ],
)
@pytest.mark.parametrize("done", [False, True])
def test_a_spec_that_changed_under_a_run_is_told_by_resume(spec: Path, sets: Any, what: str, done: bool) -> None:
    shutil.copy(spec.parent / "d.jsonl", spec.parent / "e.jsonl")
    if done:
        train(spec, out="cut")
    else:
        cut(spec)
    code, message = refused(spec, out="cut", resume=True, **sets)
    assert code == "E710" and message.endswith(f"was made with other {what}")


def test_a_checkpoint_of_another_size_is_refused_where_older_versions_noted_no_graph(spec: Path) -> None:
    folder = cut(spec)
    for state in folder.glob("checkpoint-*/state.json"):
        held = json.loads(state.read_text())
        held["made_of"] = {k: v for k, v in held["made_of"].items() if k not in checkpoint.LATER}
        state.write_text(json.dumps(held))
    code, message = refused(spec, out="cut", resume=True, **{"nodes.see.with": {"outputs": 8, "hidden": 24}})
    assert code == "E710" and "other parameters" in message
    train(spec, out="cut", resume=True)


def test_two_runs_into_one_folder_are_refused(spec: Path) -> None:
    folder = cut(spec)
    handle = checkpoint.locked(folder)
    code, message = refused(spec, out="cut", resume=True)
    assert code == "E710" and "another process is training" in message
    os.close(handle)
    train(spec, out="cut", resume=True)


def test_a_file_in_place_of_the_folder_is_told(spec: Path) -> None:
    (spec.parent / "runs").write_text("mine")
    assert refused(spec)[0] == "E710"
    assert (spec.parent / "runs").read_text() == "mine"


def test_a_disk_that_takes_no_checkpoint_is_told(spec: Path, monkeypatch: Any, capsys: Any) -> None:
    from safetensors import SafetensorError

    def full(*given: Any, **options: Any) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    assert main(["train", str(spec), "--stage", "a", "--cpu", "--quiet"]) != 0
    told = capsys.readouterr().err
    assert "error[E807]" in told and "No space left" in told and "internal error" not in told


def test_a_done_file_that_was_cut_short_counts_for_nothing(spec: Path) -> None:
    folder = train(spec)
    (folder / "done.json").write_text('{"steps": 3, "los')
    train(spec, resume=True)
    assert json.loads((folder / "done.json").read_text())["steps"] == 3


def test_a_metrics_file_with_broken_lines_is_read_around(spec: Path) -> None:
    folder = cut(spec)
    with (folder / "metrics.jsonl").open("ab") as file:
        file.write(b'7\n[]\n{"no": 1}\n\xff{"ste')
    train(spec, out="cut", resume=True)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "lr" in line] == [1, 2, 3]


def test_a_stage_asked_for_alone_says_which_ones_it_goes_without(spec: Path) -> None:
    kept: list[str] = []
    train(spec, "b", watch=notes(kept))
    assert kept and kept[0].startswith("a: not trained in")


# data ----------------------------------------------------------------------------------------------------------------
def test_lines_with_a_mark_of_bytes_and_returns_are_read(spec: Path) -> None:
    path = spec.parent / "d.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n\r\n")
    train(spec)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "no records"),
        (b"\n \r\n", "no records"),
        (b'{"picture": "a.png"\n', "record 0"),
        (b"[1]\n", "no object"),
        (b"\xff\xfe{\n", "record 0"),
        (b'{"picture": ["a"]}\n', "a picture is"),
        (b'{"picture": null}\n', "field `picture`"),
        (None, "no file"),
    ],
)
def test_lines_that_are_no_records_are_told_before_the_first_step(spec: Path, data: bytes | None, told: str) -> None:
    path = spec.parent / "d.jsonl"
    path.unlink()
    if data is not None:
        path.write_bytes(data)
    code, message = refused(spec)
    assert code == "E708" and told in message
    assert not (spec.parent / "runs").exists()


def test_validation_data_are_read_before_the_first_step_too(spec: Path) -> None:
    (spec.parent / "e.jsonl").write_text('{"picture": \n')
    data = {"use": "sources/jsonl", "with": {"path": "e.jsonl"}, "fields": {"picture": "image"}}
    steps: list[str] = []
    code, _ = refused(spec, watch=lambda event, values: steps.append(event), **{"train.stages.0.validate.data": data})
    assert code == "E708" and "step" not in steps


@pytest.mark.parametrize("length", [0, 2])
def test_a_tar_that_was_cut_short_is_told(spec: Path, length: int) -> None:
    path = spec.parent / "d.tar"
    with tarfile.open(path, "w") as tar:
        for at, scene in enumerate(sorted((ROOT / "examples").glob("scene-*.png"))[:3]):
            tar.add(scene, f"{at}.png")
    path.write_bytes(path.read_bytes()[: length * 400])
    data = {"use": "sources/webdataset", "with": {"shards": ["d.tar"]}, "fields": {"png": "image"}}
    sets = {"train.data": data, **{f"train.stages.{n}.feed": {"picture": "data.png"} for n in (0, 1)}}
    code, message = refused(spec, **sets)
    assert code == "E708" and "d.tar" in message


@pytest.mark.parametrize("error", [IndexError("9"), RuntimeError("gone"), StopIteration(), TypeError("x")])
def test_a_source_that_lies_about_its_length_is_told(spec: Path, monkeypatch: Any, error: Exception) -> None:
    from anyany_data.jsonl import JsonLines

    read = JsonLines.record

    def record(self: Any, index: int) -> Any:
        if index > 2:
            raise error
        return read(self, index)

    monkeypatch.setattr(JsonLines, "__len__", lambda self: 9)
    monkeypatch.setattr(JsonLines, "record", record)
    code, message = refused(spec)
    assert code == "E708" and "record 3" in message and type(error).__name__ in message


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_pictures_that_are_no_numbers_never_end_in_weights(spec: Path, monkeypatch: Any, value: float) -> None:
    from anyany_data.jsonl import JsonLines

    monkeypatch.setattr(JsonLines, "record", lambda self, index: {"picture": np.full((3, 8, 8), value, np.float32)})
    assert refused(spec)[0] in ("E708", "E711", "E712")
    assert not (spec.parent / "runs" / "a" / "see.safetensors").exists()


def test_a_picture_without_pixels_is_told(spec: Path, monkeypatch: Any) -> None:
    from anyany_data.jsonl import JsonLines

    monkeypatch.setattr(JsonLines, "record", lambda self, index: {"picture": np.zeros((3, 0, 0), np.float32)})
    assert refused(spec)[0] in ("E708", "E712")


# bounds, batches, settings -------------------------------------------------------------------------------------------
def test_a_validation_whose_every_item_fails_reaches_no_bound_and_says_why(spec: Path) -> None:
    (spec.parent / "e.jsonl").write_text('{"picture": "gone.png"}\n')
    data = {"use": "sources/jsonl", "with": {"path": "e.jsonl"}, "fields": {"picture": "image"}}
    kept: list[str] = []
    code, message = refused(spec, watch=notes(kept), **{"train.stages.0.validate.data": data})
    assert code == "E715" and "not measured" in message and "gone.png" in message
    assert any("1 of 1 items failed" in note for note in kept)


def test_a_metric_that_is_no_number_reaches_no_bound(spec: Path, monkeypatch: Any) -> None:
    from anyany.train.validate import Validator

    run = Validator.run
    monkeypatch.setattr(Validator, "run", lambda self, step: {**run(self, step), "validation/far": float("nan")})
    code, message = refused(spec)
    assert code == "E715" and "far is nan" in message


@pytest.mark.parametrize(
    "sets",
    [
        {"train.batch": 16},
        {"train.batch": 4, "train.accumulate": 4},
        {"train.stages.0.precision": "bfloat16"},
        {"train.stages.0.checkpointing": True},
        {"train.stages.0.optim": {"name": "sgd", "lr": 0.01, "momentum": 1}},
        {"train.stages.0.schedule": {"name": "linear", "warmup": 99}},
        {"train.stages.0.validate": {}},
    ],
)
def test_unusual_settings_train(spec: Path, sets: Any) -> None:
    tensors = load_file(train(spec, **sets) / "see.safetensors")
    assert all(torch.isfinite(t).all() for t in tensors.values())


def test_each_stage_has_a_precision_of_its_own(spec: Path) -> None:
    assert (train(spec, "a", "b", **{"train.stages.1.precision": "bfloat16"}) / "done.json").exists()


def test_a_loss_of_no_weight_is_told_as_one_without_gradient(spec: Path) -> None:
    code, message = refused(spec, **{"train.stages.0.minimise": {"gap.loss": 0.0}})
    assert code == "E714" and "see" in message
