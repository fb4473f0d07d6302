"""Tokenizers of pictures: there and back, what each refuses, official names, training calls, and that they learn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from anyany_tokenizers.dct import transform, zigzag
from anyany_tokenizers.pixels import Fit
from PIL import Image

from anyany.api.torch import Context, Rows
from anyany.engine.noise import Noise
from anyany.registry import default_registry
from anyany.spec.check import check_dict
from anyany.testing.harness import Bench, bench
from anyany.testing.parity_pack import gap

SCENE = Path(__file__).parents[2] / "examples" / "scene-seen-1.png"


def on_bench(card: str, options: dict[str, Any] | str = "tiny") -> Bench:
    return bench(default_registry().card(f"tokenizers/{card}"), options)


def made(card: str, **options: Any) -> Any:
    return on_bench(card, {"preset": "tiny", **options}).build().component


def context(count: int, call: str = "encode", names: Any = None) -> Context:
    items = names or [f"{i}" for i in range(count)]
    return Context(
        node="code", call=call, keys=[(i,) for i in range(count)], noise=Noise(0, items),
        device=torch.device("cpu"), dtype=torch.float32,
    )  # fmt: skip


def call(component: Any, name: str, names: Any = None, **ports: Any) -> dict[str, Any]:
    given = {port: Rows(value) for port, value in ports.items()}
    with torch.inference_mode():
        found = getattr(component, name)(context(len(next(iter(given.values()))), name, names), **given)
    return {port: rows.data for port, rows in found.items()}


def pictures(count: int = 3, side: int = 16, seed: int = 0) -> torch.Tensor:
    """Smooth random pictures in 0..1."""
    small = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(small, (side, side), mode="bicubic").clamp(0, 1)


def scene(side: int) -> torch.Tensor:
    import numpy

    picture = Image.open(SCENE).convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
    return torch.from_numpy(numpy.array(picture)).permute(2, 0, 1)


TOKENS = {"vq": (16, 32), "multiscale-vq": (21, 32), "seed": (32, 64)}


# there and back -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("card", TOKENS)
def test_a_picture_is_as_many_tokens_as_the_card_says_and_decodes(card):
    component, (count, vocab) = made(card), TOKENS[card]
    ids = call(component, "encode", image=pictures())["tokens"]
    assert ids.shape == (3, count) and ids.dtype == torch.int64 and int(ids.max()) < vocab
    back = call(component, "decode", tokens=ids)
    shapes = {name: tuple(value.shape) for name, value in back.items()}
    assert shapes == ({"features": (3, 1, 16), "embedding": (3, 16)} if card == "seed" else {"image": (3, 3, 16, 16)})


@pytest.mark.parametrize("card", TOKENS)
def test_each_of_seven_pictures_has_the_tokens_that_it_has_alone(card):
    component, batch = made(card), pictures(7)
    together = call(component, "encode", image=batch)["tokens"]
    alone = torch.cat([call(component, "encode", image=p[None])["tokens"] for p in batch])
    assert torch.equal(together, alone)


def test_a_draw_of_a_latent_belongs_to_its_item_alone():
    component, batch = made("kl-vae", sample=True), pictures(7)
    names = [f"photo-{i}" for i in range(7)]
    together = call(component, "encode", names, image=batch)["latent"]
    alone = call(component, "encode", names[4:5], image=batch[4:5])["latent"]
    assert torch.allclose(together[4:5], alone, atol=1e-5)
    assert not torch.allclose(together, call(made("kl-vae"), "encode", image=batch)["latent"])


def test_a_latent_is_scaled_where_its_mean_is_not():
    component = made("kl-vae", scale=0.5, shift=1.0)
    found = call(component, "encode", image=pictures())
    assert torch.allclose(found["latent"], (found["mean"] - 1) * 0.5)
    assert torch.allclose(component.pixels(found["latent"]), component.model.decode(found["mean"]).sample, atol=1e-5)


def test_the_published_sizes_are_those_of_the_options(tmp_path):
    from anyany.engine.build import build_on_meta

    def count(card: str, options: dict[str, Any]) -> int:
        made_of = on_bench(card, options)
        meta = torch.device("meta")
        component = build_on_meta(made_of.node("encode", ("random:0",)), meta, torch.float32)
        return sum(p.numel() for p in component.parameters())

    assert count("kl-vae", {}) == pytest.approx(83.65e6, rel=1e-3)  # Stable Diffusion's
    assert count("kl-vae", {"preset": "mar"}) == pytest.approx(66.46e6, rel=1e-3)
    assert count("multiscale-vq", {}) == pytest.approx(109e6, rel=0.01)
    assert count("vq", {"codes": 16384}) == pytest.approx(76.07e6, rel=1e-3)
    assert count("seed", {}) == pytest.approx(1.15e9, rel=0.01)


def test_the_config_of_a_diffusers_checkpoint_overrides_the_options(tmp_path):
    from diffusers import AutoencoderKL, VQModel

    sizes = {"block_out_channels": [8, 16], "norm_num_groups": 4, "layers_per_block": 1}
    blocks = {"down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2}
    AutoencoderKL(**sizes, **blocks, latent_channels=5, scaling_factor=0.3).save_pretrained(tmp_path / "kl")
    model = VQModel(
        **sizes, **blocks, latent_channels=6, num_vq_embeddings=12, vq_embed_dim=3, mid_block_add_attention=False
    )
    model.save_pretrained(tmp_path / "vq")
    latent = call(on_bench("kl-vae").build(f"file:{tmp_path / 'kl'}").component, "encode", image=pictures())
    assert latent["latent"].shape == (3, 5, 8, 8) and torch.allclose(latent["latent"], latent["mean"] * 0.3)
    with pytest.raises(ValueError, match=r"has 2 levels; give `with: \{multipliers: \[1, 2\]\}`"):
        on_bench("vq").build(f"file:{tmp_path / 'vq'}")
    component = on_bench("vq", {"preset": "tiny", "multipliers": [1, 2]}).build(f"file:{tmp_path / 'vq'}").component
    ids = call(component, "encode", image=pictures())["tokens"]
    with torch.no_grad():
        theirs = model.eval().quantize(model.encode(pictures() * 2 - 1).latents)[2][2]
    assert torch.equal(ids.flatten(), theirs)


# learning -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("card", "options"),
    [("vq", {}), ("vq", {"codebook": "ema", "revive": 0.1}), ("vq", {"codebook": "debiased", "estimator": "rotation"}),
     ("vq", {"arch": "vqvae", "channels": 32, "estimator": "rotation"}), ("multiscale-vq", {}), ("kl-vae", {})],
)  # fmt: skip
def test_a_few_steps_on_one_picture_bring_the_loss_down(card, options):
    component = made(card, **options).train().requires_grad_(True)
    image = pictures(2)
    optim = torch.optim.Adam(component.parameters(), lr=5e-3)
    losses = []
    for _ in range(25):
        loss = component.loss(context(2, "loss"), image=Rows(image))["loss"].data.mean()
        optim.zero_grad()
        loss.backward()
        optim.step()
        losses.append(loss.item())
    assert min(losses[-5:]) < 0.75 * losses[0]


@pytest.mark.parametrize("card", ["vq", "multiscale-vq", "kl-vae"])
def test_every_weight_gets_a_gradient_from_the_loss(card):
    component = made(card).requires_grad_(True)
    component.loss(context(3, "loss"), image=Rows(pictures()))["loss"].data.sum().backward()
    unreached = [name for name, p in component.named_parameters() if p.grad is None]
    # Three scales use two of the four convolutions that scales share, and another at the end.
    assert all(name.startswith("quantize.quant_resi.qresi_ls.") for name in unreached) and len(unreached) <= 2


def test_an_adversary_may_judge_the_decoded_picture_of_the_loss():
    component = made("vq").requires_grad_(True)
    back = component.loss(context(2, "loss"), image=Rows(pictures(2)))["image"].data
    assert float(back.detach().min()) >= 0 and float(back.detach().max()) <= 1
    back.sum().backward()
    assert float(component.encoder.conv_in.weight.grad.abs().sum()) > 0


@pytest.mark.parametrize("version", [1, 2])
def test_seeds_loss_reaches_codes_and_decoder(version):
    component = made("seed", version=version).requires_grad_(True)
    wanted = torch.zeros(2, 4, 16) if version == 1 else torch.zeros(2, 16)
    found = component.loss(context(2, "loss"), image=Rows(pictures(2, 28)), wanted=Rows(wanted))
    assert torch.allclose(found["loss"].data, sum(found[n].data for n in ("codes", "distance", "recovery")))
    found["loss"].data.sum().backward()
    reached = {n.split(".")[0] for n, p in component.named_parameters() if p.grad is not None and p.grad.any()}
    last = "distill_text_proj" if version == 1 else "distill_image_proj"
    assert {"quantize", "encode_task_layer", "decode_task_layer", last} <= reached


# seed ---------------------------------------------------------------------------------------------------------------
def test_a_code_of_seed_depends_on_no_later_query():
    component = made("seed")
    seen = torch.randn(2, 5, 16)
    with torch.inference_mode():
        before = component.query(seen).last_hidden_state
        changed = component.query_tokens.clone()
        changed[:, 20:] = changed[:, 20:].flip(-1)
        after = component.query(seen, changed).last_hidden_state
    assert torch.allclose(before[:, :20], after[:, :20], atol=1e-6)
    assert not torch.allclose(before[:, 20:], after[:, 20:], atol=1e-3)


def test_seed_1_gives_the_features_of_a_caption():
    component = made("seed", version=1)
    back = call(component, "decode", tokens=torch.zeros(2, 32, dtype=torch.int64))
    assert {name: tuple(v.shape) for name, v in back.items()} == {"features": (2, 4, 16)}


# frequency ----------------------------------------------------------------------------------------------------------
def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(-10 * torch.log10((a - b).square().mean()))


def test_zigzag_of_eight_is_jpegs():
    assert zigzag(8)[:10] == [0, 1, 8, 16, 9, 2, 3, 10, 17, 24] and sorted(zigzag(8)) == list(range(64))


def test_a_block_of_one_value_has_that_coefficient_alone():
    found = transform(torch.full((1, 4, 4), 160.0), 4, 16)[0, 0, 0]
    assert torch.allclose(found, torch.tensor([32.0 * 4, *[0.0] * 15]), atol=1e-4)


def test_all_coefficients_bring_the_picture_back_and_fewer_bring_less():
    image = scene(64)
    found = [
        psnr(call(c, "decode", tokens=call(c, "encode", image=image[None])["tokens"])["image"][0], image / 255)
        for c in (made("frequency", resolution=64, block=8, kept=k, levels=2048) for k in (1, 4, 16, 64))
    ]
    assert found == sorted(found) and found[-1] > 30 and found[-1] - found[0] > 5


def test_more_of_the_tokens_make_a_better_picture_and_the_first_ones_are_its_colours():
    image = scene(64)
    c = made("frequency", resolution=64, block=8, kept=32, levels=1024)
    ids = call(c, "encode", image=image[None])["tokens"]
    shares = [0, 64, 96, ids.shape[1] // 4, ids.shape[1] // 2, ids.shape[1]]
    found = [psnr(call(c, "decode", tokens=ids[:, :n])["image"][0], image / 255) for n in shares]
    assert found == sorted(found)
    blocks = torch.nn.functional.avg_pool2d(image.float()[None], 8)
    first = call(c, "decode", tokens=ids[:, :96])["image"] * 255  # luma, blueness, redness: the means of all blocks
    assert (torch.nn.functional.avg_pool2d(first, 8) - blocks).abs().mean() < 8


def test_levels_of_a_latent_go_from_nothing_to_itself():
    latent = torch.randn(1, 4, 8, 8)
    found = call(made("frequency", pyramid=[0, 1, 4, 8]), "pyramid", latent=latent)["levels"]
    assert bool((found[0] == 0).all()) and torch.allclose(found[3], latent[0], atol=1e-5)
    assert torch.allclose(found[1], latent[0].mean((1, 2), keepdim=True).expand(4, 8, 8), atol=1e-5)


# patch --------------------------------------------------------------------------------------------------------------
def test_patches_are_rows_of_pixels_and_come_back_exactly():
    image = torch.arange(3 * 8 * 8, dtype=torch.uint8).view(1, 3, 8, 8)
    component = made("patch", resolution=8, patch=4)
    rows = call(component, "encode", image=image)["patches"]
    first = (image[0, :, :4, :4].permute(1, 2, 0).flatten() / 255 * 2 - 1).float()
    assert torch.allclose(rows[0, 0], first) and rows.shape == (1, 4, 48)
    assert torch.allclose(call(component, "decode", patches=rows)["image"], image / 255, atol=1e-6)


def test_normalised_patches_have_mean_0_and_variance_1_and_no_way_back():
    component = made("patch", normalise=True)
    rows = call(component, "encode", image=pictures())["patches"]
    assert torch.allclose(rows.mean(2), torch.zeros(3, 16), atol=1e-5)
    assert torch.allclose(rows.var(2), torch.ones(3, 16), atol=1e-2)
    assert set(on_bench("patch", {"normalise": True}).calls) == {"encode"}


# pictures -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("shape", [(1, 9, 40), (4, 33, 17), (3, 16, 16), (3, 1, 1), (3, 200, 3)])
def test_any_picture_is_cut_to_the_square(shape):
    image = torch.randint(0, 256, shape, dtype=torch.uint8)
    assert call(made("vq"), "encode", image=[image])["tokens"].shape == (1, 16)


def test_the_square_is_the_middle_and_stretching_keeps_the_edges():
    image = torch.zeros(3, 16, 48, dtype=torch.uint8)
    image[:, :, 16:32] = 255
    cpu = torch.device("cpu")
    crop = Fit(size=16, unit=1).batch([image], cpu, torch.float32)
    assert bool((crop == 1).all())
    stretched = Fit(size=16, unit=1, how="stretch").batch([image], cpu, torch.float32)
    assert float(stretched[..., 0].max()) == -1 and float(stretched[..., 8].min()) == 1


@pytest.mark.parametrize("card", ["vq", "kl-vae", "frequency", "patch"])
def test_without_a_fit_a_picture_of_an_odd_size_is_told_what_it_must_be(card):
    component = made(card, fit="none")
    whole = call(component, "encode", image=pictures(1, 24)[:, :, :16])
    assert next(iter(whole.values())).shape[0] == 1
    for shape in ((3, 16, 18), (3, 15, 16), (3, 0, 16)):
        with pytest.raises(ValueError, match=r"give `fit: crop`|is no multiple|does not divide"):
            call(component, "encode", image=[torch.zeros(shape)])


def test_pictures_that_are_none_are_refused():
    with pytest.raises(ValueError, match="not numbers"):
        call(made("vq"), "encode", image=[torch.full((3, 16, 16), float("nan"))])
    with pytest.raises(ValueError, match="1, 3 or 4 channels"):
        call(made("vq"), "encode", image=[torch.zeros(2, 16, 16)])


# bad tokens ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("card", [*TOKENS, "frequency"])
def test_a_token_out_of_the_vocabulary_is_named_with_what_there_is(card):
    component = made(card)
    ids = call(component, "encode", image=pictures(1))["tokens"]
    for bad in (-1, 64 if card in ("seed", "frequency") else 32):
        with pytest.raises(ValueError, match=rf"token {bad} is out of the vocabulary of bench, 0 to"):
            call(component, "decode", tokens=torch.cat([ids[:, :-1], torch.tensor([[bad]])], 1))
    with pytest.raises(ValueError, match="whole numbers"):
        call(component, "decode", tokens=ids.float())


@pytest.mark.parametrize(
    ("card", "count", "told"),
    [("vq", 15, "square grids"), ("multiscale-vq", 16, "decodes 21 tokens"), ("seed", 31, "decodes 32 tokens"),
     ("frequency", 1000, "not 1000")],
)  # fmt: skip
def test_another_number_of_tokens_is_refused(card, count, told):
    with pytest.raises(ValueError, match=told):
        call(made(card), "decode", tokens=torch.zeros(1, count, dtype=torch.int64))


def test_latents_of_other_channels_are_refused():
    with pytest.raises(ValueError, match="decodes latents of 4 channels"):
        call(made("kl-vae"), "decode", latent=torch.zeros(1, 3, 4, 4))


@pytest.mark.parametrize(
    ("card", "options", "told"),
    [
        ("vq", {"resolution": 250}, "no multiple of 16"), ("vq", {"channels": 100}, "32 groups"),
        ("vq", {"cosine": True}, "for `codebook: ema`"), ("multiscale-vq", {"scales": [1, 2, 3]}, "grid of side 16"),
        ("kl-vae", {"resolution": 9}, "no multiple of 8"), ("seed", {"version": 1, "branch": "qformer"}, "SEED-2"),
        ("frequency", {"kept": 65}, "64 coefficients"), ("patch", {"resolution": 100}, "no multiple of the patch"),
    ],
)  # fmt: skip
def test_options_that_do_not_go_together_are_told_by_check(card, options, told):
    node: dict[str, Any] = {"use": f"tokenizers/{card}", "with": options, "in": "photo"}
    if card not in ("frequency", "patch"):
        node["weights"] = "random:0"
    spec = {"anyany": 1, "inputs": {"photo": "image"}, "nodes": {"code": node}, "outputs": {"o": "code"}}
    problems = check_dict(spec).problems
    assert [p.code for p in problems] == ["E106"] and told in problems[0].message


# wiring -------------------------------------------------------------------------------------------------------------
def wired(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    nodes = {"code": {**first, "in": "photo"}, "back": {**second, "call": "decode", "in": "code"}}
    spec = {"anyany": 1, "inputs": {"photo": "image"}, "nodes": nodes, "outputs": {"o": "back"}}
    return [p.code for p in check_dict(spec).problems]


def test_the_decoder_of_another_codebook_is_refused_by_check():
    vq = {"use": "tokenizers/vq", "weights": "random:0", "with": "tiny"}
    assert wired(vq, vq) == []
    assert wired(vq, {**vq, "weights": "random:1"}) == ["E411"]
    other = {"use": "tokenizers/seed", "weights": "random:0", "with": {"preset": "tiny", "codes": 32, "queries": 16}}
    assert wired(vq, other) == ["E411"]
    assert "E410" in wired(vq, {**vq, "with": {"preset": "tiny", "codes": 64}})


def test_the_paper_specs_round_trip_means_what_it_says(tmp_path):
    """`chain-stars-outside`, with our components: one node holds the weights, the other decodes by them."""
    from anyany.pipeline import load

    spec = tmp_path / "chain.yaml"
    spec.write_text(json.dumps({
        "anyany": 1, "name": "chain", "inputs": {"photo": "image"},
        "nodes": {"code": {"use": "tokenizers/vq", "weights": "random:0", "with": "tiny", "in": "photo"},
                  "back": {"of": "code", "call": "decode", "in": "code"}},
        "outputs": {"image": "back"},
    }))  # fmt: skip
    image = load(spec)(photo=scene(40))["image"]
    assert tuple(image.shape) == (3, 16, 16)


def test_whole_numbers_are_compared_within_a_tolerance_only_where_one_is_stated():
    found, wanted = torch.tensor([10, 11], dtype=torch.uint8), torch.tensor([10, 12], dtype=torch.uint8)
    assert gap(found, wanted, 0.5).fault == "1 of 2 differ"
    assert gap(found, wanted, ("absolute", 1)).fault == "" and gap(found, wanted, ("absolute", 0.5)).fault
