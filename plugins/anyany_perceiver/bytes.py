"""Perceiver IO's masked language model over bytes (Jaegle et al. 2021, arXiv 2107.14795, section 4.1).

text -> features B x [N,C] for `perceiver/encoder`; its latents and the text back -> the bytes under each [MASK], asked
by position: only those are computed. On transformers. Suffixes: B rows, N tokens, C width, Q queries, V tokens known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from transformers.models.perceiver.modeling_perceiver import (
    PerceiverBasicDecoder,
    PerceiverEmbeddingDecoder,
    PerceiverTextPreprocessor,
)
from transformers.models.perceiver.tokenization_perceiver import PerceiverTokenizer

from anyany.api.torch import Build, Component, Context, Rows
from anyany_perceiver.layers import attend, official, padded, settings, width_of


class Bytes(Component):
    """Options: `BytesConfig`; a checkpoint's config.json overrides the sizes."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        latents = width_of("latents", config, build)
        sizes = settings(build, d_latents=latents, d_model=config.width, vocab_size=config.vocab,
                         max_position_embeddings=config.positions)  # fmt: skip
        self.width, self.positions = int(sizes.d_model), int(sizes.max_position_embeddings)
        self.input_preprocessor = PerceiverTextPreprocessor(sizes)
        self.decoder = PerceiverBasicDecoder(
            sizes, output_num_channels=latents, output_index_dims=self.positions, num_channels=self.width,
            qk_channels=config.query_width, v_channels=self.width, num_heads=config.query_heads,
            use_query_residual=False, final_project=False,
            trainable_position_encoding_kwargs={"num_channels": self.width, "index_dims": self.positions},
        )  # fmt: skip
        self.embedding_decoder = PerceiverEmbeddingDecoder(sizes)
        self.words: Any = (
            PerceiverTokenizer(model_max_length=10**9)
            if build.assets.path("tokenizer.json") is None
            else _other_words(build)
        )

    def rename(self, name: str) -> str:
        """transformers' names."""
        return official(name)

    # the network -------------------------------------------------------------------------------------------------
    def array(self, ids_BN: torch.Tensor) -> torch.Tensor:
        """[B,N] -> [B,N,C]: what the encoder looks at."""
        found: torch.Tensor = self.input_preprocessor(ids_BN)[0]
        return found

    def hidden(
        self, latents_BMD: torch.Tensor, places_BQ: torch.Tensor, real_BM: torch.Tensor | None = None
    ) -> torch.Tensor:
        """[B,Q,C] at chosen positions of the text; each is the same whichever others are asked."""
        query_BQC = self.decoder.output_position_encodings.position_embeddings[places_BQ]
        found: torch.Tensor = attend(self.decoder.decoding_cross_attention, query_BQC, latents_BMD, real_BM)
        return found

    def logits(self, hidden_BQC: torch.Tensor) -> torch.Tensor:
        """[B,Q,V] over the tokens, by the embedding that they came in with."""
        found: torch.Tensor = self.embedding_decoder(hidden_BQC, embedding_layer=self.input_preprocessor.embeddings)
        return found

    # calls -------------------------------------------------------------------------------------------------------
    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokens of each text between [CLS] and [SEP]. Raises ValueError for one that is too long."""
        found = [list(self.words(t.encode("utf-8", "replace").decode("utf-8")).input_ids) for t in texts]
        longest = max(map(len, found), default=0)
        if longest > self.positions:
            raise ValueError(f"the text has {longest} bytes with its marks; at most {self.positions} are read")
        return found

    def embed(self, ctx: Context, text: Rows) -> dict[str, Rows]:
        """text: B strings. features: B x [N,C], a byte a position."""
        ids = self.ids(text.list())
        device = self.input_preprocessor.embeddings.weight.device
        arrays = [self.array(torch.tensor([row], device=device))[0] for row in ids]
        return {"features": ctx.rows(torch.cat(arrays), [len(row) for row in ids])}

    def _asked(self, texts: Sequence[str], latents: Rows) -> tuple[list[list[int]], list[list[int]], torch.Tensor]:
        """(tokens, positions of [MASK], logits [B,Q,V] at these, padded). Raises ValueError for a text without."""
        ids = self.ids(texts)
        places = [[i for i, token in enumerate(row) if token == self.words.mask_token_id] for row in ids]
        if not all(places):
            raise ValueError("there is no [MASK] in the text")
        latents_BMD, real_BM = padded(latents)
        most = max(map(len, places))
        asked = torch.tensor([row + [0] * (most - len(row)) for row in places], device=latents_BMD.device)
        return ids, places, self.logits(self.hidden(latents_BMD, asked, real_BM)).float()

    def fill(self, ctx: Context, latents: Rows, text: Rows) -> dict[str, Rows]:
        """text: the same with the likeliest byte at each [MASK]; scores: the five likeliest at the first one."""
        ids, places, logits_BQV = self._asked(text.list(), latents)
        if logits_BQV.is_meta:  # counting FLOPs: shapes alone
            return {"text": ctx.rows(text.list()), "scores": ctx.rows([{} for _ in ids])}
        logits_BQV[..., self.words.all_special_ids] = float("-inf")  # a mark is no byte
        texts, scores = [], []
        for row, at, chances_QV in zip(ids, places, logits_BQV.softmax(-1)):
            for place, best in zip(at, chances_QV.argmax(-1).tolist()):
                row[place] = best
            top = chances_QV[0].topk(min(5, chances_QV.shape[-1]))
            scores.append({self._shown(i): p for i, p in zip(top.indices.tolist(), top.values.tolist())})
            texts.append(self.words.decode(row, skip_special_tokens=True))
        return {"text": ctx.rows(texts), "scores": ctx.rows(scores)}

    def _shown(self, token: int) -> str:
        """A token as text; one that is no character by its number."""
        text = str(self.words.decode([token]))
        return text if text.isprintable() and text and "\ufffd" not in text else f"#{token}"

    def learn(self, ctx: Context, latents: Rows, text: Rows, target: Rows) -> dict[str, Rows]:
        """loss [B]: mean cross-entropy at each [MASK] of `text`, `target` being the whole text.

        Raises ValueError where the two are not of one length in bytes.
        """
        ids, places, logits_BQV = self._asked(text.list(), latents)
        whole = self.ids(target.list())
        if [len(r) for r in whole] != [len(r) for r in ids]:
            raise ValueError("text and target are not of one length in bytes ([MASK] counts as one)")
        each = [
            torch.nn.functional.cross_entropy(
                logits_QV[: len(at)], torch.tensor([row[i] for i in at]).to(logits_QV.device)
            )
            for logits_QV, at, row in zip(logits_BQV, places, whole)
        ]
        return {"loss": ctx.rows(torch.stack(each))}

    def one_pass(self, given: Mapping[str, Rows]) -> Callable[[], dict[str, Rows]]:
        """For counting: a text of full length, every byte of it asked for, as in the paper's figures."""
        count = self.positions

        def full() -> dict[str, Rows]:
            if "latents" not in given:
                return {"features": Rows(self.array(torch.empty(1, count, dtype=torch.long, device="meta")))}
            asked = torch.empty(1, count, dtype=torch.long, device="meta")
            return {"logits": Rows(self.logits(self.hidden(given["latents"].dense(), asked)))}

        full.__doc__ = f"{count} bytes"
        return full

    def example_rows(self, call: str, rows: Sequence[int], making: Any) -> dict[str, Rows]:
        """Texts to try a call with: all but `embed` want a [MASK]."""
        whole = [("a red circle", "describe it", "two", "more of naïve 漢字 than the others")[r % 4] for r in rows]
        if call == "embed":
            return {"text": Rows(whole)}
        width = self.decoder.decoding_cross_attention.attention.self.key.in_features
        latents = [torch.randn(3, width, generator=making.generator("latents", r)) for r in rows]
        masked = [t[0] + "[MASK]" * (1 + r % 2) + t[2 + r % 2 :] for r, t in zip(rows, whole)]
        given = {"latents": Rows(latents), "text": Rows(masked)}
        return {**given, "target": Rows(whole)} if call == "learn" else given


def _other_words(build: Build) -> Any:
    """The tokenizer beside the weights, for models over other tokens than bytes."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(build.assets.folder), local_files_only=True)
