"""Byte-pair training (Sennrich et al. 2016, arXiv 1508.07909; byte level as in GPT-2), by the tokenizers library.

`python -m anyany_language.bpe FILE… --vocab 4096 --out tokenizer.json`; the file lies beside a model's weights.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from anyany_language.pretrained import END, PAD

SMALLEST = 258  # all bytes, padding and end


def train(texts: Iterable[str], vocab: int, special: Sequence[str] = ()) -> Any:
    """A tokenizer of `vocab` ids in all: bytes, merges by frequency, padding, end and `special`, each one token.

    Every text can be written with it, since every byte is a token. Raises ValueError for a vocabulary under 258.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    marks = [PAD, END, *special]
    if vocab < SMALLEST + len(special):
        raise ValueError(f"a vocabulary of {vocab}: bytes and marks alone take {SMALLEST + len(special)}")
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocab, special_tokens=marks, show_progress=False,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))  # fmt: skip
    made.train_from_iterator(texts, trainer)
    return made


def lines(files: Sequence[str | Path]) -> Iterator[str]:
    """The lines of text files, as they are."""
    for file in files:
        with Path(file).open(encoding="utf-8") as text:
            yield from text


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Exit codes: 0, or 2 for a file that cannot be read or a vocabulary that is too small."""
    parser = argparse.ArgumentParser(prog="python -m anyany_language.bpe", description="train a byte-pair tokenizer")
    parser.add_argument("files", nargs="+", help="text files in UTF-8")
    parser.add_argument("--vocab", type=int, default=32000, help="ids in all (32000)")
    parser.add_argument("--special", action="append", default=[], metavar="TOKEN", help="a further token of its own")
    parser.add_argument("--out", default="tokenizer.json", help="where to write (tokenizer.json)")
    given = parser.parse_args(argv)
    try:
        made = train(lines(given.files), given.vocab, given.special)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    made.save(given.out)
    print(f"{given.out}: {made.get_vocab_size()} tokens")
    return 0


if __name__ == "__main__":
    sys.exit(main())
