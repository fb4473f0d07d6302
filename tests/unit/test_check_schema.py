"""The JSON Schema of specs: what checks also validates, and what is misspelt or misshapen does not.

The validator is the jsonschema package, so that the schema is judged by other hands than made it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from plugins_for_tests import paper_cards, toy
from unit.test_paper_specs import SKETCHES

from anyany.registry import default_registry
from anyany.spec.schema import schema

ROOT = Path(__file__).resolve().parents[2]
BAD = ROOT / "tests" / "specs_bad"

SHAPES = (
    "top_unknown_key", "top_version", "top_no_header", "top_no_outputs", "top_nodes_list", "node_text",
    "node_unknown_key", "node_use_and_of", "node_of_with", "node_name", "input_kind_missing", "input_unknown_kind",
    "use_unknown", "use_unknown_namespace", "use_no_slash", "use_code", "option_unknown", "option_type", "option_range",
    "option_choice", "preset_unknown", "edge_template", "edge_dots", "edge_star_outside",
    "edge_empty_bracket", "profile_rewires", "device_word", "weights_form", "weights_unwanted",
    "bracket_nested", "edge_number", "when_condition",
)  # fmt: skip
"""Bad specs whose mistake a schema can see."""


def validator(registry: Any) -> Draft202012Validator:
    table = schema(registry)
    Draft202012Validator.check_schema(table)
    return Draft202012Validator(table)


TOY = validator(toy.registry())


@pytest.mark.parametrize("path", sorted((ROOT / "pipelines").glob("*.yaml")), ids=lambda p: p.stem)
def test_the_pipelines_validate_against_the_schema_of_what_is_installed(path: Path) -> None:
    spec = yaml.safe_load(path.read_text("utf-8"))
    assert [e.message for e in validator(default_registry()).iter_errors(spec)] == []


@pytest.mark.parametrize("name", SHAPES)
def test_what_is_misspelt_or_misshapen_does_not_validate(name: str) -> None:
    spec = yaml.safe_load((BAD / f"{name}.yaml").read_text("utf-8"))
    assert list(TOY.iter_errors(spec))


@pytest.mark.parametrize("name", ["lists_two", "size_width", "places_other_list", "reply_unfilled", "cycle"])
def test_what_needs_the_whole_graph_is_left_to_check(name: str) -> None:
    spec = yaml.safe_load((BAD / f"{name}.yaml").read_text("utf-8"))
    assert [e.message for e in TOY.iter_errors(spec)] == []


@pytest.mark.parametrize("name", sorted(SKETCHES))
def test_every_sketch_of_the_design_has_the_shape_that_the_schema_says(name: str) -> None:
    spec = {"anyany": 1, **yaml.safe_load(SKETCHES[name])}
    for node in spec["nodes"].values():
        if "weights" in node:
            node["weights"] = "random:0"  # the sketches abbreviate repositories
    assert [e.message for e in validator(paper_cards.registry()).iter_errors(spec)] == []


def test_an_option_carries_its_text_default_and_bounds() -> None:
    options = schema(toy.registry())["$defs"]["options"]["toy/look"]["anyOf"][0]["properties"]
    assert options["resolution"] == {"type": "integer", "default": 32, "minimum": 8, "maximum": 4096}
    assert options["pool"]["enum"] == ["mean", "max"]
    assert options["preset"]["enum"] == ["tiny"]


def test_a_major_version_may_be_named() -> None:
    spec = {
        "anyany": 1,
        "nodes": {"a": {"use": "toy/aged@2", "in": "t"}},
        "inputs": {"t": "text"},
        "outputs": {"o": "a"},
    }
    assert TOY.is_valid(spec)
    spec["nodes"]["a"]["use"] = "toy/aged@two"  # type: ignore[index]
    assert not TOY.is_valid(spec)


def test_the_command_writes_the_schema_and_imports_nothing_heavy(tmp_path: Path) -> None:
    target = tmp_path / "schema.json"
    code = (
        "import sys; from anyany.cli import main; "
        f"assert main(['schema', '-o', {str(target)!r}]) == 0; "
        "heavy = {'torch', 'transformers', 'diffusers', 'numpy', 'PIL', 'av'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "vision/vit" in json.loads(target.read_text("utf-8"))["$defs"]["options"]
