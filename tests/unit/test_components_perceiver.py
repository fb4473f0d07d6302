"""Perceiver: queries that do not see each other, any encoder before it, any head after it, media of any size.

Shapes: latents [M,D], places [Q,A]; figures of the papers are built on the meta device.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from anyany import pipeline
from anyany.api.torch import Audio, Rows, Video
from anyany.errors import SpecError
from anyany.registry import default_registry
from anyany.testing.harness import bench, call

TINY = {"weights": "random:0", "with": "tiny"}
GIGA, MEGA = 10**9, 10**6
ROOT = Path(__file__).parents[2]


def made(name: str, **options: Any) -> Any:
    return bench(default_registry().card(name), {"preset": "tiny", **options}).build()


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def picture(height: int, width: int, seed: int = 0) -> torch.Tensor:
    made = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), generator=made, dtype=torch.uint8)


def spec(inputs: dict[str, Any], nodes: dict[str, Any], outputs: dict[str, str]) -> dict[str, Any]:
    return {"anyany": 1, "name": "test", "inputs": inputs, "nodes": nodes, "outputs": outputs}


# queries --------------------------------------------------------------------------------------------------
def test_an_answer_at_a_place_does_not_depend_on_which_others_are_asked() -> None:
    built, latents = made("perceiver/at", outputs=3), Rows(random(1, 6, 32))
    places = torch.rand(40, 2, generator=torch.Generator().manual_seed(1)) * 10 - 1
    every = call(built, "decode", {"latents": latents, "at": Rows([places])}, [0])["features"].list()[0]
    for chosen in ([0], [39, 3], list(range(5, 30))):
        few = call(built, "decode", {"latents": latents, "at": Rows([places[chosen]])}, [0])["features"].list()[0]
        torch.testing.assert_close(few, every[chosen], atol=1e-5, rtol=0)
    assert float((every[0] - every[1]).abs().max()) > 1e-3, "answers differ from place to place"


def test_without_places_the_whole_grid_is_answered_row_by_row() -> None:
    built, latents = made("perceiver/at"), Rows(random(1, 6, 32))
    whole = call(built, "decode", {"latents": latents}, [0])["features"].dense()[0]
    corners = torch.tensor([[-1.0, -1.0], [-1.0, 9.0], [9.0, -1.0], [9.0, 9.0]])
    found = call(built, "decode", {"latents": latents, "at": Rows([corners])}, [0])["features"].list()[0]
    assert whole.shape == (30, 1)
    torch.testing.assert_close(found, whole[[0, 4, 25, 29]], atol=1e-5, rtol=0)


def test_rows_that_ask_for_unlike_numbers_of_places_get_as_many_answers() -> None:
    built = made("perceiver/at")
    places = [torch.zeros(0, 2), torch.ones(3, 2), torch.ones(1, 2)]
    given = {"latents": Rows(random(3, 6, 32)), "at": Rows(places)}
    assert [len(v) for v in call(built, "decode", given, [0, 1, 2])["features"]] == [0, 3, 1]
    given = {"latents": Rows(random(1, 6, 32)), "at": Rows([torch.zeros(0, 2)])}
    assert call(built, "decode", given, [0])["features"].list()[0].shape == (0, 1)


def test_the_place_chosen_is_the_likeliest_and_there_must_be_one() -> None:
    built, latents = made("perceiver/at"), Rows(random(1, 6, 32))
    given = {"latents": latents, "at": Rows([torch.tensor([[0.0, 0], [4, 4], [8, 8]])])}
    found = call(built, "choose", given, [0])
    scores = found["scores"][0]
    assert found["label"][0] == max(scores, key=scores.get) and sum(scores.values()) == pytest.approx(1)
    with pytest.raises(ValueError, match="no places to choose from"):
        call(built, "choose", {"latents": latents, "at": Rows([torch.zeros(0, 2)])}, [0])


@pytest.mark.parametrize(("places", "told"), [
    (torch.full((1, 2), 9.5), "outside -1..9"), (torch.zeros(2, 3), "2 coordinates"),
    (torch.full((1, 2), float("nan")), "NaN"), (torch.zeros(4), "2 coordinates"),
])  # fmt: skip
def test_places_that_cannot_be_asked_are_told(places: torch.Tensor, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        call(made("perceiver/at"), "decode", {"latents": Rows(random(1, 6, 32)), "at": Rows([places])}, [0])


def test_pixels_and_samples_asked_alone_are_those_of_the_whole_clip() -> None:
    built, latents = made("perceiver/io"), Rows(random(1, 6, 16))
    whole = call(built, "decode", {"latents": latents}, [0])
    pixels, samples = [0, 5, 63, 64, 127], [19, 0]
    asked = {"latents": latents, "video_at": Rows([torch.tensor(pixels)]), "audio_at": Rows([samples])}
    found = call(built, "ask", asked, [0])
    frames = whole["video"][0].frames.permute(0, 2, 3, 1).reshape(-1, 3)
    torch.testing.assert_close(found["pixels"].list()[0].clamp(0, 1), frames[pixels], atol=1e-5, rtol=0)
    waves = whole["audio"][0].samples.reshape(-1, 100)
    torch.testing.assert_close(found["samples"].list()[0].clamp(-1, 1), waves[samples], atol=1e-5, rtol=0)
    assert found["scores"][0] == whole["scores"][0]


def test_an_index_outside_the_clip_is_told() -> None:
    with pytest.raises(ValueError, match="to 128, but there are 128 places"):
        asked = {"latents": Rows(random(1, 6, 16)), "video_at": Rows([[128]])}
        call(made("perceiver/io"), "ask", asked, [0])


def test_one_encoder_feeds_two_query_decoders_with_chosen_queries() -> None:
    nodes = {
        "see": {"use": "perceiver/points", "in": "units", "with": {"preset": "tiny", "more": 1, "bounds": [0, 8]}},
        "think": {"use": "perceiver/encoder", "in": "see", **TINY},
        "act": {"use": "perceiver/classify", "in": "think", **TINY},
        "aim": {"use": "perceiver/at", "in": {"latents": "think", "at": "ask"}, **TINY},
    }
    pipe = pipeline.load(spec({"units": "features", "ask": "points"}, nodes, {"act": "act", "aim": "aim"}))
    units = torch.tensor([[1.0, 2, 1], [3, 4, -1], [5, 6, 0]])
    few = pipe(units=units, ask=[[0.0, 0], [8, 8]])
    many = pipe(units=units, ask=[[8.0, 8], [1, 1], [0, 0]])
    torch.testing.assert_close(few["aim"], many["aim"][[2, 0]], atol=1e-5, rtol=0)
    assert few["act"] == many["act"] in ("circle", "square", "ring")


# the encoder ----------------------------------------------------------------------------------------------
def test_any_encoder_goes_in_and_any_head_comes_out() -> None:
    nodes = {
        "look": {"use": "vision/vit", "in": "photo", **TINY},
        "think": {"use": "perceiver/encoder", "in": "look", **TINY},
        "say": {"use": "perceiver/queries", "in": "think", **TINY},
        "draw": {"use": "image_heads/diffusion", "in": "say", **TINY},
    }
    found = pipeline.load(spec({"photo": "image"}, nodes, {"picture": "draw"}))(photo=picture(20, 30))
    assert found["picture"].dim() == 3


def test_nothing_to_look_at_is_told() -> None:
    none = call(made("perceiver/points"), "encode", {"points": Rows([[], [[1.0, 2.0]]])}, [0, 1])["features"]
    assert none.lengths == [0, 1]
    with pytest.raises(ValueError, match="nothing to look at"):
        call(made("perceiver/encoder"), "encode", {"features": Rows(torch.zeros(3, 32), [0, 3, 3])}, [0, 1])


@pytest.mark.parametrize(("options", "more"), [
    ({"looks": 1, "share_blocks": True}, ()), ({"looks": 2, "share_looks": True}, ()),
    ({"looks": 2, "share_looks": False}, ("cross_attention",)),
    ({"looks": 1, "share_blocks": False}, ("self_attends",)),
    ({"looks": 2, "share_looks": False, "share_blocks": False}, ("cross_attention", "self_attends")),
    ({"looks": 1, "share_looks": False}, ()),
])  # fmt: skip
def test_weights_are_shared_as_asked(options: dict[str, Any], more: tuple[str, ...]) -> None:
    names = made("perceiver/encoder", blocks=3, **options).component.state_dict()
    assert {n.split(".")[2] for n in names if n.startswith("core.later.")} == set(more)


def test_another_look_changes_the_latents_and_its_weights_are_used() -> None:
    given = {"features": Rows(random(1, 5, 32))}
    once, twice, apart = (
        call(made("perceiver/encoder", blocks=2, looks=n, share_looks=s), "encode", given, [0])["latents"].dense()
        for n, s in ((1, True), (2, True), (2, False))
    )
    assert float((once - twice).abs().max()) > 1e-3 and float((twice - apart).abs().max()) > 1e-3


@pytest.mark.parametrize(("options", "told"), [
    ({"looks": 3, "blocks": 2}, "3 looks"), ({"width": 15}, "does not divide"), ({"values": 8}, "make them alike"),
])  # fmt: skip
def test_sizes_that_cannot_be_are_told(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        made("perceiver/encoder", **options)


def test_the_class_that_is_right_has_the_smallest_loss_where_it_is_likeliest() -> None:
    built, latents = made("perceiver/classify"), random(1, 6, 32)
    scores = call(built, "classify", {"latents": Rows(latents)}, [0])["scores"][0]
    for name, chance in scores.items():
        loss = call(built, "learn", {"latents": Rows(latents), "target": Rows([name])}, [0])["loss"].dense()
        assert float(torch.exp(-loss[0])) == pytest.approx(chance, abs=1e-5)
    with pytest.raises(ValueError, match="no class 7"):
        call(built, "learn", {"latents": Rows(latents), "target": Rows([7])}, [0])


def test_names_that_are_not_as_many_as_the_classes_are_told_by_check() -> None:
    options = {"names": ["a"], "classes": 2}
    nodes = {"name": {"use": "perceiver/classify", "in": "x", "weights": "random:0", "with": options}}
    with pytest.raises(SpecError, match="1 names for 2 classes"):
        pipeline.load(spec({"x": "features"}, nodes, {"label": "name"}))


# checkpoints ----------------------------------------------------------------------------------------------
@pytest.fixture
def released(tmp_path: Path) -> Iterator[Path]:
    """A small classifier under the released names, its parts in one file."""
    parts = {
        "perceiver/image": {"prep": "conv", "size": [16, 16]},
        "perceiver/encoder": {"inputs": 22},
        "perceiver/classify": {"latents": 16},
    }
    tensors = {}
    for name, options in parts.items():
        state = made(name, **options).component.state_dict()
        tensors |= {f"perceiver.{k.removeprefix('core.')}": v.contiguous() for k, v in state.items()}
    save_file(tensors, tmp_path / "model.safetensors")
    yield tmp_path / "model.safetensors"


def classifier(path: Path) -> dict[str, Any]:
    weights = f"file:{path}"
    nodes = {
        "look": {"use": "perceiver/image", "in": "photo", "with": {"preset": "tiny", "prep": "conv", "size": [16, 16]}},
        "think": {"use": "perceiver/encoder", "in": "look", "with": "tiny"},
        "name": {"use": "perceiver/classify", "in": "think", "with": "tiny"},
    }
    return spec({"photo": "image"}, {k: {**v, "weights": weights} for k, v in nodes.items()}, {"scores": "name.scores"})


def test_three_nodes_share_one_released_file(released: Path) -> None:
    found = pipeline.load(classifier(released))(photo=picture(20, 30))["scores"]
    assert set(found) == {"circle", "square", "ring"} and sum(found.values()) == pytest.approx(1)


def test_a_tensor_that_no_part_takes_is_an_error(released: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    save_file({**load_file(released), "perceiver.extra": torch.zeros(2)}, tmp_path / "more.safetensors")
    with pytest.raises(SpecError, match=r"perceiver\.extra"):
        pipeline.load(classifier(tmp_path / "more.safetensors"))(photo=picture(20, 30))


# inputs ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("prep", ["pixels", "conv", "learned", "patches"])
def test_every_kind_of_picture_has_the_width_that_its_card_says(prep: str) -> None:
    built = made("perceiver/image", prep=prep, size=[16, 12])
    card = bench(default_registry().card("perceiver/image"), {"preset": "tiny", "prep": prep, "size": [16, 12]})
    port = card.calls["encode"].gives["features"]
    grey = Rows([picture(40, 30), picture(9, 9)[:1]])
    found = call(built, "encode", {"image": grey}, [0, 1])["features"].dense()
    assert found.shape[2] == port.sizes["C"] and port.sizes.get("N") in (None, found.shape[1])


def test_a_cropped_picture_is_its_middle_and_an_uncropped_one_the_whole() -> None:
    marked = torch.zeros(3, 32, 64, dtype=torch.uint8)
    marked[:, :, :8] = 255
    cropped = made("perceiver/image", size=[8, 8]).component.pixels(marked)
    whole = made("perceiver/image", size=[8, 8], crop=0.0).component.pixels(marked)
    assert float(cropped[0].max()) < 0 < float(whole[0].max())


@pytest.mark.parametrize("prep", ["raw", "mel"])
def test_a_sound_is_as_long_as_it_is_unless_told_otherwise(prep: str) -> None:
    sounds = Rows([Audio(random(1, n), 8000) for n in (1600, 805)])
    free = call(made("perceiver/audio", prep=prep), "encode", {"audio": sounds}, [0, 1])["features"]
    fixed = call(made("perceiver/audio", prep=prep, seconds=0.1), "encode", {"audio": sounds}, [0, 1])["features"]
    assert free.lengths == ([100, 51] if prep == "raw" else [101, 51]) and len(set(fixed.lengths)) == 1


def test_a_film_of_one_frame_is_a_film() -> None:
    films = Rows([Video(torch.stack([picture(9, 9)] * n), 8.0) for n in (1, 2)])
    one, two = call(made("perceiver/video"), "encode", {"video": films}, [0, 1])["features"].list()
    torch.testing.assert_close(one, two[:4], atol=1e-6, rtol=0)  # the first frame stands at -1 in both
    assert call(made("perceiver/io", frames=1), "autoencode", {"video": films}, [0, 1])["video"][1].frames.shape[0] == 2


def test_a_sound_of_another_rate_is_told() -> None:
    with pytest.raises(ValueError, match="16000 samples a second, not 8000"):
        call(made("perceiver/audio"), "encode", {"audio": Rows([Audio(random(1, 1600), 16000)])}, [0])


def test_a_sound_too_short_for_one_mel_frame_is_told() -> None:
    with pytest.raises(ValueError, match="has 100 samples"):
        call(made("perceiver/audio", prep="mel"), "encode", {"audio": Rows([Audio(random(1, 100), 8000)])}, [0])


def test_points_keep_their_proportions_and_do_not_care_where_they_lie() -> None:
    built, cloud = made("perceiver/points"), random(9, 2)
    features = call(built, "encode", {"points": Rows([cloud, 5 * cloud + 100])}, [0, 1])["features"].list()
    torch.testing.assert_close(features[0], features[1], atol=1e-3, rtol=0)
    places = features[0][:, :2]
    assert float(places.abs().max()) == pytest.approx(1) and float(places.abs().amax(0).min()) < 1


def test_one_point_alone_stands_in_the_middle() -> None:
    found = call(made("perceiver/points"), "encode", {"points": Rows([[[3.0, 4.0]]])}, [0])["features"].list()[0]
    assert found[0, :2].tolist() == [0, 0] and bool(found.isfinite().all())


def test_modalities_that_are_absent_are_left_out_of_the_array() -> None:
    nodes = {
        "look": {"use": "perceiver/image", "in": "image", **TINY},
        "feel": {"use": "perceiver/points", "in": "points", "with": "tiny"},
        "all": {
            "use": "perceiver/join",
            "weights": "random:0",
            "with": {"preset": "tiny", "modalities": ["image", "points"]},
            "in": {"image": "look", "points": "feel"},
        },
    }
    pipe = pipeline.load(spec({"image": "image?", "points": "points?"}, nodes, {"array": "all"}))
    cloud, both = [[0.0, 0], [1, 1]], {"image": picture(9, 9), "points": [[0.0, 0], [1, 1]]}
    counts = [len(r.outputs["array"]) for r in pipe.map([both, {"image": picture(9, 9)}, {"points": cloud}])]
    assert counts == [66, 64, 2]
    failed = next(iter(pipe.map([{}])))
    assert failed.status == "failed" and "none of image, points is present" in str(failed.error)


def test_a_modality_as_wide_as_the_whole_is_told() -> None:
    card = bench(default_registry().card("perceiver/join"), {"width": 32})
    with pytest.raises(ValueError, match="which leaves nothing to name it by"):
        card.build()


# bytes ----------------------------------------------------------------------------------------------------
def test_a_masked_text_comes_back_filled_and_of_the_same_length() -> None:
    nodes = {
        "read": {"use": "perceiver/bytes", "in": "text", **TINY},
        "think": {"use": "perceiver/encoder", "in": "read", **TINY},
        "fill": {"of": "read", "call": "fill", "in": {"latents": "think", "text": "text"}},
    }
    pipe = pipeline.load(spec({"text": "text"}, nodes, {"text": "fill", "scores": "fill.scores"}))
    found = pipe(text="a [MASK][MASK] naïve cat")
    assert not set(found["scores"]) & {"[PAD]", "[BOS]", "[EOS]", "[MASK]", "[CLS]", "[SEP]"}
    assert found["text"].startswith("a ") and found["text"].endswith(" naïve cat") and len(found["scores"]) == 5
    results = list(pipe.map([{"text": "no mask"}, {"text": "x" * 80 + "[MASK]"}, {"text": "[MASK]"}]))
    assert [r.status for r in results] == ["failed", "failed", "ok"]
    assert "no [MASK]" in str(results[0].error) and "at most 64" in str(results[1].error)


def test_a_position_is_answered_alike_alone_and_among_others() -> None:
    model = made("perceiver/bytes").component
    latents, every = random(1, 6, 32), torch.arange(64)[None]
    whole = model.hidden(latents, every)
    for chosen in ([7], [63, 0], list(range(20, 50))):
        torch.testing.assert_close(model.hidden(latents, torch.tensor([chosen])), whole[:, chosen], atol=1e-5, rtol=0)


# film and sound -------------------------------------------------------------------------------------------
def clip(frames: int, seed: int = 0) -> Video:
    return Video(torch.stack([picture(12, 9, seed + i) for i in range(frames)]), 8.0)


@pytest.mark.parametrize(("frames", "samples", "length"), [(2, 2000, 2), (5, 100, 5), (1, 5500, 6), (3, None, 3)])
def test_what_comes_out_lasts_as_long_as_the_longest_that_came_in(
    frames: int, samples: int | None, length: int
) -> None:
    given = {"video": Rows([clip(frames)])}
    if samples is not None:
        given["audio"] = Rows([Audio(random(1, samples), 8000)])
    found = call(made("perceiver/io"), "autoencode", given, [0])
    seconds = max(frames / 8, (samples or 0) / 8000)
    assert found["video"][0].frames.shape == (length, 3, 8, 8) and found["video"][0].fps == 8
    assert found["audio"][0].samples.shape == (1, round(seconds * 8000)) and found["audio"][0].rate == 8000


def test_a_hidden_class_changes_nothing_and_an_open_one_does() -> None:
    hidden, open_ = made("perceiver/io"), made("perceiver/io", masked=[])

    def latents(built: Any, label: Any) -> torch.Tensor:
        given = {"video": Rows([clip(2)]), "label": Rows([label])}
        return call(built, "encode", given, [0])["latents"].dense()

    assert torch.equal(latents(hidden, "ring"), latents(hidden, 0))
    assert torch.equal(latents(open_, "ring"), latents(open_, 2))
    assert float((latents(open_, "ring") - latents(open_, "circle")).abs().max()) > 1e-3
    with pytest.raises(ValueError, match="no class 'dog'"):
        latents(open_, "dog")


@pytest.mark.parametrize(("inputs", "queries"), [(["audio"], ["video"]), (["video", "label"], ["label"])])
def test_any_modalities_go_in_and_any_come_out(inputs: list[str], queries: list[str]) -> None:
    given = {"audio": Rows([Audio(random(1, 900), 8000)]), "video": Rows([clip(1)]), "label": Rows([1])}
    built = made("perceiver/io", inputs=inputs, queries=queries, masked=[])
    found = call(built, "autoencode", {n: given[n] for n in inputs}, [0])
    assert set(found) - {"scores"} == set(queries)
