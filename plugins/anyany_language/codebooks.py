"""Token streams: codes of pictures and sounds as words of one vocabulary (SEED-LLaMA, AnyGPT, Chameleon).

A medium is the run `<image>` codes `</image>`. tokens [N] of a tokenizer, from 0 <-> ids of the vocabulary.
SEED-LLaMA: Ge et al. 2023, arXiv 2310.01218; AnyGPT: Zhan et al. 2024, arXiv 2402.12226.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from anyany.api.torch import Build, Span
from anyany.api.v1 import Media, Message


@dataclass(frozen=True, kw_only=True)
class Codebook:
    """Where a kind's codes lie in the vocabulary: code c has the id start + c. With turns, codes come in turn from so
    many equal parts of the codebook, as those of residual quantisers do."""

    kind: str
    codes: int
    turns: int
    start: int
    span: Span

    def write(self, tokens: Any) -> list[int]:
        """The ids of a medium: codes [N] between the tokens that open and close it.

        Raises ValueError for no codes, for a code beyond the codebook or out of turn.
        """
        codes, part = torch.as_tensor(tokens).tolist(), self.codes // self.turns
        if not codes or len(codes) % self.turns:
            raise ValueError(f"{len(codes)} codes of {self.kind}, where some in turns of {self.turns} are wanted")
        for i, code in enumerate(codes):
            if not 0 <= code < self.codes:
                raise ValueError(f"code {code} of {self.kind} is beyond its codebook of {self.codes}")
            if code // part != i % self.turns:
                raise ValueError(f"code {i} of {self.kind} is of codebook {code // part}, not {i % self.turns}")
        return [*self.span.begin, *(self.start + c for c in codes), *self.span.end]

    def read(self, ids: Sequence[int]) -> torch.Tensor:
        """The codes [N] of a whole span's ids."""
        inner = ids[len(self.span.begin) : len(ids) - len(self.span.end)]
        return torch.tensor([t - self.start for t in inner], dtype=torch.int64)


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a model (`hand`) wrote for a medium, kept with it: the ids of its span, or its latent."""

    hand: object
    value: Any


def kept(message: Message, kind: str, hand: object) -> dict[int, Any]:
    """What this very model wrote for media of a kind, by their number."""
    media = [p for p in message.parts if isinstance(p, Media) and p.kind == kind]
    return {i: m.tokens.value for i, m in enumerate(media)
            if isinstance(m.tokens, Written) and m.tokens.hand is hand}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Of a kind's tokens: how many codes there are, how many of them a medium has, and the turns they come in."""

    codes: int
    least: int
    most: int
    turns: int


def sizes(kind: str, told: Mapping[str, Any], build: Build) -> Sizes:
    """The sizes of a kind: told, else those of the tokenizer at the other end of an edge.

    Raises ValueError where nothing fixes them, or turns do not divide them.
    """
    codes, length = (told[n] or build.sizes.get(f"{kind}_{n}") for n in ("codes", "length"))
    turns = int(told["turns"] or build.sizes.get(f"{kind}_turns") or 1)
    for value, what, example in ((codes, "how many codes", "codes: 8192"), (length, "how long", "length: [1, 500]")):
        if value is None:
            raise ValueError(f"nothing fixes {what} the {kind} of {build.node} is; "
                             f"give `with: {{codebooks: {{{kind}: {{{example}}}}}}}`")  # fmt: skip
    least, most = (length, length) if isinstance(length, int) else length
    if any(n % turns for n in (codes, least, most)):
        raise ValueError(f"{codes} codes and a length of {least} to {most} of {kind} do not divide into {turns} turns")
    return Sizes(codes=int(codes), least=int(least), most=int(most), turns=turns)


def count(settings: Mapping[str, Mapping[str, Any]], build: Build) -> int:
    """How many tokens the codebooks take in a vocabulary of their own."""
    return sum(sizes(k, s, build).codes + 1 + bool(s["end"]) for k, s in settings.items())


def lay_out(settings: Mapping[str, Mapping[str, Any]], build: Build, tokenizer: Any, first: int) -> list[Codebook]:
    """The codebooks of a model: under the names of a checkpoint's tokenizer, or, where it knows none of them, one after
    another from id `first`.

    Raises ValueError where the tokenizer knows some of the tokens, or codes do not follow each other.
    """
    own = any(build.assets.path(n) is not None for n in ("tokenizer.json", "tokenizer_config.json"))
    vocab = tokenizer.get_vocab() if own else {}
    books = []
    for kind, told in settings.items():
        size = sizes(kind, told, build)
        codes = size.codes
        names = [told["begin"], *([told["end"]] if told["end"] else []), *map(told["token"].format, range(codes))]
        if own and any(n in vocab for n in names):
            ids = [_found(n, vocab, kind, build) for n in names]
        else:
            ids = list(range(first, first + len(names)))
            first += len(names)
        start, part = ids[len(names) - codes], codes // size.turns
        if ids[len(names) - codes :] != list(range(start, start + codes)):
            raise ValueError(f"the codes of {kind} do not follow each other in the tokenizer of {build.node}")
        ranges = [(start + part * t, part) for t in range(size.turns)]
        span = Span(begin=ids[:1], codes=ranges, least=size.least, most=size.most, end=ids[1 : len(names) - codes])
        books.append(Codebook(kind=kind, codes=codes, turns=size.turns, start=start, span=span))
    return books


def _found(name: str, vocab: Mapping[str, int], kind: str, build: Build) -> int:
    if name not in vocab:
        raise ValueError(f"the tokenizer of {build.node} has no {name}, a token of the codebook of {kind}; "
                         "name its tokens with `begin`, `end` and `token`")  # fmt: skip
    return vocab[name]
