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
from anyany_language.pretrained import tokenizer_of
from anyany_language.prompts import embedded, places
from anyany_language.writing import Step, write

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
    def _embed(self, ids: Sequence[int]) -> torch.Tensor:
        table = self.model.get_input_embeddings()
        found: torch.Tensor = table(torch.tensor(list(ids), device=table.weight.device))
        return found

    def _inputs(
        self, ctx: Context, message: Rows, features: dict[str, Rows | None]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """([B,L,D] of words and media in order and the end mark, padded on the right; [B,L] mask)."""
        rows = [embedded(one, given, self.tokenizer, self._embed, end=[self.end])
                for one, given in zip(message.list(), places(ctx, features))]  # fmt: skip
        longest = max(r.shape[0] for r in rows)
        if longest > self.config.context:
            raise ValueError(f"the prompt is {longest} tokens long; {ctx.node} takes {self.config.context}")
        embeds_BLD = torch.stack([F.pad(r, (0, 0, 0, longest - r.shape[0])) for r in rows])
        mask_BL = torch.tensor([[1] * r.shape[0] + [0] * (longest - r.shape[0]) for r in rows], device=ctx.device)
        return embeds_BLD, mask_BL

    # calls -------------------------------------------------------------------------------------------------------
    def generate(self, ctx: Context, message: Rows, **features: Rows | None) -> dict[str, Rows]:
        """message: B messages; features at their places. reply, text: B; greedy, sampled, or by beams.

        Raises ValueError for a prompt beyond `context`.
        """
        embeds_BLD, mask_BL = self._inputs(ctx, message, features)
        room = [int(n) for n in ctx.option("max_new_tokens", self.config.max_new_tokens)]
        if self.config.beams > 1:
            ids = self._beams(embeds_BLD, mask_BL, room)
        else:
            ids = write(ctx, self.config, self._steps(embeds_BLD, mask_BL), room, [self.end], self._text)
        texts = [self._text(row).strip() for row in ids]
        return {"reply": ctx.rows([Message((t,)) for t in texts]), "text": ctx.rows(texts)}

    def _steps(self, embeds_BLD: torch.Tensor, mask_BL: torch.Tensor) -> Step:
        """The decoder, a word at a time, with its cache; what was read is encoded once."""
        read = self.model.get_encoder()(inputs_embeds=embeds_BLD, attention_mask=mask_BL)
        start = int(self.settings.decoder_start_token_id)
        first_B = torch.full((embeds_BLD.shape[0],), start, device=embeds_BLD.device)
        cache: Any = None

        def step(token_B: torch.Tensor | None) -> torch.Tensor:
            nonlocal cache
            ids_B1 = (first_B if token_B is None else token_B)[:, None]
            out = self.model(encoder_outputs=read, attention_mask=mask_BL, decoder_input_ids=ids_B1,
                             past_key_values=cache, use_cache=True)  # fmt: skip
            cache = out.past_key_values
            return out.logits[:, -1]

        return step

    def _beams(self, embeds_BLD: torch.Tensor, mask_BL: torch.Tensor, room: Sequence[int]) -> list[list[int]]:
        """Beam search by transformers' generate, a row at a time and without its padding."""
        found = []
        for embeds_LD, mask_L, most in zip(embeds_BLD, mask_BL.bool(), room):
            ids = self.model.generate(inputs_embeds=embeds_LD[mask_L][None], do_sample=False, max_new_tokens=most,
                                      num_beams=self.config.beams, eos_token_id=self.end,
                                      pad_token_id=self.settings.pad_token_id)[0].tolist()[1:]  # fmt: skip
            found.append(ids[: ids.index(self.end)] if self.end in ids else ids)
        return found

    def _text(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

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
