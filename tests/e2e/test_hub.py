"""`hub:` for real, against a small server of the hub's protocol on loopback: pins, verification, faults, facts.

The client is huggingface_hub itself; only HF_ENDPOINT and HF_HOME are set, as a user would set them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save, save_file
from torch import nn

from anyany.api.v1 import json as from_json
from anyany.api.v1 import tensor
from anyany.testing.hub_server import HubServer
from anyany.weights import hub
from anyany.weights.errors import WeightsError
from anyany.weights.facts import resolve_facts
from anyany.weights.load import load_strict, open_source
from anyany.weights.locate import Reach, locate
from anyany.weights.lock import Lock, lock_path, read_lock, write_lock
from anyany.weights.sources import parse_source


@pytest.fixture
def server(tmp_path, monkeypatch):
    with HubServer() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.endpoint)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        monkeypatch.delenv("HF_HUB_CACHE", raising=False)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield running


@pytest.fixture
def reach(tmp_path):
    def make(**options) -> Reach:
        return Reach(cache=str(tmp_path / "anyany"), **options)

    return make


def linear(value: float) -> dict[str, torch.Tensor]:
    return {"weight": torch.full((4, 3), value), "bias": torch.arange(4.0)}


def sharded(value: float, **more: bytes) -> dict[str, bytes]:
    """A repository with config.json and two shards, and much that nobody needs."""
    tensors = linear(value)
    placed = {"weight": "model-1.safetensors", "bias": "model-2.safetensors"}
    return {
        "config.json": json.dumps({"hidden_size": 4, "value": value}).encode(),
        "tokenizer.json": b"{}",
        "model.safetensors.index.json": json.dumps({"metadata": {}, "weight_map": placed}).encode(),
        "model-1.safetensors": save({"weight": tensors["weight"]}),
        "model-2.safetensors": save({"bias": tensors["bias"]}),
        "pytorch_model.bin": b"never fetched" * 1000,
        "README.md": b"never fetched",
        "onnx/model.onnx": b"never fetched",
    } | more


def refused(code: str, source: str, reach: Reach) -> WeightsError:
    with pytest.raises(WeightsError) as caught:
        locate(parse_source(source), reach)
    assert caught.value.code == code, caught.value
    assert source in caught.value.message
    assert caught.value.help
    return caught.value


def fetched(server: HubServer) -> set[str]:
    return {request.path.rsplit("/", 1)[1] for request in server.requests if request.method == "GET" and request.sent}


def test_shards_and_assets_are_fetched_and_loaded_and_nothing_else(server, reach):
    server.commit("acme/net", sharded(2.0))
    store = open_source("hub:acme/net", reach())
    module = load_strict(nn.Linear(3, 4, device="meta"), store)
    assert torch.equal(module.weight, torch.full((4, 3), 2.0))
    assert store.json("config.json")["hidden_size"] == 4
    assert store.files_read == 2
    asked = {name for name in fetched(server) if "." in name}
    assert asked == {
        "config.json",
        "tokenizer.json",
        "model.safetensors.index.json",
        "model-1.safetensors",
        "model-2.safetensors",
    }


def test_assets_alone_can_be_fetched_first(server, reach):
    server.commit("acme/net", sharded(2.0))
    located = locate(parse_source("hub:acme/net"), reach(), weights=False)
    assert json.loads(Path(located.folder, "config.json").read_text())["value"] == 2.0
    assert server.bytes_sent("model-") == 0


def test_a_pinned_commit_stays_when_the_branch_moves(server, reach, tmp_path):
    first = server.commit("acme/net", sharded(1.0))
    path = lock_path(tmp_path / "spec.yaml")
    lock = read_lock(path)
    open_source("hub:acme/net", reach(lock=lock))
    write_lock(path, lock)
    server.commit("acme/net", sharded(9.0))

    pinned = read_lock(path)
    assert pinned.sources["hub:acme/net"].commit == first
    assert pinned.sources["hub:acme/net"].files["model-1.safetensors"].hash.startswith("sha256:")
    assert float(open_source("hub:acme/net", reach(lock=pinned)).get("weight").mean()) == 1.0
    assert not pinned.changed
    # Without the lock the branch is asked again.
    assert float(open_source("hub:acme/net", reach()).get("weight").mean()) == 9.0


def test_a_pinned_commit_is_fetched_on_another_machine(server, reach, tmp_path, monkeypatch):
    first = server.commit("acme/net", sharded(1.0))
    server.commit("acme/net", sharded(9.0))
    lock = Lock()
    lock.pin("hub:acme/net", first)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "other"))
    assert float(open_source("hub:acme/net", reach(lock=lock)).get("weight").mean()) == 1.0


def test_branches_and_commits_can_be_named(server, reach):
    first = server.commit("acme/net", sharded(1.0))
    server.commit("acme/net", sharded(5.0), branch="dev")
    server.commit("acme/net", sharded(9.0))
    for revision, value in ((first, 1.0), ("dev", 5.0), ("main", 9.0)):
        assert float(open_source(f"hub:acme/net@{revision}", reach()).get("weight").mean()) == value


def test_what_is_cached_is_used_without_a_single_request(server, reach):
    server.commit("acme/net", sharded(1.0))
    lock = Lock()
    open_source("hub:acme/net", reach(lock=lock))
    server.requests.clear()
    open_source("hub:acme/net", reach(lock=lock))
    open_source("hub:acme/net", reach(offline=True))
    assert server.requests == []


def test_a_part_of_a_repository_and_a_prefix(server, reach):
    files = {f"unet/{name}": data for name, data in sharded(3.0).items()}
    files["vae/diffusion_pytorch_model.safetensors"] = save({f"dec.{k}": v for k, v in linear(4.0).items()})
    files["vae/config.json"] = b'{"part": "vae"}'
    server.commit("acme/pipe", files)
    lock = Lock()
    assert float(open_source("hub:acme/pipe/unet", reach(lock=lock)).get("weight").mean()) == 3.0
    server.requests.clear()
    vae = open_source("hub:acme/pipe/vae#dec.", reach(lock=lock))
    assert float(vae.get("weight").mean()) == 4.0
    assert vae.json("config.json") == {"part": "vae"}
    assert server.bytes_sent("unet") == 0
    assert len(lock.sources["hub:acme/pipe"].files) == 7
    error = refused("E454", "hub:acme/pipe", reach())
    assert "unet, vae" in error.help


def test_a_pipeline_is_the_sum_of_its_parts(server, reach, tmp_path):
    files = {f"unet/{name}": data for name, data in sharded(3.0).items()}
    files["model_index.json"] = b'{"_class_name": "Pipe"}'
    files["vae/diffusion_pytorch_model.safetensors"] = save(linear(4.0))
    files["scheduler/scheduler_config.json"] = b"{}"
    files["safety_checker/model.safetensors"] = save(linear(5.0))
    server.commit("acme/pipe", files)
    facts = {
        "out": [tensor("vae.weight", axis=0)],
        "bias": [tensor("unet.bias")],
        "value": [from_json("value", "unet/config.json")],
    }
    found = resolve_facts(facts, parse_source("hub:acme/pipe"), None, str(tmp_path / "c"), online=True)
    assert found == {"out": 4, "bias": 4, "value": 3.0}
    store = open_source("hub:acme/pipe", reach())
    assert set(store.keys()) == {"unet.weight", "unet.bias", "vae.weight", "vae.bias"}
    assert float(store.get("vae.weight").mean()) == 4.0
    assert store.asset("scheduler/scheduler_config.json") is not None
    assert server.bytes_sent("safety_checker") == 0
    on_disk = locate(parse_source("hub:acme/pipe"), reach()).root
    assert set(open_source(f"file:{on_disk}").keys()) == set(store.keys())
    assert set(open_source(f"file:{on_disk}#vae.").keys()) == {"weight", "bias"}


def test_names_that_climb_out_of_the_repository_are_not_followed(server, reach, tmp_path):
    victim = tmp_path / "victim.json"
    victim.write_text("precious")
    lock = Lock()
    commit = server.commit("acme/net", sharded(1.0) | {"../../../../../victim.json": b"short"})
    lock.pin("hub:acme/net", commit)
    open_source("hub:acme/net", reach(lock=lock))
    assert victim.read_text() == "precious"
    assert not any(".." in name for name in lock.sources["hub:acme/net"].files)


def test_the_libraries_own_switch_keeps_us_offline(server, reach, monkeypatch, tmp_path):
    server.commit("acme/net", sharded(1.0))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE" in refused("E469", "hub:acme/net", reach()).message
    facts = {"n": [from_json("x")]}
    assert resolve_facts(facts, parse_source("hub:acme/net"), None, str(tmp_path / "c"), online=True) == {}
    assert server.requests == []


def test_offline_without_a_cache_says_so(server, reach):
    server.commit("acme/net", sharded(1.0))
    refused("E469", "hub:acme/net", reach(offline=True))
    locate(parse_source("hub:acme/net"), reach(), weights=False)
    assert "model-1.safetensors" in refused("E469", "hub:acme/net", reach(offline=True)).message


def test_a_missing_repository_branch_commit_and_file(server, reach):
    server.commit("acme/net", sharded(1.0))
    assert "no repository acme/nett" in refused("E464", "hub:acme/nett", reach()).message
    refused("E467", "hub:acme/net@none", reach())
    refused("E467", f"hub:acme/net@{'0' * 40}", reach())
    assert "did you mean `model-1.safetensors`" in refused("E465", "hub:acme/net/modl-1.safetensors", reach()).help


def test_a_pinned_commit_that_is_gone_names_the_lock(server, reach):
    server.commit("acme/net", sharded(1.0))
    lock = Lock()
    lock.pin("hub:acme/net", "f" * 40)
    error = refused("E467", "hub:acme/net", reach(lock=lock))
    assert "the lock pins commit fff" in error.message
    assert "hub:acme/net" in error.help


def test_an_unfinished_upload_is_said_to_be_one(server, reach):
    files = sharded(1.0)
    del files["model-2.safetensors"]
    server.commit("acme/net", files)
    assert "model-2.safetensors" in refused("E458", "hub:acme/net", reach()).message


def test_a_repository_of_pickles_is_refused_unless_allowed(server, reach, tmp_path):
    torch.save(linear(6.0), tmp_path / "x.bin")
    server.commit("acme/old", {"config.json": b"{}", "pytorch_model.bin": (tmp_path / "x.bin").read_bytes()})
    assert "anyany convert" in refused("E455", "hub:acme/old", reach()).help
    assert server.bytes_sent("pytorch_model.bin") == 0
    assert float(open_source("hub:acme/old", reach(allow_pickle=True)).get("weight").mean()) == 6.0


def test_a_gated_repository_needs_a_token(server, reach, monkeypatch):
    server.commit("acme/gated", sharded(1.0))
    server.repos["acme/gated"].gated = True
    assert "gated" in refused("E466", "hub:acme/gated", reach()).message
    monkeypatch.setenv("HF_TOKEN", "hf_token")
    assert float(open_source("hub:acme/gated", reach()).get("weight").mean()) == 1.0


@pytest.mark.parametrize("name", ["model-1.safetensors", "config.json"])
def test_a_damaged_file_is_found_by_its_hash_and_fetched_again(server, reach, name):
    server.commit("acme/net", sharded(1.0))
    server.faults[name] = "corrupt"
    assert name in refused("E470", "hub:acme/net", reach()).message
    server.faults.clear()
    assert float(open_source("hub:acme/net", reach()).get("weight").mean()) == 1.0


def test_a_cached_file_of_wrong_size_is_fetched_again(server, reach):
    server.commit("acme/net", sharded(1.0))
    located = locate(parse_source("hub:acme/net"), reach())
    path = os.path.realpath(os.path.join(located.root, "model-1.safetensors"))
    with open(path, "r+b") as file:
        file.truncate(20)
    assert float(open_source("hub:acme/net", reach()).get("weight").mean()) == 1.0


def test_a_connection_that_drops_midway_is_continued(server, reach):
    # huggingface_hub writes pieces of 10 MB, so less than that has to be sent again.
    server.commit("acme/net", {"model.safetensors": save({"weight": torch.ones(5_500_000)})})
    server.faults["model.safetensors"] = "drop"
    assert float(open_source("hub:acme/net", reach()).get("weight").mean()) == 1.0
    ranges = [request.range for request in server.requests if request.range]
    assert ranges == ["bytes=10485760-"]


def test_a_server_that_dies_midway_is_one_clear_error_and_nothing_half_is_used(server, reach):
    server.commit("acme/net", {"config.json": b"{}", "model.safetensors": save(linear(1.0))})
    server.faults["model.safetensors"] = "die"
    assert "cannot be reached" in refused("E468", "hub:acme/net", reach()).message
    refused("E469", "hub:acme/net", reach(offline=True))


def test_a_hub_that_is_not_there_is_one_clear_error(server, reach, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "cannot be reached" in refused("E468", "hub:acme/net", reach()).message


def test_facts_cost_two_small_requests_and_are_kept_by_commit(server, reach, tmp_path):
    big = {"embed.weight": torch.zeros(500, 1000), "class_embedding": torch.zeros(48)}
    server.commit("acme/clip", {"config.json": b'{"layers": 7}', "model.safetensors": save(big)})
    facts = {"width": [tensor("*class_embedding")], "layers": [from_json("layers")], "none": [from_json("none")]}
    source, cache = parse_source("hub:acme/clip"), str(tmp_path / "anyany")
    assert resolve_facts(facts, source, None, cache) == {}
    assert server.requests == []
    assert resolve_facts(facts, source, None, cache, online=True) == {"width": 48, "layers": 7}
    asked = [request for request in server.requests if request.sent]
    assert [request.path.rsplit("/", 1)[1] for request in asked] == ["model.safetensors", "config.json"]
    assert sum(request.sent for request in asked) < 140_000
    server.requests.clear()
    assert resolve_facts(facts, source, None, cache) == {"width": 48, "layers": 7}
    assert server.requests == []


def test_facts_of_a_pinned_repository_go_into_its_lock(server, reach, tmp_path):
    first = server.commit("acme/net", sharded(1.0))
    server.commit("acme/net", {"config.json": b'{"hidden_size": 99}', "model.safetensors": save(linear(1.0))})
    lock = Lock()
    lock.pin("hub:acme/net", first)
    facts = {"out": [tensor("weight", axis=0)], "width": [from_json("hidden_size")]}
    found = resolve_facts(facts, parse_source("hub:acme/net"), lock, str(tmp_path / "c"), online=True)
    assert found == {"out": 4, "width": 4}
    assert lock.facts["hub:acme/net"] == {"tensor(weight, 0)": 4, "json(config.json: hidden_size)": 4}
    assert server.bytes_sent("model-2") == 0
    server.requests.clear()
    assert resolve_facts(facts, parse_source("hub:acme/net"), lock, str(tmp_path / "empty")) == found
    assert server.requests == []


def test_facts_are_read_from_what_was_downloaded(server, reach, tmp_path):
    server.commit("acme/net", sharded(1.0))
    lock = Lock()
    locate(parse_source("hub:acme/net"), reach(lock=lock))
    server.requests.clear()
    facts = {"out": [tensor("weight", axis=0)], "width": [from_json("hidden_size")]}
    assert resolve_facts(facts, parse_source("hub:acme/net"), lock, str(tmp_path / "c")) == {"out": 4, "width": 4}
    assert server.requests == []


def test_a_header_is_read_even_from_a_server_without_ranges(server, tmp_path):
    server.commit("acme/clip", {"model.safetensors": save({"embed": torch.zeros(1000, 1000), "x": torch.zeros(3)})})
    server.faults["model.safetensors"] = "no-range"
    source = parse_source("hub:acme/clip")
    assert resolve_facts({"n": [tensor("x")]}, source, None, str(tmp_path / "c"), online=True) == {"n": 3}
    data, size, commit = hub.read_remote(source, "model.safetensors", start=8, length=1)
    assert data == b"{"
    assert size > 4_000_000
    assert len(commit) == 40


def test_facts_of_a_missing_repository_are_an_error_online(server, tmp_path):
    facts = {"n": [from_json("x")]}
    with pytest.raises(WeightsError) as caught:
        resolve_facts(facts, parse_source("hub:acme/none"), None, str(tmp_path / "c"), online=True)
    assert caught.value.code == "E464"


def test_a_fresh_process_needs_only_the_environment(server, tmp_path):
    folder = tmp_path / "repos" / "acme" / "net"
    folder.mkdir(parents=True)
    save_file(linear(8.0), folder / "model.safetensors")
    server.commit("acme/net", folder)
    code = """
from anyany.weights.load import open_source
print(float(open_source("hub:acme/net").get("weight").mean()))
"""
    env = os.environ | {"ANYANY_CACHE": str(tmp_path / "anyany")}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.stdout == "8.0\n", done.stderr
    assert load_file(folder / "model.safetensors")["bias"].tolist() == [0, 1, 2, 3]
