"""Text encoders of transformers as components: their states, unseen padding, the text parts of whole checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from anyany_language.pretrained import _bytes
from transformers import AutoConfig, AutoModel, BertModel, CLIPModel, T5Model

from anyany.api.torch import Rows
from anyany.registry import default_registry
from anyany.testing.harness import bench, call

TEXTS = ["a red circle", "two", "a longer text of many words"]
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
MARKS = {"vocab_size": 260, "pad_token_id": 256, "bos_token_id": 257, "eos_token_id": 257}


def saved(folder: Path, model: Any, config: dict[str, Any]) -> str:
    model.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(config))
    _bytes().save_pretrained(folder)
    return f"file:{folder}"


def clip(folder: Path) -> tuple[Any, str]:
    text = {**SMALL, **MARKS, "max_position_embeddings": 64}
    vision = {**SMALL, "image_size": 28, "patch_size": 14}
    config = AutoConfig.for_model("clip", text_config=text, vision_config=vision, projection_dim=16)
    model = CLIPModel(config).eval()
    return model.text_model, saved(folder, model, config.to_dict())


def bert(folder: Path) -> tuple[Any, str]:
    config = AutoConfig.for_model("bert", **SMALL, vocab_size=260, pad_token_id=256, max_position_embeddings=64)
    model = BertModel(config).eval()
    return model, saved(folder, model, config.to_dict())


def t5(folder: Path) -> tuple[Any, str]:
    config = AutoConfig.for_model("t5", d_model=32, d_kv=16, num_layers=2, num_heads=2, d_ff=64, vocab_size=260,
                                  pad_token_id=256, eos_token_id=257, decoder_start_token_id=256)  # fmt: skip
    model = T5Model(config).eval()
    return model.encoder, saved(folder, model, config.to_dict())


@pytest.mark.parametrize(("make", "pool"), [(clip, "last"), (bert, "first"), (t5, "mean")])
def test_features_are_transformers_own_and_the_embedding_is_of_them(make: Any, pool: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs, source = make(tmp_path)
    made = bench(default_registry().card("language/text-encoder"), "tiny").build(source)
    found = call(made, "encode", {"text": Rows(TEXTS)}, [0, 1, 2])
    for i, text in enumerate(TEXTS):
        ids = torch.tensor([_bytes()(text).input_ids])
        with torch.inference_mode():
            expected = theirs(input_ids=ids).last_hidden_state[0]
        torch.testing.assert_close(found["features"][i], expected, atol=1e-5, rtol=1e-4)
        vector = {"last": expected[-1], "first": expected[0], "mean": expected.mean(0)}[pool]
        torch.testing.assert_close(found["embedding"][i], vector, atol=1e-5, rtol=1e-4)


def test_a_fixed_length_gives_every_place_as_diffusion_wants_it() -> None:
    made = bench(default_registry().card("language/text-encoder"), {"preset": "tiny", "length": 40}).build()
    features = call(made, "encode", {"text": Rows(TEXTS)}, [0, 1, 2])["features"]
    assert features.dense().shape == (3, 40, 32)
    alone = call(made, "encode", {"text": Rows(TEXTS[:1])}, [0])["features"].dense()
    torch.testing.assert_close(features.dense()[:1], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("arch", ["clip_text_model", "t5", "bert"])
def test_a_model_without_a_checkpoint_reads_bytes(arch: str) -> None:
    made = bench(default_registry().card("language/text-encoder"), {"preset": "tiny", "arch": arch}).build()
    assert call(made, "encode", {"text": Rows(TEXTS)}, [0, 1, 2])["features"].lengths == [len(t) + 2 for t in TEXTS]


def test_a_text_beyond_the_positions_is_an_error() -> None:
    made = bench(default_registry().card("language/text-encoder"), {"preset": "tiny", "length": 20}).build()
    with pytest.raises(ValueError, match="29 tokens long; bench reads at most 20"):
        call(made, "encode", {"text": Rows(TEXTS)}, [0, 1, 2])


def test_a_checkpoint_without_a_tokenizer_is_an_error(tmp_path: Path) -> None:
    config = AutoConfig.for_model("bert", **SMALL, vocab_size=260)
    AutoModel.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(Exception, match="no tokenizer beside the weights"):
        bench(default_registry().card("language/text-encoder"), "tiny").build(f"file:{tmp_path}")


def test_an_empty_text_is_told_where_no_token_marks_its_end(tmp_path: Path) -> None:
    made = bench(default_registry().card("language/text-encoder"), "tiny").build(bert(tmp_path)[1])
    with pytest.raises(ValueError, match="the text is empty"):
        call(made, "encode", {"text": Rows([""])}, [0])
