"""Encoder-decoders as backbones (T5, Raffel et al. 2020, arXiv 1910.10683; mT5, BART): a message in, a text out.

Features stand at the places of the message in the encoder's input. Suffixes: B rows, L positions, D width, V words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from anyany.api.torch import Build, Component, Context, Rows, load_transformers
from anyany.api.v1 import Message
from anyany_language.chat import pieces
from anyany_language.pretrained import tokenizer_of

IGNORED = ("*encoder.embed_tokens.weight", "*decoder.embed_tokens.weight", "lm_head.weight")


class Seq2Seq(Component):
    """Options: `Seq2SeqConfig`; a checkpoint's config.json overrides the sizes."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        from transformers import AutoModelForSeq2SeqLM

        self.tokenizer = tokenizer_of(build.assets)
        self.settings = _settings(config, build)
        self.model = AutoModelForSeq2SeqLM.from_config(self.settings)
        if _untied(config, build):  # transformers ties T5's head until it sees a checkpoint that holds both
            self.model.lm_head.weight = nn.Parameter(torch.empty_like(self.model.lm_head.weight))
        self.end = self.tokenizer.eos_token_id
        if self.end is None:
            raise ValueError("the tokenizer has no end token; it is not an encoder-decoder's")

    def load(self, stores: Sequence[Any], build: Build) -> None:
        """Weights under transformers' names, strictly; copies of the shared embedding may be there."""
        self.model = load_transformers(type(self.model), self.settings, stores, build, ignores=IGNORED)

    # prompts -----------------------------------------------------------------------------------------------------
    def _embed(self, message: Message, given: dict[str, list[torch.Tensor]]) -> torch.Tensor:
        """[L,D]: words and media in order, and the end mark."""
        table, parts = self.model.get_input_embeddings(), []
        device = table.weight.device
        for piece in [*pieces(message, self.tokenizer, "plain"), None]:
            if isinstance(piece, tuple):
                kind, index = piece
                if index >= len(given.get(kind, ())):
                    raise ValueError(f"the message holds {kind} {index + 1}, but port `{kind}` has none for it")
                value = given[kind][index]
                parts.append(value[None] if value.dim() == 1 else value)
                continue
            ids = [self.end] if piece is None else self.tokenizer(piece, add_special_tokens=False).input_ids
            if ids:
                parts.append(table(torch.tensor(ids, device=device)))
        return torch.cat(parts)

    def _inputs(
        self, ctx: Context, message: Rows, features: dict[str, Rows | None]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """([B,L,D] padded on the right, [B,L] mask)."""
        groups = {k: [list(g) for g in r.groups()] for k, r in features.items() if r is not None}
        rows = []
        for i, one in enumerate(message.list()):
            given = {k: [v.to(ctx.device, ctx.dtype) for v in g[i]] for k, g in groups.items()}
            rows.append(self._embed(one, given))
            if rows[-1].shape[0] > self.config.context:
                raise ValueError(
                    f"the prompt is {rows[-1].shape[0]} tokens long; {ctx.node} takes {self.config.context}"
                )
        longest = max(r.shape[0] for r in rows)
        embeds_BLD = torch.stack([F.pad(r, (0, 0, 0, longest - r.shape[0])) for r in rows])
        mask_BL = torch.tensor([[1] * r.shape[0] + [0] * (longest - r.shape[0]) for r in rows], device=ctx.device)
        return embeds_BLD, mask_BL

    # calls -------------------------------------------------------------------------------------------------------
    def generate(self, ctx: Context, message: Rows, **features: Rows | None) -> dict[str, Rows]:
        """message: B messages; features at their places. reply, text: B; greedy, or by beams.

        Raises ValueError for a prompt beyond `context`.
        """
        embeds_BLD, mask_BL = self._inputs(ctx, message, features)
        ids = self.model.generate(inputs_embeds=embeds_BLD, attention_mask=mask_BL, do_sample=False,
                                  max_new_tokens=self.config.max_new_tokens, num_beams=self.config.beams,
                                  eos_token_id=self.end, pad_token_id=self.settings.pad_token_id)  # fmt: skip
        texts = [str(self.tokenizer.decode(self._kept(row), skip_special_tokens=True)).strip() for row in ids.tolist()]
        return {"reply": ctx.rows([Message((t,)) for t in texts]), "text": ctx.rows(texts)}

    def _kept(self, row: list[int]) -> list[int]:
        row = row[1:]
        return row[: row.index(self.end)] if self.end in row else row

    def learn(self, ctx: Context, message: Rows, target: Rows, **features: Rows | None) -> dict[str, Rows]:
        """loss [B]: the mean cross-entropy of each target's tokens and its end."""
        embeds_BLD, mask_BL = self._inputs(ctx, message, features)
        answers = [[*self.tokenizer(t, add_special_tokens=False).input_ids, self.end] for t in target.list()]
        longest = max(map(len, answers))
        labels = torch.tensor([a + [-100] * (longest - len(a)) for a in answers], device=ctx.device)
        logits = self.model(inputs_embeds=embeds_BLD, attention_mask=mask_BL, labels=labels).logits
        each = F.cross_entropy(logits.float().transpose(1, 2), labels, reduction="none")
        return {"loss": ctx.rows(each.sum(1) / (labels != -100).sum(1))}


def _untied(config: Any, build: Build) -> bool:
    """True where the configuration says that the word head is a matrix of its own (T5 1.1, mT5)."""
    card = build.assets.json("config.json")
    return (config.settings if card is None else card).get("tie_word_embeddings") is False


def _settings(config: Any, build: Build) -> Any:
    from transformers import AutoConfig

    card = build.assets.json("config.json")
    if card is not None:
        sizes = dict(card)
        return AutoConfig.for_model(sizes.pop("model_type", config.arch), **sizes)
    return AutoConfig.for_model(config.arch, **{
        "vocab_size": 258, "d_model": config.width, "d_kv": config.width // config.heads, "num_layers": config.layers,
        "num_decoder_layers": config.layers, "num_heads": config.heads, "d_ff": config.mlp or 4 * config.width,
        "pad_token_id": 256, "eos_token_id": 257, "decoder_start_token_id": 256, "dropout_rate": 0.0, **config.settings,
    })  # fmt: skip
