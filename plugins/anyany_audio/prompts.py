"""Captions as conditioning of AudioLDM (arXiv 2301.12503) and AudioLDM2 (arXiv 2308.05734), by their own encoders.

AudioLDM: CLAP's text embedding, of length one. AudioLDM2: CLAP's and T5's outputs side by side, continued by GPT-2
for eight vectors. Each caption runs alone, for padding would move GPT-2's positions. Suffixes: L tokens, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from anyany.api.torch import Build


class Prompts:
    """host: the component, whose `text_encoder` and so on are used. paired: AudioLDM2."""

    def __init__(self, host: Any, build: Build, paired: bool) -> None:
        self.host, self.build, self.paired = host, build, paired
        self._tokenizers: dict[str, Any] = {}

    def encode(self, captions: Sequence[str], device: Any) -> list[tuple[torch.Tensor, ...]]:
        """The conditioning of each caption: ([1,D],), or of AudioLDM2 ([8,D], [L,E]). Raises ValueError for weights
        without a text encoder or tokenizer."""
        if getattr(self.host, "text_encoder", None) is None:
            raise ValueError(f"the weights of {self.build.node} hold no text encoder")
        return [self._pair(c, device) if self.paired else (self._clap(c, device),) for c in captions]

    def _ids(self, name: str, caption: str, device: Any) -> dict[str, torch.Tensor]:
        if name not in self._tokenizers:
            from transformers import AutoTokenizer

            path = self.build.assets.path(name)
            if path is None:
                raise ValueError(f"{self.build.node} cannot read captions: its checkpoint has no folder {name}")
            self._tokenizers[name] = AutoTokenizer.from_pretrained(str(path), local_files_only=True)
        known = self._tokenizers[name]
        cut = {"truncation": True, "max_length": known.model_max_length} if known.model_max_length < 100_000 else {}
        return {k: v.to(device) for k, v in known(caption, return_tensors="pt", **cut).items()
                if k in ("input_ids", "attention_mask")}  # fmt: skip

    def _clap(self, caption: str, device: Any) -> torch.Tensor:
        """[1,D] of length one."""
        found = self.host.text_encoder(**self._ids("tokenizer", caption, device)).text_embeds
        return F.normalize(found, dim=-1)

    def _pair(self, caption: str, device: Any) -> tuple[torch.Tensor, torch.Tensor]:
        host = self.host
        clap = host.text_encoder.get_text_features(**self._ids("tokenizer", caption, device))
        clap_1D = getattr(clap, "pooler_output", clap)
        words_1LE = host.text_encoder_2(**self._ids("tokenizer_2", caption, device)).last_hidden_state
        joined = host.projection_model(hidden_states=clap_1D[:, None], hidden_states_1=words_1LE).hidden_states
        count = int(getattr(host.language_model.config, "max_new_tokens", None) or 8)
        for _ in range(count):
            out = host.language_model(inputs_embeds=joined, output_hidden_states=True).hidden_states[-1]
            joined = torch.cat([joined, out[:, -1:]], 1)
        return joined[0, -count:], words_1LE[0]
