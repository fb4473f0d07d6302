"""Parity cases of DALL-E 2's priors. Suffixes as in `unclip_prior.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from anyany_image_heads import gaussian
from anyany_image_heads.parity_gaussian import stream
from anyany_image_heads.unclip_prior import Wish, fewer, towards_clean, unclip_steps


def _transformer(c: Mapping[str, Any]) -> dict[str, Any]:
    named = ("heads", "head_dim", "layers", "embedding_dim", "num_embeddings", "steps", "guidance_scale")
    extra = {k: v for k, v in c.items() if k not in named and v is not None}
    return {
        "kind": "diffusers", "heads": c["heads"], "head_width": c["head_dim"], "layers": c["layers"],
        "embed": c["embedding_dim"], "text_length": c["num_embeddings"], "width": c["heads"] * c["head_dim"],
        "steps": c.get("steps", 25), "guidance": c.get("guidance_scale", 4.0), "extra": extra,
    }  # fmt: skip


def transformer(pack: Any) -> dict[str, Any]:
    """diffusers' network, and its loop under guidance."""
    c, given = pack.config, pack.inputs
    model = pack.component("image_heads/unclip-prior", _transformer(c)).component.model
    words, text, mask = given["encoder_hidden_states"], given["proj_embedding"], given["attention_mask"]

    def ask(mask: torch.Tensor | None) -> torch.Tensor:
        return model.ask(given["hidden_states"], given["timestep"], text, words, mask)

    with_mask, path = ask(mask), []
    wish = _wish(text, words, mask, c["guidance_scale"], c["steps"],
                 lambda i: given["init_latents"] if i == 0 else given["step_noise"][i - 1])  # fmt: skip
    latents = model.latents(wish, path.append)
    found = {
        "out_with_mask": with_mask, "out_without_mask": ask(None), "loop_latents": latents,
        "post_processed": model.net.post_process_latents(with_mask),
        "loop_post_processed": model.net.post_process_latents(latents),
        "timesteps": torch.tensor(unclip_steps(c["steps"]).timesteps),
    }  # fmt: skip
    return found | {
        f"latents_after_step{i}": x for i, x in enumerate(path) if f"latents_after_step{i}" in pack.expected
    }


def _wish(text: torch.Tensor, words: torch.Tensor | None, real: torch.Tensor, guidance: float, steps: int,
          noise: Any) -> Wish:  # fmt: skip
    return Wish(
        text_BD=text, words_BNW=words, real_BN=real, guidance_B=torch.full((len(text),), float(guidance)),
        guided=guidance != 1, steps=steps, noise=noise, noise_words=torch.zeros(len(text), 2), check=lambda: None,
    )  # fmt: skip


def _lucidrains(c: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "kind": "lucidrains", "embed": c["dim"], "width": c["dim"], "layers": c["depth"], "heads": c["heads"],
        "head_width": c["dim_head"], "ratio": c["ff_mult"], "text_length": c["max_text_len"],
        "timesteps": c["timesteps"], "time_table": c["num_timesteps"], "rotary": c["rotary_emb"],
        "normformer": c["normformer"], "norm_in": c.get("norm_in", False), "self_cond": c.get("self_cond", False),
        "time_tokens": c.get("num_time_embeds", 1), "image_tokens": c.get("num_image_embeds", 1),
        "text_tokens": c.get("num_text_embeds", 1), "unit_start": c.get("init_image_embed_l2norm", False),
        "unit_estimates": c.get("sampling_clamp_l2norm", False),
        "unit_result": c.get("sampling_final_clamp_l2norm", False),
    }  # fmt: skip


def lucidrains(pack: Any) -> dict[str, Any]:
    """lucidrains' network, its training objective, single steps and both loops."""
    c, given = pack.config, pack.inputs
    model = pack.component("image_heads/unclip-prior", _lucidrains(c)).component.model
    net, p = model.net, model.process
    x, t, text, words = given["image_embed"], given["times"], given["text_embed"], given["text_encodings"]
    before = given["self_cond"] if c["self_cond"] else None
    pred, null = net(x, t, text, words, before), net(x, t, text, words, before, True, True)
    noised = gaussian.noised(p, given["clean_embed"], t, given["noise"])
    found = {
        "pred": pred, "pred_null": null, "pred_guided": null + c["cond_scale"] * (pred - null),
        "pred_without_text_encodings": net(x, t, text, None, before), "pred_without_self_cond": net(x, t, text, words),
        "q_sample": noised, "ddim_draws": torch.tensor(1 + sum(w != 0 for w in fewer(p, c["ddim_steps"]).width)),
        "loss_no_dropout": (net(noised, t, text, words) - given["clean_embed"]).square().mean(),
    }  # fmt: skip
    for scale in (1.0, c["cond_scale"]):
        found |= _loops(model, c, given, scale) | _single(model, given, scale, before, pack.expected)
    return {name: value for name, value in found.items() if name in pack.expected}


def _single(model: Any, given: Mapping[str, Any], scale: float, before: Any, expected: list[str]) -> dict[str, Any]:
    """One ancestral step from a given embedding."""
    steps, x, found = towards_clean(model.process), given["image_embed"], {}
    for name in expected:
        if not name.startswith("p_sample_t") or not name.endswith(f"_scale{scale:g}"):
            continue
        t = int(name.removeprefix("p_sample_t").partition("_")[0])
        wish = _wish(given["text_embed"], *_words(given), scale, 1, None)
        start = model.ask(x, torch.full((len(x),), t), wish, before)
        start = model.unit(start) if model.options.unit_estimates else start
        found[f"x_start_t{t}_scale{scale:g}"] = start
        found[name] = steps(len(steps) - 1 - t, x, start, None, given["step_noise"])
    return found


def _words(given: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    words = given["text_encodings"]
    return words, (words != 0).any(-1)


def _loops(model: Any, c: Mapping[str, Any], given: Mapping[str, Any], scale: float) -> dict[str, Any]:
    shape, found = tuple(given["image_embed"].shape), {}
    for name, count, source in (("ddpm", c["timesteps"], "noise_stream"),
                                ("ddim", c["ddim_steps"], "noise_stream_ddim")):  # fmt: skip
        wish = _wish(given["text_embed"], *_words(given), scale, count, stream(given[source], shape))
        found[f"{name}_scale{scale:g}"] = model.draw(wish)
    return found


def layout(released: Any) -> None:
    """A released prior of either library."""
    c = released.config
    released.take("image_heads/unclip-prior", _lucidrains(c) if "dim" in c else _transformer(c))


CASES = {("dalle2_prior", "prior_transformer"): transformer, ("dalle2_prior", "lucidrains_prior"): lucidrains}
LAYOUTS = {"dalle2_prior": layout}
