"""Random graphs: what the checker says of lists and absence is what happens when the rules are carried out.

The graphs grow node by node over the toy cards. Each step is checked and evaluated by a reference that knows neither
cards nor checker: an accepted graph must nest as its static stacks say, a refused pairing must be one that cannot be.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from plugins_for_tests import toy
from plugins_for_tests.reference import COMPONENTS, HOLE, Mismatch, Misplaced, Msg, Reference, Value

from anyany.spec.check import check_dict
from anyany.spec.graph import Flow, Graph

GRAPHS, NODES, SEED = 120, 9, 7
INPUTS = {
    "prompt": "message", "chats": "message*", "photo": "image", "photos": "image*", "t": "text", "texts": "text*",
    "opt": "text?",
}  # fmt: skip
KINDS = {name: kind.rstrip("*?") for name, kind in INPUTS.items()}
PARTS = {"prompt.image": "image", "chats.image": "image", "prompt.text": "text", "chats.text": "text"}
FEEDS = {"texts": "text", "all": "text", "a": "text", "b": "text", "values": "text", "with": "text", "words": "text"}
TAKES = {use: {p: FEEDS.get(p, p) for p, mode in c.ports.items() if mode != "place"} for use, c in COMPONENTS.items()}
TAKES["toy/draw"]["cond"] = "signal"
OFTEN = ("toy/look", "toy/think", "toy/draw")
PAIRING = {"E301", "E302", "E308"}
CARDS = toy.registry()


class Grower:
    """One random spec, growing."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.spec: dict[str, Any] = {"anyany": 1, "inputs": dict(INPUTS), "nodes": {}, "outputs": {"o": "t"}}
        self.values: dict[str, list[str]] = {}
        for ref, kind in {**KINDS, **PARTS}.items():
            self.values.setdefault(kind, []).append(ref)
        self.replies: list[tuple[str, str]] = []

    def pick(self, kind: str) -> str:
        """A value of a kind, rather a new one than an old one."""
        found = self.values[kind]
        return found[max(self.rng.randrange(len(found)), self.rng.randrange(len(found)))]

    def node(self) -> dict[str, Any]:
        """A node with random edges, right or wrong."""
        rng = self.rng
        able = [u for u in TAKES if all(k in self.values for k in TAKES[u].values())]
        use = rng.choice([*able, *(u for u in able if u in OFTEN for _ in range(3))])
        raw: dict[str, Any] = {"use": use}
        if use in ("toy/look", "toy/think"):
            raw["weights"] = "random:0"
        if use == "toy/look":
            raw["with"] = {"width": 128}
        if use == "toy/draw":
            raw["with"] = {"size": 8}
        ports = {p: self.port(use, p, kind) for p, kind in TAKES[use].items() if self.fed(use, p)}
        if use == "toy/think":
            if rng.random() < 0.6:
                raw["with"] = {"signals": {"image": 2}}
            if "features" in self.values and rng.random() < 0.5:
                ports["image"] = self.pick("features")
                ports["message"] = self.message_of(self.roots[ports["image"]])
            elif "features" in self.values and rng.random() < 0.7:
                ports["image"] = self.features_for(ports["message"])
        main = next(iter(TAKES[use]))
        raw["in"] = ports[main] if set(ports) == {main} and rng.random() < 0.5 else ports
        if rng.random() < 0.15:
            raw["when"] = self.pick("text")
        return raw

    def fed(self, use: str, port: str) -> bool:
        return COMPONENTS[use].ports[port] != "optional" or self.rng.random() < 0.7

    def port(self, use: str, port: str, kind: str) -> Any:
        mode, rng = COMPONENTS[use].ports[port], self.rng
        if mode == "message":
            if rng.random() < 0.5:
                return self.message_entry(star=False)
            return [self.message_entry(star=True) for _ in range(rng.randint(1, 3))]
        if mode == "list" and rng.random() < 0.4:
            return [self.pick(kind) + ("*" if rng.random() < 0.6 else "") for _ in range(rng.randint(1, 3))]
        return self.pick(kind)

    def message_entry(self, star: bool) -> Any:
        rng = self.rng
        if self.replies and rng.random() < 0.35:
            reply, image = rng.choice(self.replies)
            return {"fill": reply, "image": image}
        ref = self.pick(rng.choice(("text", "image", "message") if star else ("message", "message", "text")))
        return ref + ("*" if star and rng.random() < 0.4 else "")

    def message_of(self, image: str) -> Any:
        """A message that holds an image, or all images of a list."""
        whole = image.removesuffix(".image")
        if whole != image and whole.split(".")[-1] != "tiles" and self.rng.random() < 0.8:
            return whole
        star = "*" if self.rng.random() < 0.5 else ""
        return [self.pick("text"), image + star]

    def features_for(self, message: Any) -> Any:
        """Features for the places of a message: often made from its images, sometimes of anything."""
        entries = message if isinstance(message, list) else [message]
        found = []
        for entry in entries:
            base = entry["image"] if isinstance(entry, dict) else entry.rstrip("*")
            homes = (base, f"{base}.image", f"{base.split('.')[0]}.image")
            kin = [v for v in self.values["features"] if self.roots.get(v) in homes]
            if kin:
                star = isinstance(entry, str) and (entry.endswith("*") or self.roots[kin[-1]] != base)
                found.append(kin[-1] + ("*" if star else ""))
        if not found or self.rng.random() < 0.15:
            return self.pick("features")
        return found[0].rstrip("*") if len(found) == 1 else found

    roots: dict[str, str]

    def keep(self, name: str, raw: dict[str, Any], graph: Graph) -> None:
        """Remember what an accepted node gives."""
        node = graph.nodes[name]
        for port, flow in node.gives.items():
            kind = flow.kinds[0]
            ref = f"{name}.{port}"
            if raw["use"] == "toy/think" and port == "image":
                kind = "signal"
            if flow.open_places or kind not in ("text", "image", "message", "features", "signal"):
                continue
            self.values.setdefault(kind, []).append(ref)
            if kind == "message":
                self.values["image"].append(f"{ref}.image" if port != node.call.main_out else f"{name}.image")
        if raw["use"] in ("toy/look", "toy/map"):
            source = raw["in"] if isinstance(raw["in"], str) else next(iter(raw["in"].values()))
            root = source if raw["use"] == "toy/look" else self.roots.get(source, "")
            for port in node.gives:
                self.roots[f"{name}.{port}"] = root
        if raw["use"] == "toy/draw":
            cond = raw["in"] if isinstance(raw["in"], str) else raw["in"]["cond"]
            self.replies.append((cond.split(".")[0] + ".reply", f"{name}.image"))


def item_of(rng: random.Random) -> dict[str, Any]:
    """Values for the inputs; lists may be empty."""
    count = iter(range(1000))

    def image() -> Any:
        return ("image", "input", next(count))

    def text() -> Any:
        return ("text", "input", next(count))

    def message() -> Msg:
        return Msg((text(), *(image() for _ in range(rng.randrange(3)))))

    return {
        "prompt": message(), "chats": [message() for _ in range(rng.randrange(3))], "photo": image(),
        "photos": [image() for _ in range(rng.randrange(4))], "t": text(),
        "texts": [text() for _ in range(rng.randrange(4))],
        "opt": text() if rng.random() < 0.5 else HOLE,
    }  # fmt: skip


def depths(data: Any) -> set[int]:
    """How many lists stand over the leaves; nothing for empty lists, which tell nothing."""
    if not isinstance(data, list):
        return {0}
    return {d + 1 for child in data for d in depths(child)}


def holes(data: Any) -> bool:
    return any(holes(child) for child in data) if isinstance(data, list) else data is HOLE


def agree(value: Value, flow: Flow, what: str, spec: dict[str, Any]) -> None:
    """The static flow says what the value is."""
    assert value.ids == flow.stack, f"{what}: {value.ids} is not {flow.stack}\n{spec}"
    assert depths(value.data) <= {len(flow.stack)}, f"{what} nests otherwise\n{spec}"
    assert flow.maybe or not holes(value.data), f"{what} has a hole and is said to have none\n{spec}"


def step(spec: dict[str, Any], name: str, items: list[dict[str, Any]], tally: Counter[str]) -> Graph | None:
    """Check a spec and carry it out; the graph when it was accepted."""
    checked = check_dict(spec, registry=CARDS)
    codes = {p.code for p in checked.problems if p.is_error}
    if codes:
        tally["refused"] += 1
        if codes <= PAIRING:
            tally["refused pairing"] += 1
            assert any(cannot_pair(spec, name, item) for item in items), f"refused without need: {codes}\n{spec}"
        return None
    graph = checked.expect()
    tally["accepted"] += 1
    tally.update(e.mode for e in graph.nodes[name].edges.values())
    tally[f"depth {max(len(f.stack) for f in graph.nodes[name].gives.values())}"] += 1
    for item in items:
        try:
            compare(spec, name, graph, item)
        except Misplaced:
            # Parts that nobody takes are the item's failure, told when it runs; nothing else may be out of place.
            assert untaken(spec, graph), f"{name}\n{spec}"
            tally["failed items"] += 1
    return graph


def compare(spec: dict[str, Any], name: str, graph: Graph, item: dict[str, Any]) -> None:
    """Carry a spec out on one item: what its newest node and its outputs give is as the graph says."""
    reference = Reference(spec, item)
    reference.node(name)
    for port, flow in graph.nodes[name].gives.items():
        agree(reference.values[name, port], flow, f"{name}.{port}", spec)
    for output, out in graph.outputs.items():
        agree(reference.output(output), out.flow, f"output {output}", spec)


def cannot_pair(spec: dict[str, Any], name: str, item: dict[str, Any]) -> bool:
    """Whether the reference, too, finds lists that do not pair. An item that fails before tells nothing."""
    reference = Reference(spec, item)
    try:
        reference.node(name)
        for output in spec["outputs"]:
            reference.output(output)
    except Mismatch:
        return True
    except Misplaced:
        return False
    return False


def untaken(spec: dict[str, Any], graph: Graph) -> bool:
    """Whether a message from which nobody takes the images goes into a bracket of some `think`."""
    for raw in spec["nodes"].values():
        message = raw["in"].get("message", []) if isinstance(raw["in"], dict) else raw["in"]
        if raw["use"] != "toy/think" or not isinstance(message, list):
            continue
        for entry in message:
            name = entry.rstrip("*").split(".")[0] if isinstance(entry, str) else ""
            main = graph.inputs[name].flow if name in graph.inputs else None
            flows = [main] if main else list(graph.nodes[name].gives.values()) if name in graph.nodes else []
            if any("message" in f.kinds for f in flows) and "image" not in graph.taken.get(name, ()):
                return True
    return False


def grow(seed: int, tally: Counter[str]) -> None:
    rng = random.Random(seed)
    grower = Grower(rng)
    grower.roots = {}
    items = [item_of(rng) for _ in range(4)]
    spec = grower.spec
    for number in range(NODES):
        name = f"n{number}"
        for _ in range(4):
            raw = grower.node()
            spec["nodes"][name] = raw
            main = next(iter(COMPONENTS[raw["use"]].gives))
            # Half of the time the new value stands alone, else in a bracket beside another.
            spec["outputs"] = {"o": f"{name}.{main}" if main != "reply" else f"{name}.text"}
            if rng.random() < 0.3:
                spec["outputs"]["both"] = [spec["outputs"]["o"] + rng.choice(("", "*")), grower.pick("text")]
            if grower.replies and rng.random() < 0.5:
                reply, image = rng.choice(grower.replies)
                spec["outputs"]["filled"] = {"fill": reply, "image": image}
            graph = step(spec, name, items, tally)
            if graph is not None:
                tally["filled"] += "filled" in spec["outputs"]
                tally["when"] += graph.nodes[name].when is not None
                grower.keep(name, raw, graph)
                break
            del spec["nodes"][name]


def test_random_graphs_nest_as_their_static_stacks_say() -> None:
    tally: Counter[str] = Counter()
    for seed in range(GRAPHS):
        grow(SEED * 1000 + seed, tally)
    # The generator must reach every way of consuming a list, and refusals too, or the test says nothing.
    least = {"accepted": 600, "refused pairing": 60, "map": 400, "gather": 60, "one": 15, "places": 20, "depth 0": 150,
             "depth 1": 150, "depth 2": 30, "filled": 15, "when": 15}  # fmt: skip
    assert {k: tally[k] for k in least if tally[k] < least[k]} == {}, dict(tally)


def test_the_reference_itself_refuses_to_pair_two_lists() -> None:
    spec = {
        "inputs": {"a": "text*", "b": "text*"},
        "nodes": {"two": {"use": "toy/two", "in": {"a": "a", "b": "b"}}},
        "outputs": {},
    }
    with pytest.raises(Mismatch):
        Reference(spec, {"a": [("text", 1)], "b": [("text", 2)]}).node("two")


def test_the_reference_itself_tells_values_at_the_wrong_places() -> None:
    spec = {
        "inputs": {"a": "image*", "b": "image*"},
        "nodes": {
            "look": {"use": "toy/look", "in": "b"},
            "think": {"use": "toy/think", "in": {"message": ["a*"], "image": ["look*"]}},
        },
        "outputs": {},
    }
    item = {"a": [("image", 1)], "b": [("image", 2)]}
    with pytest.raises(Misplaced):
        Reference(spec, item).node("think")
