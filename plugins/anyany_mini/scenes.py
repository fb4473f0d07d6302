"""The miniature world as a source of records: pictures uint8 [64, 64, 3], captions, questions and their answers."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from anyany.api.torch import Build, Component, Context, Rows
from anyany_mini import world
from anyany_mini.world import EVAL_SEED

KEPT = 4096
"""Records that are kept for the next epoch: some 50 MB."""
ASKED = ("describe it", "what do you see?", "describe the picture", "What is in this picture?")


class Scenes(Component):
    """Options: `ScenesConfig`."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        self._kept: dict[int, dict[str, Any]] = {}

    def __len__(self) -> int:
        return int(self.config.n)

    def record(self, index: int) -> dict[str, Any]:
        """The scene of (seed, index): picture, caption, prompt (a request and the picture), question and answer."""
        found = self._kept.get(index) or self._made(index)
        if len(self._kept) < KEPT:
            self._kept[index] = found
        return found

    def _made(self, index: int) -> dict[str, Any]:
        rng = np.random.default_rng([self.config.seed, index % EVAL_SEED])
        scene = world.sample_scene(rng, self.config.split)
        picture, (question, answer) = world.render(scene), _pick(rng, world.questions(scene))
        return {
            "picture": picture,
            "caption": world.caption(scene),
            "prompt": [_pick(rng, ASKED) + " ", picture],
            "question": [question + " ", picture],
            "answer": answer,
        }

    def read(self, ctx: Context) -> dict[str, Rows]:
        """The first record's words, as JSON."""
        words = {k: v for k, v in self.record(0).items() if isinstance(v, str)}
        return {"record": ctx.rows([json.dumps(words)] * len(ctx.keys))}


def _pick(rng: np.random.Generator, choices: Any) -> Any:
    return choices[int(rng.integers(len(choices)))]
