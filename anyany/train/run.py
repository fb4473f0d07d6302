"""All stages of a run, one after another, on one accelerator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from anyany.spec.stages import Stage
from anyany.train.loop import Summary, Trainer
from anyany.train.report import write_report

Watch = Callable[[str, Mapping[str, Any]], None]


def train_stages(stages: Sequence[Stage], out: Path, *, spec: str = "", resume: bool = False, cpu: bool = False,
                 watch: Watch | None = None) -> list[Summary]:  # fmt: skip
    """Train stages in order; report.html in `out` is written anew after each. Raises TrainError, WeightsError."""
    from accelerate import Accelerator
    from accelerate.utils import DataLoaderConfiguration

    summaries = []
    tell: Watch = watch or (lambda event, values: None)
    for stage in stages:
        precision = "bf16" if stage.settings["precision"] == "bfloat16" else "no"
        accelerator = Accelerator(cpu=cpu, mixed_precision=precision, dataloader_config=DataLoaderConfiguration())
        quiet = tell if accelerator.is_main_process else (lambda event, values: None)
        trainer = Trainer(stage, out, accelerator, resume=resume, watch=quiet)
        summary = trainer.run()
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
    return summaries
