"""video/*: frames by time, patches pooled, times learned and as waves; LLaVA-NeXT-Video as transformers has it.

Films [T,C,H,W]: frame i of `film` has the red level i.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import anyany
from anyany.api.torch import Component, Context, Rows, Video
from anyany.engine.failures import ItemError
from anyany.engine.noise import Noise
from anyany.registry import default_registry
from anyany.testing.harness import bench

EXAMPLES = Path(__file__).parents[2] / "examples"


def component(name: str, weights: str | None = None, **options: Any) -> Component:
    made = bench(default_registry().card(f"video/{name}"), options).build(*([weights] if weights else []))
    return made.component


def called(of: Component, call: str, count: int, **ports: Rows) -> dict[str, Rows]:
    ctx = Context(node="it", call=call, keys=[(i,) for i in range(count)], noise=Noise(0),
                  device=torch.device("cpu"), dtype=torch.float32)  # fmt: skip
    with torch.inference_mode():
        return getattr(of, call)(ctx, **ports)


def film(count: int, fps: float) -> Video:
    frames = torch.zeros(count, 3, 8, 8, dtype=torch.uint8)
    frames[:, 0] = torch.arange(count, dtype=torch.uint8)[:, None, None]
    return Video(frames, fps)


def lists(*groups: list[Any]) -> Rows:
    return Rows([v for g in groups for v in g], counts=[len(g) for g in groups])


def cut(video: Video, **options: Any) -> tuple[list[int], list[dict[str, Any]]]:
    made = called(component("frames", **options), "cut", 1, video=Rows([video]))
    return [int(f[0, 0, 0]) for f in made["frames"].groups()[0]], made["times"][0]


# frames --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0, 8, 16, 24]),
        ({"fps": 2.0}, [0, 4, 8, 12, 16, 20, 24, 28]),
        ({"fps": 2.0, "most": 4}, [0, 8, 16, 24]),
        ({"most": 3}, [0, 10, 21]),
        ({"n": 4}, [4, 12, 20, 28]),
        ({"n": 1}, [16]),
        ({"n": 4, "most": 2}, [4, 12, 20, 28]),
    ],
)
def test_frames_are_chosen_by_time(options: dict[str, Any], expected: list[int]) -> None:
    assert cut(film(32, 8.0), **options)[0] == expected


def test_each_frame_comes_with_the_stretch_that_it_stands_for() -> None:
    found, times = cut(film(30, 10.0), n=2)
    assert found == [7, 22]
    assert times == [{"start": 0.0, "end": 1.5, "text": "frame 1"}, {"start": 1.5, "end": 3.0, "text": "frame 2"}]


def test_a_film_shorter_than_a_second_gives_one_frame() -> None:
    assert cut(film(3, 10.0))[0] == [0]
    assert cut(film(1, 10.0))[0] == [0]


def test_a_film_without_frames_is_an_error() -> None:
    with pytest.raises(ValueError, match="no frames"):
        cut(Video(torch.zeros(0, 3, 8, 8), 8.0))
    for fps in (0.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="frames a second"):
            cut(film(4, fps))


def test_films_of_a_batch_keep_their_own_frames() -> None:
    rows = Rows([film(16, 8.0), film(40, 8.0), film(4, 8.0)])
    groups = called(component("frames"), "cut", 3, video=rows)["frames"].groups()
    assert [[int(f[0, 0, 0]) for f in g] for g in groups] == [[0, 8], [0, 8, 16, 24, 32], [0]]


def frames_of(path: Path, **options: Any) -> dict[str, Any]:
    nodes = {"cut": {"use": "video/frames", "with": options, "in": "clip"}}
    outputs = {"frames": "cut.frames", "times": "cut.times"}
    pipe = anyany.load({"anyany": 1, "inputs": {"clip": "video"}, "nodes": nodes, "outputs": outputs})
    return dict(pipe(clip=path))


@pytest.mark.parametrize(
    ("options", "count"), [({}, 2), ({"fps": 4.0}, 8), ({"n": 3}, 3), ({"fps": 4.0, "most": 5}, 5)]
)
def test_a_file_gives_the_frames_that_the_whole_film_would(options: dict[str, Any], count: int) -> None:
    from anyany.media import load, to_uint8

    whole = load("video", EXAMPLES / "clip-seen-1.mp4", {"channels": 3})
    expected = called(component("frames", **options), "cut", 1, video=Rows([whole]))
    found = frames_of(EXAMPLES / "clip-seen-1.mp4", **options)
    assert len(found["frames"]) == count
    assert torch.equal(torch.stack(list(found["frames"])), torch.stack([to_uint8(f) for f in expected["frames"]]))
    assert [s["start"] for s in found["times"]] == pytest.approx([s["start"] for s in expected["times"][0]])


def test_the_loader_decodes_no_other_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    from anyany.media import containers

    seen: list[int] = []
    whole = containers.load_video

    def watched(*args: Any) -> Video:
        video = whole(*args)
        seen.append(video.frames.shape[0])
        return video

    monkeypatch.setattr(containers, "load_video", watched)
    frames_of(EXAMPLES / "clip-seen-1.mp4", fps=4.0, most=3)
    assert seen == [3]


# patches -------------------------------------------------------------------------------------------------------------
def test_squares_of_the_grid_become_their_means() -> None:
    x_ND = torch.arange(16.0)[:, None].expand(16, 3)
    (pooled,) = called(component("pool"), "pool", 1, features=Rows([x_ND]))["features"]
    assert pooled[:, 0].tolist() == [2.5, 4.5, 10.5, 12.5]
    (largest,) = called(component("pool", how="max"), "pool", 1, features=Rows([x_ND]))["features"]
    assert largest[:, 2].tolist() == [5, 7, 13, 15]


def test_a_side_of_one_changes_nothing_and_a_margin_is_left_out() -> None:
    x_ND = torch.randn(25, 4)
    (same,) = called(component("pool", side=1), "pool", 1, features=Rows([x_ND]))["features"]
    torch.testing.assert_close(same, x_ND)
    (less,) = called(component("pool"), "pool", 1, features=Rows([x_ND]))["features"]
    assert less.shape == (4, 4)


@pytest.mark.parametrize(("count", "word"), [(17, "class token"), (1, "no square of side 2"), (0, "no square")])
def test_patches_that_make_no_grid_are_an_error(count: int, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        called(component("pool"), "pool", 1, features=Rows([torch.randn(count, 4)]))


# times ---------------------------------------------------------------------------------------------------------------
def learned(stretch: bool = False) -> Component:
    return component("learned-times", "random:0", width=6, frames=4, stretch=stretch)


def test_each_frame_gets_the_vector_of_its_place() -> None:
    of = learned()
    table = of.video_frame_position_embedding.weight
    groups = [[torch.randn(3, 6), torch.randn(5, 6)], [], [torch.randn(2, 6)]]
    found = called(of, "stamp", 3, frames=lists(*groups))["frames"].groups()
    assert [len(g) for g in found] == [2, 0, 1]
    torch.testing.assert_close(found[0][1], groups[0][1] + table[1])
    torch.testing.assert_close(found[2][0], groups[2][0] + table[0])


def test_a_longer_film_stretches_the_times_or_is_an_error() -> None:
    frames = lists([torch.zeros(2, 6)] * 7)
    with pytest.raises(ValueError, match="7 frames, but only 4"):
        called(learned(), "stamp", 1, frames=frames)
    of = learned(stretch=True)
    table = of.video_frame_position_embedding.weight
    (found,) = called(of, "stamp", 1, frames=frames)["frames"].groups()
    torch.testing.assert_close(found[2][0], table[1])  # seven places spread over four: every second is a known one
    torch.testing.assert_close(found[1][1], (table[0] + table[1]) / 2)
    torch.testing.assert_close(found[6][0], table[3])


def test_the_waves_are_those_of_the_paper() -> None:
    times = Rows([[{"start": 0.0, "end": 2.5, "text": ""}, {"start": 2.5, "end": 5.0, "text": ""}]])
    frames = lists([torch.zeros(3, 8), torch.zeros(3, 8)])
    (found,) = called(component("sinusoidal-times"), "stamp", 1, frames=frames, times=times)["frames"].groups()
    expected = [f(2.5 / 10000 ** (2 * i / 8)) for i in range(4) for f in (math.sin, math.cos)]
    torch.testing.assert_close(found[0][0], torch.tensor([0.0, 1.0] * 4))
    torch.testing.assert_close(found[1][2], torch.tensor(expected))


def test_without_times_the_frames_are_a_second_apart() -> None:
    frames = lists([torch.zeros(8)] * 3)
    times = Rows([[{"start": float(i), "end": i + 1.0, "text": ""} for i in range(3)]])
    of = component("sinusoidal-times")
    given, default = (called(of, "stamp", 1, frames=frames, **k)["frames"].dense() for k in ({"times": times}, {}))
    assert torch.equal(given, default)
    assert not torch.equal(given[1], given[2])


def test_times_of_another_film_and_odd_widths_are_errors() -> None:
    of = component("sinusoidal-times")
    with pytest.raises(ValueError, match="2 frames, but 1 times"):
        called(of, "stamp", 1, frames=lists([torch.zeros(8)] * 2), times=Rows([[{"start": 0.0, "end": 1.0}]]))
    with pytest.raises(ValueError, match="7 wide"):
        called(of, "stamp", 1, frames=lists([torch.zeros(7)]))


# systems -------------------------------------------------------------------------------------------------------------
WAYS = {
    "learned": ({"use": "video/learned-times", "weights": "random:0", "in": {"frames": "look.patches"}}),
    "waves": ({"use": "video/sinusoidal-times", "in": {"frames": "look.patches", "times": "cut.times"}}),
}


@pytest.mark.parametrize("way", WAYS)
def test_both_kinds_of_times_make_one_sequence_of_a_film(way: str) -> None:
    nodes = {
        "cut": {"use": "video/frames", "with": {"n": 4}, "in": "clip"},
        "look": {"use": "vision/clip", "weights": "random:0", "with": "tiny", "in": "cut"},
        "time": WAYS[way],
        "join": {"use": "transforms/concatenate", "in": {"values": "time"}},
    }
    pipe = anyany.load({"anyany": 1, "inputs": {"clip": "video"}, "nodes": nodes, "outputs": {"o": "join"}})
    assert pipe(clip=EXAMPLES / "clip-seen-1.mp4")["o"].shape == (4 * 16, 32)


def llava_names(name: str) -> str:
    """transformers' names of LLaVA-NeXT-Video as the released files have them."""
    for old, new in (
        ("vision_tower.", "model.vision_tower.vision_tower.vision_model."), ("language_model.", "model."),
        ("multi_modal_projector.linear_1.", "model.mm_projector.0."), ("image_newline", "model.image_newline"),
        ("multi_modal_projector.linear_2.", "model.mm_projector.2."),
    ):  # fmt: skip
        if name.startswith(old):
            return name.replace(old, new, 1)
    return name


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """(a folder like the released one, with a config.json of the whole; transformers' model), at tiny sizes."""
    from transformers import LlavaNextVideoConfig, LlavaNextVideoModel

    folder = tmp_path_factory.mktemp("llava-video")
    tower = {"model_type": "clip_vision_model", "hidden_size": 32, "intermediate_size": 128, "num_hidden_layers": 3,
             "num_attention_heads": 2, "image_size": 48, "patch_size": 8}  # fmt: skip
    words = {"model_type": "llama", "hidden_size": 40, "intermediate_size": 64, "num_hidden_layers": 1,
             "num_attention_heads": 4, "vocab_size": 300}  # fmt: skip
    torch.manual_seed(0)
    model = LlavaNextVideoModel(LlavaNextVideoConfig(vision_config=tower, text_config=words)).eval()
    save_file({llava_names(k): v.contiguous() for k, v in model.state_dict().items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "llava", "hidden_size": 40}))
    return folder, model


def test_the_features_of_a_film_are_those_of_transformers(checkpoint: tuple[Path, Any]) -> None:
    folder, model = checkpoint
    sizes = {"resolution": 48, "patch": 8, "width": 32, "layers": 3, "heads": 2, "layer": -2, "towers": "image",
             "projection": False}  # fmt: skip
    nodes = {
        "cut": {"use": "video/frames", "with": {"n": 4}, "in": "clip"},
        "look": {"use": "vision/clip", "weights": f"file:{folder}#model.vision_tower.vision_tower.", "with": sizes,
                 "in": "cut"},
        "few": {"use": "video/pool", "in": "look.patches"},
        "see": {"use": "adapters/mlp", "weights": f"file:{folder}#model.mm_projector.", "in": "few"},
        "watch": {"use": "transforms/concatenate", "in": {"values": "see"}},
    }  # fmt: skip
    spec = {"anyany": 1, "inputs": {"clip": "video"}, "nodes": nodes, "outputs": {"o": "watch", "frames": "cut.frames"}}
    found = anyany.load(spec)(clip=EXAMPLES / "clip-seen-1.mp4")
    pixels = _prepared(found["frames"])
    with torch.inference_mode():
        expected = model.get_video_features(
            pixels[None], vision_feature_layer=-2, vision_feature_select_strategy="default"
        )
    torch.testing.assert_close(found["o"], expected.pooler_output[0], rtol=1e-5, atol=1e-5)


def _prepared(frames: list[torch.Tensor]) -> torch.Tensor:
    """[T,3,S,S] as transformers' own processor makes them."""
    from transformers import CLIPImageProcessor

    processor = CLIPImageProcessor(size={"shortest_edge": 48}, crop_size={"height": 48, "width": 48})
    return processor([f.permute(1, 2, 0).numpy() for f in frames], return_tensors="pt").pixel_values


def test_an_error_of_a_film_names_the_node_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ItemError, match="E501"):
        frames_of(tmp_path / "missing.mp4")
