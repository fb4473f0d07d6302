"""Language models and tokenizers from a checkpoint's files, or small ones made here for random weights.

A model without a checkpoint is any transformers architecture at the sizes of `CausalLmConfig`.
"""

from __future__ import annotations

from typing import Any

from anyany.api.torch import Assets

PAD, END = "<pad>", "<eos>"


def model_config(config: Any, assets: Assets, signals: int) -> Any:
    """transformers' config: the checkpoint's, or one made from the options (`arch`, `width`, …)."""
    from transformers import AutoConfig

    card = assets.json("config.json")
    if card is not None:
        sizes = _decoder_of(dict(card.get("config", card)))
        kind = sizes.pop("model_type", None) or ("mamba" if "ssm_cfg" in sizes else _type_of(card))
        if "ssm_cfg" in sizes:
            sizes = _state_spaces(sizes)
        return AutoConfig.for_model(kind, **sizes)
    vocab = config.vocab or 256 + 2 + signals
    heads = config.heads
    sizes = {
        "vocab_size": vocab, "hidden_size": config.width or 512, "num_hidden_layers": config.layers,
        "num_attention_heads": heads, "num_key_value_heads": config.kv_heads or heads,
        "intermediate_size": config.mlp or 4 * (config.width or 512), "max_position_embeddings": config.context,
        "pad_token_id": 256 if vocab > 256 else None, "bos_token_id": None,
        "eos_token_id": 257 if vocab > 257 else None,
    }  # fmt: skip
    if config.arch == "gpt2":
        sizes |= {
            "n_embd": sizes["hidden_size"],
            "n_layer": config.layers,
            "n_head": heads,
            "n_positions": config.context,
        }
    if config.arch == "mamba" and config.mlp is None:
        del sizes["intermediate_size"]  # its inner width is `expand` x the width
    if config.arch.startswith(("gemma", "qwen3")):
        sizes["head_dim"] = max(8, sizes["hidden_size"] // heads)
    try:
        return AutoConfig.for_model(config.arch, **{**sizes, **config.settings})
    except ValueError as error:
        raise ValueError(f"transformers has no architecture {config.arch!r}") from error


def _decoder_of(card: dict[str, Any]) -> dict[str, Any]:
    """The language model's part of a multimodal checkpoint's config (BLIP-2, LLaVA)."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as NAMES

    inner = card.get("text_config")
    known = card.get("model_type") in NAMES
    return dict(inner) if isinstance(inner, dict) and not known else card


def _state_spaces(card: dict[str, Any]) -> dict[str, Any]:
    """The config.json of state-spaces' Mamba releases as transformers': the vocabulary is padded to a multiple."""
    multiple = int(card.get("pad_vocab_size_multiple", 1))
    return {
        "hidden_size": card["d_model"], "num_hidden_layers": card["n_layer"],
        "residual_in_fp32": card.get("residual_in_fp32", True),
        "vocab_size": -(-int(card["vocab_size"]) // multiple) * multiple, "tie_word_embeddings": True,
    }  # fmt: skip


def _type_of(card: dict[str, Any]) -> str:
    """The model type that a class name such as `transformers.LlamaForCausalLM` stands for."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as NAMES

    names = [str(card.get("class", "")).rsplit(".", 1)[-1], *card.get("architectures", [])]
    for kind, classes in NAMES.items():
        options = (classes,) if isinstance(classes, str) else classes
        if any(n in options for n in names):
            return str(kind)
    raise ValueError("the checkpoint's config.json names no `model_type`")


def tokenizer_of(assets: Assets) -> Any:
    """The checkpoint's tokenizer, or a byte tokenizer (256 bytes, pad, end) where there is no checkpoint."""
    made = _tokenizer(assets)
    # Models refuse what is too long for them themselves; transformers' warning of it would stand in conversations.
    made.deprecation_warnings["sequence-length-is-longer-than-the-specified-maximum"] = True
    return made


def _tokenizer(assets: Assets) -> Any:
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    if assets.path("tokenizer_config.json") is not None:
        return AutoTokenizer.from_pretrained(str(assets.folder), local_files_only=True)
    path = assets.path("tokenizer.json")
    if path is not None:
        bare = PreTrainedTokenizerFast(tokenizer_file=str(path))
        known = bare.get_vocab()
        bare.add_special_tokens({k: t for k, t in (("pad_token", PAD), ("eos_token", END)) if t in known})
        return bare  # what `anyany_language.bpe` writes says its marks by their names
    if assets.folder is not None and assets.json("config.json") is not None:
        raise ValueError(f"no tokenizer.json beside the weights in {assets.folder}")
    return _bytes()


def _bytes() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    model = models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[])
    raw = Tokenizer(model)
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    raw.decoder = decoders.ByteLevel()
    raw.add_special_tokens([PAD, END])
    return PreTrainedTokenizerFast(tokenizer_object=raw, pad_token=PAD, eos_token=END)


def signal_ids(tokenizer: Any, tokens: dict[str, list[str]], vocab: int, random: bool) -> dict[str, list[int]]:
    """Ids of the signal tokens. Tokens that the tokenizer lacks are added; the model must have rows for them.

    Raises ValueError naming the tokens when the checkpoint has no embeddings for them.
    """
    flat = [t for run in tokens.values() for t in run]
    known = tokenizer.get_vocab()
    missing = [t for t in flat if t not in known]
    if missing:
        tokenizer.add_tokens(missing, special_tokens=True)
        known = tokenizer.get_vocab()
    beyond = [t for t in flat if known[t] >= vocab]
    if beyond and not random:
        raise ValueError(
            f"the checkpoint has no embeddings for {beyond[0]} … {beyond[-1]}; train them, or overlay their rows"
        )
    return {kind: [known[t] for t in run] for kind, run in tokens.items()}
