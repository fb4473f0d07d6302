"""Token streams: codes of pictures and sounds as words of one vocabulary (SEED-LLaMA, AnyGPT, Chameleon).

A medium is the run `<image>` codes `</image>`. tokens [N], or [N,Q] of Q codebooks, from 0 <-> ids of the vocabulary.
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
    """Where a kind's codes lie in the vocabulary: code c of codebook q has the id starts[q] + c. The codebooks of a
    position take turns."""

    kind: str
    codes: int
    starts: tuple[int, ...]
    span: Span

    def write(self, tokens: Any) -> list[int]:
        """The ids of a medium: codes [N] or [N,Q] between the tokens that open and close it.

        Raises ValueError for no codes, for a code beyond the codebook and for another number of codebooks.
        """
        tokens, turn = torch.as_tensor(tokens), len(self.starts)
        if not tokens.numel() or tokens.shape[1:] != ((turn,) if turn > 1 else ()):
            found = "x".join(map(str, tokens.shape))
            raise ValueError(f"{found} codes of {self.kind}, where any number for {turn} codebooks is wanted")
        codes = tokens.flatten().tolist()
        beyond = [c for c in codes if not 0 <= c < self.codes]
        if beyond:
            raise ValueError(f"code {int(beyond[0])} of {self.kind} is beyond its codebook of {self.codes}")
        return [*self.span.begin, *(self.starts[i % turn] + int(c) for i, c in enumerate(codes)), *self.span.end]

    def read(self, ids: Sequence[int]) -> torch.Tensor:
        """The codes [N] or [N,Q] of a whole span's ids."""
        inner, turn = ids[len(self.span.begin) : len(ids) - len(self.span.end)], len(self.starts)
        codes = torch.tensor([t - self.starts[i % turn] for i, t in enumerate(inner)], dtype=torch.int64)
        return codes.unflatten(0, (-1, turn)) if turn > 1 else codes


@dataclass(frozen=True, kw_only=True)
class Written:
    """The ids of a span, kept with the medium made from it for the model (`hand`) that wrote them."""

    hand: object
    ids: tuple[int, ...]


def kept(message: Message, kind: str, hand: object) -> dict[int, list[int]]:
    """The ids of those media of a kind, by their number, that this very model wrote."""
    media = [p for p in message.parts if isinstance(p, Media) and p.kind == kind]
    return {i: list(m.tokens.ids) for i, m in enumerate(media)
            if isinstance(m.tokens, Written) and m.tokens.hand is hand}  # fmt: skip


def sizes(kind: str, told: Mapping[str, Any], build: Build) -> tuple[int, int, int]:
    """(codes, least, most positions) of a kind: from the options, else from the tokenizer at the edge's other end.

    Raises ValueError where nothing fixes them.
    """
    codes = told["codes"] or build.sizes.get(f"{kind}_codes")
    length = told["length"] or build.sizes.get(f"{kind}_length")
    for value, what, example in ((codes, "how many codes", "codes: 8192"), (length, "how long", "length: [1, 500]")):
        if value is None:
            raise ValueError(f"nothing fixes {what} the {kind} of {build.node} is; "
                             f"give `with: {{codebooks: {{{kind}: {{{example}}}}}}}`")  # fmt: skip
    least, most = (length, length) if isinstance(length, int) else length
    return int(codes), int(least), int(most)


def count(settings: Mapping[str, Mapping[str, Any]], build: Build) -> int:
    """How many tokens the codebooks take in a vocabulary of their own."""
    return sum(sizes(k, s, build)[0] * s["turns"] + bool(s["begin"]) + bool(s["end"]) for k, s in settings.items())


def lay_out(settings: Mapping[str, Mapping[str, Any]], build: Build, tokenizer: Any, first: int) -> list[Codebook]:
    """The codebooks of a model: under the names of a checkpoint's tokenizer, or one after another from id `first`.

    Raises ValueError where the tokenizer lacks a token, or codes do not follow each other.
    """
    own = any(build.assets.path(n) is not None for n in ("tokenizer.json", "tokenizer_config.json"))
    vocab = tokenizer.get_vocab() if own else {}
    books = []
    for kind, told in settings.items():
        codes, least, most = sizes(kind, told, build)
        turns = told["turns"]
        names = [told["begin"], told["end"], *(_name(told["token"], t, c) for t in range(turns) for c in range(codes))]
        if own:
            ids = [_found(n, vocab, kind, build) if n else None for n in names]
        else:
            ids = []
            for name in names:
                ids.append(first if name else None)
                first += bool(name)
        starts = tuple(ids[2 + t * codes] for t in range(turns))
        if ids[2:] != [starts[t] + c for t in range(turns) for c in range(codes)]:
            raise ValueError(f"the codes of {kind} do not follow each other in the tokenizer of {build.node}")
        span = Span(begin=[ids[0]], codes=[(s, codes) for s in starts], least=least * turns, most=most * turns,
                    end=[] if ids[1] is None else [ids[1]])  # fmt: skip
        books.append(Codebook(kind=kind, codes=codes, starts=starts, span=span))
    return books


def _name(pattern: str, turn: int, code: int) -> str:
    return pattern.format(code, turn=turn)


def _found(name: str, vocab: Mapping[str, int], kind: str, build: Build) -> int:
    if name not in vocab:
        raise ValueError(f"the tokenizer of {build.node} has no {name}, a token of the codebook of {kind}; "
                         "name its tokens with `begin`, `end` and `token`")  # fmt: skip
    return vocab[name]
