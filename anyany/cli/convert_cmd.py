"""Make an old checkpoint (.pt, .pth, .ckpt, .bin) a file of safetensors, once. No code inside it is ever run.

Several files that belong together become one. Names stay as they are (but for `module.` of PyTorch's wrappers before
every one); components know the official ones.
"""

from __future__ import annotations

import argparse

SHOWN = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `anyany convert`."""
    add = parser.add_argument
    add("files", nargs="+", metavar="OLD", help="old checkpoints that belong together")
    add("new", metavar="NEW.safetensors", help="the file to write")
    add("--key", metavar="K", help="the entry to take, dotted, such as state_dict")
    add("--ema", action="store_true", help="take the moving average of the weights")
    add("--drop", metavar="GLOB", action="append", default=[], help="leave tensors of this name, such as 'loss.*'")


def main(args: argparse.Namespace) -> int:
    """Convert, and tell what was taken and what was left."""
    from anyany.errors import CallError, EnvironmentProblem, problem
    from anyany.weights.convert import convert
    from anyany.weights.errors import WeightsError

    if args.key and args.ema:
        raise CallError([problem("E909", "`--key` and `--ema` both say what to take", help="give one of them")])
    try:
        done = convert(args.files, args.new, key=args.key, ema=args.ema, drop=args.drop)
    except WeightsError as error:
        kind = EnvironmentProblem if error.code == "E475" else CallError
        raise kind([problem(error.code, error.message, help=error.help)]) from error
    under = f" under {'.'.join(done.unwrapped)}" if done.unwrapped else ""
    print(f"{done.path}: {done.tensors} tensors{under}, {done.bytes / 1e6:.1f} MB")
    if done.dropped:
        print(f"  left: {_some(done.dropped)}")
    if done.others:
        print(f"  also in the file: {', '.join(done.others)}; take one with --key, an average with --ema")
    return 0


def _some(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
