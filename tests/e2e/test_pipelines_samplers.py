"""Every sampler of the image heads through a pipeline: an item is the same alone and among seven that ask for other
steps and guidance, with one seed. Ids are identical, floats within 1e-5.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from anyany_image_heads.blueprint import network
from safetensors.torch import save_file

from anyany.api.torch import Part, init_random
from anyany.pipeline import Pipeline, load

Options = Mapping[str, Any]
UNET = {
    "sample_size": 4, "in_channels": 3, "out_channels": 3, "layers_per_block": 1, "block_out_channels": [8],
    "down_block_types": ["CrossAttnDownBlock2D"], "up_block_types": ["CrossAttnUpBlock2D"], "mid_block_type": None,
    "cross_attention_dim": 32, "attention_head_dim": 4, "norm_num_groups": 4,
}  # fmt: skip
CALM = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "prediction_type": "v_prediction"}
"""Of an untrained network an estimated velocity keeps a sample in bounds; noise would be magnified a hundredfold."""
SCHEDULERS: dict[str, Options] = {
    "DDPM": {}, "DDPM noise": {"prediction_type": "epsilon", "timestep_spacing": "trailing"},
    "DDPM learned": {"variance_type": "learned_range"}, "DDIM": {}, "DDIM noise": {"prediction_type": "epsilon"},
    "DDIM sample": {"prediction_type": "sample"},
    "PNDM": {"skip_prk_steps": True}, "EulerDiscrete": {},
    "EulerAncestralDiscrete": {}, "HeunDiscrete": {}, "KDPM2AncestralDiscrete": {"num_train_timesteps": 100},
    "DPMSolverMultistep": {}, "DPMSolverMultistep SDE": {"algorithm_type": "sde-dpmsolver++"},
    "DPMSolverSinglestep": {}, "DEISMultistep": {}, "UniPCMultistep": {}, "LCM": {}, "TCD": {}, "DDPMParallel": {},
    "DDIMParallel": {}, "EDMEuler": {}, "SASolver": {}, "FlowMatchEulerDiscrete": {},
    "FlowMatchEulerDiscrete shifted": {"shift": 3.0}, "FlowMatchHeunDiscrete": {},
    "UnCLIP": {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "sample"},
}  # fmt: skip
ASKED: tuple[Options, ...] = (
    {}, {"steps": 3}, {"guidance": 1.0}, {"steps": 3, "guidance": 5.0}, {}, {"guidance": 0.0},
    {"steps": 2, "guidance": 2.5},
)  # fmt: skip
"""What each of the seven asks for: some alike, some not, with and without guidance in one call."""
HEADS: dict[str, tuple[str, Options]] = {
    "diffusion, flow matching": ("diffusion", {}),
    "diffusion, classes": ("diffusion", {"classes": 10}),
    "dit": ("dit", {}),
    "dit, DDIM": ("dit", {"sampler": "ddim"}),
    "dit, DDIM with noise": ("dit", {"sampler": "ddim", "eta": 0.8, "classes": 10}),
    "dit, fixed variance": ("dit", {"learned": False, "schedule": "cosine"}),
    "dit, latents": ("dit", {"autoencoder": False}),
    "var": ("var", {"top_k": 12, "top_p": 0.9}),
    "var, classes": ("var", {"classes": 10, "top_k": 0, "top_p": 0}),
    "var, the likeliest": ("var", {"top_k": 1}),
    "var, codes": ("var", {"autoencoder": False}),
    "mar": ("mar", {}),
    "mar, classes": ("mar", {"classes": 10, "cfg_schedule": "constant", "temperature": 0.9}),
    "mar, latents": ("mar", {"autoencoder": False}),
    "vq-ar": ("vq-ar", {"top_k": 12, "top_p": 0.9}),
    "vq-ar, classes": ("vq-ar", {"classes": 10, "temperature": 0.7}),
    "vq-ar, the likeliest": ("vq-ar", {"temperature": 0.0}),
    "unclip": ("unclip", {}),
    "unclip with noise": ("unclip", {"eta": 1.0}),
    "stable-unclip": ("stable-unclip", {}),
    "gan": ("gan", {}),
    "gan, classes": ("gan", {"classes": 10}),
    "vae": ("vae", {}),
    "vae, classes": ("vae", {"classes": 10}),
}
PRIORS = {"diffusers": "tiny", "lucidrains": "tiny-lucidrains", "autoregressive": "tiny-autoregressive"}
CAPTIONS = ("a red circle", "two blue squares at the top", "", "a ring", "a red circle", "green", "x y z " * 4)


def spec(component: str, options: Options, feed: Any, weights: str = "random:0", **more: Any) -> dict[str, Any]:
    read = {"use": "vision/clip", "call": "text", "weights": "random:0", "with": {"preset": "tiny"}, "in": "caption"}
    return {
        "anyany": 1, "name": "sampler", "inputs": {"caption": "text", "number": "label"},
        "nodes": {"read": read, "draw": {"use": component, "weights": weights, "with": options, "in": feed}, **more},
        "outputs": {"found": "draw"},
    }  # fmt: skip


def items() -> list[dict[str, Any]]:
    """Seven items, two of them with the same caption."""
    return [{"id": f"item-{i}", "caption": caption, "number": str(i), "with": {"draw": {**asked}}}
            for i, (caption, asked) in enumerate(zip(CAPTIONS, ASKED))]  # fmt: skip


def values(result: Any) -> dict[str, torch.Tensor]:
    assert result.error is None, result.error
    return {name: torch.as_tensor(value) for name, value in result.outputs.items()}


def apart(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> float:
    """How far two results are from each other: infinitely where ids or shapes differ."""
    assert set(one) == set(other)
    worst = 0.0
    for name, a in one.items():
        b = other[name]
        if a.shape != b.shape or (not a.is_floating_point() and not torch.equal(a, b)):
            return float("inf")
        size = max(1.0, float(a.float().abs().max()))  # latents of random weights may be large
        worst = max(worst, float((a.float() - b.float()).abs().max()) / size)
    return worst


def held(pipe: Pipeline, seven: list[dict[str, Any]], backwards: bool = True) -> None:
    """Seven in one call, some alone, and all backwards in two calls: the same; and what an item asks for is heard."""
    sizes = watched(pipe)
    together = [values(result) for result in pipe.map(seven)]
    assert sizes and max(sizes) == 7, f"the seven ran in calls of {sizes}"
    assert all(bool(value.float().isfinite().all()) for one in together for value in one.values())
    for number in (0, 3, 5):
        (alone,) = pipe.map([seven[number]])
        assert apart(values(alone), together[number]) <= 1e-5, seven[number]
    for item, result in zip(reversed(seven), pipe.map(reversed(seven), batch=4) if backwards else ()):
        assert apart(values(result), together[seven.index(item)]) <= 1e-5, item
    (plain,) = pipe.map([{**seven[3], "with": {}}])
    assert apart(values(plain), together[3]) > 1e-4, "steps and guidance were not heard"


def watched(pipe: Pipeline) -> list[int]:
    """How many rows each call of `draw` gets, from now on."""
    sizes: list[int] = []
    component = pipe.components.get("draw").component
    call = pipe.graph.nodes["draw"].call_name
    method = getattr(component, call)

    def counted(ctx: Any, **ports: Any) -> Any:
        sizes.append(len(ctx.keys))
        return method(ctx, **ports)

    object.__setattr__(component, call, counted)
    return sizes


@pytest.mark.parametrize("name", HEADS)
def test_a_head_draws_an_item_alone_as_among_seven_that_ask_for_other_things(name: str) -> None:
    head, options = HEADS[name]
    feed = "number" if options.get("classes") else "read.features"
    drawn = spec(f"image_heads/{head}", {"preset": "tiny", "guidance": 2.0, **options}, feed)
    if head in ("var", "vq-ar"):
        drawn["outputs"]["tokens"] = "draw.tokens"
    if head == "var" and not options.get("autoencoder", True):
        drawn["outputs"]["found"] = "draw.latent"
    held(load(drawn), items())


@pytest.mark.parametrize("kind", PRIORS)
def test_a_prior_draws_an_item_alone_as_among_seven_that_ask_for_other_things(kind: str) -> None:
    wide = {"embed": 32, "width": 32, "text_length": 64, "guidance": 2.0}
    drawn = spec("image_heads/unclip-prior", {"preset": PRIORS[kind], **wide},
                 {"text": "read.embedding", "words": "read.features"})  # fmt: skip
    drawn["nodes"]["read"]["with"]["shared"] = 32
    seven = items()
    seven[3]["with"]["draw"]["guidance"] = 100.0  # what untrained weights hear of
    held(load(drawn), seven)


@pytest.mark.parametrize("head", ["diffusion", "unclip", "stable-unclip"])
def test_a_changed_picture_is_the_same_alone_as_among_seven_that_change_theirs_by_more_or_less(head: str) -> None:
    drawn = spec(f"image_heads/{head}", {"preset": "tiny", "guidance": 2.0},
                 {"cond": "read.features", "start": "photo", "mask": "where"})  # fmt: skip
    drawn["inputs"] |= {"photo": "image", "where": "mask"}
    seven = items()
    for number, item in enumerate(seven):
        generator = torch.Generator().manual_seed(number)
        item["photo"] = torch.randint(0, 256, (3, 20, 24), dtype=torch.uint8, generator=generator)
        item["where"] = torch.rand(20, 24, generator=generator) < 0.7
        item["with"] = {"draw": {**item["with"]["draw"], "steps": 4, "strength": (0.5, 1.0, 0.25)[number % 3]}}
    held(load(drawn), seven)


def test_noise_on_an_embedding_is_of_each_items_own_level() -> None:
    drawn = spec("image_heads/stable-unclip", {"preset": "tiny"}, "read.features")
    seven = [{**item, "with": {"draw": {"noise_level": 130 * n}}} for n, item in enumerate(items())]
    held(load(drawn), seven)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small UNet's weights with a stored null conditioning; each test writes its config.json beside them."""
    where = tmp_path_factory.mktemp("samplers")
    for name, out in (("plain", 3), ("learned", 6)):
        (where / name).mkdir()
        unet = network(Part(name="UNet2DConditionModel", config={**UNET, "out_channels": out}))
        unet.to_empty(device="cpu")
        init_random(unet, 0, dtype=torch.float32, device=torch.device("cpu"))
        unet.conv_out.weight.data *= 0.1  # as calm as one that was trained: nothing runs away over the steps
        weights = {f"unet.{n}": v.contiguous() for n, v in unet.state_dict().items()}
        save_file({**weights, "null_conditioning": torch.zeros(1, 32)}, where / name / "model.safetensors")
    yield where


def described(kind: str, extra: Options) -> dict[str, Any]:
    name = f"{kind.split()[0]}Scheduler"
    known = inspect.signature(getattr(diffusers, name).__init__).parameters
    settings = {k: v for k, v in CALM.items() if k in known} | {**extra}
    out = 6 if "learned" in kind else 3
    return {"class": "diffusers.UNet2DConditionModel", "config": {**UNET, "out_channels": out}, "steps": 4,
            "scheduler": {"class": name, **settings}, "conditioning": [1, 32], "guidance": 2.0}  # fmt: skip


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_a_scheduler_draws_an_item_alone_as_among_seven_that_ask_for_other_things(kind: str, folder: Path) -> None:
    where = folder / ("learned" if "learned" in kind else "plain")
    (where / "config.json").write_text(json.dumps(described(kind, SCHEDULERS[kind])))
    pipe = load(spec("image_heads/diffusion", {}, "read.features", f"file:{where}/model.safetensors"))
    held(pipe, items(), backwards=False)
