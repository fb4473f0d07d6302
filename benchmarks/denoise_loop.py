"""What a denoising step costs outside its network: our folded loop beside diffusers' pipelines' loop, in turns.

    python benchmarks/denoise_loop.py                                (latents of Stable Diffusion at 512x512, one row)
    python benchmarks/denoise_loop.py --channels 16 --side 128       (those of SD 3 and Flux at 1024x1024)

Both loops run 50 guided steps with a network that answers at once, so that all the time is the loop's own; then both
with a network that looks at its input, to show equal latents. The peer's loop is that of its pipelines: both halves in
one batch, `scale_model_input`, guidance, `scheduler.step`. Its best: guidance by one `lerp`, nothing else needed.
Times are those of the one thread's CPU, as waiting for a busy core is longer than a step. Some 20 s.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import diffusers
import torch

from anyany.api.torch import Context, DrawnNoise, Schedule, Wish, denoise
from anyany.engine.noise import Noise

SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {**SD, "clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}),
    "ddpm": ("DDPMScheduler", {**SD, "clip_sample": False}),
    "euler": ("EulerDiscreteScheduler", SD),
    "flow": ("FlowMatchEulerDiscreteScheduler", {"shift": 3.0}),
}
GUIDANCE = 7.5
Ask = Callable[..., torch.Tensor]


def scheduler_of(name: str, steps: int) -> Any:
    kind, settings = SCHEDULERS[name]
    made = getattr(diffusers, kind)(**settings)
    made.set_timesteps(steps)
    return made


class Drawn(Noise):
    """Noise drawn before both loops begin: how it is drawn is no part of the comparison."""

    def __init__(self, shape: tuple[int, ...], steps: int) -> None:
        super().__init__(0)
        self.table = torch.randn(steps + 1, 1, *shape, generator=torch.Generator().manual_seed(0))

    def normal(self, keys: Any, shape: Any, where: str, step: int = 0, device: Any = "cpu") -> torch.Tensor:
        return self.table[step]


def context(noise: Noise) -> Context:
    return Context(node="draw", call="image", keys=[(0,)], noise=noise, device=torch.device("cpu"), dtype=torch.float32)


def ours(name: str, noise: Noise, shape: tuple[int, ...], steps: int, ask: Ask) -> torch.Tensor:
    """The loop that image, sound and film heads share."""
    cond, null = torch.ones(1, 1), torch.zeros(1, 1)
    wish = Wish(conds=(cond,), nulls=(null,), steps=steps, guidance=GUIDANCE, shape=shape)
    (found,) = denoise(context(noise), [wish], ask, lambda count: Schedule(scheduler=scheduler_of(name, count)))
    return found[None]


def theirs(name: str, noise: Noise, shape: tuple[int, ...], steps: int, ask: Ask, best: bool = False) -> torch.Tensor:
    """The loop of diffusers' pipelines, on the same noise."""
    scheduler, ctx = scheduler_of(name, steps), context(noise)
    latents = ctx.normal(shape, 0) * float(getattr(scheduler, "init_noise_sigma", 1.0))
    cond = torch.stack([torch.zeros(1, 1), torch.ones(1, 1)])
    with DrawnNoise(lambda one, step: ctx.normal(one, step)):
        for t in scheduler.timesteps:
            model_input = torch.cat([latents] * 2)
            if hasattr(scheduler, "scale_model_input"):
                model_input = scheduler.scale_model_input(model_input, t)
            uncond, text = ask(model_input, t.expand(2), cond).chunk(2)
            if best:
                predicted = torch.lerp(uncond, text, GUIDANCE)
            else:
                predicted = uncond + GUIDANCE * (text - uncond)
            latents = scheduler.step(predicted, t, latents, return_dict=False)[0]
    return latents


def looking(x: torch.Tensor, t: torch.Tensor, cond: torch.Tensor) -> torch.Tensor:
    """A network that depends on its input, its time and its condition."""
    return torch.tanh(x) * 0.3 + cond.view(-1, 1, 1, 1) * 0.1 + (t.view(-1, 1, 1, 1) * 1e-3).sin() * 0.1


def marginal(run: Callable[[int], Any], steps: int) -> float:
    """Seconds a further step costs: of a walk twice as long, less one of this length. The set-up falls out."""
    took = []
    for count in (steps, 2 * steps):
        start = time.thread_time()
        run(count)
        took.append(time.thread_time() - start)
    return (took[1] - took[0]) / steps


def compare(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """The figures of one scheduler."""
    shape, steps = (options.channels, options.side, options.side), options.steps
    noise, answer = Drawn(shape, 2 * steps), torch.randn(2, *shape)
    one, two = ours(name, noise, shape, steps, looking), theirs(name, noise, shape, steps, looking)
    apart = float((one - two).abs().max() / two.abs().max())
    assert apart <= 1e-5, f"{name}: latents differ by {apart:.1e} of their largest value"

    def at_once(*_: Any) -> torch.Tensor:
        return answer

    runs: dict[str, Callable[[int], Any]] = {
        "ours": lambda count: ours(name, noise, shape, count, at_once),
        "diffusers": lambda count: theirs(name, noise, shape, count, at_once),
        "best": lambda count: theirs(name, noise, shape, count, at_once, best=True),
    }
    seconds: dict[str, list[float]] = {key: [] for key in runs}
    for _ in range(options.rounds + 1):
        for key, run in runs.items():
            seconds[key].append(marginal(run, steps))
    step = {key: statistics.median(took[1:]) * 1e6 for key, took in seconds.items()}
    return {
        "scheduler": name, "latents": list(shape), "steps": steps, "latents_apart": float(f"{apart:.1e}"),
        **{f"{key}_us": round(value, 1) for key, value in step.items()},
        "ratio": round(step["diffusers"] / step["ours"], 1), "ratio_best": round(step["best"] / step["ours"], 1),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--schedulers", nargs="+", default=list(SCHEDULERS), choices=list(SCHEDULERS))
    parser.add_argument("--channels", type=int, default=4)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with torch.inference_mode():
        for name in options.schedulers:
            print(json.dumps(compare(name, options)), flush=True)


if __name__ == "__main__":
    main()
