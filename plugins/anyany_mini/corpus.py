"""`python -m anyany_mini.corpus`: speak sentences of the miniature world into a folder, for `mini/speech` to read.

`speech.pcm` holds int16 samples at 16 kHz one after another, `speech.jsonl` a line a sentence: text, voice, where its
samples begin, how many there are, and (letter, seconds) of its words. Sentence i is a function of (seed, i): a run that
was stopped goes on. Needs espeak-ng.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from anyany_mini import sentences, voice


def speak(seed: int, index: int, one_voice: bool) -> tuple[voice.Spoken, dict[str, Any]]:
    """Sentence `index`, by one of all voices at any speed and pitch, or by the first one as it is."""
    rng = np.random.default_rng([seed, index])
    text = sentences.sample(rng)
    how = {"voice": voice.VOICES[int(rng.integers(len(voice.VOICES)))], "speed": int(rng.integers(*voice.SPEEDS)),
           "pitch": int(rng.integers(*voice.PITCHES))}  # fmt: skip
    spoken = voice.say(text) if one_voice else voice.say(text, **how)  # type: ignore[arg-type]
    return spoken, {"text": text, **({} if one_voice else how)}


def write(folder: Path, count: int, seed: int, one_voice: bool) -> None:
    """Fill the folder up to `count` sentences."""
    folder.mkdir(parents=True, exist_ok=True)
    index, sound = folder / "speech.jsonl", folder / "speech.pcm"
    lines = index.read_text("utf-8").splitlines() if index.exists() else []
    whole = [json.loads(line) for line in lines if line.endswith("}")]
    end = sum(line["length"] for line in whole)
    with sound.open("r+b" if sound.exists() else "w+b") as audio, index.open("w", encoding="utf-8") as told:
        audio.truncate(2 * end)
        audio.seek(2 * end)
        told.writelines(json.dumps(line) + "\n" for line in whole)
        for number in track(range(len(whole), count), folder.name, console=Console(stderr=True)):
            spoken, line = speak(seed, number, one_voice)
            samples = np.clip(spoken.samples * 32767, -32768, 32767).astype(np.int16)
            audio.write(samples.tobytes())
            told.write(json.dumps({**line, "begin": end, "length": len(samples), "starts": spoken.starts}) + "\n")
            end += len(samples)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m anyany_mini.corpus")
    parser.add_argument("--out", type=Path, default=Path("runs/mini/speech"))
    parser.add_argument("--n", type=int, default=16_000, help="sentences")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--one-voice", action="store_true", help="en-us, 160 words a minute, pitch 50: for the speaker")
    options = parser.parse_args(arguments)
    try:
        write(options.out, options.n, options.seed, options.one_voice)
    except OSError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
