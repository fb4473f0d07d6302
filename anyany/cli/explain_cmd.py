"""Explain an error code (`anyany explain E021`), or a component (`anyany explain vision/vit`).

Without an argument, all codes are listed.
"""

from __future__ import annotations

import argparse
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", nargs="?", metavar="CODE", help="a code such as E021, or a component's name")


def main(args: argparse.Namespace) -> int:
    from anyany.errors.catalogue import CATALOGUE, explain

    if args.what is None:
        for code, entry in CATALOGUE.items():
            print(f"{code}  {entry.title}")
        return 0
    if "/" in args.what:
        from anyany.cli.plugins_cmd import show

        return show(args.what, as_json=False)
    text = explain(args.what.strip("[]").removeprefix("error").strip("[]"))
    if text is not None:
        print(text, end="")
        return 0
    from anyany.errors.suggest import did_you_mean

    hint = did_you_mean(args.what.upper(), CATALOGUE) or "`anyany explain` alone lists all codes"
    print(f"anyany explain: there is no code `{args.what}`\nhelp: {hint}", file=sys.stderr)
    return 2
