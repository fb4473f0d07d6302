"""Speech from text: VITS (Kim et al. 2021, arXiv 2106.06103) by transformers; MMS-TTS (arXiv 2305.13516) reads letters.

text: B strings -> audio. A row is spoken by itself, for the model's own lengths decide what it costs, and padding would
be heard. Suffixes: L characters with blanks between them, S samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from anyany.api.torch import Audio, Build, Component, Context, Part, Rows, load_network, network_of

SIGNS = 38
"""What a model without a checkpoint tells apart: any character is one of so many; number 0 is the blank."""


class RowNoise(TorchFunctionMode):
    """Inside it `torch.randn` and `randn_like` give one row's own noise, so that speech keeps the noise promise."""

    def __init__(self, ctx: Context, row: int) -> None:
        super().__init__()
        self.ctx, self.row, self.drawn = ctx, row, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.randn_like:
            shape, dtype = args[0].shape, args[0].dtype
        elif func is torch.randn:
            shape = args[0] if isinstance(args[0], (tuple, list, torch.Size)) else args
            dtype = (kwargs or {}).get("dtype")
        else:
            return func(*args, **(kwargs or {}))
        self.drawn += 1
        ctx, keys = self.ctx, [self.ctx.keys[self.row]]
        return ctx.noise.normal(keys, tuple(shape)[1:], f"{ctx.node}.{ctx.call}", self.drawn, ctx.device).to(dtype)


class Tts(Component):
    """Options: `TtsConfig`; a checkpoint's config.json overrides the sizes."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        own = build.assets.json("config.json") or _small(config)
        if own.get("model_type", "vits") != "vits":
            raise ValueError(f"{build.node} speaks with VITS and MMS-TTS, not with {own['model_type']!r}")
        kept = {k: v for k, v in own.items() if k not in ("architectures", "model_type", "transformers_version")}
        self.part = Part(name="transformers.VitsModel", config=kept)
        self.model: Any = network_of(self.part)
        self.rate = int(self.model.config.sampling_rate)
        self._tokenizer: Any = None

    def load(self, stores: Sequence[Any], build: Build) -> None:
        """transformers' names, strictly; in float32, for the durations' splines break below it."""
        self.model = load_network(self.part, stores, replace(build, dtype=torch.float32))

    def speak(self, ctx: Context, text: Rows) -> dict[str, Rows]:
        """text: B strings. audio: a sound each, mono, absent where no letter of the text is known.

        Raises ValueError for a text that is too long, or in letters that the checkpoint was not made for.
        """
        self.model.float()  # random weights come in the node's own dtype
        speeds = ctx.option("speed", self.config.speed)
        speakers = ctx.option("speaker", self.config.speaker)
        noises = ctx.option("noise", self.config.noise)
        made: list[Audio | None] = []
        for row, one in enumerate(text):
            ctx.check()
            ids = self._ids(one)
            if not one.strip() or not any(ids):
                ctx.note(row, "nothing to say")
                made.append(None)
                continue
            ids_1L = torch.tensor([ids], device=ctx.device)
            self.model.noise_scale = self.model.config.noise_scale if noises[row] is None else noises[row]
            speaker = self._speaker(speakers[row])
            with RowNoise(ctx, row):
                spoken = self.model(ids_1L, speaker_id=speaker, speaking_rate=float(speeds[row]))
            made.append(Audio(spoken.waveform.float().cpu().clamp(-1, 1), self.rate))
        return {"audio": ctx.maybe(made)}

    def _speaker(self, number: int | None) -> int | None:
        count = int(self.model.config.num_speakers)
        if number is not None and number >= count:
            raise ValueError(f"speaker {number}: this model has {count}, counted from 0")
        return (number or 0) if count > 1 else None

    def _ids(self, text: str) -> list[int]:
        longest = self.config.longest
        if len(text) > longest:
            raise ValueError(f"the text is {len(text)} characters long; at most {longest} are spoken at once")
        if self.build.assets.path("config.json") is None:
            return [0, *(i for c in text for i in (1 + ord(c) % (SIGNS - 1), 0))]
        tokenizer = self._own_tokenizer()
        if tokenizer.is_uroman and not text.isascii():
            raise ValueError("this checkpoint reads Latin letters only: write the text in them (uroman does)")
        ids: list[int] = tokenizer(text).input_ids
        return ids

    def _own_tokenizer(self) -> Any:
        if self._tokenizer is None:
            from transformers import VitsTokenizer

            if self.build.assets.path("vocab.json") is None:
                raise ValueError(f"{self.build.node} cannot read: its checkpoint has no vocab.json")
            own = VitsTokenizer.from_pretrained(str(self.build.assets.folder), local_files_only=True)
            if own.phonemize:
                raise ValueError("this checkpoint reads phonemes, not letters; take one of facebook/mms-tts-*")
            self._tokenizer = own
        return self._tokenizer


def _small(config: Any) -> dict[str, Any]:
    """The config of a model without a checkpoint; the defaults of transformers are those of MMS-TTS."""
    width = config.width
    return {
        "sampling_rate": config.rate, "vocab_size": SIGNS, "hidden_size": width, "flow_size": width,
        "num_hidden_layers": config.layers, "num_attention_heads": 2, "ffn_dim": 4 * width,
        "upsample_initial_channel": config.channels, "upsample_rates": list(config.upsample),
        "upsample_kernel_sizes": [2 * u + u % 2 for u in config.upsample],
        "use_stochastic_duration_prediction": config.stochastic, "duration_predictor_filter_channels": width,
        "spectrogram_bins": 513 if width > 64 else 17, "posterior_encoder_num_wavenet_layers": config.layers,
        "prior_encoder_num_flows": min(4, config.layers),
    }  # fmt: skip
