"""Pictures: decoding of every format and mode, orientation, transparency, channels, and the way back to PNG."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anyany.media import Limits, MediaError, Video, load, meet, save, sniff, to_float, to_uint8


@pytest.fixture
def picture() -> torch.Tensor:
    """uint8 [3, 5, 7], different everywhere."""
    return torch.arange(3 * 5 * 7, dtype=torch.uint8).reshape(3, 5, 7) * 2


def put(path: Path, image: Image.Image, format: str, **options: object) -> Path:
    image.save(path, format, **options)
    return path


def pil(picture: torch.Tensor) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(picture.permute(1, 2, 0).numpy()))


def test_png_makes_the_round_trip_bit_for_bit(tmp_path: Path, picture: torch.Tensor) -> None:
    path = save("image", picture, tmp_path / "a.picture")
    assert path == str(tmp_path / "a.picture.png")
    assert torch.equal(load("image", path), picture)


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_give_the_pixels(tmp_path: Path, picture: torch.Tensor, format: str) -> None:
    path = put(tmp_path / "no-suffix", pil(picture), format)
    assert str(sniff(path)) == f"an image ({format})"
    assert torch.equal(load("image", path), picture)


@pytest.mark.parametrize(("format", "name"), [("JPEG", "JPEG"), ("WEBP", "WebP"), ("GIF", "GIF")])
def test_lossy_formats_come_close(tmp_path: Path, format: str, name: str) -> None:
    grey = torch.full((3, 16, 16), 100, dtype=torch.uint8)
    path = put(tmp_path / "misnamed.wav", pil(grey), format)
    assert sniff(path).format == name
    assert (load("image", path).int() - 100).abs().max() <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    upright = Image.new("RGB", (32, 16))
    upright.paste((255, 0, 0), (0, 0, 8, 8))  # red at the top left as it should be seen
    stored = {
        1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270,
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = put(tmp_path / "a.jpg", upright.transpose(stored) if stored is not None else upright, "JPEG", exif=exif)
    seen = load("image", path)
    assert seen.shape == (3, 16, 32)
    assert seen[0, 3, 3] > 200
    assert seen[0, 12, 28] < 50


def test_transparency_is_laid_on_white_unless_four_channels_are_asked_for(tmp_path: Path) -> None:
    glass = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    glass.putpixel((1, 0), (200, 0, 0, 255))
    path = put(tmp_path / "a.png", glass, "PNG")
    assert load("image", path)[:, 0].T.tolist() == [[255, 255, 255], [200, 0, 0]]
    assert load("image", path, {"channels": 4})[:, 0].T.tolist() == [[0, 0, 0, 0], [200, 0, 0, 255]]


def test_a_palette_with_a_transparent_colour_is_laid_on_white(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1), 0)
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    path = put(tmp_path / "a.png", image, "PNG", transparency=0)
    assert load("image", path)[:, 0].T.tolist() == [[255, 255, 255], [40, 50, 60]]


def test_sixteen_bit_greys_keep_their_upper_byte(tmp_path: Path) -> None:
    values = np.array([[0, 256, 0x8000, 0xFFFF]], dtype=np.uint16)
    path = put(tmp_path / "a.png", Image.fromarray(values), "PNG")
    assert load("image", path, {"channels": 1}).flatten().tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "I", "F", "YCbCr"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = put(tmp_path / "a.tiff", Image.new("L", (3, 2), 255).convert(mode), "PNG" if mode == "LA" else "TIFF")
    found = load("image", path)
    assert (found.shape, found.dtype) == ((3, 2, 3), torch.uint8)
    assert found.float().mean() > 250


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_facet_channels_is_met(tmp_path: Path, picture: torch.Tensor, channels: int) -> None:
    path = save("image", picture, tmp_path / "a")
    from_file, from_value = load("image", path, {"channels": channels}), meet("image", picture, {"channels": channels})
    assert from_file.shape == (channels, 5, 7)
    assert (from_file.int() - from_value.int()).abs().max() <= 1


def test_channels_nobody_has_are_refused(tmp_path: Path, picture: torch.Tensor) -> None:
    with pytest.raises(MediaError, match="7 channels"):
        load("image", save("image", picture, tmp_path / "a"), {"channels": 7})


def test_pillow_images_and_arrays_are_met_as_tensors(picture: torch.Tensor) -> None:
    assert torch.equal(meet("image", pil(picture)), picture)
    assert torch.equal(meet("image", np.asarray(pil(picture))), picture)


def test_floats_are_clipped_and_rounded_when_saved(tmp_path: Path) -> None:
    image = torch.tensor([-1.0, 0.0, 0.5, 1.0, 2.0]).expand(3, 1, 5)
    assert load("image", save("image", image, tmp_path / "a"))[0, 0].tolist() == [0, 0, 128, 255, 255]
    assert torch.equal(to_uint8(to_float(torch.arange(256, dtype=torch.uint8))), torch.arange(256).byte())


def test_bfloat16_pictures_are_saved(tmp_path: Path) -> None:
    path = save("image", torch.ones(3, 2, 2, dtype=torch.bfloat16), tmp_path / "a")
    assert load("image", path).float().mean() == 255


def test_a_picture_of_nan_is_an_error_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="NaN") as caught:
        save("image", torch.full((3, 2, 2), float("nan")), tmp_path / "a")
    assert caught.value.path == str(tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shape", [(2, 2), (2, 4, 4), (3, 0, 4), (1, 3, 4, 4)])
def test_a_tensor_that_is_no_picture_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(MediaError) as caught:
        save("image", torch.zeros(shape), tmp_path / "a")
    assert caught.value.code == "E524"


def test_masks_make_the_round_trip(tmp_path: Path) -> None:
    mask = torch.tensor([[True, False, True], [False, False, True]])
    path = save("mask", mask, tmp_path / "a")
    assert path.endswith(".png")
    assert torch.equal(load("mask", path), mask)


def test_the_limit_on_pixels_can_be_set(tmp_path: Path, picture: torch.Tensor) -> None:
    path = save("image", picture, tmp_path / "a")
    with pytest.raises(MediaError, match="7×5"):
        load("image", path, limits=Limits(pixels=34))
    assert load("image", path, limits=Limits(pixels=35)).shape == (3, 5, 7)


def gif(path: Path, frames: int) -> Path:
    images = [Image.new("RGB", (4, 4), (50 * i, 0, 0)) for i in range(frames)]
    images[0].save(path, "GIF", save_all=True, append_images=images[1:], duration=200)
    return path


def test_a_gif_of_one_frame_is_an_image_and_of_several_a_video(tmp_path: Path) -> None:
    still, moving = gif(tmp_path / "still", 1), gif(tmp_path / "moving", 3)
    assert (sniff(still).kind, sniff(moving).kind) == ("image", "video")
    film = load("video", moving)
    assert isinstance(film, Video)
    assert (film.frames.shape, film.fps, film.audio) == ((3, 3, 4, 4), 5.0, None)
    assert film.frames[:, 0, 0, 0].tolist() == pytest.approx([0, 50, 100], abs=2)


def test_the_first_frame_of_a_moving_gif_is_taken_for_an_image(tmp_path: Path) -> None:
    assert load("image", gif(tmp_path / "moving", 3))[0].max() == 0
