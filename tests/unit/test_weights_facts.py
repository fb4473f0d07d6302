"""Facts of checkpoints on disk: read from headers and JSON alone, in the order that the card gives."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from anyany.api.v1 import json as from_json
from anyany.api.v1 import tensor
from anyany.weights import access
from anyany.weights.errors import WeightsError
from anyany.weights.facts import resolve_facts
from anyany.weights.lock import Lock
from anyany.weights.sources import parse_source, parse_sources


@pytest.fixture
def clip(tmp_path):
    tensors = {
        "vision_model.embeddings.class_embedding": torch.zeros(64),
        "visual_projection.weight": torch.zeros(32, 64),
    }
    save_file(tensors, tmp_path / "model.safetensors")
    config = {
        "hidden_size": 48,
        "text_config": {"layers": [7, 8]},
        "name": "clip",
        "flag": True,
        "ratio": 0.5,
        "no": None,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


def facts_of(folder, source=None, lock=None, **facts):
    return resolve_facts(facts, source or parse_source(f"file:{folder}"), lock, str(folder / "cache"))


def test_sizes_come_from_the_header_and_settings_from_json(clip):
    found = facts_of(
        clip,
        width=[tensor("*class_embedding", axis=0), from_json("hidden_size")],
        joint=[tensor("visual_projection.weight", axis=-2)],
        layers=[from_json("text_config.layers.1")],
        name=[from_json("name")],
        ratio=[from_json("ratio")],
    )
    assert found == {"width": 64, "joint": 32, "layers": 8, "name": "clip", "ratio": 0.5}


def test_places_are_tried_in_order_and_the_unknown_is_left_out(clip):
    found = facts_of(
        clip, width=[tensor("nothing*"), from_json("hidden_size")], other=[from_json("none.at.all"), from_json("no")]
    )
    assert found == {"width": 48}


def test_no_tensor_is_read_and_a_json_fact_reads_no_header(clip):
    with access.watch() as reads:
        facts_of(clip, width=[from_json("hidden_size")], name=[from_json("name")])
    assert reads.files == (str(clip / "config.json"),)
    with access.watch() as reads:
        facts_of(clip, width=[tensor("*class_embedding")])
    assert reads.total < 300


def test_a_prefix_narrows_what_patterns_see(clip):
    source = parse_source(f"file:{clip}#vision_model.")
    assert facts_of(clip, source, width=[tensor("embeddings.class_embedding")]) == {"width": 64}
    assert facts_of(clip, source, joint=[tensor("visual_projection.weight")]) == {}


def test_the_lock_comes_first(clip):
    lock = Lock(facts={f"file:{clip}": {"json(config.json: hidden_size)": 99}})
    assert facts_of(clip, None, lock, width=[from_json("hidden_size")]) == {"width": 99}


def test_overlays_take_their_facts_from_the_base(clip):
    sources = parse_sources([f"file:{clip}", "file:lora-that-is-not-there"])
    assert facts_of(clip, sources, width=[from_json("hidden_size")]) == {"width": 48}


def test_random_weights_have_no_facts(clip):
    assert facts_of(clip, parse_source("random:0"), width=[from_json("hidden_size")]) == {}


def test_an_unusable_value_is_an_error(clip):
    with pytest.raises(WeightsError, match="flag is bool") as caught:
        facts_of(clip, flag=[from_json("flag")])
    assert caught.value.code == "E463"
    with pytest.raises(WeightsError, match="has 1 axes"):
        facts_of(clip, width=[tensor("*class_embedding", axis=1)])


def test_malformed_json_and_absent_files_are_named(clip):
    (clip / "config.json").write_text("{")
    with pytest.raises(WeightsError, match=r"config\.json is not JSON"):
        facts_of(clip, width=[from_json("hidden_size")])
    with pytest.raises(WeightsError, match="there is no"):
        facts_of(clip, parse_source("file:none"), width=[from_json("hidden_size")])


def test_reading_facts_imports_neither_torch_nor_the_hub(clip):
    code = f"""
import sys
from anyany.api.v1 import json, tensor
from anyany.weights.facts import resolve_facts
from anyany.weights.sources import parse_source
facts = {{"width": [tensor("*class_embedding")], "name": [json("name")]}}
assert resolve_facts(facts, parse_source("file:{clip}"), None, "{clip}/cache") == {{"width": 64, "name": "clip"}}
assert resolve_facts(facts, parse_source("hub:a/none"), None, "{clip}/cache") == {{}}
import anyany.weights.lock, anyany.weights.hub, anyany.weights.locate
heavy = {{"torch", "numpy", "safetensors", "huggingface_hub", "logging", "asyncio", "urllib.request", "http"}}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
