"""LoRA weights as an overlay of a spec's `weights` list: what peft trained is what causal-lm then computes and writes.

The base and the adapter are files as people have them: config.json and tokenizer beside the base, adapter_config.json
beside the adapter.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from anyany_language.pretrained import _bytes
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from anyany import pipeline

ARCHS = {"llama": ["q_proj", "v_proj", "down_proj"], "gpt2": ["c_attn"], "gpt_neox": ["query_key_value"]}
SIZES: dict[str, Any] = {
    "vocab_size": 258, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "pad_token_id": 256, "bos_token_id": None,
    "eos_token_id": 257, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256,
}  # fmt: skip


def saved(folder: Path, arch: str, **lora: Any) -> tuple[Any, Path, Path]:
    """(the peft model, its base's folder, its adapter's): matrices drawn wide, both factors away from zero."""
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_config(AutoConfig.for_model(arch, **SIZES)).eval()
    for parameter in base.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, 0, 0.3)
    base.save_pretrained(folder / "base")
    _bytes().save_pretrained(folder / "base")
    settings = {"r": 4, "lora_alpha": 8, "target_modules": ARCHS[arch], "task_type": "CAUSAL_LM", **lora}
    model = get_peft_model(base, LoraConfig(**settings)).eval()
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, 0, 0.3)
    model.save_pretrained(str(folder / "adapter"))
    return model, folder / "base", folder / "adapter"


def loaded(weights: Any) -> Any:
    spec = {
        "anyany": 1, "name": "tuned", "inputs": {"prompt": "message"}, "outputs": {"text": "think.text"},
        "nodes": {"think": {"use": "language/causal-lm", "weights": weights, "in": "prompt",
                            "with": {"inputs": [], "max_new_tokens": 12, "template": "plain"}}},
    }  # fmt: skip
    return pipeline.load(spec)


def written(model: Any, text: str) -> str:
    """What peft's model writes, greedily."""
    tokenizer = _bytes()
    ids = torch.tensor([tokenizer(text).input_ids])
    with torch.inference_mode():
        out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12,
                             pad_token_id=256, eos_token_id=257)  # fmt: skip
    return str(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)).strip()


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("lora", [{}, {"use_rslora": True}], ids=["lora", "rslora"])
def test_a_base_and_its_adapter_write_what_peft_writes(arch: str, lora: dict[str, Any], tmp_path: Path) -> None:
    model, base, adapter = saved(tmp_path, arch, **lora)
    tuned = loaded([f"file:{base}", f"file:{adapter}"])
    plain = loaded(f"file:{base}")
    texts = ["once upon", "two", "a longer text"]
    mine = [r.outputs["text"] for r in tuned.map({"prompt": t} for t in texts)]
    assert mine == [written(model, t) for t in texts]
    assert mine != [r.outputs["text"] for r in plain.map({"prompt": t} for t in texts)]


def test_logits_of_the_merged_model_are_those_of_peft(tmp_path: Path) -> None:
    model, base, adapter = saved(tmp_path, "llama")
    merged = loaded([f"file:{base}", f"file:{adapter}"]).components.get("think").component.model
    ids = torch.arange(97, 117)[None]
    with torch.inference_mode():
        expected, found = model(input_ids=ids).logits, merged(input_ids=ids).logits
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_two_adapters_lie_over_each_other(tmp_path: Path) -> None:
    first, base, adapter = saved(tmp_path / "one", "llama")
    _, _, second = saved(tmp_path / "two", "llama", r=2)
    first.load_adapter(str(second), "second")
    first.base_model.set_adapter(["default", "second"])
    both = loaded([f"file:{base}", f"file:{adapter}", f"file:{second}"])(prompt="once upon")["text"]
    assert both == written(first, "once upon")


def test_an_adapter_of_another_model_is_told_before_anything_runs(tmp_path: Path) -> None:
    _, _, adapter = saved(tmp_path / "gpt2", "gpt2")
    _, base, _ = saved(tmp_path / "llama", "llama")
    with pytest.raises(Exception, match="E461"):
        loaded([f"file:{base}", f"file:{adapter}"])(prompt="once")
