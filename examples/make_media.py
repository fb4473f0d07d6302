"""The sounds, films and points of this folder, made by code: `python examples/make_media.py [FOLDER]`.

`--speech` makes the spoken ones, too, which takes espeak-ng.

The film is a scene of the miniature world whose things move as the world says: 8 frames, 4 a second, 2 pixels a frame.
"""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import torch
from anyany_mini import voice
from anyany_mini.world import EVAL_SEED, Scene, caption, describe_thing, render, sample_scene
from PIL import Image

from anyany.media import Audio, Video, save

SEED = 53
FRAMES, FPS, STEP = 8, 4.0, 2.0
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
RATE, BEAT = 16000, 0.25
NOTES = (523.25, 587.33, 659.25, 698.46, 783.99, 659.25, 587.33, 523.25)
"""Two seconds: C D E F G E D C, from the C above middle C, in hertz."""


def melody() -> Audio:
    """Sines with their octave, each struck and fading; mono, float32 [1, T]."""
    at = torch.arange(round(RATE * BEAT)) / RATE
    strike = torch.exp(-6 * at) * (at / 0.01).clamp(max=1)
    tones = [strike * (torch.sin(2 * math.pi * hz * at) + 0.3 * torch.sin(4 * math.pi * hz * at)) for hz in NOTES]
    return Audio(0.5 * torch.cat(tones)[None], RATE)


def moved(scene: Scene, ways: tuple[str, ...], frame: int) -> Scene:
    """The scene as it is in a frame; the things move in these directions."""
    far = frame * STEP
    things = [
        replace(thing, x=thing.x + far * DIRECTIONS[way][0], y=thing.y + far * DIRECTIONS[way][1])
        for thing, way in zip(scene.things, ways, strict=True)
    ]
    return replace(scene, things=tuple(things))


def free_ways(scene: Scene) -> tuple[str, ...]:
    """For each thing the first direction that keeps its centre within 8...56 pixels through all frames."""
    found = []
    for index, thing in enumerate(scene.things):
        for way, (dx, dy) in list(DIRECTIONS.items())[index:]:
            end = thing.x + dx * STEP * (FRAMES - 1), thing.y + dy * STEP * (FRAMES - 1)
            if all(8 <= value <= 56 for value in end):
                found.append(way)
                break
    return tuple(found)


def film(seed: int) -> tuple[Video, str]:
    """A film of a scene with its sound, and its caption."""
    scene = sample_scene(np.random.default_rng(EVAL_SEED + seed))
    ways = free_ways(scene)
    frames = np.stack([render(moved(scene, ways, frame)) for frame in range(FRAMES)])
    said = " and ".join(f"{describe_thing(t)} moving {way}" for t, way in zip(scene.things, ways, strict=True))
    return Video(torch.from_numpy(frames).permute(0, 3, 1, 2), FPS, melody()), said


def ring(count: int = 240) -> torch.Tensor:
    """[N,3]: points on a torus that leans a little, in the order of the golden angle."""
    at = torch.arange(count) * math.pi * (3 - math.sqrt(5))
    around, across = at, 7 * at
    out = 1 + 0.35 * torch.cos(across)
    flat = torch.stack([out * torch.cos(around), 0.35 * torch.sin(across), out * torch.sin(around)], 1)
    lean = math.radians(30)
    turn = torch.tensor([[1, 0, 0], [0, math.cos(lean), -math.sin(lean)], [0, math.sin(lean), math.cos(lean)]])
    return flat @ turn.T


UNITS = ((12, 14, 1, 0.9), (14, 15, 1, 1.0), (15, 12, 1, 0.4), (20, 24, 0, 1.0), (46, 40, -1, 0.8), (50, 42, -1, 1.0),
         (52, 44, -1, 0.3))  # fmt: skip
"""Where, whose (1 ours, -1 theirs, 0 a mine) and how healthy."""


def write_mp3(audio: Audio, path: Path) -> None:
    """By PyAV, since the savers write WAV and FLAC alone."""
    with av.open(str(path), "w", format="mp3") as file:
        stream = file.add_stream("libmp3lame", rate=audio.rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(audio.samples.numpy(), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = audio.rate, 0
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


def speech(folder: Path) -> None:
    """A caption and a question, spoken; espeak-ng makes them."""
    told = "a small yellow ring at the top and a big blue cross on the left"
    spoken = {"spoken": told, "question": "what color is the ring"}
    for name, text in spoken.items():
        samples = voice.say(text, "en-gb", 150, 45).samples
        save("audio", Audio(torch.from_numpy(samples)[None], voice.RATE), folder / name)
        print(f"{name}: {text}")


def main(folder: Path) -> None:
    sound = melody()
    save("audio", sound, folder / "melody")
    save("audio", sound, folder / "melody", audio="FLAC")
    write_mp3(sound, folder / "melody.mp3")
    save("points", ring(), folder / "ring")
    rows = ["x,y,whose,health", *(",".join(map(str, unit)) for unit in UNITS)]
    (folder / "units.csv").write_text("\n".join(rows) + "\n", "utf-8")
    video, said = film(SEED)
    save("video", video, folder / "clip-seen-1")
    pictures = [Image.fromarray(frame.permute(1, 2, 0).numpy()) for frame in video.frames]
    pictures[0].save(folder / "clip-seen-1.gif", save_all=True, append_images=pictures[1:], duration=250, loop=0)
    print(f"clip-seen-1: {said}")
    scene = sample_scene(np.random.default_rng(EVAL_SEED + SEED + 1))
    Image.fromarray(render(scene)).save(folder / "scene-seen-4.jpg", quality=92)
    print(f"scene-seen-4: {caption(scene)}")


if __name__ == "__main__":
    given = [a for a in sys.argv[1:] if a != "--speech"]
    where = Path(given[0]) if given else Path(__file__).parent
    main(where)
    if "--speech" in sys.argv:
        speech(where)
