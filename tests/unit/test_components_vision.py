"""Image encoders, tiles and what joins them: against transformers, against closed forms, and where they must refuse.

Parity with the reference implementations is in tests/parity.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from anyany_vision.attention import mean_distance
from anyany_vision.dino import heaviest
from anyany_vision.pictures import best_resolution, prepared
from anyany_vision.pix2struct import flat_patches, grid_of

from anyany.api.torch import Audio, Rows
from anyany.api.v1 import Media, Message
from anyany.engine.build import Built, build_component
from anyany.registry import default_registry
from anyany.spec.graph import Placement
from anyany.testing.harness import bench, call


def built(card: str, weights: str = "random:0", **options: Any) -> Built:
    made = bench(default_registry().card(card), {"preset": "tiny", **options})
    return build_component(made.node(next(iter(made.calls)), (weights,), Placement(device="cpu", dtype="float32")))


def result(made: Built, name: str, **ports: Any) -> dict[str, Rows]:
    rows = {k: v if isinstance(v, Rows) else Rows(v) for k, v in ports.items()}
    return dict(call(made, name, rows, range(len(next(iter(rows.values()))))))


def picture(height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (3, height, width), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


# attention maps -------------------------------------------------------------------------------------------------
def test_attention_to_oneself_is_no_distance_and_to_everything_the_mean_of_all() -> None:
    here = torch.eye(5)[None, None]
    assert mean_distance(here, (2, 2), 8).item() == 0
    even = torch.full((1, 1, 5, 5), 0.2)
    mean = (0 + 8 + 8 + 8 * 2**0.5) / 4
    assert mean_distance(even, (2, 2), 8).item() == pytest.approx(0.8 * mean)
    assert mean_distance(even, (2, 2), 8, renormalise=True).item() == pytest.approx(mean)


def test_relative_positions_of_nothing_change_nothing_and_others_do() -> None:
    relative, none = built("vision/vit", positions="relative"), built("vision/vit", positions="none")
    pixels = torch.rand(1, 3, 32, 32)
    none.component.load_state_dict(relative.component.state_dict(), strict=False)
    with torch.no_grad():
        moved = relative.component.tokens(pixels)
        for layer in relative.component.model.layers:
            layer.attention.relative.zero_()
        assert torch.allclose(relative.component.tokens(pixels), none.component.tokens(pixels), atol=1e-6)
        assert not torch.allclose(moved, none.component.tokens(pixels), atol=1e-3)


def test_grid_positions_tell_rows_from_columns() -> None:
    vit = built("vision/vit", positions="grid").component
    flat = torch.zeros(1, 3, 32, 32)
    tokens = vit.model.embeddings(flat)[0, 1:].unflatten(0, (4, 4))
    half = tokens.shape[-1] // 2
    assert torch.equal(tokens[2, 0, :half], tokens[2, 3, :half])
    assert torch.equal(tokens[0, 2, half:], tokens[3, 2, half:])
    assert not torch.equal(tokens[0, 0, :half], tokens[1, 0, :half])


# against transformers -------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def clip_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A small CLIP saved by transformers."""
    from transformers import CLIPConfig, CLIPModel

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    config = CLIPConfig(
        text_config={**sizes, "vocab_size": 99, "max_position_embeddings": 20, "eos_token_id": 98, "bos_token_id": 97},
        vision_config={**sizes, "image_size": 24, "patch_size": 8}, projection_dim=16,
    )  # fmt: skip
    torch.manual_seed(0)
    model = CLIPModel(config).eval()
    folder = tmp_path_factory.mktemp("clip")
    model.save_pretrained(folder)
    return model, folder


def test_a_clip_of_transformers_gives_the_same_vectors(clip_checkpoint: tuple[Any, Path]) -> None:
    theirs, folder = clip_checkpoint
    ours = built("vision/clip", f"file:{folder}").component
    pixels = torch.rand(2, 3, 24, 24)
    ids = [[97, 5, 7, 98], [97, 9, 98]]
    with torch.no_grad():
        found = ours.pooled(ours.hidden(pixels, ours.count))[1]
        assert torch.allclose(found, theirs.get_image_features(pixels).pooler_output, atol=1e-5)
        read = ours.read([ours.embed(row) for row in ids], [3, 2])[1]
        for row, one in zip(ids, read):
            assert torch.allclose(one, theirs.get_text_features(torch.tensor([row])).pooler_output[0], atol=1e-5)


def test_one_tower_of_a_whole_checkpoint_may_be_taken(clip_checkpoint: tuple[Any, Path]) -> None:
    assert not hasattr(built("vision/clip", f"file:{clip_checkpoint[1]}", towers="image").component, "text_model")
    assert not hasattr(built("vision/clip", f"file:{clip_checkpoint[1]}", towers="text").component, "vision_model")


def test_layers_are_counted_as_transformers_counts_hidden_states(clip_checkpoint: tuple[Any, Path]) -> None:
    theirs, folder = clip_checkpoint
    pixels = torch.rand(1, 3, 24, 24)
    states = theirs.vision_model(pixels, output_hidden_states=True).hidden_states
    for layer in (-1, -2, -3, 0, 1):
        ours = built("vision/clip", f"file:{folder}", layer=layer, keep_class=True).component
        assert torch.allclose(ours.patches(ours.hidden(pixels, ours.count)), states[layer], atol=1e-5)
    with pytest.raises(ValueError, match="layer 5 does not exist"):
        built("vision/clip", f"file:{folder}", layer=5)


@pytest.mark.parametrize("registers", [0, 3])
def test_dino_agrees_with_transformers_at_the_native_size(registers: int, tmp_path: Path) -> None:
    from transformers import Dinov2Config, Dinov2Model, Dinov2WithRegistersConfig, Dinov2WithRegistersModel

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28, "patch_size": 7}
    torch.manual_seed(1)
    if registers:
        theirs: Any = Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**sizes, num_register_tokens=registers))
    else:
        theirs = Dinov2Model(Dinov2Config(**sizes))
    theirs.eval().save_pretrained(tmp_path)
    ours = built("vision/dino", f"file:{tmp_path}", registers=registers).component
    pixels = torch.rand(2, 3, 28, 28)
    with torch.no_grad():
        expected = theirs(pixels).last_hidden_state
        assert torch.allclose(ours.norm(ours.states(pixels)[-1]), expected, atol=1e-5)


def test_pictures_of_unlike_shapes_keep_their_shapes() -> None:
    made = built("vision/dino", fit="keep")
    patches = result(made, "encode", image=[picture(28, 14), picture(9, 40), picture(3, 3)])["patches"]
    assert patches.lengths == [8, 4, 1]


def test_the_heaviest_patches_hold_the_wanted_share() -> None:
    weights = torch.tensor([0.1, 0.5, 0.15, 0.25])
    assert heaviest(weights, 0.6).tolist() == [False, True, False, True]
    assert heaviest(weights, 0.5).tolist() == [False, True, False, False]


# text -----------------------------------------------------------------------------------------------------------
def test_a_pseudo_word_stands_where_the_picture_stands() -> None:
    made = built("vision/clip")
    clip = made.component
    word = torch.randn(1, 32)
    message = Message(("a ", Media(kind="image", value=picture(8, 8)), " b"))
    found = result(made, "text", message=[message], image=Rows(word, counts=[1]))["embedding"][0]
    ids = [256, *b"a ", None, *b" b", 257]
    rows = torch.cat([word if i is None else clip.embed([i]) for i in ids])
    assert torch.allclose(found, clip.read([rows], [len(ids) - 1])[1][0], atol=1e-6)


def test_a_text_beyond_the_context_and_a_picture_without_a_word_are_refused() -> None:
    made = built("vision/clip")
    with pytest.raises(ValueError, match="the text is 202 tokens long; CLIP reads at most 128"):
        result(made, "text", message=[Message(("x" * 200,))])
    with pytest.raises(ValueError, match="only 0 words"):
        result(made, "text", message=[Message((Media(kind="image", value=picture(8, 8)),))])


# tiles ----------------------------------------------------------------------------------------------------------
def test_the_grid_keeps_most_pixels_and_wastes_least() -> None:
    grids = [(28, 56), (56, 28), (56, 56)]
    assert best_resolution((50, 20), grids) == (56, 28)
    assert best_resolution((20, 50), grids) == (28, 56)
    assert best_resolution((56, 56), grids) == (56, 56)


def test_tiles_lie_where_they_say() -> None:
    cut = built("vision/tiles").component
    image = picture(32, 64)
    tiles, places = cut.tiles(image)
    assert len(tiles) == len(places) == 3
    for tile, place in zip(tiles[1:], places[1:].int().tolist()):
        left, top, right, bottom = place
        assert torch.equal(tile, image[:, top:bottom, left:right])
    assert places[0].tolist() == [0, 0, 64, 32]


@pytest.mark.parametrize(("height", "width"), [(32, 64), (20, 61), (61, 20), (40, 40), (7, 90)])
def test_merged_tiles_have_a_newline_a_line_and_no_margins(height: int, width: int) -> None:
    cut = built("vision/tiles").component
    join = built("adapters/anyres", width=4).component
    _, places = cut.tiles(picture(height, width))
    grid = best_resolution((width, height), cut.config.grids)
    side, (columns, rows) = 8, (grid[0] // 32, grid[1] // 32)
    views = [torch.zeros(side * side, 4) for _ in places]
    merged = join.merged(views, places)
    lines = (merged == join.image_newline).all(-1).nonzero().flatten() - side * side
    step = int(lines[0]) + 1
    assert (torch.diff(lines) == step).all() and len(merged) == side * side + len(lines) * step
    high, wide = len(lines), step - 1  # the reference rounds margins down on both sides
    assert abs(high - wide * height / width) < 2 or abs(wide - high * width / height) < 2
    assert step - 1 == columns * side or len(lines) == rows * side


def test_an_unlike_number_of_tiles_and_places_is_refused() -> None:
    join = built("adapters/anyres", width=4).component
    with pytest.raises(ValueError, match="3 tiles, but places for 2"):
        join.merged([torch.zeros(4, 4)] * 3, torch.zeros(2, 4))


# other encoders -------------------------------------------------------------------------------------------------
def test_a_quadrangle_that_predicts_nothing_is_the_plain_window() -> None:
    stage = built("vision/quadrangle").component.layers[0].blocks[0]
    for part in stage.attn.transform[2].parameters():
        part.zero_()
    where = stage.attn.coords(torch.randn(1, 8, 12, 16))[0]
    y, x = torch.meshgrid(torch.linspace(-1, 1, 8), torch.linspace(-1, 1, 12), indexing="ij")
    assert torch.allclose(where, torch.stack([x, y], -1), atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(20, 20), (12, 40), (50, 11), (5, 90), (1, 1)])
def test_patches_keep_the_aspect_ratio_within_the_budget(height: int, width: int) -> None:
    rows, columns = grid_of(height, width, 4, 16)
    assert 1 <= rows * columns <= 16
    flat = flat_patches(picture(height, width), 4, 16)
    assert flat.shape == (rows * columns, 2 + 48)
    assert flat[0, :2].tolist() == [1, 1] and flat[-1, :2].tolist() == [rows, columns]


def test_a_sound_that_is_too_short_is_refused() -> None:
    made = built("vision/imagebind")
    with pytest.raises(ValueError, match="10 ms long; ImageBind hears from 25 ms on"):
        result(made, "audio", audio=[Audio(torch.zeros(1, 160), 16000)])


def test_a_silent_sound_is_heard() -> None:
    made = built("vision/imagebind")
    found = result(made, "audio", audio=[Audio(torch.zeros(1, 16000), 16000)])["embedding"].dense()
    assert bool(found.isfinite().all())


def test_a_network_smaller_than_a_patch_is_refused() -> None:
    with pytest.raises(ValueError, match="resolution 4 is smaller than a patch of 8 pixels"):
        built("vision/clip", resolution=4)
    with pytest.raises(ValueError, match="resolution 30 is no multiple of the patch, 7 pixels"):
        built("vision/dino", resolution=30)


def test_one_pixel_is_a_picture_for_every_way_of_fitting() -> None:
    for fit in ("crop", "pad", "stretch"):
        assert prepared(picture(1, 1), 8, (0.5,) * 3, (0.5,) * 3, fit).shape == (3, 8, 8)


# adapters -------------------------------------------------------------------------------------------------------
def test_features_are_interleaved_patch_by_patch_or_added() -> None:
    one, two = torch.zeros(3, 2), torch.ones(3, 2)
    side = built("adapters/feature-mixture").component
    assert side.mixed([one, two])[:, 0].tolist() == [0, 1, 0, 1, 0, 1]
    added = built("adapters/feature-mixture", how="additive", alpha=0.25).component
    assert added.mixed([one, two])[0, 0].item() == 0.25
    with pytest.raises(ValueError, match=r"one shape; it got \[3, 2\], \[4, 2\]"):
        side.mixed([one, torch.ones(4, 2)])


def test_a_config_of_another_house_says_nothing_of_sizes(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    vit = built("vision/vit")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "vit_tiny", "num_classes": 0}))
    save_file({n: t.clone() for n, t in vit.component.checkpoint().items()}, tmp_path / "model.safetensors")
    again = built("vision/vit", f"file:{tmp_path}")
    pixels = torch.rand(1, 3, 32, 32)
    assert torch.equal(vit.component.tokens(pixels), again.component.tokens(pixels))
