"""The spoken sentences of a folder made by `python -m anyany_mini.corpus`, as a source of records."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from anyany.api.torch import Audio, Build, Component, Context, Rows
from anyany_mini import sentences

RATE = 16000


class Speech(Component):
    """Options: `SpeechConfig`. Noise is a function of the record's number, so an epoch hears the same again."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        self.folder = Path(build.assets.folder or ".")
        self.where = self.folder / config.path

    @cached_property
    def lines(self) -> list[dict[str, Any]]:
        """The index, cut by `skip` and `n`. Raises ValueError where there is none."""
        told = self.where / "speech.jsonl"
        if not told.exists():
            raise ValueError(f"there is no {told}; make it: python -m anyany_mini.corpus --out {self.where}")
        whole = told.read_text("utf-8").splitlines()
        end = self.config.skip + self.config.n if self.config.n else None
        lines = [json.loads(line) for line in whole[self.config.skip : end]]
        return [line for line in lines if not self.config.replies or sentences.slots(line["text"])]

    @cached_property
    def samples(self) -> np.memmap[Any, Any]:
        """All samples, int16, read from the file as they are needed."""
        return np.memmap(self.where / "speech.pcm", np.int16, "r")

    def __len__(self) -> int:
        return len(self.lines)

    def wave(self, index: int) -> np.ndarray[Any, Any]:
        """float32 samples of a sentence, -1..1, clean."""
        line = self.lines[index]
        return np.asarray(self.samples[line["begin"] : line["begin"] + line["length"]], np.float32) / 32768

    def record(self, index: int) -> dict[str, Any]:
        """audio and text; `slots`: seconds at which each of `sentences.slots` begins, -1 for an empty one."""
        wave, rng = self.wave(index), np.random.default_rng([7, index])
        if rng.random() < self.config.noise:
            power = float(np.square(wave).mean()) * 10 ** (-rng.uniform(20, 40) / 10)
            wave = wave + rng.normal(0, power**0.5, len(wave)).astype(np.float32)
        line, seconds = self.lines[index], dict(self.lines[index]["starts"])
        record = {"audio": Audio(torch.from_numpy(wave)[None], RATE), "text": line["text"]}
        letters = sentences.slots(line["text"])
        if letters is not None:
            record["slots"] = torch.tensor([seconds[letter] if letter >= 0 else -1.0 for letter in letters])
        return record

    def read(self, ctx: Context) -> dict[str, Rows]:
        """The first record's words, as JSON."""
        return {"record": ctx.rows([json.dumps({"text": self.lines[0]["text"]})] * len(ctx.keys))}
