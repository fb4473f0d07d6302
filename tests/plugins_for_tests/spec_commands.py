"""Every spec of `pipelines/`, with the commands that its first lines show, and the same commands on other files.

A new spec is covered by its header comment: `#   anyany run pipelines/NAME.yaml --profile mini --in NAME=VALUE …`.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from anyany.cli.run_inputs import given_inputs
from anyany.pipeline import Pipeline, load
from anyany.spec.check import Checked, check_file

ROOT = Path(__file__).parents[2]
SPECS = {
    str(path.relative_to(ROOT / "pipelines").with_suffix("")): path
    for path in sorted((ROOT / "pipelines").glob("**/*.yaml"))
}
FILE = re.compile(r"examples/[\w.-]+\.(png|jpg|wav|flac|mp3|mp4|gif)")
KINDS = {
    "png": "image",
    "jpg": "image",
    "wav": "audio",
    "flac": "audio",
    "mp3": "audio",
    "mp4": "video",
    "gif": "video",
}
MEDIA = ("image", "audio", "video")


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command of a header: the words behind `anyany run`, of which `given` are the values of `--in`."""

    words: tuple[str, ...]
    given: tuple[str, ...]
    profile: str | None


@lru_cache
def commands(name: str) -> tuple[Command, ...]:
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
    return tuple(_command(tuple(shlex.split(text))) for text in head)


def _command(words: tuple[str, ...]) -> Command:
    def after(flag: str) -> list[str]:
        return [words[i + 1] for i, word in enumerate(words[:-1]) if word == flag]

    return Command(words=words, given=tuple(after("--in")), profile=next(iter(after("--profile")), None))


def is_remote(name: str) -> bool:
    """True where a node of the spec is elsewhere, so that nothing runs without a server."""
    found = check_file(str(SPECS[name])).expect()
    return any(node.card.runtime == "remote" for node in found.nodes.values())


@lru_cache(maxsize=1)
def pipe(name: str) -> Pipeline:
    """The spec in the profile of its header, loaded once for all tests that follow each other."""
    return load(SPECS[name], profile=commands(name)[0].profile)


def narrowed(name: str) -> Checked | None:
    """The mini profile checked with the first adapter of a free width told to take 7 features; None without one."""
    found = check_file(str(SPECS[name])).expect()
    for node in (found.nodes[n] for n in found.order):
        if node.owner == node.name and isinstance(getattr(node.config, "inputs", ""), int | None):
            mini = {"weights": "random:0", "with": {"preset": "tiny"}}
            there = {**mini, "with": {**mini["with"], "inputs": 7}}
            change = json.dumps({"mini": {"*": mini, node.name: there}})
            return check_file(str(SPECS[name]), profile="mini", sets=[f"profiles={change}"])
    return None


def kinds_taken(name: str) -> set[str]:
    """The kinds of media files that a run of the spec decodes, from inputs and from within messages."""
    return {fetch.kind for fetch in pipe(name).plan.fetches} & {*MEDIA}


def item(name: str, files: Mapping[str, str]) -> dict[str, Any]:
    """The inputs of the header's first command, with the files of each kind replaced by the one given for it.

    A kind that the spec takes, and that the header does not show, becomes an input's value, or stands at the end of the
    message that it is taken from.
    """
    graph, shown, given = pipe(name).graph, set(), []
    for text in commands(name)[0].given:
        declared = graph.inputs[text.partition("=")[0]].kind

        def other(match: re.Match[str], declared: str = declared) -> str:
            kind = declared if declared in MEDIA else KINDS[match[1]]  # the sound of a film may feed an audio input
            shown.add(kind)
            return files.get(kind, match[0])

        given.append(FILE.sub(other, text))
    for fetch in pipe(name).plan.fetches:
        if fetch.kind in files and fetch.kind not in shown:
            shown.add(fetch.kind)
            path, start = files[fetch.kind], f"{fetch.input}="
            if fetch.select is None:
                given.append(f"{start}{path}")
            else:
                given = [f"{text} {{file:{path}}}" if text.startswith(start) else text for text in given]
    return given_inputs(graph, given)


def with_text(name: str, text: str) -> Sequence[tuple[str, dict[str, Any]]]:
    """(input, the header's inputs with this one's text replaced) for every text and message input."""
    from anyany.kinds.message import Message

    given, found = item(name, {}), []
    for key, declared in pipe(name).graph.inputs.items():
        if declared.kind == "text":
            found.append((key, {**given, key: [text] if declared.many else text}))
        elif declared.kind == "message" and isinstance(given.get(key), Message):
            parts = [part for part in given[key].parts if not isinstance(part, str)]
            found.append((key, {**given, key: Message((*parts, text))}))
    return found
