"""`anyany run`, `plan`, `inspect` and `replay` as a user calls them, on toys that run: files, JSON, exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from plugins_for_tests.engine_pipes import registry

from anyany import media
from anyany.cli import main

SPEC = """
anyany: 1
name: toys
about: Toys that answer and draw.
inputs:
  prompt: message
  words: {kind: text*, default: [a, b]}
nodes:
  look: {use: et/look, in: prompt.image}
  think: {use: et/think, in: {message: prompt, image: look}}
  lin: {use: et/linear, weights: "random:0", in: think.image}
  draw: {use: et/paint, in: lin}
  each: {use: et/sift, in: words}
outputs:
  reply: {fill: think.reply, image: draw}
  pictures: draw
  said: think.text
  each: each
"""
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """The command line in a folder with `toys.yaml`: (exit code, stdout, stderr)."""
    monkeypatch.setattr("anyany.registry.default_registry", registry)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "toys.yaml").write_text(SPEC)
    media.save("image", torch.zeros(3, 8, 16, dtype=torch.uint8), tmp_path / "p")

    def run(*argv: str) -> tuple[int, str, str]:
        code = main(list(argv))
        found = capsys.readouterr()
        return code, found.out, found.err

    return run


def test_one_item_prints_its_text_and_paths_and_leaves_files(call: Call, tmp_path: Path) -> None:
    code, out, err = call("run", "toys.yaml", "--in", "prompt=draw {file:p.png}", "--out", "o")
    assert code == 0
    assert "reply: draw |1|(2, 4)" in out and "o/0/reply-0.png" in out.replace("\\", "/")
    assert "look" in err and "et/look" in err
    folder = tmp_path / "o" / "0"
    assert (folder / "said.txt").read_text() == "draw |1|(2, 4)"
    assert media.load("image", folder / "pictures" / "0.png").shape == (3, 4, 4)
    assert json.loads((folder / "reply.json").read_text())[0] == "draw |1|(2, 4)"
    assert (folder / "reply.html").exists()
    assert not list((tmp_path / "o").rglob("*.tmp"))


def test_json_prints_one_object_a_line_and_nothing_else(call: Call, tmp_path: Path) -> None:
    code, out, err = call("run", "toys.yaml", "--in", "prompt=draw", "--json")
    assert (code, err) == (0, "")
    [line] = out.splitlines()
    told = json.loads(line)
    assert list(told) == ["item", "status", "outputs", "error", "seconds"]
    assert told["item"] == "0" and told["status"] == "ok" and told["error"] is None
    outputs = told["outputs"]
    assert outputs["said"] == {"kind": "text", "text": "draw|0|"}
    place = tmp_path / "out" / "toys" / "0"
    assert outputs["pictures"] == {
        "kind": "image", "items": [{"kind": "image", "path": str(place / "pictures" / "0.png")}]
    }  # fmt: skip
    assert outputs["reply"]["kind"] == "message"
    assert outputs["reply"]["parts"] == ["draw|0|", {"image": str(place / "reply-0.png")}]
    assert [v["text"] for v in outputs["each"]["items"]] == ["a", "b"]


ITEMS = """\
{"id": "a", "prompt": ["draw"], "words": ["x", "b"]}
this is not json
{"id": "a", "prompt": ["again"]}
["no object"]

{"id": 7, "prompt": ["see ", {"image": "p.png"}]}
{"prompt": ["see ", {"image": "nowhere.png"}]}
{"id": "b", "promt": ["x"]}
{"id": "../../evil", "prompt": "ok"}
{"id": "c", "prompt": "x", "words": ["!"]}
{"id": "d", "prompt": "x", "with": {"temperature": 1}}
"""


def test_bad_lines_and_bad_items_fail_alone(call: Call, tmp_path: Path) -> None:
    (tmp_path / "items.jsonl").write_text(ITEMS)
    code, out, _ = call("run", "toys.yaml", "--items", "items.jsonl", "--out", "o", "--json")
    assert code == 1
    told = {r["item"]: r for r in map(json.loads, out.splitlines())}
    good = [i for i, r in told.items() if r["status"] == "ok"]
    assert good == ["a", "7", "../../evil"]
    assert told["a"]["outputs"]["each"]["items"][0] is None
    for item, words in {
        "line-2": "line 2: it is not JSON", "line-3": "'a' was used before", "line-4": "not an object",
        "6": "nowhere.png", "b": "did you mean prompt", "c": "each: '!' is not to be sifted", "d": "temperature",
    }.items():  # fmt: skip
        assert words in told[item]["error"], told[item]
    assert {p.name for p in tmp_path.iterdir()} == {"items.jsonl", "o", "p.png", "toys.yaml"}


def test_lines_that_are_not_utf8_fail_alone(call: Call, tmp_path: Path) -> None:
    (tmp_path / "items.jsonl").write_bytes(b'\xef\xbb\xbf{"prompt": "a"}\n{"prompt": "\xff"}\n{"prompt": "b"}')
    code, out, _ = call("run", "toys.yaml", "--items", "items.jsonl", "--json")
    assert code == 1
    assert [json.loads(line)["status"] for line in out.splitlines()] == ["ok", "failed", "ok"]


def test_many_items_are_summed_up_and_equal_errors_are_told_once(call: Call, tmp_path: Path) -> None:
    lines = [json.dumps({"prompt": "x", "words": ["!"]}) for _ in range(6)] + [json.dumps({"prompt": "y"})]
    (tmp_path / "items.jsonl").write_text("\n".join(lines))
    code, out, err = call("run", "toys.yaml", "--items", "items.jsonl")
    assert code == 1
    assert out.count("not to be sifted") == 3
    assert "6 items failed with the same error" in err and "1 items done, 6 failed" in err


@pytest.mark.parametrize(("argv", "words"), [
    (["--in", "prompt"], "has no value"),
    (["--in", "promt=x"], "did you mean prompt"),
    ([], "'prompt' (message) is missing"),
    (["--in", "prompt=a {file:nowhere.png}"], "nowhere.png"),
    (["--in", "prompt=a {file:p.png"], "E520"),
    (["--in", "prompt=x", "--want", "replay"], "did you mean reply"),
    (["--in", "prompt=x", "--memory", "much"], "E906"),
    (["--in", "prompt=x", "--profile", "none"], "none"),
    (["--in", "prompt=x", "--set", "nodes.lin.weights=file:no.safetensors"], "no.safetensors"),
    (["--items", "nowhere.jsonl"], "nowhere.jsonl"),
    (["--in", "prompt=x", "--batch", "0"], "--batch 0"),
])  # fmt: skip
def test_wrong_calls_say_what_is_wrong_and_exit_with_2(call: Call, argv: list[str], words: str) -> None:
    code, out, err = call("run", "toys.yaml", *argv)
    assert (code, out) == (2, "")
    assert words in err


def test_what_does_not_fit_or_cannot_be_written_is_the_environments_fault(call: Call, tmp_path: Path) -> None:
    code, _, err = call("run", "toys.yaml", "--in", "prompt=x", "--memory", "10B")
    assert code == 3 and "E610" in err
    (tmp_path / "file").write_text("")
    code, _, err = call("run", "toys.yaml", "--in", "prompt=x", "--out", "file/o")
    assert code == 3 and "E609" in err


def test_an_output_that_cannot_be_written_fails_its_item_alone(call: Call, tmp_path: Path) -> None:
    (tmp_path / "items.jsonl").write_text('{"id": "a", "prompt": "x"}\n{"id": "b", "prompt": "y"}\n')
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "a").write_text("in the way")
    code, out, _ = call("run", "toys.yaml", "--items", "items.jsonl", "--out", "o", "--json")
    assert code == 1
    failed, ok = map(json.loads, out.splitlines())
    assert failed["status"] == "failed" and "E609" in failed["error"]
    assert ok["status"] == "ok"


def test_lists_on_the_command_line_are_repeated_or_written_as_json(call: Call) -> None:
    for argv in (["--in", "words=p", "--in", "words=q"], ["--in", 'words=["p", "q"]']):
        _, out, _ = call("run", "toys.yaml", "--in", "prompt=x", *argv, "--want", "each", "--json")
        told = json.loads(out)["outputs"]
        assert [v["text"] for v in told["each"]["items"]] == ["p", "q"]


def test_the_trace_has_nodes_threads_and_counters(call: Call, tmp_path: Path) -> None:
    call("run", "toys.yaml", "--in", "prompt=draw {file:p.png}", "--trace", "t/trace.json")
    events = json.loads((tmp_path / "t" / "trace.json").read_text())["traceEvents"]
    work = {e["name"] for e in events if e["ph"] == "X"}
    assert {"look", "think", "lin", "draw", "load lin", "decode image", "write"} <= work
    assert any(e["ph"] == "C" and e["args"].get("think") == 1 for e in events)
    assert all(e["ts"] >= 0 and e["dur"] >= 0 for e in events if e["ph"] == "X")
    assert {e["name"] for e in events if e["ph"] == "M"} == {"process_name", "thread_name"}


def test_the_report_shows_inputs_beside_outputs_without_anything_from_outside(call: Call, tmp_path: Path) -> None:
    (tmp_path / "items.jsonl").write_text(
        '{"id": "<b>", "prompt": ["<script>draw", {"image": "p.png"}]}\n{"id": "z", "prompt": "x", "words": ["!"]}\n'
    )
    call("run", "toys.yaml", "--items", "items.jsonl", "--out", "o")
    page = (tmp_path / "o" / "report.html").read_text()
    assert "<script" not in page.lower() and "&lt;script&gt;draw" in page
    assert page.count("data:image/png;base64,") >= 2
    assert "http://" not in page.replace("http://www.w3.org", "") and 'src="data:' in page
    assert "not to be sifted" in page and "et/think" in page


def test_replay_runs_an_item_again_and_tells_what_changed(call: Call, tmp_path: Path) -> None:
    (tmp_path / "items.jsonl").write_text(
        '{"id": "a", "prompt": ["draw ", {"image": "p.png"}]}\n{"id": "b", "prompt": "x"}\nbad\n'
        '{"id": "c", "prompt": "x", "words": ["!"]}\n'
    )
    call("run", "toys.yaml", "--items", "items.jsonl", "--out", "o", "--seed", "3")
    code, out, err = call("replay", "o")
    assert (code, err) == (0, "")
    assert out.splitlines() == ["a: same", "b: same", "line-3: same", "c: same"]
    log = tmp_path / "o" / "items.jsonl"
    log.write_text(log.read_text().replace('"text": "x|0|"', '"text": "other"', 1))
    (tmp_path / "toys.yaml").write_text(SPEC + "\n# a remark\n")
    code, out, err = call("replay", "o", "b")
    assert code == 1 and "b: differs" in out and "'other' became 'x|0|'" in out
    assert "has changed since" in err
    assert call("replay", "o", "nobody")[0] == 2
    assert call("replay", "nowhere")[0] == 2


def test_plan_lists_nodes_and_bytes_and_want_leaves_branches_out(call: Call) -> None:
    code, out, _ = call("plan", "toys.yaml", "--json")
    assert code == 0
    plan = json.loads(out)
    assert [n["node"] for n in plan["nodes"]] == ["look", "each", "think", "lin", "draw"]
    assert plan["bytes"] == 80
    lin = next(n for n in plan["nodes"] if n["node"] == "lin")
    assert (lin["mapped"], lin["dtype"], lin["bytes"]) == (["think.image"], "float32", 80)
    code, out, _ = call("plan", "toys.yaml", "--want", "reply.text")
    assert code == 0 and "left out" in out and "each, lin, draw" in out and "weights in all: 0 B" in out
    assert call("plan", "toys.yaml", "--memory", "10B")[0] == 3


def test_inspect_counts_parameters_and_flops(call: Call) -> None:
    code, out, _ = call("inspect", "toys.yaml", "--json")
    assert code == 0
    nodes = {n["node"]: n for n in json.loads(out)["nodes"]}
    assert nodes["lin"]["parameters"] == 4 * 4 + 4
    assert nodes["lin"]["flops"] == 2 * 16 * 4 * 4
    assert nodes["look"]["parameters"] == 0 and nodes["look"]["flops"] is None and nodes["look"]["note"]


def test_a_trace_that_cannot_be_written_is_told_before_the_work(call: Call, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    code, _, err = call("run", "toys.yaml", "--in", "prompt=draw {file:p.png}", "--out", "o", "--trace", "file/t.json")
    assert code == 3
    assert "E807" in err and "Traceback" not in err
    assert not (tmp_path / "o" / "0").exists()
