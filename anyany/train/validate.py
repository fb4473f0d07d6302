"""Validation of a stage: its graph as it runs, on other records, measured by metric nodes and shown as files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from anyany.engine.build import Components
from anyany.engine.plan import make_plan
from anyany.engine.run import Runner
from anyany.spec.stages import Stage
from anyany.train.model import StageModel
from anyany.train.records import Records

SHOWN = 8


class _Runner(Runner):
    """Without inference mode: tensors that components keep must serve in training again."""

    mode = staticmethod(torch.no_grad)


class Validator:
    """Runs the validation graph with the stage's live components. `every`: steps between runs; `failure`: of the
    items of the last run, in words.
    """

    def __init__(self, stage: Stage, model: StageModel, out: Path, seed: int) -> None:
        assert stage.validation is not None
        self.validation, self.model, self.out = stage.validation, model, out
        self.every = stage.validation.every
        part = stage.validation.part
        self.plan = make_plan(part.graph)
        live = {owner: model.components.get(owner) for owner in model.nodes if owner in self.plan.owners}
        device = next(iter(live.values())).device if live else None
        components = Components(part.graph, device=str(device) if device is not None else None, overrides=live)
        self.runner = _Runner(self.plan, components, seed=seed)
        self.records = Records(part, f"{stage.name} validation", seed)
        self.records.check(min(stage.validation.items, 16))
        self.failure = ""

    def run(self, step: int) -> dict[str, float]:
        """Means of the metrics over the items, and samples written to `samples/`."""
        count = min(self.validation.items, self.records.length or self.validation.items)
        training = {n: m.training for n, m in self.model.nodes.items()}
        self.model.nodes.eval()
        sums: dict[str, list[float]] = {}
        shown: list[tuple[Any, dict[str, Any]]] = []
        failed = 0
        self.failure = ""
        try:
            items = [self.records.item(i, f"validation {i}") for i in range(count)]
            for result in self.runner.map(items):
                failed += result.error is not None
                self.failure = self.failure or str(result.error or "")
                for name in self.validation.measure:
                    value = result.outputs.get(name)
                    if value is not None:
                        sums.setdefault(name, []).append(float(value))
                if len(shown) < SHOWN and self.validation.show and result.error is None:
                    shown.append((result, {n: result.outputs.get(n) for n in self.validation.show}))
        finally:
            for name, was in training.items():
                self.model.nodes[name].train(was)
        if shown:
            self._show(step, shown)
        found = {f"validation/{n}": sum(v) / len(v) for n, v in sums.items()}
        if failed:
            self.failure = f"{failed} of {count} items failed, the first with: {self.failure}"
        return {**found, **({"validation/failed": float(failed)} if failed else {})}

    def short(self, measured: Mapping[str, float]) -> list[str]:
        """What of the stage's bounds these means do not reach, in words."""
        found = []
        for bound, (sign, word) in {"at_least": (1, "below"), "at_most": (-1, "above")}.items():
            for name, wanted in self.validation.bounds[bound].items():
                value = measured.get(f"validation/{name}")
                if value is None or not sign * value >= sign * wanted:  # not a number reaches nothing
                    told = f"{value:.4g}, {word} {wanted:g}" if value is not None else "not measured"
                    told += f" ({self.failure})" if value is None and self.failure else ""
                    found.append(f"{name} is {told}")
        return found

    def _show(self, step: int, shown: list[tuple[Any, dict[str, Any]]]) -> None:
        from anyany.media import saving

        for number, (_, outputs) in enumerate(shown):
            folder = self.out / "samples" / f"step-{step:08d}"
            folder.mkdir(parents=True, exist_ok=True)
            for name, value in outputs.items():
                kind = self.plan.outputs[name].kind
                for at, one in enumerate(value if isinstance(value, list) else [value]):
                    if one is not None:
                        saving.save(kind, one, folder / f"{number:02d}-{name}{f'-{at}' if at else ''}")
