"""`python -m anyany_mini.train STEP …`, or `all`: retrain the bundled weights, step by step, with the time of each.

The steps are `anyany train` on the specs in pipelines/, each from what those before it left in runs/mini, and what
makes their data and beginnings; `bundle` puts all of it into the package. What was stopped goes on where it was. Run it
in a checkout. `--quick FOLDER` goes through the steps there, with next to no learning; `--processes 2` shares them.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

RUNS = Path("runs/mini")
LEARNED = {
    "draw": "draw/flow/draw", "words": "draw/flow/draw", "codes": "tokenizer/codes/codes.safetensors",
    "look": "see/describe/look", "hear": "hear/recogniser/hear.safetensors", "speak": "speak/voice/speak",
    "to_image": "see/describe/to_image",
}  # fmt: skip
"""Frozen nodes of the specs -> where a run leaves them."""
NEEDED: Mapping[str, tuple[str, ...]] = {
    "words": (), "draw": (), "language": (), "look": (), "see": ("draw",), "hear": (), "speak": (),
    "stages": ("look", "hear", "to_image", "draw", "speak"), "tokenizer": (), "vq-ar": ("words", "codes"),
}  # fmt: skip
"""Specs, and the frozen nodes that each takes from steps before it."""
STEPS = ("fresh", "words", "draw", "language", "look", "see", "corpus", "hear", "speak", "stages", "tokenizer",
         "vq-ar", "bundle")  # fmt: skip
LAUNCH = ("--multi_gpu", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no",
          "--num_cpu_threads_per_process", "1", "--main_process_port", "0")  # fmt: skip
"""Copies on one machine, one thread each; accelerate's word for several processes is --multi_gpu, on the CPU too."""
SENTENCES, QUICK_SENTENCES = ("20000", "4000"), ("600", "200")


def spec_of(step: str) -> Path:
    return Path("pipelines/mini.yaml") if step == "stages" else Path(f"pipelines/mini/{step}.yaml")


def commands(step: str, folder: Path, quick: bool) -> list[list[str]]:
    """What a step runs, each a module and its arguments."""
    if step == "fresh":
        return [["anyany_mini.fresh", "--out", str(RUNS / "fresh")]]
    if step == "corpus":
        many, one = QUICK_SENTENCES if quick else SENTENCES
        return [
            ["anyany_mini.corpus", "--n", many, "--out", str(RUNS / "speech")],
            ["anyany_mini.corpus", "--n", one, "--seed", "1", "--one-voice", "--out", str(RUNS / "voice")],
        ]
    if step == "bundle":
        return [["anyany_mini.bundle", str(RUNS), *(["--out", "weights"] if quick else [])]]
    sets = [f"nodes.{node}.weights=file:{folder / RUNS / LEARNED[node]}" for node in NEEDED[step]]
    sets += shortened(folder / spec_of(step)) if quick else []
    train = ["anyany", "train", str(spec_of(step)), "--resume", "--out", str(RUNS / step)]
    train += [word for one in sets for word in ("--set", one)]
    if step != "speak":
        return [train]
    learned = ["--draw", str(RUNS / LEARNED["draw"]), "--think", str(RUNS / "see/describe/think")]
    return [["anyany_mini.begin", *learned, "--out", str(RUNS / "start")], train]


def shortened(spec: Path) -> list[str]:
    """Changes that make a training two steps long, whatever it reaches."""
    train = yaml.safe_load(spec.read_text("utf-8"))["train"]
    found = [f"train.stages.{n}.steps=2" for n in range(len(train["stages"]))]
    for n, stage in enumerate(train["stages"]):
        if "validate" in stage:
            found += [f"train.stages.{n}.validate.items=2", f"train.stages.{n}.validate.at_least={{}}"]
            found += [f"train.stages.{n}.validate.at_most={{}}"]
    held = [("train", train), *((f"train.stages.{n}", stage) for n, stage in enumerate(train["stages"]))]
    found += [f"{at}.data.with.skip=0" for at, part in held if "skip" in part.get("data", {}).get("with", {})]
    return found


def started(command: Sequence[str], folder: Path, processes: int) -> int:
    """Run a module in the folder; its exit code."""
    many = processes > 1 and command[0] == "anyany"
    launch = ["accelerate.commands.launch", *LAUNCH, "--num_processes", str(processes), "-m"] if many else []
    here = ["--cpu"] if many else []
    return subprocess.run([sys.executable, "-m", *launch, *command, *here], cwd=folder).returncode


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m anyany_mini.train")
    parser.add_argument("step", choices=(*STEPS, "all"))
    parser.add_argument("--processes", type=int, default=1, help="processes that share a training (accelerate launch)")
    parser.add_argument("--quick", type=Path, metavar="FOLDER", help="two steps of each training, all of it in FOLDER")
    options = parser.parse_args(arguments)
    if not spec_of("stages").exists():
        print(f"{spec_of('stages')} is not here; run it in the folder of a checkout", file=sys.stderr)
        return 2
    folder = (options.quick or Path()).absolute()
    if options.quick:
        shutil.copytree("pipelines", folder / "pipelines", dirs_exist_ok=True)
    for step in STEPS if options.step == "all" else (options.step,):
        began = time.monotonic()
        for command in commands(step, folder, bool(options.quick)):
            if code := started(command, folder, options.processes):
                return code
        print(f"{step}: {(time.monotonic() - began) / 60:.1f} min", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
