"""Write a working plugin package (`anyany new plugin acme-thermal`) or a first pipeline (`anyany new pipeline NAME`).

A plugin is a package of its own: install it with `pip install -e FOLDER`, and its components are there.
"""

from __future__ import annotations

import argparse
import os
import re
import sys

_WORDS = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=("plugin", "pipeline"), help="what to write")
    parser.add_argument("name", help="its name, such as acme-thermal")
    parser.add_argument("--dir", default=".", metavar="DIR", help="the folder to put it in (default: here)")


class Refused(Exception):
    """The call cannot be followed; the text says why, `help` what to do."""

    def __init__(self, message: str, help: str) -> None:
        super().__init__(message)
        self.help = help


def clean_name(text: str) -> str:
    """`Acme Thermal`, `acme_thermal`, `anyany-acme-thermal` -> `acme-thermal`. Raises `Refused`."""
    name = re.sub(r"[\s_.\-]+", "-", text.strip().lower()).strip("-").removeprefix("anyany-")
    if not _WORDS.fullmatch(name) or len(name) > 60:
        raise Refused(f"`{text}` makes no name", "use letters and digits, a letter first, such as `acme-thermal`")
    return name


def main(args: argparse.Namespace) -> int:
    try:
        name = clean_name(args.name)
        if not os.path.isdir(args.dir):
            raise Refused(f"`{args.dir}` is no folder", "make it first, or give another `--dir`")
        written = _plugin(name, args.dir) if args.what == "plugin" else _pipeline(name, args.dir)
    except Refused as refused:
        print(f"anyany new: {refused}\nhelp: {refused.help}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"anyany new: cannot write: {error}\nhelp: give a folder you may write to with `--dir`", file=sys.stderr)
        return 3
    print("\n".join(written))
    return 0


def _plugin(name: str, folder: str) -> list[str]:
    """Write the package and say what to do next."""
    from anyany.cli.new_plugin_files import plugin_files
    from anyany.registry.registry import default_registry

    if name in default_registry().entries:
        raise Refused(f"the namespace `{name}` is taken by an installed plugin", "choose another name")
    root = os.path.join(folder, name)
    if os.path.exists(root):
        raise Refused(f"`{root}` exists already", "choose another name, or another `--dir`")
    files = plugin_files(name)
    for path, text in files.items():
        full = os.path.join(root, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "x", encoding="utf-8") as file:
            file.write(text)
    return [
        *(f"wrote {os.path.join(root, path)}" for path in files),
        "",
        "next:",
        f"  pip install -e {root}",
        f"  anyany plugins show {name}/encoder",
        f"  pytest {root}",
    ]


def _pipeline(name: str, folder: str) -> list[str]:
    from anyany.cli.new_plugin_files import PIPELINE

    path = os.path.join(folder, f"{name}.yaml")
    if os.path.exists(path):
        raise Refused(f"`{path}` exists already", "choose another name, or another `--dir`")
    with open(path, "x", encoding="utf-8") as file:
        file.write(PIPELINE.replace("$name", name))
    return [f"wrote {path}", "", "next:", f"  anyany check {path}",
            f'  anyany run {path} --in prompt="What is in {{file:picture.png}}?"']  # fmt: skip
