"""Every spec of `pipelines/`, with the commands that its first lines show, and the same commands on other files.

A new spec is covered by its header comment: `#   anyany run pipelines/NAME.yaml --profile mini --in NAME=VALUE …`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from anyany.cli.run_inputs import given_inputs
from anyany.pipeline import Pipeline, load
from anyany.spec.check import check_file
from anyany.spec.graph import Graph

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
SPECS = {path.stem: path for path in sorted((ROOT / "pipelines").glob("*.yaml"))}
FILE = re.compile(r"examples/[\w.-]+\.(?:png|jpg|wav|flac|mp3|mp4|gif)")
KINDS = {"png": "image", "jpg": "image", "wav": "audio", "flac": "audio", "mp3": "audio", "mp4": "video", "gif": "video"}
MEDIA = ("image", "audio", "video")


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command of a header: the words behind `anyany run`, of which `given` are the values of `--in`."""

    words: tuple[str, ...]
    given: tuple[str, ...]
    profile: str | None

    def on(self, files: Mapping[str, str]) -> tuple[str, ...]:
        """The values of `--in` with each example's file replaced by the one of `files` for its kind, where it has one."""
        return tuple(FILE.sub(lambda m: files.get(KINDS[m[0].rpartition(".")[2]], m[0]), g) for g in self.given)


def commands(name: str) -> list[Command]:
    """The commands in the comment at the head of a spec; lines that end with a backslash go on."""
    head: list[str] = []
    for line in SPECS[name].read_text("utf-8").splitlines():
        if not line.startswith("#"):
            break
        text = line.lstrip("# ").rstrip()
        if head and head[-1].endswith("\\"):
            head[-1] = head[-1][:-1] + text
        elif "anyany run " in text:
            head.append(text.partition("anyany run ")[2])
    return [_command(tuple(shlex.split(text))) for text in head]


def _command(words: tuple[str, ...]) -> Command:
    def after(flag: str) -> list[str]:
        return [words[i + 1] for i, word in enumerate(words[:-1]) if word == flag]

    return Command(words=words, given=tuple(after("--in")), profile=next(iter(after("--profile")), None))


@lru_cache(maxsize=1)
def pipe(name: str) -> Pipeline:
    """The spec in the profile of its header, loaded once for all tests that follow each other."""
    return load(SPECS[name], profile=commands(name)[0].profile)


@lru_cache(maxsize=128)
def graph(name: str) -> Graph:
    """The checked spec."""
    return check_file(str(SPECS[name])).expect()


def is_remote(name: str) -> bool:
    """True where a node of the spec is elsewhere, so that nothing runs without a server."""
    return any(node.card.runtime == "remote" for node in graph(name).nodes.values())


def kinds_taken(name: str) -> set[str]:
    """The kinds of media files that a run of the spec decodes, from inputs and from within messages."""
    return {fetch.kind for fetch in pipe(name).plan.fetches} & {*MEDIA}


def items(name: str, many: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    """For each mapping kind -> file, the inputs of the header's first command on those files, all kinds given.

    A kind that the spec takes within a message, and that the header does not show, stands at the message's end.
    """
    command, found = commands(name)[0], []
    messages = {f.input for f in pipe(name).plan.fetches if f.select in MEDIA}
    for files in many:
        given = list(command.on(files))
        for fetch in pipe(name).plan.fetches:
            shown = any(KINDS[m.rpartition(".")[2]] == fetch.kind for g in given for m in FILE.findall(g))
            for i, text in enumerate(given):
                if fetch.input in messages and text.startswith(f"{fetch.input}=") and fetch.kind in files and not shown:
                    given[i] = f"{text} {{file:{files[fetch.kind]}}}"
                    shown = True
        found.append(given_inputs(pipe(name).graph, given))
    return found
