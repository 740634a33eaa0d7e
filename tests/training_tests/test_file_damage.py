"""Tests of damaged bytes in image files: changed line ends, and bytes after the end."""

import io

import numpy as np
import pytest
from PIL import Image

from phinas.training.data.decoding import BadImage, decode
from phinas.training.data.file_damage import find_damage

NOISE = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
FORMATS = ["PNG", "JPEG", "PPM"]


def encode(pixels: np.ndarray, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("value", [None, 10, 13, 255])
def test_undamaged_images_have_no_damage(kind, value):
    pixels = NOISE if value is None else np.full_like(NOISE, value)
    assert find_damage(encode(pixels, kind)) is None


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}])
def test_jpeg_variants_have_no_damage_and_their_surplus_bytes_are_counted(options):
    content = encode(NOISE, "JPEG", **options)
    assert find_damage(content) is None
    assert find_damage(content + b"\0" * 7).description.startswith("has 7 bytes after the end")


@pytest.mark.parametrize("kind", FORMATS)
def test_bytes_after_the_end_are_counted_and_leave_the_pixels_as_they_are(kind):
    content = encode(NOISE, kind)
    damage = find_damage(content + b"garbage")
    assert not damage.changes_pixels
    assert damage.description == "has 7 bytes after the end of the image"
    assert np.array_equal(
        decode(content + b"garbage", image_size=24, resize_mode="crop"),
        decode(content, image_size=24, resize_mode="crop"),
    )


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("pixels", [NOISE, np.full_like(NOISE, 60)])
def test_line_feeds_that_became_crlf_are_found(kind, pixels):
    damage = find_damage(encode(pixels, kind).replace(b"\n", b"\r\n"))
    assert damage.changes_pixels
    assert "transfer in text mode" in damage.description


def test_png_whose_crlf_became_line_feeds_is_found():
    assert find_damage(encode(NOISE, "PNG").replace(b"\r\n", b"\n")).changes_pixels


def test_ppm_with_a_comment_or_two_bytes_a_channel_has_no_damage():
    assert find_damage(b"P6\n# made by hand\n2 1\n255\n" + bytes(6)) is None
    assert find_damage(b"P6 2 1 65535\n" + bytes(12)) is None
    assert find_damage(b"P6 2 1 65535\n" + bytes(13)).description.startswith("has 1 byte after")


def test_line_feed_that_an_editor_added_to_a_ppm_file_is_no_damage():
    assert find_damage(b"P5 2 2 255\n" + bytes(4) + b"\n") is None


def test_pixels_that_happen_to_be_crlf_are_no_damage():
    pixels = np.tile(np.array([13, 10, 0], np.uint8), (4, 4, 1))
    assert find_damage(encode(pixels, "PPM")) is None


def test_truncated_files_are_left_to_the_decoder():
    for kind in FORMATS:
        assert find_damage(encode(NOISE, kind)[:-9]) is None


def test_image_with_changed_line_ends_is_a_bad_image():
    content = encode(NOISE, "PPM").replace(b"\n", b"\r\n")
    with pytest.raises(BadImage, match="colors are wrong; copy it again"):
        decode(content, image_size=24, resize_mode="crop")
