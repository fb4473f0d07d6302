"""The decode loop, one for all language models: transformers' modules, our loop.

Prompts are embeddings, left-padded; the cache is static where the architecture allows; sampling, span rules and the
stop test are tensors, and on CUDA a whole step is one graph. Shape suffixes: B rows, N prompt length, W full width,
D model width, V vocabulary. Source: DESIGN section 6.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from anyany.engine.masks import Runs, mixed_mask
from anyany.engine.sampling import Sampler
from anyany.engine.spans import Asks, Gate, Rules


@dataclass(frozen=True, kw_only=True)
class Generated:
    """What one row produced: token ids (the stop token left out) and hidden states [n, D] of the steps that consumed
    each of them (only those that the rules want are kept; the others are None). last: the token that stopped it."""

    ids: list[int]
    hidden: list[torch.Tensor | None]
    stopped: bool
    last: int | None = None


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How far each row may go: new tokens a row, the tokens that stop it, and the id that fills finished rows."""

    max_new: Sequence[int]
    stop_ids: Sequence[int]
    pad_id: int = 0


@dataclass(kw_only=True)
class _State:
    token_B: torch.Tensor
    rule_B: torch.Tensor
    at_B: torch.Tensor
    made_BK: torch.Tensor
    left_B: torch.Tensor
    done_B: torch.Tensor
    step: torch.Tensor
    mask_BW: torch.Tensor
    position_B1: torch.Tensor
    at: torch.Tensor


@contextmanager
def last_hidden(model: nn.Module) -> Iterator[list[torch.Tensor]]:
    """Collects what enters the output layer (the last hidden state after the final norm) into the yielded list."""
    caught: list[torch.Tensor] = []

    def keep(_module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        caught[:] = [args[0]]

    handle = model.get_output_embeddings().register_forward_pre_hook(keep)  # type: ignore[operator]
    try:
        yield caught
    finally:
        handle.remove()


class Decoder:
    """The loop around one language model. `architecture` names how its cache is kept (see `CACHES`)."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.kind = cache_kind(model.config)

    def check_cache(self) -> None:
        """Raises ValueError where the model has no place for the cache: it would see each token alone."""
        forward = getattr(self.model, "forward", None)
        name = "cache_params" if self.kind == "state" else "past_key_values"
        if forward is not None and name not in inspect.signature(forward).parameters:
            raise ValueError(
                f"{self.model.config.model_type} keeps what it read in a way unknown here; take llama or mamba"
            )

    def check_runs(self) -> None:
        """Raises ValueError where the model cannot see runs of its prompt whole (`together`)."""
        if self.kind != "static" or _windowed(self.model.config):
            raise ValueError(
                f"{self.model.config.model_type} cannot see runs whole; take llama or another plain decoder"
            )

    @torch.inference_mode()
    def run(self, prompts: Sequence[torch.Tensor], limits: Limits, sampler: Sampler, rules: Rules | None = None,
            watch: Callable[[int, list[int], list[bool]], None] | None = None,
            check: Callable[[], None] | None = None, asks: Asks | None = None,
            together: Sequence[Runs] | None = None) -> list[Generated]:  # fmt: skip
        """Generate for B prompts of embeddings [N_i, D]. `watch(step, token of each row, done)` follows along one step
        late; `check()` may raise to stop the run; `asks` is what rows want of the rules' spans; `together` are
        runs of each prompt whose positions see each other. Raises ValueError for an empty prompt, for asks that do not
        fit, and for runs in a model that cannot see them whole."""
        if any(p.shape[0] == 0 for p in prompts):
            raise ValueError("an empty prompt: there is nothing to continue")
        self.check_cache()
        if together and any(together) and (self.kind != "static" or _windowed(self.model.config)):
            raise ValueError(
                f"{self.model.config.model_type} cannot see runs whole; take llama or another plain decoder"
            )
        loop = _Loop(self.model, self.kind, prompts, limits, sampler, rules, asks)
        loop.together = together if together and any(together) else None
        return loop.run(watch, check)


class _Loop:
    def __init__(self, model: Any, kind: str, prompts: Sequence[torch.Tensor], limits: Limits, sampler: Sampler,
                 rules: Rules | None, asks: Asks | None) -> None:  # fmt: skip
        self.model, self.kind, self.limits, self.sampler = model, kind, limits, sampler
        self.device = prompts[0].device
        self.rules = None if rules is None else rules.to(self.device)
        self.gate = None
        if self.rules is not None and asks is not None and not asks.plain:
            self.gate = Gate(self.rules, asks, limits.max_new, self.device)
        self.stop_T = torch.tensor(list(limits.stop_ids), dtype=torch.int64, device=self.device)
        self.steps = max(limits.max_new)
        self.embeds_BND, self.pad = left_pad(prompts)
        self.width = self.embeds_BND.shape[1] + self.steps + 1
        self.together: Sequence[Runs] | None = None

    def start(self) -> _State:
        batch, n = self.embeds_BND.shape[:2]
        mask_BW = torch.zeros(batch, self.width, dtype=torch.int64, device=self.device)
        for i, pad in enumerate(self.pad):
            mask_BW[i, pad:n] = 1
        full = torch.zeros(batch, dtype=torch.int64, device=self.device)
        kinds = 0 if self.rules is None else len(self.rules.spans)
        return _State(token_B=full.clone(), rule_B=full.clone(), at_B=full.clone(), done_B=full.bool(),
                      made_BK=torch.zeros(batch, kinds, dtype=torch.int64, device=self.device),
                      left_B=torch.tensor(list(self.limits.max_new), dtype=torch.int64, device=self.device),
                      step=torch.zeros((), dtype=torch.int64, device=self.device), mask_BW=mask_BW,
                      position_B1=mask_BW.sum(1, keepdim=True), at=torch.full((1,), n, device=self.device))  # fmt: skip

    def forward(self, state: _State, **inputs: Any) -> torch.Tensor:
        """Logits [B, V] of the last position."""
        if self.kind == "state":
            out = self.model(cache_params=self.cache, use_cache=True, **inputs)
            self.cache = out.cache_params
        else:
            out = self.model(past_key_values=self.cache, use_cache=True, **inputs)
        return out.logits[:, -1]

    def prefill(self, state: _State) -> torch.Tensor:
        n = self.embeds_BND.shape[1]
        self.cache = new_cache(self.model, self.kind, self.width)
        inputs: dict[str, Any] = {"inputs_embeds": self.embeds_BND, "logits_to_keep": 1}
        if self.kind == "state":
            return self.forward(state, attention_mask=state.mask_BW[:, :n], **inputs)
        position_BN = (state.mask_BW[:, :n].cumsum(-1) - 1).clamp_min(0)
        mask = state.mask_BW if self.kind == "static" else state.mask_BW[:, :n]
        if self.together is not None:
            mask = mixed_mask(self.pad, [n - p for p in self.pad], self.together, n, keys=mask.shape[1],
                              dtype=self.embeds_BND.dtype, device=self.device)  # fmt: skip
        return self.forward(state, attention_mask=mask, position_ids=position_BN, **inputs)

    def advance(self, state: _State) -> torch.Tensor:
        """Feed the tokens just chosen; logits [B, V] of what follows them."""
        state.mask_BW.index_fill_(1, state.at, 1)
        inputs: dict[str, Any] = {"input_ids": state.token_B[:, None]}
        if self.kind == "static":
            logits = self.forward(state, attention_mask=state.mask_BW, position_ids=state.position_B1, **inputs)
        elif self.kind == "dynamic":
            mask = state.mask_BW[:, : int(state.at) + 1]
            logits = self.forward(state, attention_mask=mask, position_ids=state.position_B1, **inputs)
        else:
            logits = self.forward(state, **inputs)
        state.position_B1.add_(1)
        state.at.add_(1)
        return logits

    def choose(self, state: _State, logits_BV: torch.Tensor) -> None:
        """Pick the next tokens, in place, and move rules, room and stop test along. No host synchronisation."""
        if self.gate is not None:
            logits_BV = self.gate.mask(logits_BV, state.rule_B, state.left_B, state.at_B, state.made_BK)
        elif self.rules is not None:
            logits_BV = self.rules.mask(logits_BV, state.rule_B, state.left_B)
        token_B = self.sampler.pick(logits_BV, state.step)
        token_B = torch.where(state.done_B, self.limits.pad_id, token_B)
        if self.gate is not None:
            token_B = self.gate.instead(token_B, self._stops(token_B) & ~state.done_B, state.at_B)
            self.gate.moved(token_B, state.rule_B, state.at_B, state.made_BK, state.done_B)
        stopped_B = self._stops(token_B)
        if self.rules is not None:
            state.rule_B.copy_(torch.where(state.done_B, state.rule_B, self.rules.advance(state.rule_B, token_B)))
        state.left_B.sub_(1)
        state.done_B.logical_or_(stopped_B | (state.left_B <= 0))
        state.token_B.copy_(token_B)
        state.step.add_(1)

    def _stops(self, token_B: torch.Tensor) -> torch.Tensor:
        return (token_B[:, None] == self.stop_T[None]).any(1)

    def run(self, watch: Any, check: Any) -> list[Generated]:
        state, record = self.start(), _Record(len(self.pad), self.limits, self.rules, watch)
        with last_hidden(self.model) as hidden:
            self.choose(state, self.prefill(state))
            step = self._step(state, hidden)
            pending = record.snapshot(state)
            for _ in range(self.steps):
                if check is not None:
                    check()
                if self.device.type == "cpu" and record.finished(pending):
                    break
                hidden_BD = step()
                following = record.snapshot(state)
                if record.take(pending, hidden_BD):
                    break
                pending = following
            else:
                record.take(pending, None)
        return record.rows()

    def _step(self, state: _State, hidden: list[torch.Tensor]) -> Callable[[], torch.Tensor]:
        def eager() -> torch.Tensor:
            logits = self.advance(state)
            kept = hidden[0][:, -1].clone() if self.rules is not None else hidden[0][:, -1]
            self.choose(state, logits)
            return kept

        if self.device.type != "cuda" or self.kind != "static":
            return eager
        from anyany.engine.cuda_graph import graphed

        return graphed(eager, state, self.cache)


class _Record:
    """What came out, read one step late: a step's tokens are looked at while the next step already runs."""

    def __init__(self, batch: int, limits: Limits, rules: Rules | None, watch: Any) -> None:
        self.ids: list[list[int]] = [[] for _ in range(batch)]
        self.hidden: list[list[torch.Tensor | None]] = [[] for _ in range(batch)]
        self.stopped = [False] * batch
        self.last: list[int | None] = [None] * batch
        self.over = [False] * batch
        self.limits, self.watch, self.step = limits, watch, 0
        self.stops = set(limits.stop_ids)
        self.span = None if rules is None else rules.heard()

    def snapshot(self, state: _State) -> tuple[torch.Tensor, Any]:
        """A copy of the tokens just chosen, on its way to the host."""
        if state.token_B.device.type == "cpu":
            return state.token_B.clone(), None
        host = torch.empty(state.token_B.shape, dtype=state.token_B.dtype, pin_memory=True)
        host.copy_(state.token_B, non_blocking=True)
        event = torch.cuda.Event()
        event.record()
        return host, event

    def finished(self, pending: tuple[torch.Tensor, Any]) -> bool:
        """True when every row ends with these tokens and none of them is a span token still to be consumed."""
        for i, token in enumerate(pending[0].tolist()):
            if self.over[i]:
                continue
            last = token in self.stops or len(self.ids[i]) + 1 >= self.limits.max_new[i]
            if not last or (self.span is not None and bool(self.span[token])):
                return False
        self.take(pending, None)
        return True

    def take(self, pending: tuple[torch.Tensor, Any], hidden_BD: torch.Tensor | None) -> bool:
        """File the tokens of a step with the hidden states of the step that consumed them. True when all rows ended."""
        tokens_B, event = pending
        if event is not None:
            event.synchronize()
        tokens = tokens_B.tolist()
        for i, token in enumerate(tokens):
            if self.over[i]:
                continue
            if token in self.stops:
                self.over[i] = self.stopped[i] = True
                self.last[i] = token
                continue
            self.ids[i].append(token)
            span = self.span is not None and hidden_BD is not None and bool(self.span[token])
            self.hidden[i].append(hidden_BD[i] if span and hidden_BD is not None else None)
            self.over[i] = len(self.ids[i]) >= self.limits.max_new[i]
        if self.watch is not None:
            self.watch(self.step, tokens, list(self.over))
        self.step += 1
        return all(self.over)

    def rows(self) -> list[Generated]:
        made = zip(self.ids, self.hidden, self.stopped, self.last)
        return [Generated(ids=i, hidden=h, stopped=s, last=t) for i, h, s, t in made]


def left_pad(prompts: Sequence[torch.Tensor]) -> tuple[torch.Tensor, list[int]]:
    """([B, N, D] zero-padded on the left, the number of padded positions of each row)."""
    longest = max(p.shape[0] for p in prompts)
    out = prompts[0].new_zeros(len(prompts), longest, prompts[0].shape[1])
    pads = [longest - p.shape[0] for p in prompts]
    for i, (prompt, pad) in enumerate(zip(prompts, pads)):
        out[i, pad:] = prompt
    return out, pads


STATIC = {"llama", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "mistral", "phi", "phi3", "gpt2", "gpt_neox"}
STATE = {"mamba", "mamba2", "falcon_mamba"}


def cache_kind(config: Any) -> str:
    """ "static" or "state" for the tested architectures; "dynamic" for every other decoder with a key-value cache."""
    name = config.model_type
    return "static" if name in STATIC else "state" if name in STATE else "dynamic"


def _windowed(config: Any) -> bool:
    """True where some layers see only what is near."""
    return "sliding_attention" in (getattr(config, "layer_types", None) or ()) or bool(
        getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    )


def new_cache(model: Any, kind: str, width: int) -> Any:
    """An empty cache of the architecture's kind; `width` is the full static length."""
    from transformers import DynamicCache, StaticCache

    if kind == "static":
        return StaticCache(config=model.config, max_cache_len=width)
    return DynamicCache(config=model.config)
