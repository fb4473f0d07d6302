"""A causal language model with adaptive input and softmax (Baevski and Auli 2019, arXiv 1809.10853), sparse attention.

message -> reply, text. Names: fairseq's transformer_lm (`decoder.layers.N.self_attn.q_proj.weight` …): pre-norm, ReLU,
sinusoidal positions, no last norm. Suffixes: B rows, N positions, D width, H heads, d head width, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from anyany.api.torch import Build, Component, Context, Rows
from anyany.api.v1 import Message
from anyany_language.adaptive_io import AdaptiveInput, AdaptiveSoftmax
from anyany_language.pretrained import tokenizer_of
from anyany_language.prompts import embedded, places
from anyany_language.sparse_attention import Pattern, attend
from anyany_language.writing import write

Cache = list[tuple[torch.Tensor, torch.Tensor]]


class Attention(nn.Module):
    """Causal self-attention under a pattern."""

    def __init__(self, dim: int, heads: int, pattern: Pattern) -> None:
        super().__init__()
        self.heads, self.pattern = heads, pattern
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(dim, dim) for _ in range(3))
        self.out_proj = nn.Linear(dim, dim)

    def split(self, x_BND: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries, keys and values [B,H,N,d]."""
        q, k, v = (p(x_BND).unflatten(-1, (self.heads, -1)).transpose(1, 2)
                   for p in (self.q_proj, self.k_proj, self.v_proj))  # fmt: skip
        return q, k, v

    def whole(self, x_BND: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        """A whole sequence: what it gives, and its keys and values."""
        q, k, v = self.split(x_BND)
        return self.out_proj(attend(q, k, v, self.pattern).transpose(1, 2).flatten(2)), (k, v)

    def one(self, x_B1D: torch.Tensor, at_B: torch.Tensor, cache: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """A position more at places `at_B`, written into the cache [B,H,N,d] and seeing what its pattern shows it."""
        q, k, v = self.split(x_B1D)
        rows = torch.arange(at_B.shape[0], device=at_B.device)
        for kept, new in zip(cache, (k, v)):
            kept[rows, :, at_B] = new[:, :, 0]
        seen_BN = self.pattern.seen(at_B, torch.arange(cache[0].shape[2], device=at_B.device))
        out = F.scaled_dot_product_attention(q, *cache, attn_mask=seen_BN[:, None, None])
        return self.out_proj(out.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """x + attention(norm(x)), then + feed-forward(norm(x))."""

    def __init__(self, dim: int, heads: int, mlp: int, pattern: Pattern) -> None:
        super().__init__()
        self.self_attn = Attention(dim, heads, pattern)
        self.self_attn_layer_norm, self.final_layer_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.fc1, self.fc2 = nn.Linear(dim, mlp), nn.Linear(mlp, dim)

    def forward_with(self, x_BND: torch.Tensor, mixed_BND: torch.Tensor) -> torch.Tensor:
        """The layer's output, given what its attention made of `self_attn_layer_norm(x)`."""
        x_BND = x_BND + mixed_BND
        return x_BND + self.fc2(self.fc1(self.final_layer_norm(x_BND)).relu())


class AdaptiveLm(Component):
    """Options: `AdaptiveLmConfig`."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        dim = config.width
        self.tokenizer = tokenizer_of(build.assets)
        if self.tokenizer.eos_token_id is None:
            raise ValueError("the tokenizer has no end token; train one with `python -m anyany_language.bpe`")
        self.end = int(self.tokenizer.eos_token_id)
        vocab = config.vocab or len(self.tokenizer)
        if vocab < len(self.tokenizer):
            raise ValueError(f"the tokenizer has {len(self.tokenizer)} tokens, but `vocab` only {vocab}")
        ends = [*config.cutoffs, vocab]
        if sorted(set(ends)) != ends:
            raise ValueError(f"cutoffs grow and stay below the vocabulary of {vocab}: {list(config.cutoffs)}")
        self.embed_tokens = AdaptiveInput(ends, dim, config.factor, dim, self._pad())
        kinds = config.attention
        patterns = [Pattern(kind=k, stride=config.stride, summary=min(config.summary, config.stride)) for k in kinds]
        self.layers = nn.ModuleList(
            Layer(dim, config.heads, config.mlp or 4 * dim, patterns[i % len(patterns)]) for i in range(config.layers)
        )
        self.adaptive_softmax = AdaptiveSoftmax(ends, config.factor, dim, self.embed_tokens, tie_projections=True)

    def _pad(self) -> int | None:
        pad = self.tokenizer.pad_token_id
        return pad if pad is not None and pad < [*self.config.cutoffs, 10**9][0] else None

    def rename(self, name: str) -> str:
        """fairseq's, with or without `decoder.`."""
        return name.removeprefix("decoder.")

    # tensors -----------------------------------------------------------------------------------------------------
    def embed(self, ids: Sequence[int]) -> torch.Tensor:
        """[n,D] of ids, scaled; positions are added later."""
        table = self.embed_tokens.embeddings[0][1].weight
        found: torch.Tensor = self.embed_tokens(torch.tensor(list(ids), dtype=torch.int64, device=table.device))
        return found * math.sqrt(self.config.width)

    def placed(self, x_BND: torch.Tensor, at_BN: torch.Tensor) -> torch.Tensor:
        """With sinusoids added: sines, then cosines; fairseq counts from 2."""
        half = self.config.width // 2
        rate = torch.exp(torch.arange(half, device=x_BND.device) * -(math.log(10000) / max(half - 1, 1)))
        angle = (at_BN + 2)[..., None].float() * rate
        return x_BND + torch.cat([angle.sin(), angle.cos()], -1).to(x_BND.dtype)

    def whole(self, x_BND: torch.Tensor) -> tuple[torch.Tensor, Cache]:
        """States [B,N,D] of whole sequences from position 0 (padding behind them), keys and values of each layer."""
        x_BND = self.placed(x_BND, torch.arange(x_BND.shape[1], device=x_BND.device)[None])
        cache: Cache = []
        for layer in self.layers:
            mixed, kept = layer.self_attn.whole(layer.self_attn_layer_norm(x_BND))
            x_BND = layer.forward_with(x_BND, mixed)
            cache.append(kept)
        return x_BND, cache

    def next(self, token_B: torch.Tensor, at_B: torch.Tensor, cache: Cache) -> torch.Tensor:
        """States [B,D] of one token more a row, at the places `at_B`."""
        x_B1D = self.placed(self.embed(token_B.tolist())[:, None], at_B[:, None])
        for layer, kept in zip(self.layers, cache):
            x_B1D = layer.forward_with(x_B1D, layer.self_attn.one(layer.self_attn_layer_norm(x_B1D), at_B, kept))
        return x_B1D[:, 0]

    def probe(self, call: str) -> Callable[[], Any]:
        """A pass over as many words as it reads at most, on the meta device."""
        x_BND = torch.empty(1, self.config.context, self.config.width, device=self.layers[0].fc1.weight.device)

        def one_pass() -> None:
            with torch.device(x_BND.device):
                self.adaptive_softmax.log_probs(self.whole(x_BND)[0][0])

        one_pass.__doc__ = f"{self.config.context} words"
        return one_pass

    # calls -------------------------------------------------------------------------------------------------------
    def _rows(self, ctx: Context, message: Rows, features: dict[str, Rows | None]) -> list[torch.Tensor]:
        """[L,D] of each message, the end mark before it, as the model was trained."""
        systems = ctx.option("system", self.config.system)
        rows = []
        for one, given, system in zip(message.list(), places(ctx, features), systems):
            rows.append(embedded(one, given, self.tokenizer, self.embed, template=self.config.template, system=system,
                                 begin=[self.end]))  # fmt: skip
            if rows[-1].shape[0] >= self.config.context:
                long = f"the prompt is {rows[-1].shape[0]} tokens long"
                raise ValueError(f"{long}; {ctx.node} takes at most {self.config.context - 1}")
        return rows

    def generate(self, ctx: Context, message: Rows, **features: Rows | None) -> dict[str, Rows]:
        """message: B messages; features at their places. reply, text: B. Raises ValueError beyond the context."""
        rows = self._rows(ctx, message, features)
        at_B = torch.tensor([r.shape[0] for r in rows], device=ctx.device)
        wanted = ctx.option("max_new_tokens", self.config.max_new_tokens)
        room = [min(int(w), self.config.context - r.shape[0]) for w, r in zip(wanted, rows)]
        x_BND = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        states_BND, found = self.whole(x_BND)
        cache = [(F.pad(k, (0, 0, 0, max(room))), F.pad(v, (0, 0, 0, max(room)))) for k, v in found]
        state_BD = states_BND[torch.arange(len(rows), device=ctx.device), at_B - 1]

        def step(token_B: torch.Tensor | None) -> torch.Tensor:
            if token_B is None:
                return self.adaptive_softmax.log_probs(state_BD)
            logits_BV = self.adaptive_softmax.log_probs(self.next(token_B, at_B, cache))
            at_B.add_(1)
            return logits_BV

        texts = [self._text(ids).strip() for ids in write(ctx, self.config, step, room, [self.end], self._text)]
        return {"reply": ctx.rows([Message((t,)) for t in texts]), "text": ctx.rows(texts)}

    def _text(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))

    def learn(self, ctx: Context, message: Rows, target: Rows, **features: Rows | None) -> dict[str, Rows]:
        """loss [B]: the mean negative log probability of each target's tokens and its end. Tails are computed only
        where a target lies in them."""
        prompts = self._rows(ctx, message, features)
        answers = [[*self.tokenizer(t.text, add_special_tokens=False).input_ids, self.end] for t in target.list()]
        rows = [torch.cat([p, self.embed(a[:-1])]) if len(a) > 1 else p for p, a in zip(prompts, answers)]
        states_BND, _ = self.whole(nn.utils.rnn.pad_sequence(rows, batch_first=True))
        told = torch.cat([s[r.shape[0] - len(a) : r.shape[0]] for s, r, a in zip(states_BND, rows, answers)])
        wanted = torch.tensor([token for a in answers for token in a], device=ctx.device)
        each = self.adaptive_softmax.target_log_probs(told, wanted).split([len(a) for a in answers])
        return {"loss": ctx.rows(torch.stack([-e.mean() for e in each]))}
