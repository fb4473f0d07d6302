"""Strict loading: names, shapes, ties, buffers, dtypes, and the one error that lists all that is wrong."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from anyany.weights import access
from anyany.weights.errors import WeightsError
from anyany.weights.load import Claims, load_strict, memory_store, open_source
from anyany.weights.locate import Reach


class Net(nn.Module):
    """Two linear layers, batch statistics, and a table that no checkpoint holds."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.one = nn.Linear(3, width)
        self.two = nn.Linear(width, 2, bias=False)
        self.norm = nn.BatchNorm1d(2)
        self.register_buffer("table", torch.arange(width, dtype=torch.float32), persistent=False)

    def init_buffers(self) -> None:
        self.table.copy_(torch.arange(self.table.shape[0], dtype=torch.float32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.two(self.one(x) + self.table))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight = self.embed.weight


def on_meta(make, *values):
    with torch.device("meta"):
        return make(*values)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture
def saved(net, tmp_path):
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    (tmp_path / "config.json").write_text('{"width": 4}')
    return f"file:{tmp_path}/net.safetensors"


def test_a_module_built_on_meta_equals_the_saved_one_bit_for_bit(net, saved):
    loaded = load_strict(on_meta(Net), open_source(saved)).eval()
    x = torch.randn(6, 3)
    assert torch.equal(loaded(x), net(x))
    assert loaded.norm.num_batches_tracked.dtype == torch.int64
    assert all(p.requires_grad for p in loaded.parameters())


def test_the_dtype_is_given_at_load_and_touches_floats_only(net, saved):
    loaded = load_strict(on_meta(Net), open_source(saved), dtype=torch.bfloat16)
    assert loaded.one.weight.dtype == loaded.norm.running_mean.dtype == torch.bfloat16
    assert torch.equal(loaded.one.weight, net.one.weight.bfloat16())
    assert loaded.norm.num_batches_tracked.dtype == torch.int64
    assert loaded.table.dtype == torch.float32


def test_opening_reads_no_tensor_and_loading_reads_each_once(net, saved):
    with access.watch() as opening:
        store = open_source(saved)
    assert opening.total < 1000
    assert store.files_read == 0
    with access.watch() as reading:
        load_strict(on_meta(Net), store)
    assert store.files_read == 1
    assert reading.total == sum(t.numel() * t.element_size() for t in net.state_dict().values())


def test_loaded_tensors_have_memory_of_their_own_and_aligned(saved):
    store = open_source(saved)
    one, again = store.get("one.weight"), store.get("one.weight")
    assert one.data_ptr() % 64 == 0
    one.zero_()
    assert bool(again.any())


def test_a_store_knows_shapes_and_assets_before_reading(saved):
    store = open_source(saved)
    assert store.shape("one.weight") == (4, 3)
    assert store.dtype("norm.num_batches_tracked") == "I64"
    assert "two.weight" in store and len(store.keys()) == 8
    assert store.json("config.json") == {"width": 4}
    assert store.asset("tokenizer.json") is None
    with pytest.raises(WeightsError, match=r"comes without tokenizer\.json"):
        store.json("tokenizer.json")


def test_a_malformed_asset_is_named(saved, tmp_path):
    (tmp_path / "config.json").write_text("{width: 4}")
    with pytest.raises(WeightsError, match=r"config\.json is not JSON") as caught:
        open_source(saved).json("config.json")
    assert caught.value.code == "E462"


def test_all_that_is_wrong_is_one_error(net):
    tensors = dict(net.state_dict())
    tensors["tow.weight"] = tensors.pop("two.weight")
    tensors["one.bias"] = torch.zeros(7)
    del tensors["norm.running_var"]
    tensors["extra"] = torch.zeros(1)
    with pytest.raises(WeightsError) as caught:
        load_strict(on_meta(Net), memory_store(tensors, origin="hub:a/b"))
    assert caught.value.code == "E459"
    assert caught.value.message.splitlines() == [
        "hub:a/b does not fit Net:",
        "  2 missing:",
        "    two.weight (did you mean tow.weight?)",
        "    norm.running_var",
        "  2 unexpected:",
        "    extra",
        "    tow.weight",
        "  1 of another shape:",
        "    one.bias: [7] in the file, [4] expected",
    ]


def test_a_failed_load_leaves_the_module_as_it_was(net):
    tensors = dict(net.state_dict()) | {"extra": torch.zeros(1)}
    module = on_meta(Net)
    with pytest.raises(WeightsError):
        load_strict(module, memory_store(tensors))
    assert all(p.is_meta for p in module.parameters())


def test_long_lists_are_cut_and_counted():
    tensors = {f"t{i}": torch.zeros(1) for i in range(50)}
    with pytest.raises(WeightsError, match="and 30 more"):
        load_strict(nn.Module(), memory_store(tensors))


def test_a_forgotten_prefix_is_found(net):
    store = memory_store({f"model.net.{name}": t for name, t in net.state_dict().items()})
    with pytest.raises(WeightsError) as caught:
        load_strict(on_meta(Net), store)
    assert "#model.net." in caught.value.help
    assert torch.equal(load_strict(on_meta(Net), store, prefix="model.net.").one.weight, net.one.weight)


def test_the_prefix_of_the_source_is_cut_off_and_must_match(net, tmp_path):
    save_file(
        {f"v.{name}": t for name, t in net.state_dict().items()} | {"t": torch.zeros(1)},
        tmp_path / "w.safetensors",
    )
    loaded = load_strict(on_meta(Net), open_source(f"file:{tmp_path}/w.safetensors#v."))
    assert torch.equal(loaded.two.weight, net.two.weight)
    with pytest.raises(WeightsError, match="no tensor of the file starts with 'x'"):
        open_source(f"file:{tmp_path}/w.safetensors#x")


def test_what_card_and_spec_allow_may_be_left(net):
    tensors = dict(net.state_dict()) | {"head.weight": torch.zeros(1), "loss.scale": torch.zeros(1)}
    load_strict(on_meta(Net), memory_store(tensors), ignores=["head.*"], skip=["*.scale"])
    with pytest.raises(WeightsError, match="1 unexpected"):
        load_strict(on_meta(Net), memory_store(tensors), ignores=["head.*"])


def test_what_may_be_left_is_still_used_where_the_module_has_it(net):
    loaded = load_strict(on_meta(Net), memory_store(net.state_dict()), ignores=["*"])
    assert torch.equal(loaded.one.weight, net.one.weight)


@pytest.mark.parametrize(
    "rename", [{"first.": "one."}, lambda name: None if name == "junk" else name.replace("first.", "one.")]
)
def test_names_are_translated(net, rename):
    tensors = {name.replace("one.", "first."): t for name, t in net.state_dict().items()}
    if callable(rename):
        tensors["junk"] = torch.zeros(1)
    loaded = load_strict(on_meta(Net), memory_store(tensors), rename=rename)
    assert torch.equal(loaded.one.bias, net.one.bias)


@pytest.mark.parametrize("held", [["embed.weight"], ["head.weight"], ["embed.weight", "head.weight"]])
def test_tied_parameters_are_found_under_either_name_and_stay_tied(held):
    weight = torch.randn(5, 3)
    loaded = load_strict(on_meta(Tied), memory_store(dict.fromkeys(held, weight)))
    assert loaded.embed.weight is loaded.head.weight
    assert torch.equal(loaded.head.weight, weight)


def test_tied_parameters_that_differ_in_the_file_are_refused():
    tensors = {"embed.weight": torch.zeros(5, 3), "head.weight": torch.ones(5, 3)}
    with pytest.raises(WeightsError, match="tied in the component, but different in the file"):
        load_strict(on_meta(Tied), memory_store(tensors))


def test_a_missing_tied_parameter_is_listed_with_both_names():
    with pytest.raises(WeightsError, match=r"embed\.weight = head\.weight"):
        load_strict(on_meta(Tied), memory_store({}))


def test_a_buffer_that_nobody_fills_is_an_error():
    class Forgetful(Net):
        def init_buffers(self) -> None:
            """Forgets the table."""

    tensors = Net().state_dict()
    with pytest.raises(WeightsError, match="leaves 1 tensors unset: table") as caught:
        load_strict(on_meta(Forgetful), memory_store(tensors))
    assert caught.value.code == "E474"


def test_a_submodule_fills_its_own_buffers_by_assignment():
    class Rotary(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.init_buffers()

        def init_buffers(self) -> None:
            self.register_buffer("angles", torch.linspace(0, 1, 5), persistent=False)

    net = on_meta(lambda: nn.Sequential(Rotary()))
    assert torch.equal(load_strict(net, memory_store({}))[0].angles, torch.linspace(0, 1, 5))


def test_nodes_that_share_a_file_share_the_claim(net):
    tensors = {f"a.{k}": t for k, t in net.state_dict().items()} | {f"b.{k}": t for k, t in net.state_dict().items()}
    store, claims = memory_store(tensors), Claims()
    cut = {
        "a": lambda name: name[2:] if name.startswith("a.") else name,
        "b": lambda name: name[2:] if name.startswith("b.") else name,
    }
    load_strict(on_meta(Net), store, rename=cut["a"], claims=claims)
    with pytest.raises(WeightsError, match="8 unexpected"):
        claims.settle()
    load_strict(on_meta(Net), store, rename=cut["b"], claims=claims)
    claims.settle()


def test_shards_open_only_the_files_that_are_read(tmp_path):
    save_file({"a.weight": torch.ones(2, 2)}, tmp_path / "1.safetensors")
    save_file({"b.weight": torch.ones(2, 2)}, tmp_path / "2.safetensors")
    placed = {"a.weight": "1.safetensors", "b.weight": "2.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": placed}))
    store = open_source(f"file:{tmp_path}#a.")
    with access.watch() as reads:
        load_strict(on_meta(lambda: nn.Linear(2, 2, bias=False)), store)
    assert store.files_read == 1
    assert [path for path in reads.files if path.endswith("2.safetensors")] == []


def test_pickles_are_read_only_where_they_are_allowed(net, tmp_path):
    torch.save({"state_dict": net.state_dict(), "epoch": 3}, tmp_path / "old.pt")
    with pytest.raises(WeightsError, match="is a pickle") as caught:
        open_source(f"file:{tmp_path}/old.pt")
    assert caught.value.code == "E455"
    assert "--allow-pickle" in caught.value.help
    loaded = load_strict(on_meta(Net), open_source(f"file:{tmp_path}/old.pt", Reach(allow_pickle=True)))
    assert torch.equal(loaded.one.weight, net.one.weight)


def test_a_loaded_module_trains_and_saves_without_touching_the_file(net, saved, tmp_path):
    before = (tmp_path / "net.safetensors").read_bytes()
    loaded = load_strict(on_meta(Net), open_source(saved)).train()
    optimiser = torch.optim.SGD(loaded.parameters(), lr=1.0)
    loaded(torch.randn(4, 3)).square().sum().backward()
    optimiser.step()
    save_file(loaded.state_dict(), tmp_path / "again.safetensors")
    assert (tmp_path / "net.safetensors").read_bytes() == before
    assert not torch.equal(
        load_strict(on_meta(Net), open_source(f"file:{tmp_path}/again.safetensors")).two.weight,
        net.two.weight,
    )
