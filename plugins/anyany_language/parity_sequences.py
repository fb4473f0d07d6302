"""Parity cases of Mamba, BEiT-3, adaptive input and softmax, and NExT-GPT's spliced prompts.

Suffixes as in the components' files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from anyany.api.torch import last_hidden
from anyany_language.splicing import runs, splice


# Mamba ---------------------------------------------------------------------------------------------------------------
def mamba_block(pack: Any) -> dict[str, Any]:
    """The whole sequence at once, a prefix and then steps, steps alone; with the states."""
    m, x = pack.config["model"], pack.inputs["x"]
    built = pack.component("language/mamba-block", {
        "width": m["d_model"], "states": m["d_state"], "conv": m["d_conv"], "expand": m["expand"], "rank": m["dt_rank"],
    })  # fmt: skip
    block, prefix = built.component, pack.config["prefill"]
    outputs = {"full": pack.call(built, "mix", features=x)["features"].dense()}
    cache = block.cache()
    outputs["prefill"] = block.run(x[:, :prefix], cache)
    conv, states = (t.clone() for t in block.states(cache))
    outputs |= {"conv_state_after_prefill": conv, "ssm_state_after_prefill": states}
    outputs["steps_after_prefill"] = torch.cat([block.run(x[:, i, None], cache) for i in range(prefix, x.shape[1])], 1)
    conv, states = block.states(cache)
    outputs |= {"conv_state_final": conv, "ssm_state_final": states}
    fresh = block.cache()
    outputs["all_steps"] = torch.cat([block.run(x[:, i, None], fresh) for i in range(x.shape[1])], 1)
    return outputs


def mamba_lm(pack: Any) -> dict[str, Any]:
    """A whole pass, and a prefix followed by tokens one by one, through the model of `language/causal-lm`."""
    m, ids, prefix = pack.config["model"], pack.inputs["input_ids"], pack.config["prefill"]
    model = pack.component("language/causal-lm", {
        "arch": "mamba", "width": m["hidden_size"], "layers": m["num_hidden_layers"], "vocab": m["vocab_size"],
        "settings": m,
    }).component.model  # fmt: skip
    with last_hidden(model) as caught:
        whole = model(input_ids=ids, output_hidden_states=True, use_cache=False)
        final = caught[0]
    step = model(input_ids=ids[:, :prefix], use_cache=True)
    logits = [step.logits]
    for i in range(prefix, ids.shape[1]):
        step = model(input_ids=ids[:, i, None], cache_params=step.cache_params, use_cache=True)
        logits.append(step.logits)
    return {"logits": whole.logits, "final_hidden": final, "hidden_after_layer0": whole.hidden_states[1],
            "logits_recurrent": torch.cat(logits, 1)}  # fmt: skip


def mamba_layout(released: Any) -> None:
    """Released language models, under their original names."""
    c = released.config
    sizes = {"state_size": c["d_state"], "conv_kernel": c["d_conv"], "expand": c["expand"], "tie_word_embeddings": True,
             "pad_token_id": 0, "eos_token_id": 0, "bos_token_id": 0}  # fmt: skip
    released.take("language/causal-lm", {
        "arch": "mamba", "width": c["width"], "layers": c["layers"], "settings": sizes,
        "vocab": released.shapes["backbone.embedding.weight"][0],
    })  # fmt: skip


# BEiT-3 --------------------------------------------------------------------------------------------------------------
def _trunk(m: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "resolution": m["img_size"], "patch": m["patch_size"], "width": m["encoder_embed_dim"],
        "layers": m["encoder_layers"], "heads": m["encoder_attention_heads"], "mlp": m["encoder_ffn_embed_dim"],
        "vocab": m["vocab_size"], "positions": m["max_source_positions"],
    }  # fmt: skip


def multiway(pack: Any) -> dict[str, Any]:
    """The trunk on an image, a text, and both."""
    given = pack.inputs
    model = pack.component("language/multiway", _trunk(pack.config["model"])).component.beit3
    image, ids, real = given["image"], given["text_ids"], ~given["text_padding_mask"].bool()
    alone, both = model(image), model(image, ids, real)
    seen = torch.cat([torch.ones(alone.shape[:2], dtype=torch.bool), real], 1)
    return {
        "image_only": alone, "image_only_masked_patches": model(image, masked_BP=given["patch_mask"]),
        "text_only": (model(None, ids, real), real), "image_text": (both, seen),
        "split_position": torch.tensor([alone.shape[1]]),
    }  # fmt: skip


def beit3_heads(pack: Any) -> dict[str, Any]:
    """Every head on its own trunk."""
    given, trunk = pack.inputs, _trunk(pack.config["model"])
    image, ids, real = given["image"], given["text_ids"], ~given["text_padding_mask"].bool()

    def model(prefix: str, head: str, output: str = "") -> Any:
        classes = pack.file.outputs[output].shape[-1] if output else 1
        return pack.component("language/multiway", {**trunk, "head": head, "classes": classes}, prefix=prefix).component

    search = model("retrieval.", "retrieval")
    return {
        "retrieval_image": search.image_vectors(image), "retrieval_text": search.text_vectors(ids, real),
        "vqa_logits": model("vqa.", "vqa", "vqa_logits").answer_logits(image, ids, real),
        "nlvr2_logits": model("nlvr2.", "pair", "nlvr2_logits").pair_logits(image, image.flip(0), ids, real),
        "captioning_logits": (model("captioning.", "caption").caption_logits(image, ids, real), real),
        "imagecls_logits": model("imagecls.", "classify", "imagecls_logits").class_logits(image),
    }  # fmt: skip


_HEADS = {"retrieval": "retrieval", "vqav2": "vqa", "captioning": "caption", "imageclassification": "classify",
          "nlvr2": "pair"}  # fmt: skip


def beit3_layout(released: Any) -> None:
    """Fine-tuned releases; sizes are read off names and shapes."""
    shapes = released.shapes
    width, _, patch, _ = shapes["beit3.vision_embed.proj.weight"]
    side = round((shapes["beit3.encoder.embed_positions.A.weight"][0] - 3) ** 0.5)
    layers = 1 + max(int(n.split(".")[3]) for n in shapes if n.startswith("beit3.encoder.layers."))
    last = next((n for n in ("head.3.bias", "head.dense2.bias", "head.bias") if n in shapes), None)
    released.take("language/multiway", {
        "head": _HEADS[released.name.split()[-1]], "resolution": side * patch, "patch": patch, "width": width,
        "layers": layers, "heads": width // 64, "mlp": shapes["beit3.encoder.layers.0.ffn.A.fc1.weight"][0],
        "vocab": shapes["beit3.text_embed.weight"][0], "positions": shapes["beit3.encoder.embed_positions.B.weight"][0],
        "classes": shapes[last][0] if last else 1,
    })  # fmt: skip


# adaptive input and softmax ------------------------------------------------------------------------------------------
def adaptive_fairseq(pack: Any) -> dict[str, Any]:
    """Embeddings, logits by section, log probabilities."""
    c, given = pack.config, pack.inputs
    built = pack.component("language/adaptive-io", {
        "vocab": c["vocab"], "width": c["dim"], "initial": c["initial_dim"], "cutoffs": c["cutoff"],
        "factor": c["factor"], "tie": c["tie"], "tie_projections": c["tie_proj"], "pad": c["pad"],
    })  # fmt: skip
    softmax, hidden, targets = built.component.adaptive_softmax, given["hidden"], given["targets"]
    flat = hidden.flatten(0, 1)
    logits, wanted = softmax.sections(flat, targets.flatten())
    outputs = {
        "embeddings": pack.call(built, "embed", tokens=list(given["ids"]))["features"].dense(),
        "log_probs": softmax.log_probs(flat).unflatten(0, targets.shape),
        "target_log_prob": softmax.target_log_probs(flat, targets.flatten()).unflatten(0, targets.shape),
    }
    outputs |= {f"logits_{i}": x for i, x in enumerate(logits)} | {f"new_target_{i}": t for i, t in enumerate(wanted)}
    # A band that no target lies in leaves nothing to compare.
    return {name: value for name, value in outputs.items() if name in pack.expected}


def adaptive_torch(pack: Any) -> dict[str, Any]:
    """torch's own layout."""
    c, given = pack.config, pack.inputs
    built = pack.component("language/adaptive-io", {
        "layout": "torch", "vocab": c["vocab"], "width": c["dim"], "cutoffs": c["cutoff"], "factor": c["div"],
        "tie": False, "bias": c["bias"],
    })  # fmt: skip
    hidden, targets = given["hidden"], given["targets"]
    score = pack.call(built, "score", features=hidden[None], tokens=[targets])["loss"].list()
    softmax = built.component.adaptive_softmax
    return {
        "log_probs": softmax.log_probs(hidden), "target_log_prob": softmax.target_log_probs(hidden, targets),
        "predict": pack.call(built, "predict", features=hidden[None])["tokens"].list()[0],
        "loss": torch.stack(list(score)),
    }  # fmt: skip


def adaptive_layout(released: Any) -> None:
    """fairseq's released language model: embedding and softmax."""
    c = released.config
    released.take("language/adaptive-io", {
        "vocab": c["vocab"], "width": c["dim"], "cutoffs": c["cutoff"], "factor": float(c["factor"]), "tie": c["tied"],
        "tie_projections": c["tied_projections"],
    })  # fmt: skip


# NExT-GPT ------------------------------------------------------------------------------------------------------------
def nextgpt_splice(pack: Any) -> dict[str, Any]:
    """Prompts whose placeholders become projected media."""
    c, given = pack.config, pack.inputs
    project = pack.component("adapters/linear", {"inputs": c["emb"], "outputs": c["dim"]},
                             prefix="model.mm_input_projector.").component  # fmt: skip
    table = pack.module(torch.nn.Embedding(c["vocab"], c["dim"]), prefix="model.embed_tokens.")
    media = {k: iter(project.layers(given[f"{k}_embeddings"])) for k in ("image", "video", "audio")
             if f"{k}_embeddings" in given}  # fmt: skip
    rows, labels = [], []
    for ids, line, real in zip(given["input_ids"], given["labels"], given["attention_mask"].bool()):
        rows.append(runs(ids[real].tolist(), media))
        labels.append(line[real][ids[real] >= 0].tolist())
    made = splice(rows, labels, lambda ids: table(torch.tensor(ids)), c["side"] == "left")
    return {"inputs_embeds": made.embeds, "labels": made.labels, "attention_mask": made.mask.long(),
            "position_ids": made.positions}  # fmt: skip


CASES = {
    ("mamba", "block_official"): mamba_block,
    ("mamba", "lm_hf"): mamba_lm,
    ("beit3", "multiway_encoder"): multiway,
    ("beit3", "task_heads"): beit3_heads,
    ("adaptive_io", "fairseq"): adaptive_fairseq,
    ("adaptive_io", "torch_adaptive_log_softmax"): adaptive_torch,
    ("nextgpt_input", "multimodal_splice"): nextgpt_splice,
}
LAYOUTS = {"mamba": mamba_layout, "beit3": beit3_layout, "adaptive_io": adaptive_layout}
