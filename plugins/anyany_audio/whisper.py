"""Whisper (Radford et al. 2022, arXiv 2212.04356): sound to text, to English, with timestamps, of any length.

audio: B sounds -> text, spans [{start, end, text}] in seconds. Long sounds are heard in windows that follow the times.
Suffixes: W windows, M mel bands, T frames, L tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch

from anyany.api.torch import Build, Component, Context, Rows, load_transformers, relayout
from anyany_audio.codes import OWN_VOCAB, STEP, Codes
from anyany_audio.log_mel import RATE, SHORTEST, log_mel, waves
from anyany_audio.names import OPENAI
from anyany_audio.whisper_encoder import PER_SECOND, settings


@dataclass
class _Heard:
    """One sound on its way: seconds already settled, and what was found."""

    wave: torch.Tensor
    at: float = 0.0
    texts: list[str] = field(default_factory=list)
    spans: list[dict[str, Any]] = field(default_factory=list)
    language: int | None = None

    def rest(self) -> torch.Tensor:
        return self.wave[round(self.at * RATE) :]


class Whisper(Component):
    """Options: `WhisperConfig`; a checkpoint's config.json overrides the sizes."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        from transformers import WhisperForConditionalGeneration

        self.codes = Codes(build.assets)
        vocab = max(config.vocab or 0, OWN_VOCAB + round(config.positions / PER_SECOND / STEP) + 1)
        self.settings = settings(config, build, vocab_size=vocab, max_target_positions=config.context)
        self.model = WhisperForConditionalGeneration(self.settings)
        self.seconds = self.settings.max_source_positions / PER_SECOND
        generation = build.assets.json("generation_config.json") or {}
        self.silent = sorted(set(generation.get("suppress_tokens") or []))
        self.not_first = list(generation.get("begin_suppress_tokens") or [])

    def load(self, stores: Sequence[Any], build: Build) -> None:
        """Names of transformers or of OpenAI, strictly."""
        store = relayout(stores, OPENAI)
        self.model = load_transformers(type(self.model), self.settings, store, build)

    def probe(self, call: str) -> Callable[[], Any]:
        """A window heard and 64 tokens written, on the meta device."""
        mel_WMT = torch.empty(1, self.settings.num_mel_bins, round(self.seconds * 100), device=self.model.device)
        ids_WL = torch.empty(1, 64, dtype=torch.int64, device=self.model.device)
        mask_W1LL = torch.empty(1, 1, 64, 64, device=self.model.device)

        def one_pass() -> None:
            self.model(input_features=mel_WMT, decoder_input_ids=ids_WL, decoder_attention_mask=mask_W1LL,
                       use_cache=False)  # fmt: skip

        one_pass.__doc__ = f"a window of {self.seconds:g} s + 64 tokens"
        return one_pass

    def transcribe(self, ctx: Context, audio: Rows) -> dict[str, Rows]:
        """text: B strings. spans: B lists of {start, end, text}, empty without `timestamps`.

        Raises ValueError for a sound that is silent, too short, or of another rate.
        """
        heard = [_Heard(wave) for wave in waves(audio.list())]
        while True:
            open_ = [h for h in heard if h.rest().shape[0] >= SHORTEST]
            if not open_:
                break
            ctx.check()
            self._window(ctx, open_)
        return {
            "text": ctx.rows(["".join(h.texts).strip() for h in heard]),
            "spans": ctx.rows([h.spans for h in heard]),
        }

    def _window(self, ctx: Context, heard: Sequence[_Heard]) -> None:
        pieces = [h.rest()[: round(self.seconds * RATE)] for h in heard]
        mel_WMT, _ = log_mel(pieces, self.settings.num_mel_bins, self.seconds)
        states = self.model.model.encoder(mel_WMT.to(ctx.device, ctx.dtype))
        self._name_languages(heard, states)
        for ids, one, piece in zip(self._decode(ctx, heard, states), heard, pieces):
            length = piece.shape[0] / RATE
            spans, settled = self.codes.segments(ids, one.at, length) if self.config.timestamps else ([], length)
            one.texts.append(self.codes.text(ids) if not self.config.timestamps else "".join(s["text"] for s in spans))
            one.spans += spans
            one.at += settled

    def _name_languages(self, heard: Sequence[_Heard], states: Any) -> None:
        """Each sound's language: the option's, or the likeliest after the start mark of its first window."""
        if not self.codes.languages:
            return
        if self.config.language != "auto":
            chosen = self.codes.language(self.config.language)
            for one in heard:
                one.language = chosen
            return
        first = torch.full((len(heard), 1), self.codes.start, device=states.last_hidden_state.device)
        logits_WV = self.model(encoder_outputs=states, decoder_input_ids=first, use_cache=False).logits[:, -1]
        known = torch.tensor(sorted(self.codes.languages.values()), device=first.device)
        for one, best in zip(heard, known[logits_WV[:, known].argmax(-1)].tolist()):
            one.language = best if one.language is None else one.language

    def _decode(self, ctx: Context, heard: Sequence[_Heard], states: Any) -> list[list[int]]:
        """Greedy tokens of each window, without prompt and end."""
        from transformers import DynamicCache, EncoderDecoderCache

        prompts = [self.codes.prompt(h.language, self.config.task, self.config.timestamps) for h in heard]
        ids_WL = torch.tensor(prompts, device=states.last_hidden_state.device)
        begin, cache = ids_WL.shape[1], EncoderDecoderCache(DynamicCache(), DynamicCache())
        times = self._time_rules(begin) if self.config.timestamps else None
        over, step = torch.zeros(len(heard), dtype=torch.bool, device=ids_WL.device), ids_WL
        room = min(self.config.max_new_tokens, self.settings.max_target_positions - begin)
        for i in range(room):
            ctx.check()
            out = self.model(encoder_outputs=states, decoder_input_ids=step, past_key_values=cache, use_cache=True)
            logits_WV = self._legal(out.logits[:, -1].float(), i == 0)
            logits_WV = times(ids_WL, logits_WV) if times is not None else logits_WV
            best = torch.where(over, torch.full_like(ids_WL[:, 0], self.codes.end), logits_WV.argmax(-1))
            over, step = over | (best == self.codes.end), best[:, None]
            ids_WL = torch.cat([ids_WL, step], 1)
            if bool(over.all()):
                break
        return [_until(row[begin:], self.codes.end) for row in ids_WL.tolist()]

    def _legal(self, logits_WV: torch.Tensor, first: bool) -> torch.Tensor:
        banned = [*self.silent, *(self.not_first if first else ())]
        if not self.config.timestamps:
            logits_WV[:, self.codes.first_time :] = float("-inf")
        logits_WV[:, banned] = float("-inf")
        return logits_WV

    def _time_rules(self, begin: int) -> Any:
        """Whisper's own rules of timestamps: they come in pairs and never go back."""
        from transformers.generation.logits_process import WhisperTimeStampLogitsProcessor

        wanted = SimpleNamespace(no_timestamps_token_id=self.codes.plain, eos_token_id=self.codes.end,
                                 bos_token_id=self.codes.end, max_initial_timestamp_index=50)  # fmt: skip
        return WhisperTimeStampLogitsProcessor(wanted, begin_index=begin)


def _until(ids: list[int], end: int) -> list[int]:
    return ids[: ids.index(end)] if end in ids else ids
