"""What the training scripts share: batches of captions, learning rates, averages of weights and checkpoints.

Everything is a function of (seed, step), so that a run that was stopped goes on as if it had not been.
Shapes: B batch, L text length.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from anyany_mini import talk
from anyany_mini.models import WEIGHTS

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CHECKPOINTS = Path(os.environ.get("ANYANY_MINI_CHECKPOINTS", "runs/mini"))
OUT = Path(os.environ.get("ANYANY_MINI_OUT", WEIGHTS))
"""Where trained weights go: into the package, unless told otherwise."""


@lru_cache(maxsize=1)
def tokenizer() -> Tokenizer:
    """The tokenizer bundled with `think`, made on first use."""
    from tokenizers import Tokenizer as Reader

    path = WEIGHTS / "think" / "tokenizer.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        talk.build_tokenizer().save(str(path))
        write_tokenizer_files(path.parent)
    return Reader.from_file(str(path))


def write_tokenizer_files(folder: Path) -> None:
    """The files that transformers reads beside `tokenizer.json`: special tokens and the chat template."""
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast", "pad_token": talk.PAD, "eos_token": talk.EOS,
        "extra_special_tokens": list(talk.SPECIAL[2:]), "clean_up_tokenization_spaces": False,
        "add_prefix_space": False, "model_max_length": 1024, "chat_template": talk.CHAT_TEMPLATE,
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "chat_template.jinja").write_text(talk.CHAT_TEMPLATE)


def token(text: str) -> int:
    """The id of a text that is one token."""
    (found,) = tokenizer().encode(text, add_special_tokens=False).ids
    return int(found)


def caption_batch(captions: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Ids and mask [B, L] of captions for the caption encoder: the 8 signal tokens, then the caption, padded right."""
    signals = [token(s) for s in talk.SIGNALS]
    rows = [signals + tokenizer().encode(c, add_special_tokens=False).ids for c in captions]
    longest = max(map(len, rows))
    pad = token(talk.PAD)
    ids = torch.tensor([row + [pad] * (longest - len(row)) for row in rows])
    return ids, (ids != pad).long()


def rng_of(seed: int, stage: str, step: int) -> np.random.Generator:
    """The generator of one step of one stage."""
    return np.random.default_rng([seed, *stage.encode(), step])


def rate(step: int, steps: int, peak: float, warmup: int = 100) -> float:
    """Linear warm-up, then half a cosine to 2 % of the peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    done = min((step - warmup) / max(steps - warmup, 1), 1.0)
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))


def optimizer(modules: Iterable[nn.Module], decay: float = 0.05) -> torch.optim.AdamW:
    """AdamW with weight decay on matrices only."""
    found = [p for m in modules for p in m.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in found if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in found if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.98), fused=True)


@dataclass(frozen=True, kw_only=True)
class Team:
    """Processes that share a step, as `torchrun` starts them; one process alone is a team of one."""

    rank: int
    size: int

    @staticmethod
    def join() -> Team:
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size > 1 and not torch.distributed.is_initialized():
            torch.distributed.init_process_group("gloo")
        return Team(rank=int(os.environ.get("RANK", "0")), size=size)

    def share(self, module: nn.Module) -> None:
        """Make every process hold the mean of all gradients."""
        if self.size == 1:
            return
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        flat = torch.cat([g.flatten() for g in gradients])
        torch.distributed.all_reduce(flat)
        flat.div_(self.size)
        for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))


class Average:
    """Exponential moving average of a module's parameters, with a short memory at the start."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.shadow = {k: v.detach().clone() for k, v in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        keep = min(self.decay, (1 + step) / (10 + step))
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                self.shadow[name].lerp_(value, 1 - keep)


class Run:
    """The checkpoint of a stage and its log; `every` seconds apart."""

    def __init__(self, stage: str, every: float = 180.0) -> None:
        self.path = CHECKPOINTS / f"{stage}.pt"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.every, self.saved, self.began = every, time.monotonic(), time.monotonic()

    def resume(self) -> dict[str, Any] | None:
        return torch.load(self.path, weights_only=True) if self.path.exists() else None

    def due(self) -> bool:
        return time.monotonic() - self.saved > self.every

    def save(self, state: dict[str, Any]) -> None:
        partial = self.path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.path)
        self.saved = time.monotonic()

    def log(self, step: int, **values: float) -> None:
        said = " ".join(f"{name}={value:.4g}" for name, value in values.items())
        print(f"{time.strftime('%H:%M:%S')} step {step} {said} {time.monotonic() - self.began:.0f}s", flush=True)
