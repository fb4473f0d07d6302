"""Text encoders: any of transformers' that turn a text into features (CLIP's text tower, T5's encoder, BERT and kin).

text -> features [N,D], one vector a token, and one embedding [D]. Suffixes: B rows, L positions, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from anyany.api.torch import Build, Component, Context, Rows, WordPieces, load_transformers

T5 = ("t5", "mt5", "umt5")
OTHERS = ("decoder.*", "lm_head.*", "cls.*", "*position_ids", "vision_model.*", "visual_projection.*",
          "text_projection.*", "logit_scale", "encoder.embed_tokens.weight")  # fmt: skip
POOL = {"clip_text_model": "last", "clip": "last", **dict.fromkeys(T5, "mean")}


class TextEncoder(Component):
    """Options: `TextEncoderConfig`; a checkpoint's config.json overrides the sizes."""

    def __init__(self, config: Any, build: Build) -> None:
        from transformers import AutoModel

        super().__init__(config, build)
        self.settings = _settings(config, build)
        self.kind = self.settings.model_type
        self.model = _t5(self.settings) if self.kind in T5 else AutoModel.from_config(self.settings)
        longest = getattr(self.settings, "max_position_embeddings", None) or config.context
        self.longest = min(int(longest), config.length or int(longest))
        self.pool = config.pool if config.pool != "own" else POOL.get(self.kind, "first")
        self.tokenizer = _tokenizer(build)

    def load(self, stores: Sequence[Any], build: Build) -> None:
        """Weights under transformers' names, strictly; of a whole CLIP or T5 the text encoder alone."""
        self.model = load_transformers(type(self.model), self.settings, stores, build, ignores=OTHERS)

    def words(self, text: str) -> list[int]:
        """Ids with the tokenizer's marks. Raises ValueError for none of them, and beyond the positions."""
        if self.tokenizer is None:
            ids = WordPieces(None, self.settings.vocab_size, 10**9).ids(text)
        else:
            ids = list(self.tokenizer(text).input_ids)
        if not ids:
            raise ValueError(f"the text is empty, and the tokenizer of {self.build.node} marks no end; give it a word")
        if len(ids) > self.longest:
            raise ValueError(f"the text is {len(ids)} tokens long; {self.build.node} reads at most {self.longest}")
        return ids

    def encode(self, ctx: Context, text: Rows) -> dict[str, Rows]:
        """text: B strings. features: B x [L,D], with `length` so many for all; embedding: [B,D]."""
        rows = [self.words(t) for t in text.list()]
        real = [len(r) for r in rows]
        most, pad = self.config.length or max(real), self._pad()
        ids_BL = torch.tensor([r + [pad] * (most - len(r)) for r in rows], device=ctx.device)
        real_BL = torch.arange(most, device=ctx.device)[None] < torch.tensor(real, device=ctx.device)[:, None]
        states_BLD = self.states(ids_BL, real_BL)
        vectors_BD = self._pooled(states_BLD, real_BL)
        if self.config.length:
            return {"features": ctx.rows(states_BLD), "embedding": ctx.rows(vectors_BD)}
        packed = states_BLD[real_BL]
        return {"features": ctx.rows(packed, real), "embedding": ctx.rows(vectors_BD)}

    def states(self, ids_BL: torch.Tensor, real_BL: torch.Tensor) -> torch.Tensor:
        """[B,L,D] after the last norm."""
        return self.model(input_ids=ids_BL, attention_mask=real_BL.long()).last_hidden_state

    def _pooled(self, states_BLD: torch.Tensor, real_BL: torch.Tensor) -> torch.Tensor:
        if self.pool == "first":
            return states_BLD[:, 0]
        if self.pool == "last":
            rows = torch.arange(states_BLD.shape[0], device=states_BLD.device)
            return states_BLD[rows, real_BL.sum(1) - 1]
        weight_BL1 = real_BL[..., None].to(states_BLD.dtype)
        return (states_BLD * weight_BL1).sum(1) / weight_BL1.sum(1)

    def _pad(self) -> int:
        own = None if self.tokenizer is None else self.tokenizer.pad_token_id
        return 0 if own is None else int(own)

    def probe(self, call: str) -> Callable[[], Any]:
        """A pass over 64 words, or over `length` of them, on the meta device."""
        count, device = min(self.config.length or 64, self.longest), self.model.device
        ids_BL = torch.zeros(1, count, dtype=torch.int64, device=device)
        mask = torch.empty(1, 1, count, count, device=device)

        def one_pass() -> dict[str, Rows]:
            return {"features": Rows(self.model(input_ids=ids_BL, attention_mask=mask).last_hidden_state)}

        one_pass.__doc__ = f"{count} words"
        return one_pass


def _t5(settings: Any) -> Any:
    from transformers import MT5EncoderModel, T5EncoderModel, UMT5EncoderModel

    return {"t5": T5EncoderModel, "mt5": MT5EncoderModel, "umt5": UMT5EncoderModel}[settings.model_type](settings)


def _settings(config: Any, build: Build) -> Any:
    from transformers import AutoConfig

    card = build.assets.json("config.json")
    if card is not None:
        sizes = dict(card)
        kind = sizes.pop("model_type", config.arch)
        if kind == "clip":
            kind, sizes = "clip_text_model", dict(sizes.get("text_config") or {})
            sizes.pop("model_type", None)
        return AutoConfig.for_model(kind, **sizes)
    width = int(config.width or build.sizes.get("width") or 768)
    if width % config.heads:
        raise ValueError(f"a width of {width} does not split into {config.heads} heads; give `with: {{heads: …}}`")
    mlp = config.mlp or 4 * width
    marks = {"vocab_size": config.vocab, "pad_token_id": 0, "eos_token_id": 2}
    if config.arch in T5:
        sizes = {"d_model": width, "d_kv": width // config.heads, "num_layers": config.layers,
                 "num_heads": config.heads, "d_ff": mlp, "dropout_rate": 0.0}  # fmt: skip
    else:
        sizes = {"hidden_size": width, "num_hidden_layers": config.layers, "intermediate_size": mlp,
                 "num_attention_heads": config.heads, "max_position_embeddings": config.context,
                 "bos_token_id": 1}  # fmt: skip
    return AutoConfig.for_model(config.arch, **{**marks, **sizes, **config.settings})


def _tokenizer(build: Build) -> Any:
    """The checkpoint's; None without a checkpoint. Raises ValueError for a checkpoint without one."""
    assets = build.assets
    names = ("tokenizer_config.json", "tokenizer.json", "vocab.txt", "spiece.model")
    if any(assets.path(n) is not None for n in names):
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(str(assets.folder), local_files_only=True)
    if assets.json("config.json") is not None:
        raise ValueError(f"no tokenizer beside the weights in {assets.folder}")
    return None
