"""Drawings of pipelines: everything is there, nothing overlaps, no name can break the file.

The sketches of the design are the pipelines where they are at hand; one of the toy namespace always is.
"""

from __future__ import annotations

import re
from itertools import combinations
from xml.etree import ElementTree

import pytest
from plugins_for_tests.toy import registry
from unit.test_paper_specs import SKETCHES, graph

from anyany.cli import main
from anyany.spec.check import check_dict
from anyany.spec.draw import mermaid, page, svg
from anyany.spec.draw.layout import Item, arrange, label_width
from anyany.spec.draw.model import Drawing, read
from anyany.spec.graph import Bracket, Fill, Graph

SVG = "{http://www.w3.org/2000/svg}"


def own() -> Graph:
    spec = {
        "anyany": 1,
        "name": 'a <b> & "c" --> `d`',
        "about": "Messages in, messages out; " * 12,
        "inputs": {"prompt": "message", "photos": "image*", "hint": {"kind": "text", "default": "<script>"}},
        "nodes": {
            "look": {"use": "toy/look", "weights": "random:0", "with": {"width": 128}, "in": "prompt.image"},
            "think": {
                "use": "toy/think",
                "weights": "random:0",
                "with": {"signals": {"image": 4}},
                "in": {"message": "prompt", "image": "look"},
            },
            "draw": {"use": "toy/draw", "with": {"size": 8}, "in": {"cond": "think.image", "words": "hint"}},
            "sort": {"use": "toy/classify", "in": "photos"},
            "split": {"use": "toy/route", "in": {"value": "photos", "label": "sort"}},
            "shown": {"use": "toy/tiles", "in": "split.a", "when": "sort"},
            "loop": {"use": "toy/loop", "in": {"first": "hint", "step": {"of": "up"}}},
            "up": {"use": "toy/upper"},
            "chat": {"use": "toy/chat", "in": ["photos*", "hint"]},
        },
        "outputs": {
            "reply": {"fill": "think.reply", "image": "draw"},
            "all": ["shown*", "look*"],
            "texts": ["loop*", "chat.text"],
        },
    }
    spec["outputs"]["all"] = "shown"  # type: ignore[index]
    return check_dict(spec, registry=registry()).expect()


GRAPHS = {"own": own(), **{name: graph(name) for name in SKETCHES}}


@pytest.fixture(params=sorted(GRAPHS))
def drawn(request: pytest.FixtureRequest) -> Graph:
    return GRAPHS[request.param]


def spans(drawing: Drawing) -> list[tuple[str, float, float, float, float]]:
    """(what, left, top, right, bottom) of every box, with the labels right of it, as placed."""
    layout = arrange(drawing)
    found = []
    for item in (i for layer in layout.layers for i in layer):
        right = item.x + item.width + (label_width(item) if item.box is not None else 0.0)
        found.append((item.key, item.x, item.y, right, item.y + item.height))
    return found


def test_boxes_their_labels_and_bent_links_never_overlap(drawn: Graph) -> None:
    for a, b in combinations(spans(read(drawn)), 2):
        apart = a[3] <= b[1] or b[3] <= a[1] or a[4] <= b[2] or b[4] <= a[2]
        assert apart, f"{a[0]} overlaps {b[0]}"


def test_labels_of_one_box_stand_clear_of_each_other(drawn: Graph) -> None:
    root = ElementTree.fromstring(svg(drawn))
    texts = [(float(t.get("x", 0)), float(t.get("y", 0)), t.text) for t in root.iter(f"{SVG}text")]
    for a, b in combinations(texts, 2):
        if a[0] == b[0] and a[2] != "*" != b[2]:
            assert abs(a[1] - b[1]) >= 11.0, (a, b)


def test_the_svg_is_well_formed_and_everything_lies_inside_it(drawn: Graph) -> None:
    root = ElementTree.fromstring(svg(drawn))
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    assert root.get("viewBox") == f"0 0 {width:.0f} {height:.0f}"
    for rect in root.iter(f"{SVG}rect"):
        assert float(rect.get("x", 0)) >= 0
        assert float(rect.get("x", 0)) + float(rect.get("width", 0)) <= width
    for path in root.iter(f"{SVG}path"):
        numbers = [float(n) for n in re.findall(r"-?\d+\.\d+", path.get("d", ""))]
        assert all(-1 <= n <= max(width, height) for n in numbers)


def test_every_input_node_and_output_in_use_is_drawn_with_its_lists(drawn: Graph) -> None:
    texts = {t.text for t in ElementTree.fromstring(svg(drawn)).iter(f"{SVG}text")}
    for name, node in drawn.nodes.items():
        if node.runs:
            assert name in texts
    assert set(drawn.outputs) <= texts
    plain = [e.flow for n in drawn.nodes.values() for e in n.edges.values() if not isinstance(e.source, Bracket | Fill)]
    assert {" ".join(f"× {s}" for s in flow.stack) for flow in plain if flow.stack} <= texts


def test_links_enter_from_the_left_and_never_run_back(drawn: Graph) -> None:
    for route in arrange(read(drawn)).routes:
        layers = [route.steps[0].start.layer, *(s.end.layer for s in route.steps)]
        assert layers == list(range(layers[0], layers[0] + len(layers)))
        ends: list[Item] = [s.end for s in route.steps]
        assert ends[-1].key == route.link.target


def test_a_drawing_is_the_same_each_time(drawn: Graph) -> None:
    assert svg(drawn) == svg(drawn)
    assert mermaid(drawn) == mermaid(drawn)


def test_widths_solved_by_the_check_stand_on_the_edges() -> None:
    text = svg(GRAPHS["own"])
    assert "features [4, 128]" in text
    assert "features [N, 128]" in text


def test_names_and_texts_of_a_spec_cannot_break_out_of_the_page() -> None:
    text = page(GRAPHS["own"])
    assert "<b> &" not in text and "<script" not in text
    assert "a &lt;b&gt; &amp;" in text


def test_mermaid_has_a_line_for_each_link_and_quotes_what_could_break_it() -> None:
    lines = mermaid(GRAPHS["own"]).splitlines()
    assert lines[1] == "flowchart LR"
    assert '"' not in lines[0]
    links = [line for line in lines if "->|" in line]
    assert len(links) == len(read(GRAPHS["own"]).links)
    assert all(re.fullmatch(r'  n\d+ (-->|-\.->)\|"[^"]*"\| n\d+', line) for line in links)


SPEC = """anyany: 1
inputs: {prompt: message}
nodes: {up: {use: toy/upper, in: prompt.text}}
outputs: {o: up}
"""


def test_the_command_writes_the_form_that_the_ending_says(tmp_path, capsys, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr("anyany.registry.default_registry", registry, raising=False)
    spec = tmp_path / "spec.yaml"
    spec.write_text(SPEC)
    for ending, start in ((".svg", "<svg"), (".mmd", "%%"), (".html", "<!doctype html>")):
        target = tmp_path / f"deep/drawing{ending}"
        assert main(["graph", str(spec), "-o", str(target)]) == 0
        assert target.read_text("utf-8").startswith(start)
    assert main(["graph", str(spec)]) == 0
    assert "flowchart LR" in capsys.readouterr().out


def test_the_command_refuses_an_unknown_ending_and_a_wrong_spec(tmp_path, capsys) -> None:  # type: ignore[no-untyped-def]
    spec = tmp_path / "spec.yaml"
    spec.write_text("anyany: 1\nnodes: {}\n")
    assert main(["graph", str(spec), "-o", str(tmp_path / "a.png")]) == 2
    assert main(["graph", str(spec), "-o", str(tmp_path / "a.svg")]) == 2
    assert "E042" in capsys.readouterr().err
    assert not (tmp_path / "a.svg").exists()
