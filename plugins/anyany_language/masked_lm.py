"""Masked language models (BERT, Devlin et al. 2019, arXiv 1810.04805): any encoder of transformers with its word head.

text -> features [N,D], the class vector [D], or the text with each `[MASK]` filled. Suffixes: B rows, L tokens,
V words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from anyany.api.torch import Build, Component, Context, Rows, load_transformers
from anyany_language.pieces import word_pieces


class MaskedLm(Component):
    """Options: `MaskedLmConfig`; a checkpoint's config.json overrides the sizes."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        from transformers import AutoModelForMaskedLM

        self.settings = _settings(config, build)
        self.model = AutoModelForMaskedLM.from_config(self.settings)
        self.words = word_pieces(build.assets, self.settings.vocab_size, self.settings.max_position_embeddings)

    def load(self, stores: Sequence[Any], build: Build) -> None:
        """Weights under transformers' names, strictly; the head that predicts the next sentence may be there."""
        self.model = load_transformers(type(self.model), self.settings, stores, build,
                                       ignores=("cls.seq_relationship.*", "*pooler.*", "*position_ids"))  # fmt: skip

    def probe(self, call: str) -> Callable[[], Any]:
        """A pass over as many words as there are positions, on the meta device."""
        longest, device = self.words.longest, self.model.device
        words = {"inputs_embeds": torch.empty(1, longest, self.settings.hidden_size, device=device),
                 "attention_mask": torch.empty(1, 1, longest, longest, device=device)}  # fmt: skip

        def one_pass() -> dict[str, Rows]:
            if call != "encode":
                return {"logits": Rows(self.model(**words).logits)}
            return {"features": Rows(self.model.base_model(**words).last_hidden_state)}

        one_pass.__doc__ = f"{longest} words"
        return one_pass

    def states(self, ids_BL: torch.Tensor, real_BL: torch.Tensor) -> torch.Tensor:
        """[B,L,D] after the last layer; the word head is not run."""
        return self.model.base_model(input_ids=ids_BL, attention_mask=real_BL.long()).last_hidden_state

    def logits(self, ids_BL: torch.Tensor, real_BL: torch.Tensor) -> torch.Tensor:
        """[B,L,V]."""
        return self.model(input_ids=ids_BL, attention_mask=real_BL.long()).logits

    def encode(self, ctx: Context, text: Rows) -> dict[str, Rows]:
        """text: B strings. features: B x [L,D]; cls: [B,D], the first position."""
        ids, real = self.words.batch(text.list(), ctx.device)
        states_BLD = self.states(ids, real)
        lengths = real.sum(1).tolist()
        return {"features": ctx.rows([s[:n] for s, n in zip(states_BLD, lengths)]), "cls": ctx.rows(states_BLD[:, 0])}

    def fill(self, ctx: Context, text: Rows) -> dict[str, Rows]:
        """text: the same with the likeliest word at each `[MASK]`; scores: the five likeliest at the first one.

        Raises ValueError for a text without a `[MASK]`.
        """
        ids, real = self.words.batch(text.list(), ctx.device)
        masked_BL = (ids == self.words.mask) & real
        if not bool(masked_BL.any(1).all()):
            raise ValueError("there is no [MASK] in the text")
        chances = self.logits(ids, real).float().softmax(-1)
        filled = torch.where(masked_BL, chances.argmax(-1), ids)
        texts, scores = [], []
        for row, mask, chance in zip(filled.tolist(), masked_BL, chances):
            top = chance[int(mask.nonzero()[0])].topk(5)
            found = zip(top.indices.tolist(), top.values.tolist())
            scores.append({self._word(i): v for i, v in found})
            texts.append(self.words.text(row[1:]))
        return {"text": ctx.rows(texts), "scores": ctx.rows(scores)}

    def example_rows(self, call: str, rows: Sequence[int], making: Any) -> dict[str, Rows]:
        """Texts to try a call with: all but `encode` want a `[MASK]`, and `learn` the letter that it hides."""
        whole = [("a red circle", "describe it", "two", "a longer text of many words")[r % 4] for r in rows]
        masked = [f"{t[:1]}[MASK]{t[2:]}" for t in whole]
        if call == "learn":
            return {"text": Rows(masked), "target": Rows(whole)}
        return {"text": Rows(whole if call == "encode" else masked)}

    def _word(self, token: int) -> str:
        """A token as text; one that is no whole character by its number, so that no two are alike."""
        text = self.words.text([token])
        return text if text and "\ufffd" not in text else f"#{token}"

    def learn(self, ctx: Context, text: Rows, target: Rows) -> dict[str, Rows]:
        """loss [B]: the mean cross-entropy at each `[MASK]` of `text`, `target` being the whole text.

        Raises ValueError where the two are not of one length in tokens.
        """
        ids, real = self.words.batch(text.list(), ctx.device)
        wanted, _ = self.words.batch(target.list(), ctx.device)
        if wanted.shape != ids.shape:
            raise ValueError("text and target are not of one length in tokens")
        masked_BL = (ids == self.words.mask) & real
        logits = self.logits(ids, real).float()
        labels = wanted.masked_fill(~masked_BL, -100)
        each = torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
        return {"loss": ctx.rows(each.sum(1) / masked_BL.sum(1).clamp(min=1))}


def _settings(config: Any, build: Build) -> Any:
    from transformers import AutoConfig

    card = build.assets.json("config.json")
    if card is not None:
        sizes = dict(card)
        return AutoConfig.for_model(sizes.pop("model_type", config.arch), **sizes)
    return AutoConfig.for_model(config.arch, **{
        "vocab_size": config.vocab, "hidden_size": config.width, "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads, "intermediate_size": config.mlp or 4 * config.width,
        "max_position_embeddings": config.positions, "pad_token_id": 0, **config.settings,
    })  # fmt: skip
