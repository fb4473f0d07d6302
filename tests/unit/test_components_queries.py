"""Q-Former, resampler and MLP exchange by one line; sets mean the same in any order; padding is never seen.

Shapes: features [N,D] of any length.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from anyany import pipeline
from anyany.api.torch import Rows
from anyany.registry import default_registry
from anyany.testing.harness import bench, call


def spec(see: dict[str, Any]) -> dict[str, Any]:
    tiny = {"weights": "random:0", "with": "tiny"}
    return {
        "anyany": 1, "name": "one-line", "inputs": {"prompt": "message"},
        "nodes": {
            "look": {"use": "vision/vit", "in": "prompt.image", **tiny},
            "see": {"weights": "random:0", "in": "look", **see},
            "think": {"use": "language/causal-lm", "in": {"message": "prompt", "image": "see"}, **tiny},
        },
        "outputs": {"text": "think.text"},
    }  # fmt: skip


@pytest.mark.parametrize("see", [
    {"use": "adapters/mlp", "with": {"preset": "tiny"}},
    {"use": "adapters/qformer", "with": {"preset": "tiny"}},
    {"use": "adapters/resampler", "with": {"preset": "tiny", "project": True}},
], ids=lambda s: s["use"])  # fmt: skip
def test_adapters_exchange_by_one_line(see: dict[str, Any]) -> None:
    from anyany.api.v1 import Media, Message

    picture = Media(kind="image", value=torch.zeros(3, 20, 30, dtype=torch.uint8))
    assert isinstance(pipeline.load(spec(see))(prompt=Message((picture, "what?")))["text"], str)


@pytest.mark.parametrize("name", ["adapters/sab", "adapters/isab"])
def test_a_set_in_another_order_gives_the_same_vectors_in_that_order(name: str) -> None:
    made = bench(default_registry().card(name)).build()
    x_ND = torch.randn(1, 7, 32, generator=torch.Generator().manual_seed(0))
    order = torch.tensor([3, 0, 6, 1, 2, 5, 4])
    plain = call(made, "transform", {"features": Rows(x_ND)}, [0])["features"].dense()
    moved = call(made, "transform", {"features": Rows(x_ND[:, order])}, [0])["features"].dense()
    torch.testing.assert_close(moved, plain[:, order], atol=1e-6, rtol=1e-6)


def test_the_resampler_refuses_more_frames_than_it_has_times_for() -> None:
    made = bench(default_registry().card("adapters/resampler"), {"preset": "tiny", "max_frames": 2}).build()
    frames = Rows(torch.zeros(3, 4, 32), counts=[3])
    with pytest.raises(ValueError, match="3 frames, but the resampler knows 2"):
        call(made, "encode", {"frames": frames}, [0])


def test_a_caption_begins_with_its_own_mark_and_ends(tmp_path: Any) -> None:
    made = bench(default_registry().card("adapters/qformer"), {"preset": "tiny", "text": True}).build()
    x_BND = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(1))
    texts = call(made, "caption", {"features": Rows(x_BND)}, [0, 1])["text"].list()
    assert all(len(t) <= 6 for t in texts)
    alike = call(made, "compare", {"features": Rows(x_BND), "text": Rows(["a", "b"])}, [0, 1])["scores"].list()
    assert all(-1.001 <= s["similarity"] <= 1.001 for s in alike)


@pytest.mark.parametrize("lengths", [[5, 5], [3, 7, 1]])
def test_words_one_by_one_have_the_scores_of_one_joint_pass(lengths: list[int]) -> None:
    from anyany_adapters.qformer_captions import Captioner

    model = bench(default_registry().card("adapters/qformer"), {"preset": "tiny", "text": True}).build().component
    generator = torch.Generator().manual_seed(2)
    x_BND, real_BN = Rows([torch.randn(n, 32, generator=generator) for n in lengths]).padded()
    ids_BL = torch.randint(4, 261, (len(lengths), 6), generator=generator)
    mask = None if bool(real_BN.all()) else real_BN
    with torch.inference_mode():
        image = model.see(x_BND)
        joint = model.caption_logits(ids_BL, torch.ones_like(ids_BL, dtype=torch.bool), image, mask)
        writer = Captioner(model, image, mask)
        steps = torch.stack([writer.next(ids_B) for ids_B in ids_BL.T], 1)
    torch.testing.assert_close(steps, joint, atol=1e-5, rtol=1e-4)


def test_a_checkpoint_without_a_word_head_offers_no_captions() -> None:
    calls = bench(default_registry().card("adapters/qformer"), {"text": True, "layout": "transformers"}).calls
    assert "match" in calls and "caption" not in calls
