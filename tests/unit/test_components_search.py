"""Zero-shot naming, prompts, search and the index on disk: exact, in order, and clear where they must refuse.

Everything is a transform without weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from anyany_transforms.search import composed, nearest

from anyany.api.torch import Rows
from anyany.engine.build import Built, build_component
from anyany.registry import default_registry
from anyany.testing.harness import bench, call


def built(card: str, **options: Any) -> Built:
    made = bench(default_registry().card(card), options)
    return build_component(made.node(next(iter(made.calls)), ()))


def result(made: Built, name: str, count: int = 1, **ports: Rows) -> dict[str, Rows]:
    return dict(call(made, name, ports, range(count)))


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_the_nearest_name_wins_and_probabilities_sum_to_one() -> None:
    labels = drawn(3, 8)
    made = built("transforms/zero-shot", scale=10.0)
    found = result(made, "guess", 2, embedding=Rows(torch.stack([labels[1] * 5, -labels[2]])),
                   labels=Rows(torch.cat([labels, labels]), counts=[3, 3]),
                   names=Rows(["cat", "dog", "ring"] * 2, counts=[3, 3]))  # fmt: skip
    assert found["label"][0] == "dog" and found["label"][1] != "ring"
    assert sum(found["scores"][0].values()) == pytest.approx(1)
    near = F.normalize(labels, dim=-1) @ F.normalize(labels[1], dim=-1)
    assert found["scores"][0]["cat"] == pytest.approx(float((10 * near).softmax(0)[0]))


@pytest.mark.parametrize("names", [[], ["cat"]])
def test_names_and_labels_must_be_as_many(names: list[str]) -> None:
    with pytest.raises(ValueError, match="a name for each label"):
        result(built("transforms/zero-shot"), "guess", embedding=Rows(drawn(1, 4)),
               labels=Rows(drawn(2, 4), counts=[2]), names=Rows(names, counts=[len(names)]))  # fmt: skip


def test_a_name_is_put_into_every_sentence() -> None:
    made = built("transforms/prompts", templates=["a {}", "the {} of {}"])
    assert result(made, "fill", text=Rows(["cat"]))["texts"].groups() == [["a cat", "the cat of cat"]]


def test_search_is_exact_and_equal_items_keep_their_order() -> None:
    keys, query = F.normalize(drawn(500, 16), dim=-1), drawn(1, 16, seed=1)
    order, near = nearest(composed(list(query), "mean"), keys, 7)
    cosines = torch.cosine_similarity(keys, query)
    assert order == cosines.argsort(descending=True)[:7].tolist()
    assert near == pytest.approx(cosines[order].tolist(), abs=1e-6)
    same = torch.cat([keys[:1]] * 4)
    assert nearest(keys[:1], same, 3)[0] == [0, 1, 2]


def test_several_queries_are_composed_or_any_of_them_counts() -> None:
    keys = torch.eye(3)
    both = [keys[0] * 9, keys[1]]
    middle = F.normalize(keys[0] + keys[1], dim=0)
    everything = torch.stack([*keys, middle])
    assert nearest(composed(both, "mean"), everything, 1)[0] == [3]
    assert nearest(composed(both, "best"), everything, 2)[0] == [0, 1]
    with pytest.raises(ValueError, match="nothing to search for"):
        composed([], "mean")


def test_search_gives_the_items_themselves() -> None:
    found = result(built("transforms/search", top=2), "find", 2, query=Rows(torch.eye(3)[[1, 2]], counts=[1, 1]),
                   keys=Rows(torch.eye(3), counts=[3, 0]), items=Rows(["a", "b", "c"], counts=[3, 0]))  # fmt: skip
    assert found["hits"].groups()[0][0] == "b" and found["scores"][0]["1"] == pytest.approx(1)
    assert found["hits"].groups()[1] == [] and found["scores"][1] == {}


def test_keys_of_another_encoder_are_refused() -> None:
    with pytest.raises(ValueError, match="4 wide, the keys 3: they come from different encoders"):
        result(built("transforms/search"), "find", query=Rows(drawn(1, 4), counts=[1]),
               keys=Rows(torch.eye(3), counts=[3]), items=Rows(["a", "b", "c"], counts=[3]))  # fmt: skip


def added(folder: Path, keys: torch.Tensor, names: list[str]) -> None:
    made = built("transforms/index", folder=str(folder))
    told = result(made, "add", keys=Rows(keys, counts=[len(names)]), names=Rows(names, counts=[len(names)]))
    assert told["count"][0] == str(len(names))


def test_an_index_outlives_the_run_that_made_it(tmp_path: Path) -> None:
    keys = drawn(20, 8)
    added(tmp_path / "index", keys[:12], [f"{i}.png" for i in range(12)])
    added(tmp_path / "index", keys[12:], [f"{i}.png" for i in range(12, 20)])
    made = built("transforms/index", folder=str(tmp_path / "index"), top=3)
    found = result(made, "find", query=Rows(keys[15:16], counts=[1]))
    order = torch.cosine_similarity(keys, keys[15:16]).argsort(descending=True)[:3].tolist()
    assert found["names"].groups()[0] == [f"{i}.png" for i in order]
    assert found["scores"][0]["15.png"] == pytest.approx(1, abs=1e-6)


def test_a_known_name_gets_the_new_key_and_an_open_index_sees_it(tmp_path: Path) -> None:
    added(tmp_path, torch.eye(3), ["a", "b", "c"])
    made = built("transforms/index", folder=str(tmp_path), top=1)
    assert result(made, "find", query=Rows(torch.eye(3)[:1], counts=[1]))["names"].groups() == [["a"]]
    added(tmp_path, torch.eye(3)[[1, 0]], ["a", "b"])
    assert result(made, "find", query=Rows(torch.eye(3)[:1], counts=[1]))["names"].groups() == [["b"]]


def test_an_index_that_is_missing_broken_or_of_another_encoder_is_refused(tmp_path: Path) -> None:
    made = built("transforms/index", folder=str(tmp_path))
    with pytest.raises(ValueError, match="there is no index"):
        result(made, "find", query=Rows(drawn(1, 3), counts=[1]))
    added(tmp_path, torch.eye(3), ["a", "b", "c"])
    with pytest.raises(ValueError, match="different encoders"):
        added(tmp_path, torch.eye(4), ["d", "e", "f", "g"])
    (tmp_path / "names.json").write_text('["a"]')
    with pytest.raises(ValueError, match="is broken: 1 names, 3 keys"):
        result(made, "find", query=Rows(drawn(1, 3), counts=[1]))
