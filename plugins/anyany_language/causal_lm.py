"""Causal language models as backbones: any decoder of transformers, features at the places of a message, signals out.

Takes a message and features [N,D], embeddings [D] or tokens [N] per place; gives the reply (open where it asks for
media), its text, and for each kind it may ask for a list of states [K,D] or tokens [N]. Shape suffixes: B rows,
L tokens, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F

from anyany.api.torch import (
    Asks,
    Build,
    Component,
    Context,
    Decoder,
    Generated,
    Limits,
    Rows,
    Rules,
    Sampler,
    Span,
    grown,
    last_hidden,
    load_transformers,
    rows_of,
    span_rules,
)  # fmt: skip
from anyany.api.v1 import Message, Place
from anyany_language.causal_cards import codebook_settings
from anyany_language.chat import pieces
from anyany_language.codebooks import Written, count, kept, lay_out
from anyany_language.pretrained import model_config, signal_ids, tokenizer_of
from anyany_language.signals import reply_message, signal_tokens, split_reply
from anyany_language.splicing import IGNORED, Spliced, alike, splice
from anyany_language.streaming import streamer


class CausalLm(Component):
    """A decoder-only language model. Options: `CausalLmConfig`."""

    def __init__(self, config: Any, build: Build) -> None:
        from transformers import AutoModelForCausalLM

        super().__init__(config, build)
        self.tokenizer = tokenizer_of(build.assets)
        self.signals = signal_tokens(config.signals, config.signal_names, config.signal_separator)
        books = codebook_settings(config)
        settings = model_config(config, build.assets, sum(config.signals.values()) + count(books, build))
        runs = self._signal_ids(settings.vocab_size)
        free = max([len(self.tokenizer), *(t + 1 for run in runs.values() for t in run)])
        self.books = {b.kind: b for b in lay_out(books, build, self.tokenizer, free)}
        self.spans = {k: Span(begin=run) for k, run in runs.items()} | {k: b.span for k, b in self.books.items()}
        self.hand = object()  # whose tokens a medium of an earlier turn carries
        self.model = AutoModelForCausalLM.from_config(settings)
        self.model.generation_config = None
        self.context = int(getattr(settings, "max_position_embeddings", None) or config.context)
        self.stops = self._stop_ids(settings)
        self.vocab = int(settings.vocab_size)

    def load(self, stores: Sequence[Any], build: Build) -> None:
        """Weights under transformers' names, strictly; LoRA overlays are merged. Tokens beyond their rows get rows
        where an overlay brings them, or where `new_tokens` says so.

        Raises ValueError for a token without a row.
        """
        stores = self._with_rows(stores)
        self.model = load_transformers(type(self.model), self.model.config, stores, build, rename=_original)

    def _with_rows(self, stores: Sequence[Any]) -> Sequence[Any]:
        ends = {id(m.weight) for m in (self.model.get_input_embeddings(), self.model.get_output_embeddings())}
        tables = [f"*{n}" for n, p in self.model.named_parameters(remove_duplicate=False) if id(p) in ends]
        last = max([t for s in self.spans.values() for t in (*s.begin, *s.end)]
                   + [b.start + b.codes - 1 for b in self.books.values()], default=0)  # fmt: skip
        rows = max(self.vocab, rows_of(stores, tables) or 0)
        if last >= rows:
            if self.config.new_tokens != "mean":
                name = self.tokenizer.convert_ids_to_tokens(last) or "a token of its codebooks"
                raise ValueError(
                    f"the checkpoint of {self.build.node} has {rows} rows, none for {name}; lay rows "
                    "over it, or begin them at the mean with `new_tokens: mean` and train them"
                )
            rows = last + 1
        if rows > self.vocab:
            self.vocab = self.model.config.vocab_size = rows
            stores = grown(stores, tables, rows)
        return stores

    @cached_property
    def rules(self) -> Rules | None:
        """Media come whole. Made at first use: construction happens on the meta device."""
        return span_rules(self.vocab, self.spans, self._loose) if self.spans else None

    @cached_property
    def _loose(self) -> set[int]:
        """Tokens of spans that also stand outside them: separators."""
        separator = self.config.signal_separator
        return {t for k in self.signals for t in self.spans[k].begin[1::2]} if separator else set()

    def _signal_ids(self, vocab: int) -> dict[str, list[int]]:
        """Ids of each signal's tokens, separators included."""
        separator = self.config.signal_separator
        own = {k: [t for t in run if t != separator] for k, run in self.signals.items()}
        found = signal_ids(self.tokenizer, own, vocab, True)
        if not separator:
            return found
        between = self.tokenizer.get_vocab().get(separator)
        ids = [between] if between is not None else self.tokenizer(separator, add_special_tokens=False).input_ids
        if len(ids) != 1:
            raise ValueError(f"the separator {separator!r} is {len(ids)} tokens long; it is to be one")
        return {k: [t for token in run for t in (ids[0], token)][1:] for k, run in found.items()}

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
        out, seen = [], tuple(groups) if self.config.look_again else ()
        for i, one in enumerate(message.list()):
            found = pieces(one, self.tokenizer, self.config.template, systems[i], self.signals, seen=seen,
                           order=self.config.order)  # fmt: skip
            prompt = self._marked(found)
            given = {k: [self._read(ctx, k, v) for v in g[i]] for k, g in groups.items()}
            for kind in self.books:
                for place, ids in kept(one, kind, self.hand).items():
                    given[kind][place] = self._embed_ids(ids)
            embedded = self._embed(prompt, given)
            if embedded.shape[0] >= self.context:
                raise ValueError(
                    f"the prompt is {embedded.shape[0]} tokens long; {ctx.node} takes at most {self.context - 1}"
                )
            out.append(embedded)
        return out

    def _read(self, ctx: Context, kind: str, value: torch.Tensor) -> torch.Tensor:
        """A medium of the prompt as [N,D] or [D]: features as they are, tokens as words."""
        if kind in self.books and not value.is_floating_point():
            return self._embed_ids(self.books[kind].write(value))
        return value.to(ctx.device, ctx.dtype)

    def _marked(self, prompt: Sequence[Any]) -> list[Any]:
        """The prompt with the text that stands around media."""
        marks = self.config.marks
        framed = [
            (marks[p[0]][0], p, marks[p[0]][1]) if not isinstance(p, str) and p[0] in marks else (p,) for p in prompt
        ]
        return [p for run in framed for p in run if p != ""]

    # generating --------------------------------------------------------------------------------------------------
    def generate(self, ctx: Context, message: Rows, **features: Rows | None) -> dict[str, Rows]:
        """message: B messages; each per-place port: features of the places of each message, in order.

        reply: B messages (open); text: B strings; per kind it may ask for: a list of states [K,D], or tokens [N].
        Raises ValueError for a prompt beyond the context, and where what is to be produced does not fit.
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
        watch = streamer(ctx, range(len(prompts)), self._text, self.stops)
        asks = Asks(produce=ctx.option("produce", self.config.produce), most=ctx.option("most", self.config.most),
                    threshold=ctx.option("threshold", self.config.threshold))  # fmt: skip
        return Decoder(self.model).run(prompts, limits, sampler, self.rules, watch, ctx.check, asks)

    def _results(self, ctx: Context, made: Sequence[Generated]) -> dict[str, Rows]:
        replies, texts = [], []
        values: dict[str, list[list[torch.Tensor]]] = {k: [] for k in self.spans}
        for one in made:
            parts, found = split_reply(one.ids, self.spans, self._decode)
            replies.append(reply_message(self._remembered(parts, found, one.ids)))
            texts.append("".join(p for p in parts if isinstance(p, str)).strip())
            for kind, groups in values.items():
                runs = [(start, stop) for k, start, stop in found if k == kind]
                groups.append([self._value(kind, one, start, stop) for start, stop in runs])
        out = {"reply": ctx.rows(replies), "text": ctx.rows(texts)}
        return out | {kind: ctx.lists(groups) for kind, groups in values.items()}

    def _value(self, kind: str, one: Generated, start: int, stop: int) -> torch.Tensor:
        """What a span says: codes [N], or states [K,D]."""
        if kind in self.books:
            return self.books[kind].read(one.ids[start:stop])
        return self._state(torch.stack(one.hidden[start:stop]), one.ids[start:stop])  # type: ignore[arg-type]

    def _state(self, hidden_KD: torch.Tensor, ids: Sequence[int]) -> torch.Tensor:
        """What a signal carries to its decoder [K,D]."""
        return hidden_KD if self.config.signal_state == "hidden" else hidden_KD + self._embed_ids(ids)

    def _remembered(
        self, parts: Sequence[str | Place], found: Sequence[tuple[str, int, int]], ids: Sequence[int]
    ) -> list[str | Place]:
        """The parts, with the tokens of codes at their places, so that a later turn reads them as they were written."""
        spans = iter(found)
        out = []
        for part in parts:
            if isinstance(part, Place):
                kind, start, stop = next(spans)
                tokens = Written(hand=self.hand, value=tuple(ids[start:stop])) if kind in self.books else None
                part = replace(part, tokens=tokens)
            out.append(part)
        return out

    def _text(self, ids: Sequence[int]) -> str:
        """The text of a reply, or of what there is of it."""
        return "".join(p for p in split_reply(ids, self.spans, self._decode)[0] if isinstance(p, str))

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def _beams(self, prompts: Sequence[torch.Tensor], room: Sequence[int]) -> list[Generated]:
        """Beam search by transformers' generate, a row at a time, without signals (no hidden states)."""
        if self.spans:
            raise ValueError("beams do not go with signals; set beams: 1")
        from transformers import GenerationConfig

        self.model.generation_config = GenerationConfig()  # neither missing, nor a checkpoint's taste
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

    # learning ----------------------------------------------------------------------------------------------------
    def learn(
        self, ctx: Context, message: Rows, target: Rows, read: Rows | None = None, **features: Rows | None
    ) -> dict[str, Rows]:
        """Teacher forcing: loss [B] (mean cross-entropy of the target's tokens), what its signals carry.

        `target_KIND`: tokens of the media in the targets. read: what stands before the words to be learned instead of
        the targets, such as these with wrong words in them. Raises ValueError for a target it could not write, and
        where the two differ in length.
        """
        wanted_tokens = {k: [list(g) for g in r.groups()] for k in self.books
                         if (r := features.pop(f"target_{k}", None)) is not None}  # fmt: skip
        prompts = self._prompts(ctx, message, features)
        answers = [self._target_ids(m, {k: g[i] for k, g in wanted_tokens.items()})
                   for i, m in enumerate(target.list())]  # fmt: skip
        full = [torch.cat([p, self._embed_ids(a)]) for p, a in zip(prompts, self._shown(answers, read, wanted_tokens))]
        passed = self._passed(full)
        losses = []
        found: dict[str, list[list[torch.Tensor]]] = {k: [] for k in self.signals}
        for prompt, ids, (logits_LV, hidden_LD) in zip(prompts, answers, passed):
            at = prompt.shape[0]
            wanted = torch.tensor([t if t not in self._silent else IGNORED for t in ids], device=ctx.device)
            losses.append(F.cross_entropy(logits_LV[at - 1 : at - 1 + len(ids)].float(), wanted))
            for kind, groups in found.items():
                run = self.spans[kind].begin
                starts = [at + j for j, t in enumerate(ids) if t == run[0]]
                groups.append([self._state(hidden_LD[s : s + len(run)], run) for s in starts])
        return {"loss": ctx.rows(torch.stack(losses))} | {k: ctx.lists(g) for k, g in found.items()}

    def _shown(self, answers: list[list[int]], read: Rows | None, tokens: Mapping[str, Any]) -> list[list[int]]:
        """The ids that stand in the place of the answers."""
        shown = list(answers)
        for i, given in enumerate(read.groups() if read is not None else ()):
            for one in given:
                shown[i] = self._target_ids(one, {k: g[i] for k, g in tokens.items()})
                if len(shown[i]) != len(answers[i]):
                    raise ValueError(f"`read` is {len(shown[i])} tokens long and the target {len(answers[i])}; "
                                     "it replaces words by others of as many tokens")  # fmt: skip
        return shown

    @cached_property
    def _silent(self) -> set[int]:
        """Tokens of a target that are not learned: what pads, where nothing else is meant by it."""
        return {self.tokenizer.pad_token_id} - {None, *self.stops}

    def _passed(self, full: Sequence[torch.Tensor]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """(logits [L,V], last hidden states [L,D]) of every sequence; those of like length run together."""
        found: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        for rows in alike([f.shape[0] for f in full]):
            longest = max(full[r].shape[0] for r in rows)
            embeds_BLD = torch.stack([F.pad(full[r], (0, 0, 0, longest - full[r].shape[0])) for r in rows])
            sizes = torch.tensor([full[r].shape[0] for r in rows], device=embeds_BLD.device)
            mask_BL = (torch.arange(longest, device=embeds_BLD.device) < sizes[:, None]).long()
            with last_hidden(self.model) as caught:
                logits_BLV = self._forward(rows, embeds_BLD, mask_BL)
            found |= {row: (logits_BLV[at], caught[0][at]) for at, row in enumerate(rows)}
        return [found[row] for row in range(len(full))]

    def _forward(self, rows: Sequence[int], embeds_BLD: torch.Tensor, mask_BL: torch.Tensor) -> torch.Tensor:
        """Logits [B,L,V] of these rows' whole sequences, padded on the right."""
        logits: torch.Tensor = self.model(inputs_embeds=embeds_BLD, attention_mask=mask_BL, use_cache=False).logits
        return logits

    def _target_ids(self, target: Message, tokens: Mapping[str, Sequence[torch.Tensor]]) -> list[int]:
        ids: list[int] = []
        text: list[str] = []
        seen = dict.fromkeys(self.books, 0)
        for _, parts in target.turns():
            for part in parts:
                kind = getattr(part, "kind", None)
                if kind in self.books:
                    at, seen[kind] = seen[kind], seen[kind] + 1
                    own = kept(target, kind, self.hand).get(at)
                    if own is None and at >= len(tokens.get(kind, ())):
                        raise ValueError(f"the target holds {kind} {at + 1}, but port `target_{kind}` has none for it")
                    ids += [*self._text_ids(text), *(own or self.books[kind].write(tokens[kind][at]))]
                    text = []
                elif kind is not None and kind not in self.signals:
                    raise ValueError(
                        f"the target holds a {kind}, but `signals` declares none; add {{signals: {{{kind}: …}}}}"
                    )
                else:
                    text.append(part if isinstance(part, str) else "".join(self.signals[str(kind)]))
        for kind, found in tokens.items():
            if len(found) != seen[kind]:
                raise ValueError(f"the target holds {seen[kind]} of {kind}, and port `target_{kind}` has {len(found)}")
        return ids + self._text_ids(text) + self.stops[:1]

    def _text_ids(self, text: Sequence[str]) -> list[int]:
        return list(self.tokenizer("".join(text), add_special_tokens=False).input_ids)


def _original(name: str) -> str:
    """state-spaces' own names of Mamba's embedding."""
    return name.replace("backbone.embedding.weight", "backbone.embeddings.weight")
