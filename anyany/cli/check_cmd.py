"""Find every mistake in a spec, without loading anything: YAML, names, kinds, lists, places, sizes, weights, profiles.

Exit code 0 when all specs hold, 2 when one does not (3 when only the environment is at fault).
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anyany.errors import Problem
    from anyany.spec.check import Checked
    from anyany.spec.graph import Graph


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("specs", nargs="+", metavar="SPEC", help="spec files")
    parser.add_argument("--profile", metavar="P", help="check this profile (default: the spec and all its profiles)")
    parser.add_argument(
        "--set", dest="sets", action="append", default=[], metavar="PATH=VALUE", help="change a value of the spec"
    )
    parser.add_argument("--online", action="store_true", help="read sizes of hub weights by two small requests")
    parser.add_argument("--strict", action="store_true", help="warnings are errors")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="json: a list of problems")


def main(args: argparse.Namespace) -> int:
    from anyany.errors.exit import SPEC_OR_CALL, code_for
    from anyany.spec.check import check_file

    found = [(s, check_file(s, profile=args.profile, sets=args.sets, online=args.online)) for s in args.specs]
    problems = [p for _, checked in found for p in checked.problems]
    if args.format == "json":
        _print_json(problems)
    else:
        for spec, checked in found:
            _print_text(spec, checked, strict=args.strict)
    code = code_for(p.code for p in problems)
    return SPEC_OR_CALL if code == 0 and args.strict and problems else code


def _print_json(problems: list[Problem]) -> None:
    import json

    from anyany.errors.render import in_order

    print(json.dumps([p.to_json() for p in in_order(problems)], indent=2, ensure_ascii=False))


def _print_text(spec: str, checked: Checked, *, strict: bool) -> None:
    from anyany.errors.render import render, wants_colour

    if checked.problems:
        print(render(checked.problems, checked.sources, wants_colour(sys.stdout)))
    if checked.graph is not None and not (strict and checked.problems):
        print(f"{spec}: ok, {summary(checked.graph)}")
        for note in checked.notes:
            place = f"{note.mark.line}:{note.mark.column} " if note.mark else ""
            print(f"  note: {place}{note.message}" + (f" ({note.help})" if note.help else ""))


def summary(graph: Graph) -> str:
    """`5 nodes, 1 output; look, see mapped over prompt.image; draw over think.image`."""
    counts = f"{_count(len(graph.nodes), 'node')}, {_count(len(graph.outputs), 'output')}"
    by_stack: dict[Any, list[str]] = {}
    for name in graph.order:
        if graph.nodes[name].stack:
            by_stack.setdefault(graph.nodes[name].stack, []).append(name)
    mapped = [f"{', '.join(names)} mapped over {' > '.join(stack)}" for stack, names in by_stack.items()]
    return "; ".join([counts, *mapped])


def _count(number: int, word: str) -> str:
    return f"{number} {word}" + ("" if number == 1 else "s")
