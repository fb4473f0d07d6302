"""Transfusion (Zhou et al. 2024, arXiv 2408.11039): next words and diffusion of patches in one transformer.

message, latents [C,H,W] at its places -> reply, text, latents. Text is causal; the patches of a picture, between two
tokens, see each other. Suffixes: B rows, L positions, P patches, D width, V vocabulary, C H W a latent's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler
from transformers import AutoModelForCausalLM

from anyany.api.torch import (
    Asks,
    Build,
    Component,
    Context,
    Decoder,
    Limits,
    Rows,
    Sampler,
    Schedule,
    Span,
    Wish,
    denoise,
    load_strict,
    load_transformers,
    relayout,
    span_rules,
)
from anyany.api.v1 import Media, Message, Place
from anyany_language.chat import pieces
from anyany_language.codebooks import Written, kept
from anyany_language.lines import Line, ReadLines, hidden_of
from anyany_language.patches import Patches
from anyany_language.pretrained import model_config, signal_ids, tokenizer_of
from anyany_language.signals import reply_message
from anyany_language.streaming import streamer

TIMES = 1000
PHASE = 7919  # so that a reply's second stretch of text is drawn from other noise than its first


@dataclass(kw_only=True)
class Reply:
    """A reply as it grows: its line, parts and latents, and what it may still write."""

    line: Line
    left: int
    produce: list[str] | None
    most: int
    parts: list[Any] = field(default_factory=list)
    latents: list[torch.Tensor] = field(default_factory=list)
    over: bool = False


class Transfusion(Component):
    """Options: `TransfusionConfig`. The transformer is one of transformers' that can see runs whole (llama, …)."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        channels = config.channels or build.sizes.get("channels")
        if channels is None:
            raise ValueError(f"nothing fixes the channels of the latents of {build.node}; give `with: {{channels: …}}`")
        self.tokenizer = tokenizer_of(build.assets)
        settings = model_config(config, build.assets, 2)
        marks = {"begin": [config.begin], "end": [config.end]}
        found = signal_ids(self.tokenizer, marks, settings.vocab_size, build.assets.folder is None)
        self.begin, self.end = found["begin"][0], found["end"][0]
        self.model = AutoModelForCausalLM.from_config(settings)
        self.model.generation_config = None
        self.patches = Patches(int(channels), config.patch, int(settings.hidden_size))
        self.context = int(getattr(settings, "max_position_embeddings", None) or config.context)
        self.stops = [] if self.tokenizer.eos_token_id is None else [int(self.tokenizer.eos_token_id)]
        self.shape = (int(channels), *config.size)
        self.count = config.size[0] * config.size[1] // config.patch**2
        self.hand = object()  # whose latents a picture of an earlier turn carries
        Decoder(self.model).check_runs()

    def load(self, stores: Sequence[Any], build: Build) -> None:
        """The language model under transformers' names, the patches as `patches.…`; both strictly."""
        store = relayout(stores, ())
        self.model = load_transformers(type(self.model), self.model.config, store, build, rename=_language)
        load_strict(self.patches, store, rename=_patches, skip=build.skip, dtype=build.dtype, device=build.device)

    def checkpoint(self) -> dict[str, torch.Tensor]:
        """The tensors under the names that `load` wants."""
        own = {f"patches.{name}": tensor for name, tensor in self.patches.state_dict().items()}
        return dict(self.model.state_dict()) | own

    @cached_property
    def rules(self) -> Any:
        """Outside a picture its end may not stand; its beginning stops a stretch of text."""
        spans = {"image": Span(begin=[self.begin]), "end": Span(begin=[self.end])}
        return span_rules(self.model.config.vocab_size, spans)

    # lines -------------------------------------------------------------------------------------------------------
    def words(self, ids: Sequence[int]) -> torch.Tensor:
        """[L,D] of token ids."""
        table = self.model.get_input_embeddings()
        return table(torch.tensor(list(ids), dtype=torch.int64, device=table.weight.device))

    def _text_ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False).input_ids)

    def _add_picture(self, line: Line, latent_CHW: torch.Tensor, time: int = 0, begun: bool = False) -> int:
        """A picture behind `begin` (where it does not stand yet) and before `end`; where its patches begin."""
        self.patches.check(latent_CHW.shape, self.build.node)
        if not begun:
            line.add(self.words([self.begin]))
        time_1 = torch.tensor([time], device=latent_CHW.device)
        start = line.add(self.patches.positions(latent_CHW[None], time_1)[0], together=True)
        line.add(self.words([self.end]))
        return start

    def _opened(self) -> Line:
        line = Line()
        if self.tokenizer.bos_token_id is not None:
            line.add(self.words([self.tokenizer.bos_token_id]))
        return line

    def _prompt(self, message: Message, system: str, latents: Mapping[int, torch.Tensor]) -> Line:
        line = self._opened()
        for piece in pieces(message, self.tokenizer, self.config.template, system):
            if isinstance(piece, str):
                if ids := self._text_ids(piece):
                    line.add(self.words(ids))
            elif piece[0] != "image" or piece[1] not in latents:
                raise ValueError(f"the message holds {piece[0]} {piece[1] + 1}, but port `{piece[0]}` has none for it")
            else:
                self._add_picture(line, latents[piece[1]])
        if not line.length:
            if not self.stops:
                raise ValueError("the prompt is empty; give it some text")
            line.add(self.words(self.stops[:1]))
        return line

    def _prompts(self, ctx: Context, message: Rows, image: Rows | None) -> list[Line]:
        systems = ctx.option("system", self.config.system)
        groups = [list(g) for g in image.groups()] if image is not None else [[] for _ in systems]
        lines = []
        for one, system, given in zip(message.list(), systems, groups):
            own = kept(one, "image", self.hand)
            latents = {i: v.to(ctx.device, torch.float32) for i, v in (dict(enumerate(given)) | own).items()}
            lines.append(self._prompt(one, system, latents))
            if lines[-1].length >= self.context:
                raise ValueError(f"the prompt is {lines[-1].length} positions long; {ctx.node} takes at most "
                                 f"{self.context - 1}")  # fmt: skip
        return lines

    # generating --------------------------------------------------------------------------------------------------
    def generate(self, ctx: Context, message: Rows, image: Rows | None = None) -> dict[str, Rows]:
        """message: B messages; image: latents [C,H,W] of the places of each, in order.

        reply: B messages (open); text: B strings; image: a list of latents [C,H,W] for each reply.
        Raises ValueError for a prompt beyond the context, and where what is to be produced does not fit.
        """
        replies = self._begun(ctx, self._prompts(ctx, message, image))
        phase = 0
        while not all(r.over for r in replies):
            drawing = self._write(ctx, replies, phase)
            if drawing:
                self._draw(ctx, replies, drawing, phase)
            phase += 1
        text = ["".join(p for p in r.parts if isinstance(p, str)).strip() for r in replies]
        return {"reply": ctx.rows([reply_message(r.parts) for r in replies]), "text": ctx.rows(text),
                "image": ctx.lists([r.latents for r in replies])}  # fmt: skip

    def _begun(self, ctx: Context, lines: Sequence[Line]) -> list[Reply]:
        room, produce, most = (ctx.option(name, getattr(self.config, name)) for name in
                               ("max_new_tokens", "produce", "most"))  # fmt: skip
        replies = []
        for line, left, script, limit in zip(lines, room, produce, most):
            strange = [k for k in script or () if k != "image"]
            if strange:
                raise ValueError(f"it produces text and image, not {strange[0]}")
            wanted = line.length + len(script or ()) * (self.count + 2)
            if wanted > self.context or len(script or ()) > left:
                raise ValueError(f"to produce {len(script)} pictures takes {wanted} positions of {self.context} and "
                                 f"{len(script)} of {left} new tokens")  # fmt: skip
            replies.append(Reply(line=line, left=int(left), produce=None if script is None else list(script),
                                 most=int(limit.get("image", 1 << 30))))  # fmt: skip
        return replies

    def _write(self, ctx: Context, replies: Sequence[Reply], phase: int) -> list[int]:
        """A stretch of text for each reply that is not over; the numbers of those that then begin a picture."""
        rows = [i for i, r in enumerate(replies) if not r.over]
        active = [replies[i] for i in rows]
        room = [self._room(r) for r in active]
        options = [[ctx.option(n, getattr(self.config, n))[i] for i in rows]
                   for n in ("temperature", "top_k", "top_p", "threshold")]  # fmt: skip
        sampler = Sampler.of(*options[:3], (ctx.noise_words()[rows] + PHASE * phase) & 0xFFFFFFFF)
        limits = Limits(max_new=room, stop_ids=[*self.stops, self.begin], pad_id=0)
        asks = Asks(produce=[r.produce for r in active], threshold=options[3],
                    most=[{"end": 0, "image": r.most if self._fits(r) else 0} for r in active])  # fmt: skip
        watch = streamer(ctx, rows, self._decode, limits.stop_ids)
        made = Decoder(self.model).run([r.line.embeds() for r in active], limits, sampler, self.rules, watch,
                                       ctx.check, asks, [r.line.runs for r in active])  # fmt: skip
        drawing = []
        for row, reply, one in zip(rows, active, made):
            if one.ids:
                reply.line.add(self.words(one.ids))
                reply.parts.append(self._decode(one.ids))
            reply.left -= len(one.ids)
            if one.last == self.begin:
                drawing.append(row)
                continue
            # Where only the room that a picture needs is left, the text may still go on without one.
            reply.over = one.stopped or reply.left <= 0 or reply.line.length >= self.context
        return drawing

    def _fits(self, reply: Reply) -> bool:
        return reply.line.length + self.count + 2 <= self.context

    def _room(self, reply: Reply) -> int:
        """New tokens of the next stretch; while a picture fits, they leave the positions that it takes."""
        pictures = len(reply.produce) if reply.produce is not None else int(self._fits(reply))
        return min(reply.left, self.context - reply.line.length - pictures * (self.count + 1))

    def _draw(self, ctx: Context, replies: Sequence[Reply], rows: Sequence[int], phase: int) -> None:
        """A picture at the end of each of these replies."""
        for row in rows:
            replies[row].line.add(self.words([self.begin]))
        nothing = self._opened()
        nothing.add(self.words([self.begin]))
        steps, guidance = (ctx.option(n, getattr(self.config, n)) for n in ("steps", "guidance"))
        wishes = [
            Wish(conds=(torch.tensor(i, device=ctx.device),), steps=int(steps[row]), guidance=float(guidance[row]),
                 nulls=None if guidance[row] == 1 else (torch.tensor(len(rows), device=ctx.device),), shape=self.shape)
            for i, row in enumerate(rows)
        ]  # fmt: skip
        inner = _of(ctx, rows, f"picture-{phase}")
        seen = ReadLines(self.model, [*(replies[r].line for r in rows), nothing])

        def ask(x_BCHW: torch.Tensor, t_B: torch.Tensor, line_B: torch.Tensor) -> torch.Tensor:
            hidden_BPD = seen(self.patches.positions(x_BCHW, t_B), line_B)
            return self.patches.noise(hidden_BPD, *self.shape[1:])

        for row, latent in zip(rows, denoise(inner, wishes, ask, self._schedule)):
            self._keep(replies[row], latent)

    def _keep(self, reply: Reply, latent_CHW: torch.Tensor) -> None:
        self._add_picture(reply.line, latent_CHW, begun=True)
        place = Place("image", len(reply.latents), Written(hand=self.hand, value=latent_CHW))
        reply.parts.append(place)
        reply.latents.append(latent_CHW)
        reply.left -= 1
        reply.most -= 1
        if reply.produce is not None:
            reply.produce.pop(0)
        reply.over = reply.left <= 0 or reply.line.length >= self.context

    def _schedule(self, steps: int) -> Schedule:
        bound = self.config.bound
        scheduler = DDPMScheduler(num_train_timesteps=TIMES, beta_schedule=self.config.schedule, clip_sample=bound > 0,
                                  clip_sample_range=bound or 1.0)  # fmt: skip
        scheduler.set_timesteps(steps)
        return Schedule(scheduler=scheduler)

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    # learning ----------------------------------------------------------------------------------------------------
    def learn(self, ctx: Context, message: Rows, target: Rows, image: Rows | None = None,
              target_image: Rows | None = None) -> dict[str, Rows]:  # fmt: skip
        """Teacher forcing. loss [B]: text_loss + `weigh` x image_loss.

        Pictures of the prompt are clean, those of the target noisy. Raises ValueError for a target without latents.
        """
        lines = self._prompts(ctx, message, image)
        given = [list(g) for g in target_image.groups()] if target_image is not None else [[] for _ in lines]
        dropped = (ctx.uniform((1,), 0)[:, 0] < self.config.drop).tolist()
        scheduler = self._schedule(TIMES).scheduler
        taught = []
        for i, (line, said, latents) in enumerate(zip(lines, target.list(), given)):
            held = self._noisy(ctx, scheduler, i, [v.to(ctx.device, torch.float32) for v in latents])
            taught.append(self._teach(self._opened() if dropped[i] else line, said, held))
        hidden = hidden_of(self.model, [t.line for t in taught])
        text, pictures = [], []
        for one, hidden_LD in zip(taught, hidden):
            text.append(self._text_loss(one, hidden_LD))
            pictures.append(self._image_loss(one, hidden_LD))
        text_B, image_B = torch.stack(text), torch.stack(pictures)
        return {"loss": ctx.rows(text_B + self.config.weigh * image_B), "text_loss": ctx.rows(text_B),
                "image_loss": ctx.rows(image_B)}  # fmt: skip

    def _noisy(self, ctx: Context, scheduler: Any, row: int, latents: Sequence[torch.Tensor]) -> list[_Noisy]:
        """Each latent at a time of its own, with its noise."""
        one = _of(ctx, [row], "noise")
        found = []
        for n, latent_CHW in enumerate(latents):
            time_1 = (one.uniform((1,), 1 + n)[0] * TIMES).long().clamp(max=TIMES - 1)
            noise_CHW = one.normal(latent_CHW.shape, 1 + n)[0]
            mixed = scheduler.add_noise(latent_CHW[None], noise_CHW[None], time_1)[0]
            found.append(_Noisy(latent=mixed, noise=noise_CHW, time=int(time_1)))
        return found

    def _teach(self, line: Line, target: Message, held: Sequence[_Noisy]) -> _Taught:
        one, waiting = _Taught(line=line), list(held)
        for _, parts in target.turns():
            for part in parts:
                if isinstance(part, str):
                    one.words(line, self._text_ids(part), self.words)
                elif not isinstance(part, Media) or part.kind != "image" or not waiting:
                    kind = getattr(part, "kind", "part")
                    raise ValueError(f"the target holds a {kind} for which port `target_image` has no latent")
                else:
                    noisy = waiting.pop(0)
                    one.words(line, [self.begin], self.words)
                    start = self._add_picture(line, noisy.latent, noisy.time, begun=True)
                    one.pictures.append((start, noisy.noise))
        if waiting:
            raise ValueError(f"port `target_image` has {len(waiting)} latents more than the target has pictures")
        one.words(line, self.stops[:1], self.words)
        return one

    def _text_loss(self, one: _Taught, hidden_LD: torch.Tensor) -> torch.Tensor:
        if not one.wanted:
            return hidden_LD.sum() * 0
        at = torch.tensor([place - 1 for place, _ in one.wanted], device=hidden_LD.device)
        wanted = torch.tensor([token for _, token in one.wanted], device=hidden_LD.device)
        return F.cross_entropy(self.model.get_output_embeddings()(hidden_LD[at]).float(), wanted)

    def _image_loss(self, one: _Taught, hidden_LD: torch.Tensor) -> torch.Tensor:
        losses = []
        for start, noise_CHW in one.pictures:
            rows, columns = noise_CHW.shape[1:]
            stop = start + rows * columns // self.config.patch**2
            found = self.patches.noise(hidden_LD[None, start:stop], rows, columns)[0]
            losses.append(F.mse_loss(found.float(), noise_CHW))
        return torch.stack(losses).mean() if losses else hidden_LD.sum() * 0


@dataclass(frozen=True, kw_only=True)
class _Noisy:
    latent: torch.Tensor
    noise: torch.Tensor
    time: int


@dataclass(kw_only=True)
class _Taught:
    """A line with what is to be predicted: (position, token) of words, (first position, noise) of pictures."""

    line: Line
    wanted: list[tuple[int, int]] = field(default_factory=list)
    pictures: list[tuple[int, torch.Tensor]] = field(default_factory=list)

    def words(self, line: Line, ids: Sequence[int], embed: Any) -> None:
        """Words to be predicted, at the end of the line; the very first position has nothing to be predicted from."""
        if ids:
            start = line.add(embed(ids))
            self.wanted += [(start + i, token) for i, token in enumerate(ids) if start + i]


def _of(ctx: Context, rows: Sequence[int], part: str) -> Context:
    """Some rows of a call, with noise of their own for a part of it."""
    inner = ctx.within(part, ctx.device, ctx.dtype)
    inner.keys = [ctx.keys[row] for row in rows]
    return inner


def _language(name: str) -> str | None:
    """Tensors of the language model alone."""
    return None if name.startswith("patches.") else name


def _patches(name: str) -> str | None:
    """Tensors of the patches alone."""
    return name.removeprefix("patches.") if name.startswith("patches.") else None
