"""A stage in memory: the steps before anything learned (the prefix), and one module that holds all the rest.

`StageModel` is the only thing that accelerate prepares. Gradients flow through the engine's own rows, so a stage runs
exactly as a pipeline does. Source: DESIGN section 8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from anyany.engine.build import Components
from anyany.engine.call import run_step
from anyany.engine.compile import Step
from anyany.engine.items import Item, check_taken, fill_inputs
from anyany.engine.loading import MediaCache
from anyany.engine.plan import Plan, make_plan
from anyany.engine.state import State
from anyany.engine.watch import Recorder
from anyany.spec.graph import Graph, Placement
from anyany.spec.stages import Stage
from anyany.train.errors import TrainError
from anyany.train.lora import add_lora


class Host:
    """What the engine's steps need from the run around them."""

    emit = None
    stop = None

    def __init__(self, components: Components, recorder: Recorder) -> None:
        self.components, self.watcher = components, recorder
        self._ready: dict[Step, Any] = {}

    def ready(self, step: Step) -> Any:
        """The component of a step, built at its first use."""
        if step not in self._ready:
            self._ready[step] = self.components.ready(step, self)
        return self._ready[step]


class StageModel(nn.Module):
    """The learned nodes of a stage and all that lies between them and the losses.

    forward(state) runs their steps on a state that holds the prefix's values, and gives (total, losses): the weighted
    sum and each loss as a mean over rows, with how many rows each had.
    """

    def __init__(self, stage: Stage, device: torch.device, recorder: Recorder) -> None:
        super().__init__()
        self.stage = stage
        graph = _placed(stage, str(device))
        self.plan: Plan = make_plan(graph)
        self.components = Components(graph, device=str(device))
        self.host = Host(self.components, recorder)
        learned = {*stage.learn, *stage.lora}
        self.prefix, self.trained = split(self.plan, learned)
        owners = dict.fromkeys(s.node.owner for s in self.trained)
        self.nodes = nn.ModuleDict()
        for owner in owners:
            component = self.components.get(owner, recorder).component
            if isinstance(component, nn.Module):
                self.nodes[owner] = component
        for owner in stage.learn:
            for parameter in self._parts(owner):
                parameter.requires_grad_(True)
            self.nodes[owner].train()
        for owner, options in stage.lora.items():
            if owner not in stage.learn:
                add_lora(self.nodes[owner], owner, options, stage.settings["seed"])
        if stage.settings["checkpointing"]:
            self._checkpoint_activations()

    def learned(self) -> dict[str, nn.Parameter]:
        """Every parameter that is learned, by `node.name`."""
        return {n: p for n, p in self.nodes.named_parameters() if p.requires_grad}

    def _parts(self, owner: str) -> list[nn.Parameter]:
        """What is learned of a node: all of it, or the parts that the stage names. Raises TrainError E704."""
        held = {n: p for n, p in self.nodes[owner].named_parameters() if p.is_floating_point()}
        wanted = self.stage.parts.get(owner)
        if wanted is None:
            return list(held.values())
        for part in wanted:
            if not any(f"{n}.".startswith(f"{part}.") for n in held):
                known = ", ".join(f"`{owner}.{p}`" for p in dict.fromkeys(n.partition(".")[0] for n in held))
                raise TrainError("E704", f"stage {self.stage.name}: `{owner}` has no part `{part}`",
                                 f"its parts are {known}")  # fmt: skip
        return [p for n, p in held.items() if any(f"{n}.".startswith(f"{part}.") for part in wanted)]

    def _checkpoint_activations(self) -> None:
        for module in self.nodes.modules():
            if getattr(module, "supports_gradient_checkpointing", False):
                module.gradient_checkpointing_enable()  # type: ignore[operator]

    def begin(self, items: Sequence[Item], seed: int) -> State:
        """A state with the items' inputs."""
        state = State([i.id for i in items], seed, MediaCache().value)
        fill_inputs(state, self.plan.inputs, items)
        for check in self.plan.checks.get("", ()):
            check_taken(state, check)
        return state

    def run(self, state: State, steps: Sequence[Step]) -> None:
        """Run steps on a state, as a pipeline does."""
        for step in steps:
            if not state.live:
                return
            run_step(self.host, state, step)
            for check in self.plan.checks.get(step.name, ()):
                check_taken(state, check)

    def forward(self, state: State) -> tuple[torch.Tensor, dict[str, tuple[torch.Tensor, int]]]:
        """See the class. Raises TrainError E712 where every item failed."""
        self.run(state, self.trained)
        total: Any = None
        found: dict[str, tuple[torch.Tensor, int]] = {}
        for name, out in self.plan.outputs.items() if state.live else ():
            rows = out.reader.get(state)
            values = [v.float().mean() for v in rows]
            if not values:
                continue
            mean = torch.stack(values).mean()
            found[name] = (mean, len(values))
            part = mean * self.stage.part.targets[name]
            total = part if total is None else total + part
        if total is None:
            failure = next(iter(state.errors.values()), None)
            told = str(failure) if failure else "no item of the batch has a loss"
            raise TrainError("E712", f"stage {self.stage.name}: every item of a batch failed: {told}")
        # A learned node that no row reached still takes part, so that processes that share gradients never wait.
        idle = [p.sum() * 0.0 for p in self.parameters() if p.requires_grad and p.numel()]
        return total + torch.stack(idle).sum() if idle else total, found


def split(plan: Plan, learned: set[str]) -> tuple[list[Step], list[Step]]:
    """The steps before anything learned, and the others: those that share weights with them, too."""
    owners = set(learned)
    while True:
        inside: set[str] = set()
        for step in plan.steps:
            if step.node.owner in owners or step.upstream & inside:
                inside.add(step.name)
        found = {s.node.owner for s in plan.steps if s.name in inside}
        if found <= owners:
            return [s for s in plan.steps if s.name not in inside], [s for s in plan.steps if s.name in inside]
        owners |= found


def _placed(stage: Stage, device: str) -> Graph:
    """The stage's graph with everything on one device, learned nodes in float32."""
    learned = {*stage.learn}
    graph = stage.part.graph
    nodes: Mapping[str, Any] = {
        name: replace(node, placement=Placement(
            device=device if node.placement.device == "auto" else node.placement.device,
            dtype="float32" if node.owner in learned else node.placement.dtype))
        for name, node in graph.nodes.items()
    }  # fmt: skip
    return replace(graph, nodes=nodes)
