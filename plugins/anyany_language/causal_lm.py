"""Causal language models as backbones: any decoder of transformers, features at the places of a message, signals out.

Takes a message and features [N,D] or embeddings [D] per place; gives the reply (open where it signals), its text, and
for each kind it may ask for a list of hidden states [K,D]. Shape suffixes: B rows, L tokens, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F

from anyany.api.torch import (
    Build,
    Component,
    Context,
    Decoder,
    Generated,
    Limits,
    Rows,
    Rules,
    Sampler,
    last_hidden,
    load_transformers,
    span_rules,
)  # fmt: skip
from anyany_language.chat import pieces
from anyany_language.pretrained import model_config, signal_ids, tokenizer_of
from anyany_language.signals import reply_message, signal_tokens, split_reply
from anyany_language.splicing import Spliced, splice


class CausalLm(Component):
    """A decoder-only language model. Options: `CausalLmConfig`."""

    def __init__(self, config: Any, build: Build) -> None:
        from transformers import AutoModelForCausalLM

        super().__init__(config, build)
        self.tokenizer = tokenizer_of(build.assets)
        self.signals = signal_tokens(config.signals)
        settings = model_config(config, build.assets, sum(config.signals.values()))
        self.spans = signal_ids(self.tokenizer, self.signals, settings.vocab_size, build.assets.folder is None)
        self.model = AutoModelForCausalLM.from_config(settings)
        self.model.generation_config = None
        self.context = int(getattr(settings, "max_position_embeddings", None) or config.context)
        self.stops = self._stop_ids(settings)
        self.vocab = int(settings.vocab_size)

    def load(self, stores: Sequence[Any], build: Build) -> None:
        """Weights under transformers' names, strictly; LoRA overlays are merged."""
        self.model = load_transformers(type(self.model), self.model.config, stores, build, rename=_original)

    @cached_property
    def rules(self) -> Rules | None:
        """Signals come whole. Made at first use: construction happens on the meta device."""
        return span_rules(self.vocab, self.spans) if self.spans else None

    def _stop_ids(self, settings: Any) -> list[int]:
        end = self.tokenizer.eos_token_id
        ids = [end] if end is not None else []
        generation = self.build.assets.json("generation_config.json") or {}
        listed = generation.get("eos_token_id", settings.eos_token_id if end is None else None)
        ids += listed if isinstance(listed, list) else [listed] if listed is not None else []
        for text in self.config.stop:
            tokens = self.tokenizer(text, add_special_tokens=False).input_ids
            if len(tokens) != 1:
                raise ValueError(f"stop string {text!r} is {len(tokens)} tokens long; only single tokens can stop")
            ids += tokens
        return sorted(set(ids))

    # prompts -----------------------------------------------------------------------------------------------------
    def _embed_ids(self, ids: Sequence[int]) -> torch.Tensor:
        table = self.model.get_input_embeddings()
        return table(torch.tensor(list(ids), dtype=torch.int64, device=table.weight.device))

    def splice(
        self, rows: Sequence[Sequence[Any]], labels: Any = None, left: bool = False, limit: int | None = None
    ) -> Spliced:
        """Rows of token ids and features [N,D] as one padded batch; see `splicing.splice`."""
        return splice(rows, labels, self._embed_ids, left, limit)

    def _embed(self, prompt: Sequence[Any], given: dict[str, list[torch.Tensor]], begin: bool = True) -> torch.Tensor:
        """[L,D]: text tokens embedded, media replaced by their features."""
        start = self.tokenizer.bos_token_id if begin else None
        parts = []
        for i, piece in enumerate(prompt):
            if isinstance(piece, str):
                ids = self.tokenizer(piece, add_special_tokens=False).input_ids
                if i == 0 and start is not None and ids[:1] != [start]:
                    ids = [start, *ids]
                if ids:
                    parts.append(self._embed_ids(ids))
                continue
            kind, index = piece
            if index >= len(given.get(kind, ())):
                raise ValueError(
                    f"the message holds {kind} {index + 1}, but port `{kind}` carries {len(given.get(kind, ()))}"
                )
            value = given[kind][index]
            parts.append(value[None] if value.dim() == 1 else value)
        if not parts:
            end = self.stops[0] if start is None and self.stops else start
            if end is None:
                raise ValueError("the prompt is empty; give it some text")
            parts.append(self._embed_ids([end]))
        return torch.cat(parts)

    def _prompts(self, ctx: Context, message: Rows, features: dict[str, Rows | None]) -> list[torch.Tensor]:
        systems = ctx.option("system", self.config.system)
        groups = {k: [list(g) for g in r.groups()] for k, r in features.items() if r is not None}
        out = []
        for i, one in enumerate(message.list()):
            prompt = pieces(one, self.tokenizer, self.config.template, systems[i], self.signals)
            given = {k: [v.to(ctx.device, ctx.dtype) for v in g[i]] for k, g in groups.items()}
            embedded = self._embed(prompt, given)
            if embedded.shape[0] >= self.context:
                raise ValueError(
                    f"the prompt is {embedded.shape[0]} tokens long; {ctx.node} takes at most {self.context - 1}"
                )
            out.append(embedded)
        return out

    # generating --------------------------------------------------------------------------------------------------
    def generate(self, ctx: Context, message: Rows, **features: Rows | None) -> dict[str, Rows]:
        """message: B messages; each per-place port: features of the places of each message, in order.

        reply: B messages (open); text: B strings; per signal kind: a list of hidden states [K,D] for each reply.
        Raises ValueError for a prompt beyond the context.
        """
        return self._results(ctx, self._produce(ctx, self._prompts(ctx, message, features)))

    def _produce(self, ctx: Context, prompts: Sequence[torch.Tensor]) -> list[Generated]:
        """What follows each prompt [L,D]."""
        wanted = ctx.option("max_new_tokens", self.config.max_new_tokens)
        room = [min(int(w), self.context - p.shape[0]) for w, p in zip(wanted, prompts)]
        if self.config.beams > 1:
            return self._beams(prompts, room)
        sampler = Sampler.of(ctx.option("temperature", self.config.temperature), ctx.option("top_k", self.config.top_k),
                             ctx.option("top_p", self.config.top_p), ctx.noise_words())  # fmt: skip
        limits = Limits(max_new=room, stop_ids=self.stops, pad_id=self.stops[0] if self.stops else 0)
        watch = self._streamer(ctx, len(prompts)) if ctx.streaming else None
        return Decoder(self.model).run(prompts, limits, sampler, self.rules, watch, ctx.check)

    def _results(self, ctx: Context, made: Sequence[Generated]) -> dict[str, Rows]:
        replies, texts = [], []
        hidden: dict[str, list[list[torch.Tensor]]] = {k: [] for k in self.spans}
        for one in made:
            parts, found = split_reply(one.ids, self.spans, self._decode)
            replies.append(reply_message(parts))
            texts.append("".join(p for p in parts if isinstance(p, str)).strip())
            for kind, ids in self.spans.items():
                runs = [one.hidden[at : at + len(ids)] for k, at in found if k == kind]
                hidden[kind].append([torch.stack(run) for run in runs])  # type: ignore[arg-type]
        out = {"reply": ctx.rows(replies), "text": ctx.rows(texts)}
        return out | {kind: ctx.lists(groups) for kind, groups in hidden.items()}

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def _beams(self, prompts: Sequence[torch.Tensor], room: Sequence[int]) -> list[Generated]:
        """Beam search by transformers' generate, a row at a time, without signals (no hidden states)."""
        if self.spans:
            raise ValueError("beams do not go with signals; set beams: 1")
        out = []
        for prompt, n in zip(prompts, room):
            mask = torch.ones(1, prompt.shape[0], device=prompt.device, dtype=torch.int64)
            stops = {"eos_token_id": self.stops or None, "pad_token_id": self.stops[0] if self.stops else 0}
            beams = {"num_beams": self.config.beams, "do_sample": False, "max_new_tokens": n}
            ids = self.model.generate(inputs_embeds=prompt[None], attention_mask=mask, **beams, **stops)[0]
            kept = []
            for token in ids.tolist():
                if token in self.stops:
                    break
                kept.append(token)
            out.append(Generated(ids=kept, hidden=[None] * len(kept), stopped=len(kept) < n))
        return out

    def _streamer(self, ctx: Context, batch: int) -> Callable[[int, list[int], list[bool]], None]:
        """Text as it grows, without half characters."""
        ids: list[list[int]] = [[] for _ in range(batch)]
        shown, ended = [""] * batch, [False] * batch

        def watch(step: int, tokens: list[int], over: list[bool]) -> None:
            for i, token in enumerate(tokens):
                if ended[i]:
                    continue
                ended[i] = over[i]
                if token in self.stops:
                    continue
                ids[i].append(token)
                text = self._decode(ids[i])
                if not text.endswith("\ufffd") and len(text) > len(shown[i]):
                    ctx.emit(i, text[len(shown[i]) :])
                    shown[i] = text

        return watch

    # learning ----------------------------------------------------------------------------------------------------
    def learn(self, ctx: Context, message: Rows, target: Rows, **features: Rows | None) -> dict[str, Rows]:
        """Teacher forcing: loss [B] (mean cross-entropy of the target's tokens), signals' hidden states."""
        prompts = self._prompts(ctx, message, features)
        answers = [self._target_ids(m) for m in target.list()]
        full = [torch.cat([p, self._embed_ids(a)]) for p, a in zip(prompts, answers)]
        longest = max(f.shape[0] for f in full)
        embeds_BLD = torch.stack([F.pad(f, (0, 0, 0, longest - f.shape[0])) for f in full])
        mask_BL = torch.tensor([[1] * f.shape[0] + [0] * (longest - f.shape[0]) for f in full], device=ctx.device)
        with last_hidden(self.model) as caught:
            logits_BLV = self._forward(embeds_BLD, mask_BL)
            hidden_BLD = caught[0]
        losses = []
        found: dict[str, list[list[torch.Tensor]]] = {k: [] for k in self.spans}
        for i, (prompt, ids) in enumerate(zip(prompts, answers)):
            at = prompt.shape[0]
            wanted = torch.tensor(ids, device=ctx.device)
            losses.append(F.cross_entropy(logits_BLV[i, at - 1 : at - 1 + len(ids)].float(), wanted))
            for kind, run in self.spans.items():
                starts = [at + j for j, t in enumerate(ids) if t == run[0]]
                found[kind].append([hidden_BLD[i, s : s + len(run)] for s in starts])
        return {"loss": ctx.rows(torch.stack(losses))} | {k: ctx.lists(g) for k, g in found.items()}

    def _forward(self, embeds_BLD: torch.Tensor, mask_BL: torch.Tensor) -> torch.Tensor:
        """Logits [B,L,V] of whole sequences, padded on the right."""
        logits: torch.Tensor = self.model(inputs_embeds=embeds_BLD, attention_mask=mask_BL, use_cache=False).logits
        return logits

    def _target_ids(self, target: Any) -> list[int]:
        text = []
        for _, parts in target.turns():
            for part in parts:
                kind = getattr(part, "kind", None)
                if kind is not None and kind not in self.signals:
                    raise ValueError(
                        f"the target holds a {kind}, but `signals` declares none; add {{signals: {{{kind}: …}}}}"
                    )
                text.append(part if isinstance(part, str) else "".join(self.signals[str(kind)]))
        ids = list(self.tokenizer("".join(text), add_special_tokens=False).input_ids)
        return ids + self.stops[:1]


def _original(name: str) -> str:
    """state-spaces' own names of Mamba's embedding."""
    return name.replace("backbone.embedding.weight", "backbone.embeddings.weight")
