"""`python -m anyany_mini.evaluate`: the bundled pipeline marked on held-out scenes, seen and unseen pairs apart.

Runs the pipeline of `--spec` through `anyany.load`, or the bare modules with `--raw`. The scenes come from seeds that
training never used. Printed are fractions: captions and drawings exactly right, attributes, the right modality chosen.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anyany_mini import marker, talk, world

Picture = NDArray[np.uint8]
Prompt = list[str | Picture]
DESCRIBE = ("describe it", "what do you see?", "describe the picture", "What is in this picture?")
DRAW = ("draw {}", "please draw {}", "Draw {}.", "show me {}")


@dataclass(frozen=True, kw_only=True)
class Reply:
    """Text and pictures of one answer."""

    text: str
    pictures: tuple[Picture, ...]


Answer = Callable[[Sequence[Prompt]], list[Reply]]


def raw_answer() -> Answer:
    """The bare modules: greedy text, a drawing for every eight signals; prompts of one length go together."""
    import torch

    from anyany_mini import models, speak
    from anyany_mini.train.common import token

    torch.set_num_threads(1)
    talker, draw = speak.load(), models.load("draw")[0]
    signals = [token(s) for s in talk.SIGNALS]

    def begin_of(reply: list[int]) -> int:
        """Where a whole run of signals begins, -1 if there is none."""
        begin = reply.index(signals[0]) if signals[0] in reply else -1
        return begin if reply[begin : begin + 8] == signals else -1

    def drawing(ids: list[int], begin: int, seen: Any, seed: int) -> Picture:
        """The picture asked for by the eight signals from `begin` on."""
        found = speak.hidden(talker, torch.tensor([ids]), seen)[:, begin : begin + 8]
        noise = torch.randn(1, 3, world.SIDE, world.SIDE, generator=torch.Generator().manual_seed(seed))
        drawn = draw.sample(talker.to_image(found), noise)  # type: ignore[operator]
        return drawn[0].add(1).mul(127.5).round().byte().permute(1, 2, 0).numpy()

    @torch.no_grad()
    def group(prompts: list[tuple[int, list[int], list[Picture]]]) -> dict[int, Reply]:
        """Replies to prompts of one length and one number of pictures, by their numbers."""
        shown = [picture for _, _, pictures in prompts for picture in pictures]
        pictures = models.pixels(np.stack(shown)) if shown else None
        replies = speak.generate(talker, [ids for _, ids, _ in prompts], pictures)
        found = {}
        for row, ((number, ids, own), reply) in enumerate(zip(prompts, replies, strict=True)):
            begin = begin_of(reply)
            drawn: tuple[Picture, ...] = ()
            if begin >= 0:
                mine = pictures[row * len(own) : (row + 1) * len(own)] if pictures is not None else None
                seen = None if mine is None else speak.features(talker, mine)
                drawn = (drawing(ids + reply, len(ids) + begin, seen, number),)
            text = speak.words([i for i in reply if i not in signals]).strip()
            found[number] = Reply(text=text, pictures=drawn)
        return found

    def answer(prompts: Sequence[Prompt]) -> list[Reply]:
        groups: dict[tuple[int, int], list[tuple[int, list[int], list[Picture]]]] = {}
        for number, prompt in enumerate(prompts):
            ids = speak.prompt_ids([part if isinstance(part, str) else None for part in prompt], talker.patches)
            shown = [part for part in prompt if not isinstance(part, str)]
            groups.setdefault((len(ids), len(shown)), []).append((number, ids, shown))
        found: dict[int, Reply] = {}
        for same in groups.values():
            found |= group(same)
        return [found[number] for number in range(len(prompts))]

    return answer


def piped_answer(spec: str) -> Answer:
    """The same through `anyany.load(spec).map`, as a user runs it."""
    import torch

    import anyany

    pipe = anyany.load(spec)

    def value(part: str | Picture) -> Any:
        return part if isinstance(part, str) else torch.from_numpy(part).permute(2, 0, 1)

    def array(image: Any) -> Picture:
        levels = image if image.dtype == torch.uint8 else image.float().clamp(0, 1).mul(255).round().to(torch.uint8)
        return levels.cpu().permute(1, 2, 0).numpy()

    def run(prompts: Sequence[Prompt]) -> list[Reply]:
        items = [{"prompt": [value(part) for part in prompt]} for prompt in prompts]
        replies = []
        for result in pipe.map(items):
            parts = result.raised().outputs["reply"].parts
            pictures = tuple(array(p.value) for p in parts if getattr(p, "kind", None) == "image")
            replies.append(Reply(text="".join(p for p in parts if isinstance(p, str)).strip(), pictures=pictures))
        return replies

    return run


def cases(split: str, count: int) -> tuple[list[Prompt], list[Prompt], list[str]]:
    """Prompts to describe, prompts to draw, and the captions that both are marked by."""
    rng = np.random.default_rng(
        world.EVAL_SEED + (11 if split == "seen" else 12)
    )  # not those of the gates and of tuning
    scenes = [world.sample_scene(rng, split) for _ in range(count)]
    captions = [world.caption(scene) for scene in scenes]
    looks: list[Prompt] = []
    for index, scene in enumerate(scenes):
        picture, asked = world.render(scene), DESCRIBE[index % len(DESCRIBE)]
        looks.append([asked, picture] if index % 2 else [picture, asked])
    draws: list[Prompt] = [[DRAW[index % len(DRAW)].format(c)] for index, c in enumerate(captions)]
    return looks, draws, captions


def mean(marks: Sequence[dict[str, float]], name: str) -> float:
    return float(np.mean([mark[name] for mark in marks]))


def evaluate(answer: Answer, count: int) -> dict[str, dict[str, float]]:
    """The table: for `seen` and `unseen`, a fraction for each line."""
    table: dict[str, dict[str, float]] = {}
    blank = np.zeros((world.SIDE, world.SIDE, 3), np.uint8)
    for split in ("seen", "unseen"):
        looks, draws, captions = cases(split, count)
        told, drawn = answer(looks), answer(draws)
        texts = [marker.mark_caption(r.text, c) for r, c in zip(told, captions, strict=True)]
        pictures = [r.pictures[0] if r.pictures else blank for r in drawn]
        marks = [marker.mark_picture(p, c) for p, c in zip(pictures, captions, strict=True)]
        right = [float(bool(r.text) and not r.pictures) for r in told] + [float(len(r.pictures) == 1) for r in drawn]
        row = {"caption exact": mean(texts, "exact")}
        row |= {f"caption {name}": mean(texts, name) for name in marker.ATTRIBUTES}
        row |= {"drawing exact": mean(marks, "exact")}
        row |= {f"drawing {name}": mean(marks, name) for name in marker.ATTRIBUTES}
        table[split] = row | {"modality chosen": float(np.mean(right))}
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m anyany_mini.evaluate")
    parser.add_argument("--n", type=int, default=200, help="scenes of each split, to describe and to draw")
    parser.add_argument("--spec", default="pipelines/quickstart.yaml")
    parser.add_argument("--raw", action="store_true", help="run the bare modules instead of the pipeline")
    parser.add_argument("--json", action="store_true", help="print the table as one JSON object")
    options = parser.parse_args(arguments)
    if not options.raw and not Path(options.spec).exists():
        print(f"{options.spec} is not here; name the pipeline with --spec, or use --raw", file=sys.stderr)
        return 2
    began = time.monotonic()
    table = evaluate(raw_answer() if options.raw else piped_answer(options.spec), options.n)
    if options.json:
        print(json.dumps(table))
        return 0
    print(f"{'held-out scenes: ' + str(options.n) + ' a split':28}{'seen':>8}{'unseen':>8}")
    for name, value in table["seen"].items():
        print(f"{name:28}{value:8.1%}{table['unseen'][name]:8.1%}")
    print(f"{time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
