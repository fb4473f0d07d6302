"""Runs attacked from outside: components that misbehave, ids and texts that no file can hold, plugins that print.

Each must fail alone, under the name of the node at fault, and leave standard output to our own objects.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.plugins_for_tests.dummy_site import write_dist

CARDS = '''
"""Cards of a plugin that keeps no promise."""
from anyany.api.v1 import Call, Config, Port, card, hookimpl

print("printed while imported")

class RogueConfig(Config):
    size: int = 4

def gives(port):
    return lambda config, facts: {"encode": Call(takes={"text": Port("text")}, gives={"out": port})}

def next_calls(config, facts):
    port = Port("features", "N D", D=4)
    return {"encode": Call(takes={"x": port}, gives={"out": port})}

WIDE, TEXT = gives(Port("features", "N D", D=4)), gives(Port("text"))
CALLS = {"wide": WIDE, "flat": WIDE, "number": TEXT, "nothing": TEXT, "exits": TEXT, "exits-built": TEXT,
         "echo": TEXT, "no-rows": TEXT, "next": next_calls}

@hookimpl
def anyany_cards():
    return [card(f"rogue/{n}", role="encoder", about="rogue", config=RogueConfig, calls=calls, weights=False,
                 impl="rogue_parts:" + n.title().replace("-", "")) for n, calls in CALLS.items()]
'''
PARTS = """
import os
import sys
import torch

class Part:
    def __init__(self, config, build): ...
    def encode(self, ctx, text): return {"out": ctx.rows([self.one(t) for t in text])}

class Wide(Part):
    def one(self, text): return torch.ones(3, 9)

class Flat(Part):
    def one(self, text): return torch.ones(4)

class Number(Part):
    def one(self, text): return 5

class Nothing(Part):
    def one(self, text): return None

class Exits(Part):
    def one(self, text): sys.exit(0)

class ExitsBuilt(Part):
    def __init__(self, config, build): sys.exit(0)

class Echo(Part):
    def one(self, text):
        print("printed by a component")
        os.write(1, b"written below Python\\n")
        return text

class NoRows(Part):
    def encode(self, ctx, text): return {"out": 5}

class Next(Part):
    def encode(self, ctx, x): return {"out": ctx.rows([v @ torch.ones(4, 4) for v in x])}
"""
NAMES = ("wide", "flat", "number", "nothing", "exits", "exits-built", "no-rows", "next", "echo")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the rogue plugin in `site`, as pip would leave it."""
    made = tmp_path_factory.mktemp("rogue")
    write_dist(made / "site", "rogue", CARDS)
    (made / "site" / "rogue_parts.py").write_text(PARTS)
    return made


def run(folder: Path, name: str, nodes: str, outputs: str, lines: Sequence[str]) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of `anyany run --json` over some lines of an items file."""
    spec, items = folder / f"{name}.yaml", folder / f"{name}.jsonl"
    spec.write_text(f"anyany: 1\ninputs: {{t: text}}\nnodes:\n{nodes}\noutputs: {outputs}\n")
    items.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    found = subprocess.run(
        [sys.executable, "-m", "anyany", "run", str(spec), "--items", str(items), "--json", "--out",
         str(folder / f"out-{name}")],
        env={**os.environ, "PYTHONPATH": f"{folder / 'site'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
             "ANYANY_CACHE": str(folder / "cache")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return found.returncode, found.stdout, found.stderr


def objects(stdout: str) -> list[Mapping[str, Any]]:
    """Every line of standard output, each of which must be one JSON object."""
    return [json.loads(line) for line in stdout.splitlines()]


@pytest.fixture(scope="module")
def told(folder: Path) -> dict[str, Mapping[str, Any]]:
    """What one item of each rogue component came to, from one run: optional outputs keep the nodes apart."""
    found = {}
    script = (
        "import sys, json, anyany\n"
        "for name in sys.argv[1:]:\n"
        "    nodes = {'a': {'use': f'rogue/{name}', 'in': 't'}}\n"
        "    if name == 'next':\n"
        "        nodes = {'w': {'use': 'rogue/wide', 'in': 't'}, 'a': {'use': 'rogue/next', 'in': 'w'}}\n"
        "    spec = {'anyany': 1, 'inputs': {'t': 'text'}, 'nodes': nodes, 'outputs': {'o': 'a'}}\n"
        "    for result in anyany.load(spec).map([{'t': 'one'}]):\n"
        "        told = {'name': name, 'status': result.status, 'error': str(result.error)}\n"
        "        print('TOLD' + json.dumps(told))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *NAMES], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": f"{folder / 'site'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
             "ANYANY_CACHE": str(folder / "cache")},
    )  # fmt: skip
    for line in done.stdout.splitlines():
        if line.startswith("TOLD"):
            one = json.loads(line[4:])
            found[one["name"]] = one
    assert set(found) == set(NAMES), done.stderr
    return found


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("wide", "[E607] a: it gave 'out' as [3, 9], but its card promises [–, 4]"),
        ("flat", "[E607] a: it gave 'out' as [4], but its card promises [–, 4]"),
        ("number", "[E607] a: it gave 'out' as a int, not a string"),
        ("nothing", "[E607] a: it gave 'out' as None"),
        ("no-rows", "[E607] a: it gave a int as 'out', not Rows"),
        ("exits", "[E601] a: it called sys.exit(0)"),
        ("exits-built", "[E601] a: it called sys.exit(0)"),
        ("next", "[E607] w: it gave 'out' as [3, 9]"),
    ],
)
def test_a_component_that_breaks_its_promise_fails_the_item_under_its_own_name(
    told: Mapping[str, Mapping[str, Any]], name: str, error: str
) -> None:
    assert told[name]["status"] == "failed"
    assert told[name]["error"].startswith(error)


def test_what_a_plugin_prints_never_reaches_the_json(folder: Path) -> None:
    code, out, err = run(folder, "chatty", "  a: {use: rogue/echo, in: t}", "{o: a}", ['{"t": "hello"}'])
    assert code == 0, err
    assert [o["outputs"]["o"]["text"] for o in objects(out)] == ["hello"]
    for said in ("printed while imported", "printed by a component", "written below Python"):
        assert said in err


def test_half_characters_fail_their_items_and_positions_give_way_to_ids(folder: Path) -> None:
    lines = ['{"id": "1", "t": "one"}', '{"t": "two"}', '{"t": "half \\ud800"}', '{"id": "\\udcff", "t": "three"}',
             '{"t": "last"}']  # fmt: skip
    code, out, err = run(folder, "halves", "  a: {use: rogue/echo, in: t}", "{o: a}", lines)
    assert code == 1, err
    found = objects(out)
    assert [o["item"] for o in found] == ["1", "line-2", "2", "line-4", "4"]
    assert [o["status"] for o in found] == ["ok", "ok", "failed", "failed", "ok"]
    assert all("half a character" in o["error"] for o in found[2:4])


def test_half_a_character_of_the_command_line_is_told_before_a_tokenizer_meets_it() -> None:
    from anyany.engine.coerce import BadInput, coerce
    from anyany.kinds.message import Message

    for given in (Message.of("bad \udcff"), ["fine", "bad \udcff"], "bad \udcff"):
        with pytest.raises(BadInput, match="half a character"):
            coerce("message", given, None, "prompt")
    assert coerce("message", ["émoji 🦊"], None, "prompt").parts == ("émoji 🦊",)
