"""`python -m anyany_mini.evaluate`: the bundled pipeline marked on held-out scenes, seen and unseen pairs apart.

Runs the pipeline of `--spec` through `anyany.load`, as a user does. Scenes come from seeds that training never used;
texts are marked by exact match, pictures by the nearest rendering, speech by the nearest of 20 candidates (DTW on
MFCCs) and, beside it, by the word errors of the bundled recogniser. Printed are fractions.
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

from anyany_mini import exam, marker, world

Picture = NDArray[np.uint8]
Wave = NDArray[np.float32]
Prompt = list[Any]
DESCRIBE = ("describe it", "what do you see?", "describe the picture", "What is in this picture?")
DRAW = ("draw {}", "please draw {}", "Draw {}.", "show me {}")
SAY = ("say {}", "please say {}", "Say {}.", "{}. say it")


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What an answer holds: the kinds of its parts in order, its text, pictures and sounds."""

    kinds: tuple[str, ...]
    text: str
    pictures: tuple[Picture, ...]
    sounds: tuple[Wave, ...]


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the table: prompts (none: the answers to the line before, marked once more), the kinds of a right
    answer's parts, and how each answer is marked."""

    name: str
    prompts: list[Prompt]
    kinds: tuple[str, ...]
    mark: Callable[[int, Reply], float]


Answer = Callable[[Sequence[Prompt]], list[Reply]]


def piped_answer(spec: str) -> Answer:
    """Answers through `anyany.load(spec).map`."""
    import torch

    import anyany
    from anyany.api.torch import Audio

    pipe = anyany.load(spec)

    def value(part: Any) -> Any:
        if isinstance(part, str):
            return part
        found = torch.from_numpy(part)
        return Audio(found[None], 16000) if part.ndim == 1 else found.permute(2, 0, 1)

    def array(image: Any) -> Picture:
        levels = image if image.dtype == torch.uint8 else image.float().clamp(0, 1).mul(255).round().to(torch.uint8)
        return levels.cpu().permute(1, 2, 0).numpy()

    def run(prompts: Sequence[Prompt]) -> list[Reply]:
        replies = []
        for result in pipe.map([{"prompt": [value(part) for part in prompt]} for prompt in prompts]):
            found = result.raised().outputs["reply"].parts
            parts = [p for p in found if not isinstance(p, str) or p.strip()]
            media = [p for p in parts if not isinstance(p, str)]
            replies.append(Reply(
                kinds=tuple("text" if isinstance(p, str) else p.kind for p in parts),
                text="".join(p for p in parts if isinstance(p, str)).strip(),
                pictures=tuple(array(p.value) for p in media if p.kind == "image"),
                sounds=tuple(p.value.samples.float().mean(0).cpu().numpy() for p in media if p.kind == "audio"),
            ))  # fmt: skip
        return replies

    return run


def lines(split: str, count: int, sounds: int) -> list[Line]:
    """Every line of the table on `count` scenes of a split, and on `sounds` where something is heard or said."""
    told, heard = exam.cases(split, count), exam.load(split)
    captions = [case.caption for case in told]
    pictures = [world.render(case.scene) for case in told]
    few = range(sounds)

    def text(number: int, reply: Reply) -> float:
        return float(reply.text == captions[number])

    def answer(number: int, reply: Reply) -> float:
        return float(reply.text == told[number].answer)

    def drawn(number: int, reply: Reply) -> float:
        return marker.mark_picture(reply.pictures[0], captions[number])["exact"] if reply.pictures else 0.0

    def said(number: int, reply: Reply) -> float:
        return float(bool(reply.sounds) and exam.heard_as(reply.sounds[0], number, heard))

    def order(number: int, reply: Reply) -> float:
        return float(reply.kinds == ("image", "text"))

    def both(number: int, reply: Reply) -> float:
        return text(number, reply) * drawn(number, reply)

    def turned(number: int, medium: Any, words: str) -> Prompt:
        return [words, medium] if number % 2 else [medium, words]

    def shown(*words: str) -> list[Prompt]:
        return [turned(n, picture, words[n % len(words)]) for n, picture in enumerate(pictures)]

    spoken = [turned(n, pictures[n], "say it") for n in few]
    recordings, questions = [heard.captions[n] for n in few], [heard.questions[n] for n in few]
    asked = [turned(n, p, told[n].question + ("?" if n % 3 else "")) for n, p in enumerate(pictures)]
    return [
        Line(name="image → text", prompts=shown(*DESCRIBE), kinds=("text",), mark=text),
        Line(name="audio → text", prompts=[turned(n, r, "describe it") for n, r in enumerate(recordings)],
             kinds=("text",), mark=text),
        Line(name="text → image", prompts=[[DRAW[n % 4].format(c)] for n, c in enumerate(captions)],
             kinds=("image",), mark=drawn),
        Line(name="text → audio", prompts=[[SAY[n % 4].format(captions[n])] for n in few], kinds=("audio",), mark=said),
        Line(name="image → audio", prompts=spoken, kinds=("audio",), mark=said),
        Line(name="audio → image", prompts=[turned(n, r, "draw it") for n, r in enumerate(recordings)],
             kinds=("image",), mark=drawn),
        Line(name="picture, written question", prompts=asked, kinds=("text",), mark=answer),
        Line(name="picture, spoken question", prompts=[[pictures[n], questions[n]] for n in few], kinds=("text",),
             mark=answer),
        Line(name="draw and describe: in order", prompts=shown("draw it and describe it"), kinds=("image", "text"),
             mark=order),
        Line(name="draw and describe: both right", prompts=[], kinds=("image", "text"), mark=both),
    ]  # fmt: skip


def evaluate(answer: Answer, split: str, count: int, transcribe: Callable[[list[Wave]], list[str]]) -> dict[str, float]:
    """The table of a split: line -> fraction right, and the right modality over all of them."""
    sounds = min(count, exam.SPOKEN)
    table: dict[str, float] = {}
    chosen: list[float] = []
    replies: list[Reply] = []
    captions = [case.caption for case in exam.cases(split, count)]
    for line in lines(split, count, sounds):
        replies = answer(line.prompts) if line.prompts else replies
        table[line.name] = float(np.mean([line.mark(n, reply) for n, reply in enumerate(replies)]))
        if line.prompts:
            chosen += [float(reply.kinds == line.kinds) for reply in replies]
        if line.kinds == ("audio",):
            told = transcribe([reply.sounds[0] for reply in replies if reply.sounds])
            wanted = [captions[n] for n, reply in enumerate(replies) if reply.sounds]
            table[f"{line.name}: word errors"] = word_errors(told, wanted)
    return table | {"modality chosen": float(np.mean(chosen))}


def word_errors(told: Sequence[str], wanted: Sequence[str]) -> float:
    """Words to be changed, put in or left out, over the words there should be."""
    edits = sum(_edits(a.split(), b.split()) for a, b in zip(told, wanted, strict=True))
    return edits / max(1, sum(len(b.split()) for b in wanted))


def _edits(a: list[str], b: list[str]) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]


def recogniser(spec: str) -> Callable[[list[Wave]], list[str]]:
    """What the bundled recogniser writes down."""
    import torch

    import anyany
    from anyany.api.torch import Audio

    pipe = anyany.load(spec)

    def run(waves: list[Wave]) -> list[str]:
        items = [{"audio": Audio(torch.from_numpy(wave)[None], 16000)} for wave in waves]
        return [result.raised().outputs["text"] for result in pipe.map(items)] if items else []

    return run


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m anyany_mini.evaluate")
    parser.add_argument("--n", type=int, default=200, help=f"scenes of each split ({exam.SPOKEN} of them with sound)")
    parser.add_argument("--spec", default="pipelines/mini.yaml")
    parser.add_argument("--recogniser", default="pipelines/mini/hear.yaml")
    parser.add_argument("--json", action="store_true", help="print the table as one JSON object")
    options = parser.parse_args(arguments)
    for path in (options.spec, options.recogniser):
        if not Path(path).exists():
            print(f"{path} is not here; run it in a checkout, or name the file", file=sys.stderr)
            return 2
    began = time.monotonic()
    answer, transcribe = piped_answer(options.spec), recogniser(options.recogniser)
    table = {split: evaluate(answer, split, options.n, transcribe) for split in exam.SPLITS}
    if options.json:
        print(json.dumps(table))
        return 0
    print(f"{'held-out scenes: ' + str(options.n) + ' a split':34}{'seen':>8}{'unseen':>8}")
    for name, value in table["seen"].items():
        print(f"{name:34}{value:8.1%}{table['unseen'][name]:8.1%}")
    print(f"{time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
