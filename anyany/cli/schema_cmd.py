"""Write the JSON Schema of specs for your editor, with the names and options of the components installed here.

Put `# yaml-language-server: $schema=FILE` on the first line of a spec to use it.
"""

from __future__ import annotations

import argparse
import os
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", metavar="FILE", help="where to write it (default: stdout)")


def main(args: argparse.Namespace) -> int:
    import json

    from anyany.registry import default_registry
    from anyany.spec.schema import schema

    text = json.dumps(schema(default_registry()), indent=1, ensure_ascii=False) + "\n"
    if not args.output:
        print(text, end="")
        return 0
    part = f"{args.output}.part"
    try:
        with open(part, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(part, args.output)
    except OSError as error:
        print(f"anyany schema: cannot write `{args.output}`: {error.strerror or error}", file=sys.stderr)
        return 3
    print(f"{args.output}\nfirst line of a spec: # yaml-language-server: $schema={args.output}")
    return 0
