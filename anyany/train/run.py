"""All stages of a run, one after another, on one accelerator.

What one stage learned the next ones begin from, unless they name another `start`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from anyany.spec.graph import Node
from anyany.spec.stages import Part, Stage
from anyany.train.errors import TrainError
from anyany.train.loop import Summary, Trainer, share
from anyany.train.report import write_report
from anyany.weights.facts import resolve_facts
from anyany.weights.locate import default_cache
from anyany.weights.sources import parse_sources

Watch = Callable[[str, Mapping[str, Any]], None]


def train_stages(stages: Sequence[Stage], out: Path, *, spec: str = "", resume: bool = False, cpu: bool = False,
                 watch: Watch | None = None, only: Collection[str] = ()) -> list[Summary]:  # fmt: skip
    """Train stages in order, or those named in `only`; report.html in `out` is written anew after each.

    A stage begins from what earlier ones left in `out`, also when they are not trained now. Raises TrainError,
    WeightsError.
    """
    from accelerate import Accelerator, PartialState
    from accelerate.state import AcceleratorState
    from accelerate.utils import DataLoaderConfiguration

    summaries = []
    tell: Watch = watch or (lambda event, values: None)
    learned: dict[str, list[Path]] = {}
    wanted = [s for s in stages if not only or s.name in only]
    state = PartialState(cpu=cpu)
    for stage in wanted:  # before the first of them takes its hour
        share(stage, state.num_processes)
    for stage in stages:
        if stage not in wanted:
            _note_learned(stage, out, learned)
            before = bool(wanted) and stages.index(stage) < stages.index(wanted[0])
            if before and state.is_main_process and not (out / stage.name / "done.json").exists():
                tell("note", {"text": f"{stage.name}: not trained in {out}; {wanted[0].name} begins without it"})
            continue
        precision = "bf16" if stage.settings["precision"] == "bfloat16" else "no"
        AcceleratorState._reset_state()  # else the first stage's precision is that of all
        accelerator = Accelerator(cpu=cpu, mixed_precision=precision, dataloader_config=DataLoaderConfiguration())
        quiet = tell if accelerator.is_main_process else (lambda event, values: None)
        stage = _going_on(stage, learned, quiet)
        trainer = Trainer(stage, out, accelerator, resume=resume, watch=quiet)
        try:
            summary = trainer.run()
        except TrainError:
            if accelerator.is_main_process and out.is_dir():
                write_report(out, spec)
            raise
        finally:
            trainer.close()
        summaries.append(summary)
        files = [str(f) for f in summary.files]
        if summary.skipped:
            quiet("note", {"text": f"{stage.name}: done already"})
        else:
            quiet("done", {"stage": stage.name, "steps": summary.steps, "seconds": summary.seconds, "files": files,
                           **summary.losses})  # fmt: skip
        if accelerator.is_main_process:
            write_report(out, spec)
        accelerator.free_memory()
        _note_learned(stage, out, learned)
    return summaries


def _note_learned(stage: Stage, out: Path, learned: dict[str, list[Path]]) -> None:
    """What a finished stage left: a node learned whole replaces what there was, an adapter lies on top of it."""
    folder = (out / stage.name).absolute()
    if not (folder / "done.json").exists():
        return
    for node in (*stage.learn, *stage.lora):
        path = next((p for p in (folder / node, folder / f"{node}.safetensors") if p.exists()), None)
        if path is not None:
            learned[node] = [path] if node in stage.learn else [*learned.get(node, []), path]


def _going_on(stage: Stage, learned: Mapping[str, list[Path]], tell: Watch) -> Stage:
    """The stage with its nodes' weights as earlier stages left them, where it names no others."""
    taken = {n: paths for n, paths in learned.items() if n in stage.part.graph.nodes and n not in stage.start}
    if not taken:
        return stage
    told = ", ".join(f"{n} from {paths[-1].parent.name}" for n, paths in sorted(taken.items()))
    tell("note", {"text": f"{stage.name}: begins with {told}"})
    validation = stage.validation
    if validation is not None:
        validation = replace(validation, part=_with_weights(validation.part, taken))
    return replace(stage, part=_with_weights(stage.part, taken), validation=validation)


def _with_weights(part: Part, taken: Mapping[str, list[Path]]) -> Part:
    nodes = dict(part.graph.nodes)
    for name, node in part.graph.nodes.items():
        paths = taken.get(node.owner, [])
        if paths:
            base = () if _whole(paths[0]) else node.weights
            facts = node.facts if base else {**node.facts, **_facts(node, paths[0])}
            nodes[name] = replace(node, weights=(*base, *(f"file:{p}" for p in paths)), facts=facts)
    return replace(part, graph=replace(part.graph, nodes=nodes))


def _facts(node: Node, path: Path) -> Mapping[str, Any]:
    """What the learned file tells of its sizes: a stage may have begun with others than the spec's own weights have."""
    return resolve_facts(node.card.facts.sources, parse_sources(f"file:{path}"), None, default_cache())


def _whole(path: Path) -> bool:
    """Whether what was left is a node's weights, not an adapter to lie on others."""
    return not (path / "adapter_config.json").exists()
