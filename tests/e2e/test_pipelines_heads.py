"""pipelines/heads.yaml: one conditioning through four image heads, side by side in the report; any of them exchanged by
one line for any other that keeps the contract, checked and run in the mini profile.
"""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from plugins_for_tests.spec_commands import ROOT, commands

from anyany.cli import main
from anyany.pipeline import load
from anyany.registry import default_registry
from anyany.spec.check import check_text

SPEC = (ROOT / "pipelines/heads.yaml").read_text("utf-8")
LINES = ("diffusion", "var", "mar", "vq_ar")
FEATURES = ("diffusion", "dit", "gan", "mar", "stable-unclip", "unclip", "vae", "var", "vq-ar")
CLASSES = tuple(h for h in FEATURES if h not in ("unclip", "stable-unclip"))
"""DALL-E 2's decoders draw embeddings: they take features and no classes."""
BY_LABEL = {"var": "label", "mar": "labels", "dit": "label", "gan": "label"}


class Figures(HTMLParser):
    """The rows of a report: (its pictures' sources, its captions) each."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[list[str], list[str]]] = []
        self.at = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        self.at = tag
        if tag == "div" and told.get("class") == "row":
            self.rows.append(([], []))
        elif tag == "img" and self.rows:
            self.rows[-1][0].append(str(told["src"]))

    def handle_data(self, data: str) -> None:
        if self.at == "figcaption":
            self.rows[-1][1].append(data)
            self.at = ""


def test_the_report_shows_the_four_pictures_side_by_side_under_their_heads_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    (command,) = commands("heads")
    words = [str(tmp_path / "out") if word == "out/heads" else word for word in command.words]
    assert main(["run", *words]) == 0
    capsys.readouterr()
    page = (tmp_path / "out/report.html").read_text("utf-8")
    parser = Figures()
    parser.feed(page)
    (row,) = parser.rows
    assert row[1] == list(LINES)
    shown = [Image.open(io.BytesIO(base64.b64decode(src.removeprefix("data:image/png;base64,")))) for src in row[0]]
    assert len(shown) == 4 and all(min(picture.size) >= 8 for picture in shown)
    assert len({picture.tobytes() for picture in shown}) == 4
    assert re.search(r"\.row\{display:grid;grid-template-columns:repeat\(", page)
    assert len(list((tmp_path / "out").rglob("*.png"))) == 4


def swapped(text: str, node: str, head: str, feed: str = "read.features", more: str = "") -> str:
    """The spec with the line of one node telling of another head."""
    new = f'  {node}: {{use: image_heads/{head}, weights: "file:runs/other.safetensors"{more}, in: {feed}}}'
    found, count = re.subn(rf"(?m)^  {node}: \{{use: .*$", new, text)
    assert count == 1
    return found


def told(text: str, profile: str | None) -> list[str]:
    found = check_text(text, profile=profile, require_weights=False)
    return [f"{p.code} {p.path}: {p.message}" for p in found.problems if p.is_error]


@pytest.mark.parametrize("node", LINES)
@pytest.mark.parametrize("head", FEATURES)
def test_a_head_takes_the_place_of_any_other_by_its_line(node: str, head: str) -> None:
    text = swapped(SPEC, node, head)
    pairs = list(zip(SPEC.splitlines(), text.splitlines(), strict=True))
    assert sum(a != b for a, b in pairs) == 1
    assert told(text, None) == told(text, "mini") == []


@pytest.mark.parametrize("first", FEATURES)
def test_a_head_becomes_any_other_by_its_name_alone_with_the_options_that_all_have(first: str) -> None:
    before = swapped(SPEC, "var", first, more=", with: {steps: 3, guidance: 2.5}")
    assert told(before, "mini") == []
    for second in FEATURES:
        after = before.replace(f"  var: {{use: image_heads/{first},", f"  var: {{use: image_heads/{second},")
        assert (after == before) == (first == second)
        assert told(after, "mini") == [], second


@pytest.mark.parametrize("name", BY_LABEL)
@pytest.mark.parametrize("head", CLASSES)
def test_a_head_for_classes_takes_the_place_of_any_other_by_its_line(name: str, head: str) -> None:
    text = (ROOT / f"pipelines/{name}.yaml").read_text("utf-8")
    assert told(swapped(text, "draw", head, BY_LABEL[name], ", with: {classes: 10}"), None) == []


@pytest.mark.parametrize("first", range(len(FEATURES)))
def test_each_head_runs_on_each_line(first: int, tmp_path: Path) -> None:
    """Nine runs, in which every head stands once in each of the four lines."""
    text = SPEC
    for line, node in enumerate(LINES):
        text = swapped(text, node, FEATURES[(first + line) % len(FEATURES)])
    (tmp_path / "heads.yaml").write_text(text)
    (result,) = load(tmp_path / "heads.yaml", profile="mini").map([{"caption": "a red circle on the left"}])
    assert (result.status, result.error) == ("ok", None)
    pictures = result.outputs["side_by_side"]
    assert len(pictures) == 4
    for picture in pictures:
        assert picture.shape[0] == 3 and bool(picture.isfinite().all())
        assert 0 <= float(picture.min()) < float(picture.max()) <= 1


def spec_of(head: str) -> dict[str, Any]:
    draw = {"use": f"image_heads/{head}", "weights": "random:0", "in": "read.features",
            "with": {"preset": "tiny", "guidance": 3, "steps": 2}}  # fmt: skip
    read = {"use": "vision/clip", "call": "text", "weights": "random:0", "with": "tiny", "in": "caption"}
    return {"anyany": 1, "name": "swap", "inputs": {"caption": "text"}, "nodes": {"read": read, "draw": draw},
            "outputs": {"image": "draw"}}  # fmt: skip


@pytest.mark.parametrize("head", FEATURES)
def test_every_head_draws_other_captions_and_other_seeds_otherwise(head: str) -> None:
    def drawn(caption: str, seed: int) -> torch.Tensor:
        (result,) = load(spec_of(head), seed=seed).map([{"caption": caption, "id": "a"}])
        assert result.error is None
        return result.outputs["image"]

    one = drawn("a red circle", 0)
    assert not torch.equal(one, drawn("two blue squares at the top", 0))
    assert not torch.equal(one, drawn("a red circle", 1))
    assert torch.equal(one, drawn("a red circle", 0))


def test_all_image_heads_of_the_plugin_are_held_to_this() -> None:
    named = {n.partition("/")[2] for n in default_registry().names() if n.startswith("image_heads/")}
    assert named - {"unclip-prior"} == set(FEATURES)
