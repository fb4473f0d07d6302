"""grounding/*: coordinates written and read, regions on their picture, vectors of regions, boxes and masks.

Boxes [N,4] x1 y1 x2 y2, points [N,2] and masks [H,W] in pixels; pictures [3,H,W].
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from anyany_grounding.box_codec import BoxCodec
from anyany_grounding.box_text import BoxText
from anyany_grounding.plugin import BoxCodecConfig, BoxTextConfig, RegionSamplerConfig
from anyany_grounding.region_sampler import RegionSampler, farthest, looked_up
from anyany_grounding.regions import regions_of
from anyany_grounding.sam_card import SamConfig

from anyany.api.torch import Build, Context, OnImage, Rows, image_of, init_random, on_image
from anyany.api.v1 import Media, Message, Region
from anyany.engine.noise import Noise


def context(count: int, notes: list[tuple[int, str]] | None = None) -> Context:
    kept = notes if notes is not None else []
    return Context(
        node="it", call="it", keys=[(i,) for i in range(count)], noise=Noise(0, [str(i) for i in range(9)]),
        device=torch.device("cpu"), dtype=torch.float32, note=lambda row, text: kept.append((row, text)),
    )  # fmt: skip


def picture(width: int = 40, height: int = 20) -> torch.Tensor:
    return torch.zeros(3, height, width, dtype=torch.uint8)


def box_text(**options: Any) -> BoxText:
    return BoxText(BoxTextConfig(**options), Build(node="write"))


def written(message: Message, **options: Any) -> Message:
    return box_text(**options).write(context(1), Rows([message]))["message"][0]


def parsed(text: str, *pictures: torch.Tensor, notes: list[tuple[int, str]] | None = None, **options: Any) -> Any:
    images = Rows(list(pictures), counts=[len(pictures)])
    return box_text(**options).parse(context(1, notes), Rows([text]), images)


# Shikra's text ----------------------------------------------------------------------------------------------------
def test_a_box_is_written_as_fractions_of_the_square_that_shikra_sees() -> None:
    message = Message((Media(kind="image", value=picture()), "the ", Region(kind="boxes", value=[[0, 0, 40, 20]])))
    assert written(message).text == "the [0.000,0.250,1.000,0.750]"
    assert written(message, pad=False).text == "the [0.000,0.000,1.000,1.000]"


def test_a_region_of_the_second_picture_is_measured_by_the_second_picture() -> None:
    small = Media(kind="image", value=picture(10, 10))
    message = Message((Media(kind="image", value=picture()), small, Region(kind="points", value=[[10, 10]], of=0), " ",
                       Region(kind="points", value=[[5, 5]])))  # fmt: skip
    assert written(message, pad=False).text == "[0.250,0.500] [0.500,0.500]"


def test_a_mask_is_written_as_the_box_around_it() -> None:
    mask = torch.zeros(20, 40, dtype=torch.bool)
    mask[5:10, 20:30] = True
    message = Message((Media(kind="image", value=picture()), Region(kind="mask", value=mask)))
    assert written(message, pad=False).text == "[0.500,0.250,0.750,0.500]"


def test_ferrets_form_keeps_each_box_as_a_place_behind_its_own_text() -> None:
    boxes = [[0, 0, 20, 10], [10, 5, 40, 20]]
    message = Message((Media(kind="image", value=picture()), "is ", Region(kind="boxes", value=boxes), "?"))
    made = written(message, form="ferret", pad=False, keep=True)
    told = [p if isinstance(p, str) else p.kind for p in made.parts]
    assert told == ["image", "is [0, 0, 500, 500] ", "boxes", "[250, 250, 1000, 1000] ", "boxes", "?"]
    assert [v.tolist() for v, _ in made.regions("boxes")] == [[[0, 0, 20, 10]], [[10, 5, 40, 20]]]


def test_a_region_without_a_picture_and_an_empty_mask_are_told() -> None:
    with pytest.raises(ValueError, match="lies on no picture"):
        written(Message((Region(kind="boxes", value=[[0, 0, 1, 1]]),)))
    nothing = Region(kind="mask", value=torch.zeros(20, 40, dtype=torch.bool))
    with pytest.raises(ValueError, match="marks no pixel"):
        written(Message((Media(kind="image", value=picture()), nothing)))


def test_what_was_written_is_read_back_onto_the_last_picture() -> None:
    found = parsed("see [0.000,0.250,1.000,0.750;0.5,0.5,0.75,0.75] and [0.25,0.5]", picture(8, 8), picture())
    assert found["boxes"][0].tolist() == [[0, 0, 40, 20], [20, 10, 30, 20]]
    assert found["points"][0].tolist() == [[10, 10]]
    assert image_of(found["boxes"][0]).shape == (3, 20, 40)
    assert len(found["note"]) == 0


@pytest.mark.parametrize("text", [
    "[0.1, 0.2,0.3,0.4]", "[0.1,0.2,0.3]", "[10.1,0.2,0.3,0.4]", "[0.1,0.2,0.3,0.4", "[-0.1,0.2,0.3,0.4]",
    "[0.1,0.2,0.3,0.4;]",
])  # fmt: skip
def test_malformed_coordinates_are_passed_over_and_remarked(text: str) -> None:
    notes: list[tuple[int, str]] = []
    found = parsed(f"the star {text} is red", picture(), notes=notes)
    assert found["boxes"][0].shape == (0, 4)
    assert len(notes) == 1 and "passed over" in notes[0][1] and repr(text)[:10] in found["note"][0]


def test_boxes_beyond_the_picture_or_with_corners_exchanged_are_put_right_and_remarked() -> None:
    notes: list[tuple[int, str]] = []
    found = parsed("[9,0.9,0.5,0.25]", picture(), notes=notes, pad=False)
    assert found["boxes"][0].tolist() == [[20, 5, 40, 18]]
    assert [("edge" in n, "wrong order" in n) for _, n in notes] == [(True, False), (False, True)]


def test_coordinates_without_a_picture_are_remarked_and_give_no_box() -> None:
    notes: list[tuple[int, str]] = []
    found = parsed("[0.1,0.2,0.3,0.4]", notes=notes)
    assert found["boxes"][0].shape == (0, 4) and "no picture" in notes[0][1]


def test_a_long_text_of_brackets_and_digits_is_read_quickly() -> None:
    assert parsed("[" * 20_000 + "1" * 20_000, picture())["boxes"][0].shape == (0, 4)


@pytest.mark.parametrize(("form", "text"), [
    ("parentheses", "(0.250,0.500,0.750,1.000)"), ("ferret", "[250, 500, 750, 1000]"),
    ("tokens", "<b_st><bin_250> <bin_500> <bin_750> <bin_1000><b_ed>"),
])  # fmt: skip
def test_every_form_reads_what_it_writes(form: str, text: str) -> None:
    one = box_text(form=form)
    assert one.form.write([(0.25, 0.5, 0.75, 1.0)]) == text
    assert one.form.read(f"a {text} b", 4) == [[(0.25, 0.5, 0.75, 1.0)]]
    assert one.malformed(text) == []


# regions and Ferret's sampler -------------------------------------------------------------------------------------
def test_a_box_counts_its_pixels_column_by_column_and_a_point_is_a_square_of_eleven() -> None:
    (box,) = regions_of(torch.tensor([[2.0, 5.0, 4.0, 8.0]]), picture())
    assert box.count == 6
    assert box.at(torch.arange(6)).tolist() == [[2, 5], [2, 6], [2, 7], [3, 5], [3, 6], [3, 7]]
    (point,) = regions_of(torch.tensor([[20.0, 10.0]]), picture())
    assert point.count == 121
    (corner,) = regions_of(torch.tensor([[0.0, 0.0]]), picture())
    assert corner.count == 36


def test_a_box_and_the_mask_of_the_same_pixels_are_the_same_region() -> None:
    mask = torch.zeros(20, 40, dtype=torch.bool)
    mask[5:8, 2:4] = True
    (box,), (cover,) = regions_of(torch.tensor([[2.0, 5.0, 4.0, 8.0]]), picture()), regions_of(mask, picture())
    draw = torch.rand(9, generator=torch.Generator().manual_seed(0))
    assert torch.equal(box.some(4, draw, fill=False), cover.some(4, draw, fill=False))
    assert len(set(map(tuple, box.some(6, draw, fill=True).tolist()))) == 6


@pytest.mark.parametrize("box", [[-50.0, -9.0, 900.0, 900.0], [39.5, 19.5, 39.5, 19.5], [30.0, 10.0, 10.0, 2.0]])
def test_a_box_of_any_numbers_is_a_region_within_the_picture(box: list[float]) -> None:
    (region,) = regions_of(torch.tensor([box]), picture())
    places = region.at(torch.arange(region.count))
    assert region.count >= 1 and bool(((places >= 0) & (places < torch.tensor([40, 20]))).all())


def test_features_are_looked_up_transposed_as_the_released_ferret_does() -> None:
    index_map = torch.arange(9.0).reshape(3, 3, 1)
    right_top = torch.tensor([[1.0, 0.0]])
    assert looked_up(index_map, right_top, transposed=False).item() == 2
    assert looked_up(index_map, right_top, transposed=True).item() == 6


def test_farthest_points_spread_over_the_ends_first() -> None:
    line = torch.tensor([[[0.0, 0], [0.1, 0], [0.5, 0], [0.9, 0], [1.0, 0]]])
    assert farthest(line, 3, torch.tensor([0])).tolist() == [[0, 4, 2]]


@pytest.fixture
def sampler() -> RegionSampler:
    config = RegionSamplerConfig(inputs=6, outputs=5, points=12, keep=(6, 3), neighbours=(4, 3))
    made = RegionSampler(config, Build(node="mark"))
    init_random(made, 0)
    return made.eval()


def sampled(sampler: RegionSampler, regions: list[Any], maps: list[torch.Tensor]) -> list[torch.Tensor]:
    given = {"regions": Rows(regions, counts=[len(regions)]), "features": Rows(maps, counts=[len(maps)])}
    with torch.inference_mode():
        return sampler.sample(context(1), **given)["features"].list()


def test_each_region_is_looked_up_in_the_features_of_its_own_picture(sampler: RegionSampler) -> None:
    maps = [torch.zeros(16, 6), torch.ones(9, 6)]
    box = torch.tensor([[2.0, 2.0, 20.0, 12.0]])
    first, second = sampled(sampler, [on_image(box, picture(), 0), on_image(box, picture(), 1)], maps)
    (alone,) = sampled(sampler, [on_image(box, picture(), 0)], [maps[0]])
    assert torch.equal(first, alone) and not torch.allclose(first, second)


def test_two_boxes_of_one_region_are_two_vectors_and_no_box_is_none(sampler: RegionSampler) -> None:
    two = on_image(torch.tensor([[0.0, 0, 9, 9], [5, 5, 30, 18]]), picture(), 0)
    none = on_image(torch.zeros(0, 4), picture(), 0)
    found = sampled(sampler, [two, none], [torch.randn(16, 6)])
    assert [tuple(v.shape) for v in found] == [(2, 5), (0, 5)]


@pytest.mark.parametrize(("region", "maps", "text"), [
    (torch.tensor([[0.0, 0, 9, 9]]), 1, "lies on no picture"),
    (on_image(torch.tensor([[0.0, 0, 9, 9]]), picture(), 3), 1, "features of 1 pictures"),
    (on_image(torch.ones(5, 5, dtype=torch.bool), picture(), 0), 1, "5×5, its picture 40×20"),
])  # fmt: skip
def test_regions_that_fit_no_picture_are_told(sampler: RegionSampler, region: Any, maps: int, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        sampled(sampler, [region], [torch.randn(16, 6)] * maps)


def test_features_that_are_no_square_and_stages_that_cannot_be_are_told(sampler: RegionSampler) -> None:
    with pytest.raises(ValueError, match="15 patches are no square"):
        sampled(sampler, [on_image(torch.tensor([[0.0, 0, 9, 9]]), picture(), 0)], [torch.randn(15, 6)])
    with pytest.raises(ValueError, match="cannot keep 600"):
        RegionSampler(RegionSamplerConfig(inputs=6, outputs=5, keep=(600, 32)), Build(node="mark"))


# NExT-Chat's codec ------------------------------------------------------------------------------------------------
@pytest.fixture
def codec() -> BoxCodec:
    made = BoxCodec(BoxCodecConfig(width=8), Build(node="codec"))
    made.init_random(0)
    return made.eval()


def test_a_decoded_box_lies_in_pixels_of_its_picture_and_knows_it(codec: BoxCodec) -> None:
    with torch.no_grad():
        codec.loc_decoder[2].weight.zero_()
    made = codec.decode(context(1), Rows([torch.randn(1, 8)]), Rows([picture()]))["boxes"][0]
    assert made.tolist() == [[10, 0, 30, 20]]  # a quarter to three quarters of a square of 40, of which 20 are there
    assert isinstance(made, OnImage) and image_of(made).shape == (3, 20, 40)


def test_a_decoder_that_gives_no_numbers_is_remarked_and_not_a_crash(codec: BoxCodec) -> None:
    notes: list[tuple[int, str]] = []
    found = codec.decode(context(1, notes), Rows([torch.full((1, 8), float("nan"))]), Rows([picture()]))["boxes"][0]
    assert bool(torch.isfinite(found).all()) and "no numbers" in notes[0][1]


def test_boxes_from_elsewhere_are_encoded_on_the_picture_that_is_fed(codec: BoxCodec) -> None:
    box = torch.tensor([[0.0, 0.0, 40.0, 20.0]])
    fed = codec.encode(context(1), Rows([box]), Rows([picture()]))["features"][0]
    own = codec.encode(context(1), Rows([on_image(box, picture())]))["features"][0]
    assert torch.equal(fed, own)
    with pytest.raises(ValueError, match="lies on no picture"):
        codec.encode(context(1), Rows([box]))


def test_the_loss_falls_when_the_codec_learns_one_box(codec: BoxCodec) -> None:
    states, target, image = Rows([torch.ones(1, 8)]), Rows([torch.tensor([[4.0, 2.0, 12.0, 9.0]])]), Rows([picture()])
    codec.requires_grad_(True)
    step = torch.optim.Adam(codec.parameters(), 0.02)
    losses = []
    for _ in range(60):
        loss = codec.learn(context(1), states, image, target)["loss"].dense().sum()
        step.zero_grad()
        loss.backward()
        step.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.2 * losses[0]
    found = codec.decode(context(1), states, image)["boxes"][0].detach()
    assert float((found - torch.tensor([[4.0, 2.0, 12.0, 9.0]])).abs().max()) < 3


# SAM --------------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def sam() -> Any:
    from anyany_grounding.sam import Sam

    sizes = {"resolution": 64, "encoder_width": 24, "layers": 2, "heads": 2, "window": 3, "wide_layers": (1,)}
    small = {"width": 16, "mask_channels": 4, "decoder_heads": 2, "decoder_mlp": 32}
    made = Sam(SamConfig(**sizes, **small), Build(node="sam"))
    init_random(made, 0)
    return made.eval()


def cut(sam: Any, image: torch.Tensor, **prompts: Any) -> dict[str, Rows]:
    with torch.inference_mode():
        seen = sam.encode(context(1), Rows([image]))["features"]
        return sam.segment(context(1), seen, Rows([image]), **{n: Rows([v]) for n, v in prompts.items()})


def test_a_mask_is_cut_on_the_pixels_of_its_picture(sam: Any) -> None:
    found = cut(sam, picture(), box=torch.tensor([[2.0, 2.0, 30.0, 15.0]]))
    assert found["mask"][0].shape == (20, 40) and found["mask"][0].dtype == torch.bool
    assert image_of(found["mask"][0]) is not None and len(found["scores"][0]) == 1


def test_two_boxes_cut_the_union_of_what_each_cuts(sam: Any) -> None:
    image = torch.randint(0, 256, (3, 20, 40), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    boxes = torch.tensor([[2.0, 2.0, 12.0, 15.0], [20.0, 1.0, 39.0, 19.0]])
    both = cut(sam, image, box=boxes)["mask"][0]
    each = [cut(sam, image, box=boxes[i : i + 1])["mask"][0] for i in range(2)]
    assert torch.equal(both, each[0] | each[1])


def test_the_picture_lies_in_the_corner_or_in_the_center_of_the_input(sam: Any) -> None:
    point = torch.tensor([[40.0, 20.0]])
    assert sam.placed(point, picture()).tolist() == [[64, 32]]
    center = type(sam)(SamConfig(**{**vars(sam.config), "fit": "center"}), Build(node="sam"))
    assert center.placed(point, picture()).tolist() == [[64, 48]]


def test_sam_without_a_prompt_and_with_prompts_that_do_not_pair_says_so(sam: Any) -> None:
    with pytest.raises(ValueError, match="nothing to cut by"):
        cut(sam, picture())
    with pytest.raises(ValueError, match="one by one"):
        cut(sam, picture(), prompt=torch.randn(3, 64), box=torch.tensor([[0.0, 0, 9, 9], [1, 1, 8, 8]]))
