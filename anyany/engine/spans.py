"""Spans: runs of tokens that come whole (signals, codes of a picture or sound), as a state table, and what rows ask.

Shape suffixes: B rows, V vocabulary, S states, C token classes, K kinds of spans, P places of a script. Everything that
a step needs is tensors, so that a CUDA graph holds it. Source: DESIGN section 6.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

ILLEGAL = -1
NOBODY = -1
FLOOR = -1e30  # what a legal token has at least: dividing by a temperature keeps it above -inf, where illegal ones are


@dataclass(frozen=True, kw_only=True)
class Span:
    """A run of tokens that comes whole: `begin`, then codes, then `end`. A signal is its beginning alone.

    codes: ranges (first id, how many) that the codes are taken from in turn; several for residual codebooks.
    least, most: how many codes, whole turns. Without an end they are equal.
    """

    begin: Sequence[int]
    codes: Sequence[tuple[int, int]] = ()
    least: int = 0
    most: int = 0
    end: Sequence[int] = ()

    @property
    def shortest(self) -> int:
        """Tokens of the shortest whole span."""
        return len(self.begin) + self.least + len(self.end)

    def check(self, name: str) -> None:
        """Raises ValueError for a span that could not come whole."""
        turn = max(1, len(self.codes))
        if not self.begin:
            raise ValueError(f"the span of {name} has no token that begins it")
        if not 0 <= self.least <= self.most or self.least % turn or self.most % turn:
            raise ValueError(f"{name} has {self.least} to {self.most} codes, which is no number of turns of {turn}")
        if bool(self.codes) != bool(self.most):
            raise ValueError(f"the span of {name} has codes without a length, or a length without codes")
        if not self.end and self.least != self.most:
            raise ValueError(f"{name} has {self.least} to {self.most} codes and no token that ends them")


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Which token may follow: a finite automaton over classes of tokens.

    class_V: class of each token. next_SC: the state after a token of that class, or -1 where it is illegal.
    need_S: how many further tokens a state needs before the text may end (0 outside spans). State 0 is the start.
    spans: by name, in the order that `Asks` counts them. heard_V: tokens whose hidden states are wanted (all of spans).
    """

    class_V: torch.Tensor
    next_SC: torch.Tensor
    need_S: torch.Tensor
    spans: Mapping[str, Span] = field(default_factory=dict)
    heard_V: torch.Tensor | None = None

    def to(self, device: torch.device) -> Rules:
        heard = None if self.heard_V is None else self.heard_V.to(device)
        return replace(self, class_V=self.class_V.to(device), next_SC=self.next_SC.to(device),
                       need_S=self.need_S.to(device), heard_V=heard)  # fmt: skip

    def heard(self) -> torch.Tensor:
        """[V] bool on the CPU: tokens whose hidden states are kept."""
        return (self.class_V > 0 if self.heard_V is None else self.heard_V).cpu()

    def mask(self, logits_BV: torch.Tensor, state_B: torch.Tensor, left_B: torch.Tensor) -> torch.Tensor:
        """Logits with -inf on illegal tokens and on tokens whose span would not fit in the `left_B` tokens left."""
        after_BC = self.next_SC[state_B]
        fits_BC = self.need_S[after_BC.clamp_min(0)] < left_B[:, None]
        return self._only((after_BC != ILLEGAL) & fits_BC, logits_BV)

    def _only(self, legal_BC: torch.Tensor, logits_BV: torch.Tensor) -> torch.Tensor:
        """Logits with -inf outside legal classes. Inside, what is no number cannot fall below an illegal token."""
        floor = max(FLOOR, torch.finfo(logits_BV.dtype).min)
        sane_BV = torch.nan_to_num(logits_BV, nan=floor, posinf=-floor, neginf=floor)
        return sane_BV.masked_fill(~legal_BC.index_select(1, self.class_V), float("-inf"))

    def advance(self, state_B: torch.Tensor, token_B: torch.Tensor) -> torch.Tensor:
        """The states after the chosen tokens."""
        return self.next_SC[state_B, self.class_V[token_B]].clamp_min(0)


def span_rules(vocab: int, spans: Mapping[str, Sequence[int] | Span], outside: Collection[int] = ()) -> Rules:
    """Rules under which each span, once begun with its first token, comes whole.

    A span is a `Span`, or the token ids of a signal in order (NExT-GPT's [IMG0] … [IMG3]). Outside spans only their
    first tokens are legal, and those in `outside`; inside, only what continues them, and the end of the text waits.
    Raises ValueError for spans that cannot be told apart, and for ids beyond the vocabulary.
    """
    known = {n: s if isinstance(s, Span) else Span(begin=list(s)) for n, s in spans.items()}
    for name, span in known.items():
        span.check(name)
    table = _Table(vocab, outside)
    for span in known.values():
        table.add(span)
    heard_V = torch.zeros(vocab, dtype=torch.bool)
    for span in known.values():
        if not span.codes:
            heard_V[list(span.begin)] = True
    return Rules(class_V=table.class_V, next_SC=table.next_SC(), need_S=torch.tensor(table.need), spans=known,
                 heard_V=heard_V)  # fmt: skip


class _Table:
    """A state table as it grows. A symbol is a range (first id, how many); a class is a set of symbols."""

    def __init__(self, vocab: int, outside: Collection[int]) -> None:
        self.vocab, self.outside = vocab, frozenset(outside)
        self.class_V = torch.zeros(vocab, dtype=torch.int64)
        self.symbols: list[set[tuple[int, int]]] = [set()]  # of each class
        self.refined: set[tuple[int, int]] = set()
        self.steps: list[dict[tuple[int, int], int]] = [{}]  # of each state: symbol -> state
        self.need = [0]
        for token in sorted(self.outside):  # classes of their own: codes that lie around one are not outside with it
            self._refine((token, 1))

    def add(self, span: Span) -> None:
        """A span's states: behind each token of its beginning, each code, each token of its end."""
        after_begin = span.shortest - len(span.begin)
        here = 0
        for i, token in enumerate(span.begin):
            here = self._step(here, (token, 1), after_begin + len(span.begin) - 1 - i)
        if not span.codes:
            self._close(here, span.end)
            return
        turn, whole = len(span.codes), []
        for n in range(span.most):
            if n >= span.least and n % turn == 0:
                whole.append(here)
            longer = max(span.least, -(-(n + 1) // turn) * turn) - (n + 1)
            here = self._step(here, span.codes[n % turn], longer + len(span.end))
        closing = self._close(here, span.end)
        for state in whole:
            self._link(state, (span.end[0], 1), closing)

    def _close(self, here: int, end: Sequence[int]) -> int:
        """The end from `here`; the state behind its first token."""
        first = 0
        for i, token in enumerate(end):
            here = self._step(here, (token, 1), len(end) - 1 - i)
            first = here if i == 0 else first
        return first

    def _step(self, here: int, symbol: tuple[int, int], need: int) -> int:
        """A step from a state; where nothing is needed any more, back to the start."""
        self._refine(symbol)
        there = 0
        if need:
            self.steps.append({})
            self.need.append(need)
            there = len(self.steps) - 1
        self._link(here, symbol, there)
        return there

    def _link(self, here: int, symbol: tuple[int, int], there: int) -> None:
        for other in self.steps[here]:
            if other[0] < symbol[0] + symbol[1] and symbol[0] < other[0] + other[1]:
                raise ValueError(f"two spans, or a code and an end, share token {max(other[0], symbol[0])}")
        self.steps[here][symbol] = there

    def _refine(self, symbol: tuple[int, int]) -> None:
        if symbol in self.refined:
            return
        self.refined.add(symbol)
        first, count = symbol
        if first < 0 or count < 1 or first + count > self.vocab:
            raise ValueError(f"token {first + count - 1} of a span is beyond the vocabulary of {self.vocab}")
        part = self.class_V[first : first + count]
        for old in part.unique().tolist():
            if symbol not in self.symbols[old]:
                part[part == old] = len(self.symbols)
                self.symbols.append(self.symbols[old] | {symbol})

    def next_SC(self) -> torch.Tensor:
        next_SC = torch.full((len(self.steps), len(self.symbols)), ILLEGAL, dtype=torch.int64)
        next_SC[0, 0] = 0
        for token in self.outside:
            if any(first <= token < first + count for first, count in self.steps[0]):
                raise ValueError(f"token {token} begins a span and stands outside of them too")
            next_SC[0, self.class_V[token]] = 0
        kinds = {symbol: [k for k, held in enumerate(self.symbols) if symbol in held] for symbol in self.refined}
        rows = [(state, kind, there) for state, steps in enumerate(self.steps)
                for symbol, there in steps.items() for kind in kinds[symbol]]  # fmt: skip
        if rows:
            state_R, kind_R, there_R = torch.tensor(rows).unbind(1)
            next_SC[state_R, kind_R] = there_R
        return next_SC


@dataclass(frozen=True, kw_only=True)
class Asks:
    """What each row asks of its spans.

    produce: the kinds that the text must hold, in this order, and no others; None where the model decides.
    most: how many spans of a kind there may be (a kind that is missing: any number). threshold: how likely a span must
    be for the model to begin it.
    """

    produce: Sequence[Sequence[str] | None]
    most: Sequence[Mapping[str, int]]
    threshold: Sequence[float]

    @property
    def plain(self) -> bool:
        """True where no row asks for anything."""
        return not any(p is not None for p in self.produce) and not any(self.most) and not any(self.threshold)


class Gate:
    """Rules as rows ask for them. Its moving parts (place in the script, spans made) live in the caller's tensors."""

    def __init__(self, rules: Rules, asks: Asks, left: Sequence[int], device: torch.device) -> None:
        self.rules, names = rules, list(rules.spans)
        spans = list(rules.spans.values())
        scripts = [[names.index(_known(k, names)) for k in p or ()] for p in asks.produce]
        for script, room in zip(scripts, left):
            wanted = sum(spans[k].shortest for k in script)
            if wanted > room:
                told = ", ".join(names[k] for k in script)
                raise ValueError(f"to produce {told} takes {wanted} tokens, and there is room for {room}; "
                                 "raise max_new_tokens")  # fmt: skip
        places = 1 + max(map(len, scripts), default=0)
        whole = 1 << 30

        def table(rows: Sequence[Sequence[int]]) -> torch.Tensor:
            return torch.tensor(rows, dtype=torch.int64, device=device)

        self.script_BP = table([s + [NOBODY] * (places - len(s)) for s in scripts])
        self.rest_BP = table([[sum(spans[k].shortest for k in s[p:]) for p in range(places)] for s in scripts])
        self.strict_B = torch.tensor([p is not None for p in asks.produce], device=device)
        self.most_BK = table([[m.get(n, whole) for n in names] for m in asks.most])
        self.timid = any(asks.threshold)
        self.threshold_B = torch.tensor([float(t) for t in asks.threshold], device=device)
        self.first_K = table([s.begin[0] for s in spans])
        self.cost_K = table([s.shortest for s in spans])
        self.kind_C = torch.full((rules.next_SC.shape[1],), NOBODY, dtype=torch.int64, device=device)
        self.kind_C[rules.class_V[self.first_K]] = torch.arange(len(spans), device=device)

    def mask(self, logits_BV: torch.Tensor, state_B: torch.Tensor, left_B: torch.Tensor, at_B: torch.Tensor,
             made_BK: torch.Tensor) -> torch.Tensor:  # fmt: skip
        """As `Rules.mask`; what the script still holds must fit too, and only spans asked for begin."""
        rules, outside_B1 = self.rules, state_B[:, None] == 0
        after_BC = rules.next_SC[state_B]
        begins_BC = (self.kind_C >= 0)[None] & outside_B1
        kind_C = self.kind_C.clamp_min(0)
        saved_BC = torch.where(begins_BC & self.strict_B[:, None], self.cost_K[kind_C][None], 0)
        need_BC = rules.need_S[after_BC.clamp_min(0)] + self.rest_BP.gather(1, at_B[:, None]) - saved_BC
        due_B1 = self.script_BP.gather(1, at_B[:, None])
        free_BK = made_BK < self.most_BK
        if self.timid:
            likely_BK = torch.softmax(torch.nan_to_num(logits_BV.float()), -1)[:, self.first_K]
            free_BK = free_BK & (likely_BK >= self.threshold_B[:, None])
        may_BC = torch.where(self.strict_B[:, None], self.kind_C[None] == due_B1, free_BK[:, kind_C])
        legal_BC = (after_BC != ILLEGAL) & (need_BC < left_B[:, None]) & (may_BC | ~begins_BC)
        return rules._only(legal_BC, logits_BV)

    def instead(self, token_B: torch.Tensor, stopped_B: torch.Tensor, at_B: torch.Tensor) -> torch.Tensor:
        """The tokens, with the beginning of what is still due where the model would stop."""
        due_B = self.script_BP.gather(1, at_B[:, None])[:, 0]
        return torch.where(stopped_B & (due_B >= 0), self.first_K[due_B.clamp_min(0)], token_B)

    def moved(self, token_B: torch.Tensor, state_B: torch.Tensor, at_B: torch.Tensor, made_BK: torch.Tensor,
              done_B: torch.Tensor) -> None:  # fmt: skip
        """Count, in place, the spans that these tokens begin."""
        begun_BK = (token_B[:, None] == self.first_K[None]) & ((state_B == 0) & ~done_B)[:, None]
        made_BK.add_(begun_BK)
        at_B.add_(begun_BK.any(1) & self.strict_B)


def _known(name: str, names: Sequence[str]) -> str:
    if name not in names:
        raise ValueError(f"the model cannot produce {name}; it can produce {', '.join(names) or 'text alone'}")
    return name
