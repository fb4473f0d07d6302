"""`python -m anyany_mini.train STEP …`, or `all`: retrain the bundled weights, step by step, with the time of each.

captions, head, talker: scripts for the caption encoder, the image head, and look, see and think together.
corpus: speech, by espeak-ng. hear, speak, stages: `anyany train` on the specs in pipelines/. bundle: into the package.
What was stopped goes on where it was. Run it in a checkout.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import time
from pathlib import Path

RUNS = "runs/mini"
SCRIPTS = ("captions", "head", "talker")
COMMANDS: dict[str, list[list[str]]] = {
    "corpus": [
        ["anyany_mini.corpus", "--n", "20000", "--out", f"{RUNS}/speech"],
        ["anyany_mini.corpus", "--n", "4000", "--seed", "1", "--one-voice", "--out", f"{RUNS}/voice"],
    ],
    "hear": [["anyany", "train", "pipelines/mini/hear.yaml", "--resume", "--out", f"{RUNS}/hear"]],
    "speak": [
        ["anyany_mini.begin", "--out", f"{RUNS}/start"],
        ["anyany", "train", "pipelines/mini/speak.yaml", "--resume", "--out", f"{RUNS}/speak"],
        ["anyany_mini.bundle", RUNS],
    ],
    "stages": [["anyany", "train", "pipelines/mini.yaml", "--resume", "--out", f"{RUNS}/stages"]],
    "bundle": [["anyany_mini.bundle", RUNS]],
}
STEPS = (*SCRIPTS, *COMMANDS)


def run(step: str, arguments: list[str]) -> int:
    """One step; 0 if it went well."""
    if step in SCRIPTS:
        import torch

        torch.set_num_threads(1)
        importlib.import_module(f"anyany_mini.train.{step}").main(arguments)
        return 0
    for command in COMMANDS[step]:
        code = subprocess.run([sys.executable, "-m", *command, *arguments]).returncode
        if code:
            return code
    return 0


def main() -> int:
    name, arguments = (sys.argv[1] if len(sys.argv) > 1 else ""), sys.argv[2:]
    if name not in (*STEPS, "all"):
        print(f"usage: python -m anyany_mini.train {{{','.join((*STEPS, 'all'))}}} [options]", file=sys.stderr)
        return 2
    if not Path("pipelines/mini.yaml").exists():
        print("pipelines/mini.yaml is not here; run it in the folder of a checkout", file=sys.stderr)
        return 2
    for step in STEPS if name == "all" else (name,):
        began = time.monotonic()
        if code := run(step, arguments):
            return code
        print(f"{step}: {(time.monotonic() - began) / 60:.1f} min", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
