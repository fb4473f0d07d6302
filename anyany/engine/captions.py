"""Captions to conditioning: the text encoder of a diffusion model, with its tokenizer.

Shape suffixes: B captions, L padded length, N conditioning length, D its width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from anyany.engine.component import Build
from anyany.weights.networks import Part

Ids = Callable[[str], list[int]]
BYTES = 257


@dataclass(frozen=True, kw_only=True)
class Text:
    """The text encoder: `prefix` ids go before the caption's own, and the outputs there are the conditioning.

    prefix: empty where all outputs are. length: captions are padded to it; 0 for none. folder: of the tokenizer, where
    the checkpoint is a pipeline; else tokenizer.json has the tokens named in `prefix` and `pad`.
    """

    part: Part
    prefix: tuple[str, ...] = ()
    pad: str = "<pad>"
    length: int = 0
    folder: str = ""


def random_text(n: int, width: int) -> Text:
    """A small text encoder for random weights: over bytes, its first `n` outputs of `width` are the conditioning."""
    heads = next(h for h in (8, 4, 2, 1) if width % h == 0)
    sizes = {
        "hidden_size": width, "num_hidden_layers": 2, "num_attention_heads": heads, "intermediate_size": 2 * width,
        "vocab_size": BYTES + n, "max_position_embeddings": n + 512, "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0, "type_vocab_size": 1,
    }  # fmt: skip
    part = Part(name="transformers.BertModel", config=sizes, extra={"add_pooling_layer": False})
    return Text(part=part, prefix=tuple(f"[{i}]" for i in range(n)))


class Captions:
    """Tokenises for a text encoder and runs it. `ids` are made on first use, when the tokenizer file is read."""

    def __init__(self, text: Text, build: Build) -> None:
        self.text, self.build, self.length = text, build, 0
        self._ids: tuple[Ids, int] | None = None

    def ids(self) -> tuple[Ids, int]:
        """(caption -> ids, the id that pads). Raises ValueError when the checkpoint carries no tokenizer."""
        if self._ids is None:
            self._ids = self._folder() if self.text.folder else self._file()
        return self._ids

    def _folder(self) -> tuple[Ids, int]:
        from transformers import AutoTokenizer

        path = self.build.assets.path(self.text.folder)
        if path is None:
            raise ValueError(f"{self.build.node} cannot read captions: its checkpoint has no folder {self.text.folder}")
        known = AutoTokenizer.from_pretrained(str(path), local_files_only=True)
        self.length = int(known.model_max_length) if known.model_max_length < 100_000 else 0
        cut = {"truncation": True, "max_length": self.length} if self.length else {}
        return lambda caption: known(caption, **cut).input_ids, known.pad_token_id

    def _file(self) -> tuple[Ids, int]:
        self.length = self.text.length
        path = self.build.assets.path("tokenizer.json")
        if path is None and self.build.assets.path("config.json") is None:
            return self._bytes()
        if path is None:
            raise ValueError(f"{self.build.node} cannot read captions: its checkpoint has no tokenizer.json")
        from tokenizers import Tokenizer

        known = Tokenizer.from_file(str(path))
        prefix, pad = [known.token_to_id(t) for t in self.text.prefix], known.token_to_id(self.text.pad)
        if pad is None or None in prefix:
            wanted = ", ".join((self.text.pad, *self.text.prefix))
            raise ValueError(f"tokenizer.json of {self.build.node} lacks one of {wanted}")
        return lambda caption: prefix + known.encode(caption, add_special_tokens=False).ids, pad

    def _bytes(self) -> tuple[Ids, int]:
        """For random weights: 0 pads, then the bytes, then the tokens of the prefix."""
        prefix = [BYTES + i for i in range(len(self.text.prefix))]
        return lambda caption: prefix + [1 + b for b in caption.encode("utf-8")], 0

    def encode(self, encoder: nn.Module, captions: Sequence[str], device: Any) -> list[torch.Tensor]:
        """Conditioning [N,D] of each caption. Raises ValueError for a caption beyond the encoder's context."""
        ids, pad = self.ids()
        rows = [ids(caption) for caption in captions]
        most = getattr(encoder.config, "max_position_embeddings", None)
        longest = max(len(row) for row in rows)
        if most is not None and longest > most:
            raise ValueError(f"a caption of {longest} tokens: {self.build.node}'s text encoder reads at most {most}")
        width = max(longest, self.length)
        ids_BL = torch.tensor([row + [pad] * (width - len(row)) for row in rows], device=device)
        real = torch.arange(width, device=device)[None] < torch.tensor([[len(row)] for row in rows], device=device)
        # CLIP's conditioning includes what it makes of the padding; a mask would change what the denoiser learnt on.
        mask = None if type(encoder).__name__.startswith("CLIP") else real.long()
        hidden_BLD = encoder(input_ids=ids_BL, attention_mask=mask).last_hidden_state
        prefix = len(self.text.prefix)
        # Others attend to the real tokens alone, so that what they make of padding is nothing to be conditioned on.
        lengths = [prefix or (width if self.length and mask is None else len(row)) for row in rows]
        return [hidden_LD[:n] for hidden_LD, n in zip(hidden_BLD, lengths)]
