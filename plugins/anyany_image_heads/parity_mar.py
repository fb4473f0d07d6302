"""Parity cases of MAR and its diffusion head. Suffixes as in `mar.py` and `diffusion_head.py`."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch

from anyany_image_heads import gaussian
from anyany_image_heads.diffusion_head import DiffusionHead
from anyany_image_heads.mar import Turn
from anyany_image_heads.mar_transformer import patches, unpatched
from anyany_image_heads.parity_gaussian import stream
from anyany_image_heads.transformer_parts import sinusoid


def diffusion_head(pack: Any) -> dict[str, Any]:
    """The head alone: network, losses, schedules, samples with and without guidance."""
    c, given = pack.config, pack.inputs
    head = pack.module(DiffusionHead(c["target_channels"], c["z_channels"], c["width"], c["depth"]))
    x, z, t, mask, n = given["x"], given["z"], given["t"], given["mask"], c["n"]
    out, half, channels = head.net(x, given["t_net"], z), c["n"] // 2, c["target_channels"]
    twice = head.net(torch.cat([x[:half], x[:half]]), given["t_net"], z)
    null = twice[half:, :channels]
    eps = null + c["cfg"] * (twice[:half, :channels] - null)
    mse, bound = head.losses(given["target"], z, t, given["noise"])
    p, q = head.process, gaussian.process("cosine", c["num_sampling_steps"])
    steps = gaussian.ancestral(q, c["temperature"])
    draw, scale = stream(given["noise_stream"], (n, channels)), torch.full((half,), float(c["cfg"]))
    guided = head.sample(z, steps, _halved(given["noise_stream_cfg"], n, channels), scale)
    return {
        "net_out": out, "net_out_cfg": torch.cat([torch.cat([eps, eps]), twice[:, channels:]], 1),
        "time_embed_sinusoid": sinusoid(given["t_net"]), "x_t": gaussian.noised(p, given["target"], t, given["noise"]),
        "loss_terms_mse": mse, "loss_terms_vb": bound, "loss_terms_total": mse + bound,
        "loss_unmasked": (mse + bound).mean(), "loss_masked": ((mse + bound) * mask).sum() / mask.sum(),
        "train_betas": p.betas, "train_alphas_cumprod": p.ab, "gen_betas": q.betas, "gen_alphas_cumprod": q.ab,
        "timestep_map": torch.tensor(q.timesteps), "sample": head.sample(z, steps, draw),
        "sample_cfg": torch.cat([guided, _second_half(head, c, given, steps)]),
    }  # fmt: skip


def _second_half(head: DiffusionHead, c: Mapping[str, Any], given: Any, steps: gaussian.Steps) -> torch.Tensor:
    """What the reference carries along and never uses: the null rows, moved by their own draws and variances."""
    half, channels, z = c["n"] // 2, c["target_channels"], given["z"]
    first, draws = given["noise_stream_cfg"].split(
        [half * channels, given["noise_stream_cfg"].numel() - half * channels]
    )
    x = torch.cat([first.reshape(half, channels)] * 2)
    draw = stream(draws, (c["n"], channels))
    for index, t in enumerate(steps.timesteps):
        out = head.net(torch.cat([x[:half], x[:half]]), torch.full((c["n"],), t), z)
        eps = out[half:, :channels] + c["cfg"] * (out[:half, :channels] - out[half:, :channels])
        x = steps(index, x, torch.cat([eps, eps]), out[:, channels:], draw(index + 1))
    return x[half:]


def _halved(values: torch.Tensor, rows: int, channels: int) -> Any:
    """The reference's draws under guidance: the first of half the rows, the others of all, of which half count."""
    half = rows // 2
    first = values[: half * channels].reshape(half, channels)
    rest = stream(values[half * channels :], (rows, channels))
    return lambda step: first if step == 0 else rest(step)[:half]


def _options(c: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "side": c["img_size"] // c["vae_stride"] // c["patch_size"], "patch": c["patch_size"],
        "channels": c["vae_embed_dim"], "buffer": c["buffer_size"], "width": c["encoder_embed_dim"],
        "layers": c["encoder_depth"], "heads": c["encoder_num_heads"], "decoder_width": c["decoder_embed_dim"],
        "decoder_layers": c["decoder_depth"], "decoder_heads": c["decoder_num_heads"], "ratio": c["mlp_ratio"],
        "head_width": c["diffloss_w"], "head_layers": c["diffloss_d"], "classes": c["class_num"],
        "temperature": c["temperature"], "diffusion_repeat": c["diffusion_batch_mul"], "autoencoder": False,
    }  # fmt: skip


def mar(pack: Any) -> dict[str, Any]:
    """Encoder, decoder, training loss, and generation in given orders."""
    c, given = pack.config, pack.inputs
    head = pack.component("image_heads/mar", _options(c)).component
    tokens, orders, cond = patches(given["latents"], c["patch_size"]), given["orders"], head.look_up(given["labels"])
    length, count = tokens.shape[1], int(-(-tokens.shape[1] * c["mask_rate"] // 1))
    masked, every = orders[:, :count], torch.arange(length).expand(len(orders), -1)
    seen = orders[:, count:].sort(1).values
    encoded = head.model.encode(tokens, seen, cond)
    mask = torch.zeros(tokens.shape[:2]).scatter(1, masked, 1.0)
    found = {
        "tokens_in": tokens, "mask": mask, "encoder_out": encoded,
        "decoder_out": head.model.decode(encoded, seen, every),
        "unpatchify_roundtrip": unpatched(tokens, head.config.side, c["patch_size"]),
        "loss": _loss(head, tokens, cond, masked, given).mean(),
    }  # fmt: skip
    for name, schedule, scale in (("gen", "linear", 1.0), ("gen_cfg_linear", "linear", c["cfg"]),
                                  ("gen_cfg_constant", "constant", c["cfg"])):  # fmt: skip
        made = _generated(pack, head, cond, schedule, scale)
        found |= {f"{name}_{n}": v for n, v in made.items() if f"{name}_{n}" in pack.expected}
    return found


def _loss(head: Any, tokens: torch.Tensor, cond: torch.Tensor, masked: torch.Tensor, given: Any) -> torch.Tensor:
    """The reference draws steps and noise for all places, repeated as a whole; ours are of the masked ones."""
    rows, length = tokens.shape[:2]
    many = len(given["t"]) // (rows * length)
    t = given["t"].reshape(many, rows, length).transpose(0, 1)
    noise = given["noise"].reshape(many, rows, length, -1).transpose(0, 1)
    t = t.gather(2, masked[:, None].expand(-1, many, -1))
    noise = noise.gather(2, masked[:, None, :, None].expand(-1, many, -1, noise.shape[3]))
    return head.masked_loss(tokens, cond, masked, t, noise)


def _generated(pack: Any, head: Any, cond: torch.Tensor, schedule: str, scale: float) -> dict[str, Any]:
    c, given = pack.config, pack.inputs
    guided, rows, orders = scale != 1.0, len(cond), given["orders"]
    object.__setattr__(head.config, "cfg_schedule", schedule)
    left = given["noise_stream_cfg" if guided else "noise_stream"]
    token, times = head.model.token, 2 if guided else 1
    steps = gaussian.ancestral(gaussian.process("cosine", c["num_sampling_steps"]), c["temperature"])

    def noise(turn: int, count: int) -> Any:
        nonlocal left
        size = rows * count * token * (1 + times * len(steps))
        mine, left = left[:size], left[size:]
        return _halved(mine, 2 * rows * count, token) if guided else stream(mine, (rows * count, token))

    told: dict[str, Any] = {"cfg_per_step": []}

    def watch(turn: Turn, z: torch.Tensor) -> None:
        number = len(told["cfg_per_step"])
        told["cfg_per_step"].append(turn.guidance_R[0])
        told[f"z.{number}"] = z
        told[f"mask_next.{number}"] = torch.zeros_like(orders, dtype=torch.bool).scatter(
            1, orders[:, : max(1, turn.after)], True
        )

    twice = torch.cat([cond, head.null_C().expand_as(cond)]) if guided else cond
    batch = SimpleNamespace(steps=c["num_iter"], guidance_R=torch.full((rows,), float(scale)),
                            ctx=SimpleNamespace(check=lambda: None))  # fmt: skip
    tokens = head.fill(orders, twice, batch, steps, noise, watch)
    told["cfg_per_step"] = torch.stack(told["cfg_per_step"])
    return {**told, "latents": unpatched(tokens, head.config.side, c["patch_size"])}


def layout(released: Any) -> None:
    """A released transformer with its head."""
    c = released.config
    encoder, _, decoder = c["depth"].partition(" + ")
    released.take("image_heads/mar", {
        "side": c["img_size"] // c["vae_stride"] // c["patch_size"], "patch": c["patch_size"],
        "channels": c["vae_embed_dim"], "buffer": c["buffer_size"], "width": c["embed_dim"], "heads": c["num_heads"],
        "layers": int(encoder.split()[0]), "decoder_layers": int(decoder.split()[0]), "head_width": c["diffloss_w"],
        "head_layers": c["diffloss_d"], "classes": c["class_num"], "autoencoder": False,
    })  # fmt: skip


CASES = {("mar", "diffloss"): diffusion_head, ("mar", "mar"): mar}
LAYOUTS = {"mar/mar_*": layout}
TOLERANCES = {("mar", family): {"*": 2e-5} for family in ("diffloss", "mar")}
