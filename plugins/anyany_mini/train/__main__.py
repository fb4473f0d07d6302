"""`python -m anyany_mini.train STAGE [options]`, or `all`: retrain the bundled weights, stage by stage.

captions: the caption encoder; head: the image head; talker: look, see, think and to_image. Both need captions.
"""

from __future__ import annotations

import importlib
import sys

STAGES = ("captions", "head", "talker")


def main() -> int:
    import torch

    name, arguments = (sys.argv[1] if len(sys.argv) > 1 else ""), sys.argv[2:]
    if name not in (*STAGES, "all"):
        print(f"usage: python -m anyany_mini.train {{{','.join((*STAGES, 'all'))}}} [--steps N] …", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    for stage in STAGES if name == "all" else (name,):
        importlib.import_module(f"anyany_mini.train.{stage}").main(arguments)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
