"""Word pieces of an encoder's checkpoint: its tokenizer in any of the files that releases carry it in."""

from __future__ import annotations

from typing import Any

from anyany.api.torch import Assets, WordPieces

FILES = ("tokenizer_config.json", "tokenizer.json", "vocab.txt", "beit3.spm", "sentencepiece.bpe.model")


def word_pieces(assets: Assets, vocab: int, longest: int) -> WordPieces:
    """vocab: rows of the embedding; longest: positions there are. Bytes where there is no tokenizer."""
    return WordPieces(_tokenizer(assets), vocab, longest)


def _tokenizer(assets: Assets) -> Any:
    found = next((n for n in FILES if assets.path(n) is not None), None)
    if found is None:
        return None
    from transformers import AutoTokenizer, XLMRobertaTokenizer

    if found == "beit3.spm":
        return XLMRobertaTokenizer(str(assets.path(found)))
    return AutoTokenizer.from_pretrained(str(assets.folder), local_files_only=True)
