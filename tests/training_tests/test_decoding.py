"""Tests of decoding: size, orientation, modes, bit depths, bad images and their reasons."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image

from phinas.experiment.schema.config import DataSection
from phinas.training.data import pixel_array
from phinas.training.data.image_dataset import load_images

RED, BLUE = (220, 20, 20), (20, 20, 220)


def encoded(color: object = RED, *, size: tuple[int, int] = (8, 8)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def pixels_of(load):
    """Function that returns the stored pixels of the only image in the first class folder."""
    return lambda path, **options: load(path.parent.parent, **options).train.pixels[0]


def test_stored_size_is_the_median_of_the_shorter_edges(tmp_path, load, save_image):
    for index, size in enumerate([(10, 30), (20, 12), (50, 50)]):
        save_image(tmp_path / "a" / f"{index}.png", size=size)
    save_image(tmp_path / "b" / "0.png", size=(12, 12))
    save_image(tmp_path / "b" / "1.png", size=(12, 12))
    assert load(tmp_path).train.pixels.shape == (5, 12, 12, 3)


@pytest.fixture
def photos(tmp_path, save_image):
    for name in "ab":
        save_image(tmp_path / name / "0.png", size=(300, 400))
    return tmp_path


def test_stored_size_is_at_most_224_px_unless_configured(photos, load):
    data = load(photos)
    assert data.train.pixels.shape[1] == 224
    assert data.native_size == 300
    assert data.notes == (
        "the images (median of the shorter edges: 300 px) are stored at 224 px; data.image_size "
        "stores them at another size",
    )
    assert load(photos, image_size=256).train.pixels.shape[1] == 256
    assert load(photos, image_size=256).notes == ()


@pytest.mark.parametrize(("max_size", "stored"), [(64, 64), (280, 280), (500, 300)])
def test_stored_size_is_what_networks_need_up_to_the_images_own_size(photos, max_size, stored):
    data = load_images(DataSection(source=str(photos)), max_size=max_size)
    assert data.train.pixels.shape[1] == stored


def test_wide_image_is_cropped_to_its_center(tmp_path, save_image, pixels_of):
    image = Image.new("RGB", (24, 8), BLUE)
    image.paste(RED, (8, 0, 16, 8))
    (tmp_path / "a").mkdir()
    image.save(tmp_path / "a" / "0.png")
    save_image(tmp_path / "b" / "0.png")
    assert (pixels_of(tmp_path / "a" / "0.png", image_size=8) == RED).all()


def test_image_of_one_pixel_width_is_accepted(tmp_path, save_image, pixels_of):
    save_image(tmp_path / "a" / "0.png", size=(1, 20000))
    save_image(tmp_path / "b" / "0.png")
    assert (pixels_of(tmp_path / "a" / "0.png", image_size=64) == RED).all()


def test_downscaling_averages_pixels(tmp_path, save_image, pixels_of):
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    (tmp_path / "a").mkdir()
    Image.fromarray(stripes).save(tmp_path / "a" / "0.png")
    save_image(tmp_path / "b" / "0.png")
    pixels = pixels_of(tmp_path / "a" / "0.png", image_size=8)
    assert (abs(pixels.astype(int) - 127) < 8).all()


def test_large_jpeg_keeps_its_colors_when_its_decoder_scales_it(tmp_path, save_image, pixels_of):
    image = Image.new("RGB", (800, 800), BLUE)
    image.paste(RED, (0, 0, 400, 800))
    (tmp_path / "a").mkdir()
    image.save(tmp_path / "a" / "0.jpg", quality=95)
    save_image(tmp_path / "b" / "0.png")
    pixels = pixels_of(tmp_path / "a" / "0.jpg", image_size=32).astype(int)
    assert (abs(pixels[:, :14] - RED) < 8).all()
    assert (abs(pixels[:, 18:] - BLUE) < 8).all()


def test_exif_orientation_is_applied(tmp_path, save_image, pixels_of):
    image = Image.new("RGB", (8, 8), BLUE)
    image.paste(RED, (0, 0, 4, 8))
    exif = Image.Exif()
    # Orientation 6: a viewer rotates the image by 90 degrees clockwise, so the left half is on top.
    exif[0x0112] = 6
    (tmp_path / "a").mkdir()
    image.save(tmp_path / "a" / "0.png", exif=exif)
    save_image(tmp_path / "b" / "0.png")
    pixels = pixels_of(tmp_path / "a" / "0.png")
    assert (pixels[:4] == RED).all()
    assert (pixels[4:] == BLUE).all()


def _palette() -> Image.Image:
    return Image.new("RGB", (8, 8), RED).quantize(2)


def _transparent_palette() -> Image.Image:
    image = Image.new("P", (8, 8), 0)
    image.putpalette([*RED, *BLUE])
    image.info["transparency"] = 0
    return image


@pytest.mark.parametrize(
    ("image", "name", "expected"),
    [
        pytest.param(_palette(), "x.png", RED, id="palette"),
        pytest.param(
            _transparent_palette(), "x.png", (255, 255, 255), id="transparent palette on white"
        ),
        pytest.param(
            Image.new("RGBA", (8, 8), (0, 0, 0, 0)), "x.png", (255, 255, 255), id="RGBA on white"
        ),
        pytest.param(Image.new("LA", (8, 8), (0, 128)), "x.png", (127, 127, 127), id="LA on white"),
        pytest.param(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "x.tif", (255, 0, 0), id="CMYK"),
        pytest.param(
            Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "x.jpg", (255, 0, 0), id="CMYK as JPEG"
        ),
        pytest.param(
            Image.new("YCbCr", (8, 8), (128, 128, 128)), "x.tif", (128, 128, 128), id="YCbCr"
        ),
        pytest.param(Image.new("1", (8, 8), 1), "x.png", (255, 255, 255), id="1 bit"),
        pytest.param(Image.new("1", (8, 8), 1), "x.tif", (255, 255, 255), id="1 bit as TIFF"),
        pytest.param(Image.new("L", (8, 8), 77), "x.png", (77, 77, 77), id="gray"),
    ],
)
def test_every_mode_is_converted_to_rgb_like_in_an_image_viewer(
    tmp_path, image, name, expected, save_image, pixels_of
):
    (tmp_path / "a").mkdir()
    image.save(tmp_path / "a" / name)
    save_image(tmp_path / "b" / "0.png")
    assert (pixels_of(tmp_path / "a" / name) == expected).all()


@pytest.mark.parametrize(
    ("name", "options"),
    [("0.gif", {}), ("0.webp", {"lossless": True}), ("0.png", {}), ("0.tif", {})],
)
def test_first_frame_of_an_animation_is_used(tmp_path, name, options, save_image, pixels_of):
    frames = [Image.new("RGB", (8, 8), color) for color in (RED, BLUE)]
    (tmp_path / "a").mkdir()
    frames[0].save(tmp_path / "a" / name, save_all=True, append_images=frames[1:], **options)
    save_image(tmp_path / "b" / "0.png")
    assert (pixels_of(tmp_path / "a" / name) == RED).all()


@pytest.mark.parametrize("name", ["x.png", "x.tif"])
def test_16_bit_levels_are_rescaled_and_not_clipped(tmp_path, name, save_image, pixels_of):
    values = np.array([0, 128, 129, 257, 32768, 65535], np.uint16)
    (tmp_path / "a").mkdir()
    Image.fromarray(np.tile(values, (6, 1))).save(tmp_path / "a" / name)
    save_image(tmp_path / "b" / "0.png", size=(6, 6))
    assert pixels_of(tmp_path / "a" / name)[0, :, 0].tolist() == [0, 0, 1, 1, 128, 255]


def _png_of_16_bits(color_type: int, *values: int) -> bytes:
    """Encode a PNG of 8 x 8 px with 16 bits per channel, since Pillow only writes gray ones."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            len(content).to_bytes(4, "big")
            + kind
            + content
            + zlib.crc32(kind + content).to_bytes(4, "big")
        )

    header = (8).to_bytes(4, "big") * 2 + bytes([16, color_type, 0, 0, 0])
    rows = (b"\0" + np.array(values * 8, ">u2").tobytes()) * 8
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        pytest.param("x.png", _png_of_16_bits(2, 65535, 32896, 0), (255, 128, 0), id="RGB"),
        pytest.param("x.png", _png_of_16_bits(6, 65535, 32896, 0, 65535), (255, 128, 0), id="RGBA"),
        pytest.param("x.png", _png_of_16_bits(4, 0, 32896), (127, 127, 127), id="LA on white"),
        pytest.param("x.pgm", b"P5 8 8 65535\n" + b"\x80\x80" * 64, (128, 128, 128), id="PGM"),
        pytest.param(
            "x.pgm", b"P5 8 8 4095\n" + b"\x08\x08" * 64, (128, 128, 128), id="PGM of 12 bits"
        ),
    ],
)
def test_image_of_16_bits_per_channel_equals_its_8_bit_version(
    tmp_path, name, content, expected, two_classes, pixels_of
):
    (two_classes(tmp_path) / "a").mkdir()
    (tmp_path / "a" / name).write_bytes(content)
    assert (pixels_of(tmp_path / "a" / name) == expected).all()


def test_32_bit_tiff_with_levels_in_the_8_bit_range_is_refused(tmp_path, load_error, two_classes):
    two_classes(tmp_path)
    Image.fromarray(np.full((8, 8), 200, np.int32)).save(tmp_path / "cat" / "x.tif")
    assert "has 32-bit pixels up to 200, so that 8 bits or 16 may be meant" in load_error(tmp_path)


def test_32_bit_tiff_with_levels_beyond_16_bits_is_refused(tmp_path, load_error, two_classes):
    two_classes(tmp_path)
    Image.fromarray(np.full((8, 8), 70000, np.int32)).save(tmp_path / "cat" / "x.tif")
    assert "has pixel values from 70000 to 70000, beyond 16 bits" in load_error(tmp_path)


def test_image_with_damaged_exif_is_accepted(tmp_path, save_image, pixels_of):
    (tmp_path / "a").mkdir()
    Image.new("RGB", (8, 8), RED).save(
        tmp_path / "a" / "0.jpg", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff", quality=95
    )
    save_image(tmp_path / "b" / "0.png")
    assert (abs(pixels_of(tmp_path / "a" / "0.jpg").astype(int) - RED) < 8).all()


def test_images_decoded_by_threads_keep_their_order(tmp_path, load):
    noise = np.random.default_rng(0)
    for index in range(40):
        path = tmp_path / "ab"[index % 2] / f"{index:02}.png"
        path.parent.mkdir(exist_ok=True)
        pixels = noise.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        pixels[..., 0] = index
        Image.fromarray(pixels).save(path)
    assert load(tmp_path).train.pixels[:, 0, 0, 0].tolist() == [*range(0, 40, 2), *range(1, 40, 2)]


def _truncated_image(kind: str, *, image_size: int = 32) -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (image_size, image_size, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, kind)
    return buffer.getvalue()[:-600]


def _decompression_bomb() -> bytes:
    """A PNG of a few bytes whose header claims 30,000 x 30,000 pixels."""
    good = encoded()
    header = b"IHDR" + (30_000).to_bytes(4, "big") * 2 + good[24:29]
    return good[:12] + header + zlib.crc32(header).to_bytes(4, "big") + good[33:]


def _float_tiff() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ones((8, 8), np.float32)).save(buffer, "TIFF")
    return buffer.getvalue()


BAD_IMAGES = [
    pytest.param("x.png", b"", "cat/x.png is empty (0 bytes)", id="empty"),
    pytest.param(
        "x.jpg",
        b"<!DOCTYPE html><html>",
        "cat/x.jpg is an HTML page instead of the file itself (download it again)",
        id="HTML",
    ),
    pytest.param(
        "x.jpg",
        _truncated_image("JPEG"),
        "cannot be decoded: image file is truncated",
        id="truncated JPEG",
    ),
    pytest.param(
        "x.jpg",
        _truncated_image("JPEG", image_size=256),
        "image file is truncated",
        id="truncated large JPEG",
    ),
    pytest.param("x.png", _truncated_image("PNG"), "cannot be decoded", id="truncated PNG"),
    pytest.param("x.png", encoded()[:20], "cannot be opened", id="truncated header"),
    pytest.param("x.png", _decompression_bomb(), "decompression bomb", id="decompression bomb"),
    pytest.param("x.tif", _float_tiff(), "floating-point pixels", id="float"),
    pytest.param(
        "x.eps",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n",
        "cat/x.eps is a PDF or PostScript document (convert it to PNG)",
        id="EPS",
    ),
]


@pytest.mark.parametrize(("name", "content", "reason"), BAD_IMAGES)
def test_bad_image_is_an_error_with_name_reason_and_advice(
    tmp_path, name, content, reason, load_error, two_classes
):
    (two_classes(tmp_path) / "cat" / name).write_bytes(content)
    message = load_error(tmp_path, image_size=8)
    assert "1 of 5 images cannot be used" in message
    assert reason in message
    assert "data.skip_bad_images: true" in message


@pytest.mark.parametrize(("name", "content", "reason"), BAD_IMAGES)
def test_bad_image_is_skipped_and_listed_on_request(
    tmp_path, name, content, reason, load, two_classes
):
    (two_classes(tmp_path) / "cat" / name).write_bytes(content)
    data = load(tmp_path, skip_bad_images=True)
    assert data.train.labels.tolist() == [0, 0, 1, 1]
    assert data.train.pixels[:, 0, 0].tolist() == [list(RED)] * 2 + [list(BLUE)] * 2
    assert len(data.skipped_images) == 1
    assert reason in str(data.skipped_images[0])


def test_broken_link_is_a_bad_image(tmp_path, load_error, two_classes):
    (two_classes(tmp_path) / "cat" / "x.png").symlink_to(tmp_path / "gone.png")
    assert "cat/x.png cannot be read: No such file" in load_error(tmp_path)


def test_link_to_itself_is_a_bad_image(tmp_path, load, load_error, two_classes):
    (two_classes(tmp_path) / "cat" / "x.png").symlink_to(tmp_path / "cat" / "x.png")
    assert "cat/x.png cannot be read: Too many levels of symbolic links" in load_error(tmp_path)
    assert len(load(tmp_path, skip_bad_images=True).train) == 4


def test_newline_in_a_file_name_is_escaped(tmp_path, load_error, two_classes):
    (two_classes(tmp_path) / "cat" / "a\nb.png").write_bytes(b"")
    assert r"cat/a\nb.png is empty" in load_error(tmp_path)


def test_image_size_that_exceeds_memory_and_disk_is_refused(tmp_path, load_error, two_classes):
    message = load_error(two_classes(tmp_path), image_size=9_000_000)
    assert "data.image_size: 4 images of 9000000 x 9000000 px need 972,000.0 GB" in message
    assert "set a smaller data.image_size, or set TMPDIR" in message


def test_images_larger_than_the_memory_are_mapped_from_a_temporary_file(
    tmp_path, load, two_classes, monkeypatch
):
    expected = load(two_classes(tmp_path))
    (tmp_path / "cat" / "bad.png").write_bytes(b"")
    monkeypatch.setattr(pixel_array, "memory_bytes", lambda: 100)
    data = load(tmp_path, skip_bad_images=True)
    assert isinstance(data.train.pixels, np.memmap)
    assert np.array_equal(data.train.pixels, expected.train.pixels)


# --- images that are not square ------------------------------------------------------------------


@pytest.fixture
def wide_images(tmp_path):
    """Two classes of 64 x 16 px: gray, with a white left end or a white right end."""
    for name, ends in (("left", slice(0, 16)), ("right", slice(48, 64))):
        pixels = np.full((16, 64, 3), 90, np.uint8)
        pixels[:, ends] = 255
        (tmp_path / name).mkdir()
        Image.fromarray(pixels).save(tmp_path / name / "0.png")
    return tmp_path


def test_crop_keeps_the_center_square(wide_images, load):
    pixels = load(wide_images).train.pixels
    assert pixels.shape == (2, 16, 16, 3)
    assert (pixels == 90).all()


def test_squash_keeps_both_ends_and_changes_the_aspect_ratio(wide_images, load):
    left, right = load(wide_images, resize_mode="squash").train.pixels
    assert left.shape == (16, 16, 3)
    assert [left[:, 0].min(), left[:, 0].max()] == [255, 255]
    assert [left[:, -1].min(), left[:, -1].max()] == [90, 90]
    assert [right[:, 0].max(), right[:, -1].min()] == [90, 255]


def test_letterbox_keeps_the_aspect_ratio_and_adds_black_edges(wide_images, load):
    left, _ = load(wide_images, resize_mode="letterbox").train.pixels
    assert left.shape == (64, 64, 3)
    assert (left[24:40, :16] == 255).all()
    assert (left[24:40, 16:] == 90).all()
    assert [left[:24].max(), left[40:].max()] == [0, 0]


@pytest.mark.parametrize("resize_mode", ["crop", "squash", "letterbox"])
def test_arrays_are_resized_like_files(wide_images, resize_mode, load):
    images = [np.asarray(Image.open(wide_images / name / "0.png")) for name in ("left", "right")]
    np.savez(wide_images / "x.npz", x=np.stack(images), y=[0, 1])
    options = {"resize_mode": resize_mode, "image_size": 12}
    arrays, files = load(wide_images / "x.npz", **options), load(wide_images, **options)
    assert np.array_equal(arrays.train.pixels, files.train.pixels)


def test_image_too_narrow_for_letterbox_is_a_bad_image(wide_images, load_error):
    Image.new("RGB", (1, 300)).save(wide_images / "left" / "narrow.png")
    message = load_error(wide_images, resize_mode="letterbox", image_size=16)
    assert "narrow.png has 1 x 300 pixels, too narrow for data.resize_mode: letterbox" in message
