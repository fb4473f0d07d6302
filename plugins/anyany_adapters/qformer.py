"""Q-Former of BLIP-2 (Li et al. 2023, arXiv 2301.12597): learned queries read image features, alone or beside a text.

features: B x [N,D] ragged -> queries [B,Q,E]. Names: LAVIS or transformers. Suffixes: B rows, N image tokens,
Q queries, L text tokens, S = Q + L, D width taken, H width inside, P contrastive width, V vocabulary, A heads.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from anyany.api.torch import Build, Component, Context, Rows
from anyany_adapters.qformer_captions import Captioner
from anyany_adapters.ragged import padded
from anyany_adapters.widths import width
from anyany_adapters.words import Words

SMOOTHING = 0.1
_LAVIS = {
    "Qformer.bert.embeddings.LayerNorm.": "qformer.layernorm.",
    "Qformer.bert.embeddings.position_ids": "position_ids",
    "Qformer.bert.embeddings.": "embeddings.",
    "Qformer.bert.encoder.": "qformer.encoder.",
    "Qformer.cls.predictions.": "predictions.",
    "vision_proj.": "vision_projection.",
    "text_proj.": "text_projection.",
    "opt_proj.": "language_projection.",
    "t5_proj.": "language_projection.",
    "llm_proj.": "language_projection.",
}


class Predictions(nn.Module):
    """BERT's language-model head: [.,H] -> logits [.,V]; its decoder is the word embedding."""

    def __init__(self, hidden: int, words: nn.Embedding, eps: float) -> None:
        super().__init__()
        vocab = words.num_embeddings
        self.transform = nn.ModuleDict({"dense": nn.Linear(hidden, hidden), "LayerNorm": nn.LayerNorm(hidden, eps=eps)})
        self.decoder = nn.Linear(hidden, vocab)
        self.decoder.weight = words.weight
        self.bias = self.decoder.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.decoder(self.transform["LayerNorm"](F.gelu(self.transform["dense"](x))))


class QFormer(Component):
    """Options: `QFormerConfig`. With `text` it also matches, compares and captions (stage 1)."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        from transformers.models.blip_2.modeling_blip_2 import Blip2QFormerModel, Blip2TextEmbeddings

        lavis, wide = config.layout == "lavis", config.width
        settings = _settings(config, width("inputs", config, build))
        self.query_tokens = nn.Parameter(torch.empty(1, config.queries, wide))
        self.qformer = Blip2QFormerModel(settings)
        if lavis:
            self.ln_vision = nn.LayerNorm(settings.encoder_hidden_size, eps=1e-5)
            self.position_ids = nn.Buffer(torch.arange(config.positions).expand(1, -1).clone())
        if config.project:
            self.language_projection = nn.Linear(wide, width("outputs", config, build))
        if config.text:
            self.words = Words(build.assets, config.vocab, config.positions)
            self.embeddings = Blip2TextEmbeddings(settings)
            self.vision_projection = nn.Linear(wide, config.embed)
            self.text_projection = nn.Linear(wide, config.embed)
            self.itm_head = nn.Linear(wide, 2)
            if lavis:
                self.temp = nn.Parameter(torch.empty(()))
                self.predictions = Predictions(wide, self.embeddings.word_embeddings, settings.layer_norm_eps)

    def rename(self, name: str) -> str:
        """LAVIS's names as transformers'; transformers' stay."""
        for old in sorted(_LAVIS, key=len, reverse=True):
            if name.startswith(old):
                name = _LAVIS[old] + name[len(old) :]
                break
        return name.replace("attention.self.", "attention.attention.")

    def init_buffers(self) -> None:
        """The positions of the text branch, which no checkpoint carries."""
        if self.config.text:
            count = self.config.positions
            self.embeddings.position_ids.copy_(torch.arange(count, device=self.embeddings.position_ids.device)[None])

    # tensors -----------------------------------------------------------------------------------------------------
    def see(self, features_BND: torch.Tensor) -> torch.Tensor:
        """[B,N,D] normed, where this layout holds the tower's last norm (`ln_vision`)."""
        return self.ln_vision(features_BND) if self.config.layout == "lavis" else features_BND

    def run(self, queries: bool, ids_BL: torch.Tensor | None = None, text_BL: torch.Tensor | None = None,
            image_BND: torch.Tensor | None = None, image_BN: torch.Tensor | None = None, causal: bool = False,
            **more: Any) -> Any:  # fmt: skip
        """One pass over [queries ; text]. The masks are true on real positions; `causal` is the captioning mask.

        Queries alone, text alone (unimodal), both (bidirectional), or both with text causal and unseen by the queries.
        Returns transformers' output: `last_hidden_state` [B,S,H]. `image_BND` has passed `see`.
        """
        rows = (ids_BL if ids_BL is not None else image_BND).shape[0]  # type: ignore[union-attr]
        x_BSH = self.query_tokens.expand(rows, -1, -1) if queries else None
        if ids_BL is not None:
            x_BSH = self.embeddings(input_ids=ids_BL, query_embeds=x_BSH)
        count = self.config.queries if queries else 0
        assert x_BSH is not None
        real_BS = torch.ones(x_BSH.shape[:2], dtype=torch.bool, device=x_BSH.device)
        if text_BL is not None:
            real_BS[:, count:] = text_BL.bool()
        seen_BSS = real_BS[:, None, :].expand(-1, x_BSH.shape[1], -1)
        if causal:
            seen_BSS = seen_BSS & _captioning(count, x_BSH.shape[1] - count, x_BSH.device)
        return self.qformer(
            query_embeds=x_BSH, query_length=count, attention_mask=_additive(seen_BSS, x_BSH.dtype),
            encoder_hidden_states=image_BND,
            encoder_attention_mask=None if image_BN is None else _additive(image_BN[:, None].bool(), x_BSH.dtype),
            **more,
        )  # fmt: skip

    def image_vectors(self, queries_BQH: torch.Tensor) -> torch.Tensor:
        """[B,Q,H] -> unit vectors [B,Q,P]."""
        return F.normalize(self.vision_projection(queries_BQH), dim=-1)

    def text_vectors(self, ids_BL: torch.Tensor, text_BL: torch.Tensor) -> torch.Tensor:
        """Text alone -> unit vectors [B,P] of its first position."""
        hidden_BLH = self.run(False, ids_BL, text_BL).last_hidden_state
        return F.normalize(self.text_projection(hidden_BLH[:, 0]), dim=-1)

    def match_logits(self, hidden_BSH: torch.Tensor) -> torch.Tensor:
        """[B,S,H] -> [B,2]: the mean over queries; index 1 means a match."""
        return self.itm_head(hidden_BSH[:, : self.config.queries]).mean(1)

    def caption_logits(self, ids_BL: torch.Tensor, text_BL: torch.Tensor, image_BND: torch.Tensor,
                       image_BN: torch.Tensor | None = None) -> torch.Tensor:  # fmt: skip
        """[B,L,V] of one joint pass; `ids_BL` begins with the `[DEC]` token."""
        hidden = self.run(True, ids_BL, text_BL, image_BND, image_BN, causal=True).last_hidden_state
        return self.predictions(hidden[:, self.config.queries :])

    # calls -------------------------------------------------------------------------------------------------------
    def _image(self, features: Rows) -> tuple[torch.Tensor, torch.Tensor | None]:
        x_BND, real_BN = padded(features)
        return self.see(x_BND), real_BN

    def encode(self, ctx: Context, features: Rows) -> dict[str, Rows]:
        """features: B x [N,D]. queries: [B,Q,E]."""
        image, mask = self._image(features)
        queries = self.run(True, image_BND=image, image_BN=mask).last_hidden_state
        return {"queries": ctx.rows(self.language_projection(queries) if self.config.project else queries)}

    def match(self, ctx: Context, features: Rows, text: Rows) -> dict[str, Rows]:
        """How likely each text belongs to its picture: {"match": probability, "other": 1 - it} (ITM)."""
        image, mask = self._image(features)
        ids, real = self.words.batch(text.list(), ctx.device)
        logits = self.match_logits(self.run(True, ids, real, image, mask).last_hidden_state)
        found = logits.float().softmax(-1).tolist()
        return {"scores": ctx.rows([{"match": yes, "other": no} for no, yes in found])}

    def compare(self, ctx: Context, features: Rows, text: Rows) -> dict[str, Rows]:
        """The cosine of picture and text: the best over queries, from -1 to 1 (ITC, before the temperature)."""
        image, mask = self._image(features)
        ids, real = self.words.batch(text.list(), ctx.device)
        seen_BQP = self.image_vectors(self.run(True, image_BND=image, image_BN=mask).last_hidden_state)
        best = torch.einsum("bqp,bp->bq", seen_BQP, self.text_vectors(ids, real)).amax(1)
        return {"scores": ctx.rows([{"similarity": v} for v in best.float().tolist()])}

    def caption(self, ctx: Context, features: Rows) -> dict[str, Rows]:
        """A caption for each picture, greedily, of at most `max_new_tokens` tokens (ITG)."""
        writer = Captioner(self, *self._image(features))
        best = torch.full((len(features),), self.words.dec, device=ctx.device)
        over = torch.zeros(len(features), dtype=torch.bool, device=ctx.device)
        found = []
        for _ in range(min(self.config.max_new_tokens, self.config.positions - 1)):
            ctx.check()
            best = writer.next(best).float().argmax(-1).masked_fill(over, self.words.end)
            over = over | (best == self.words.end)
            found.append(best)
            if bool(over.all()):
                break
        return {"text": ctx.rows([self.words.text(row) for row in torch.stack(found, 1).tolist()])}

    def learn(self, ctx: Context, features: Rows, text: Rows) -> dict[str, Rows]:
        """The captioning loss [B] of each text under its picture, with label smoothing 0.1."""
        image, mask = self._image(features)
        ids, real = self.words.batch(text.list(), ctx.device)
        losses = caption_loss(self.caption_logits(self.words.begun(ids), real, image, mask), ids, real)
        return {"loss": ctx.rows(losses)}


def caption_loss(logits_BLV: torch.Tensor, ids_BL: torch.Tensor, real_BL: torch.Tensor) -> torch.Tensor:
    """[B]: the mean over each row's real positions of the smoothed cross-entropy of the next token."""
    wanted = ids_BL[:, 1:].masked_fill(~real_BL[:, 1:].bool(), -100)
    each = F.cross_entropy(
        logits_BLV[:, :-1].float().transpose(1, 2), wanted, label_smoothing=SMOOTHING, reduction="none"
    )
    return each.sum(1) / (wanted != -100).sum(1).clamp(min=1)


def _settings(config: Any, inputs: int) -> Any:
    from transformers import Blip2QFormerConfig

    return Blip2QFormerConfig(
        vocab_size=config.vocab, hidden_size=config.width, num_hidden_layers=config.layers,
        num_attention_heads=config.heads, intermediate_size=config.mlp or 4 * config.width, hidden_act="gelu",
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, max_position_embeddings=config.positions,
        layer_norm_eps=1e-12, pad_token_id=0, cross_attention_frequency=config.every, encoder_hidden_size=inputs,
        use_qformer_text_input=config.text, attn_implementation="eager",
    )  # fmt: skip


def _captioning(queries: int, text: int, device: Any) -> torch.Tensor:
    """[1,S,S]: queries see queries; text sees all queries and the text up to itself."""
    seen = torch.ones(queries + text, queries + text, dtype=torch.bool, device=device).tril()
    seen[:queries, :queries] = True
    return seen[None]


def _additive(seen: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """[B,S,T] truth values -> [B,1,S,T]: 0 where seen, the lowest number elsewhere."""
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, torch.finfo(dtype).min)[:, None]
