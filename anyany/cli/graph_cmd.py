"""Draw a pipeline: its nodes by role, kinds and widths on the edges, and the lists that nodes are mapped over.

The ending of the file chooses the form: `.svg`, `.mmd` (Mermaid) or `.html`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable

FORMS = (".svg", ".mmd", ".html")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spec", metavar="SPEC", help="a spec file")
    parser.add_argument("-o", "--output", metavar="FILE", help="SVG, .mmd or .html file (default: Mermaid on stdout)")
    parser.add_argument("--profile", metavar="P", help="draw this profile")
    parser.add_argument("--set", dest="sets", action="append", default=[], metavar="PATH=VALUE", help="change a value")
    parser.add_argument("--online", action="store_true", help="read sizes of hub weights by two small requests")


def main(args: argparse.Namespace) -> int:
    from anyany.errors.render import render
    from anyany.spec.check import check_file
    from anyany.spec.draw import mermaid, page, svg

    form = os.path.splitext(args.output)[1].lower() if args.output else ".mmd"
    if form not in FORMS:
        print(f"anyany graph: `{args.output}` must end in {', '.join(FORMS)}", file=sys.stderr)
        return 2
    checked = check_file(args.spec, profile=args.profile, sets=args.sets, online=args.online)
    if checked.problems:
        print(render(checked.problems, checked.sources), file=sys.stderr)
    if checked.graph is None:
        return 2
    draw: Callable[..., str] = {".svg": svg, ".mmd": mermaid, ".html": page}[form]
    text = draw(checked.graph)
    if not args.output:
        print(text, end="")
        return 0
    return _write(args.output, text)


def _write(path: str, text: str) -> int:
    """The file, whole or not at all."""
    part = f"{path}.part"
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        with open(part, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(part, path)
    except OSError as error:
        print(f"anyany graph: cannot write `{path}`: {error.strerror or error}", file=sys.stderr)
        return 3
    print(path)
    return 0
