import io
import json
import os
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import DataSection
from phinas.training.data.image_dataset import ImageSet, load_images

CIFAR10 = Path(__file__).resolve().parents[3] / "shared" / "data" / "cifar10"
RED, BLUE = (220, 20, 20), (20, 20, 220)


def load(source: Path | str, **options: object) -> ImageSet:
    return load_images(DataSection.model_validate({"source": str(source)} | options))


def failure(source: Path | str, **options: object) -> str:
    """The one-line message of an InputError."""
    with pytest.raises(InputError) as caught:
        load(source, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def save(
    path: Path, colour: object = RED, *, size: tuple[int, int] = (8, 8), mode: str = "RGB"
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)
    return path


def two_classes(root: Path, *, count: int = 2) -> Path:
    for index in range(count):
        save(root / "cat" / f"{index}.png", RED)
        save(root / "dog" / f"{index}.png", BLUE)
    return root


def encoded(colour: object = RED, *, size: tuple[int, int] = (8, 8)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def write_parquet(
    path: Path,
    *,
    labels: object,
    images: list | None = None,
    names: tuple[str, ...] | None = ("cat", "dog"),
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = labels if isinstance(labels, pa.Array) else pa.array(labels)
    images = [encoded()] * len(labels) if images is None else images
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = pa.array([{"bytes": content, "path": None} for content in images], kind)
    table = pa.table({"image": rows, "label": labels})
    if names:
        features = {
            "image": {"_type": "Image"},
            "label": {"_type": "ClassLabel", "names": list(names)},
        }
        table = table.replace_schema_metadata(
            {"huggingface": json.dumps({"info": {"features": features}})}
        )
    pq.write_table(table, path)
    return path


def write_npz(path: Path, **arrays: object) -> Path:
    np.savez(path, **arrays)
    return path


def pixels_of(path: Path, other: Path, **options: object) -> np.ndarray:
    """The stored pixels of one file, loaded as class `a` beside `other` as class `b`."""
    return load(path.parent.parent, **options).train.pixels[0]


# digits


def test_digits_are_one_channel_of_8_pixels_that_use_all_256_levels():
    data = load("digits")
    assert data.train.pixels.shape == (1797, 8, 8, 1)
    assert data.train.pixels.dtype == np.uint8
    assert (data.train.pixels.min(), data.train.pixels.max()) == (0, 255)
    assert data.classes == tuple("0123456789")


def test_digits_may_not_be_mirrored():
    assert not load("digits").mirror


def test_digits_bring_no_test_split():
    assert load("digits").test is None


def test_digits_are_stored_at_the_side_asked_for():
    assert load("digits", side=12).train.pixels.shape == (1797, 12, 12, 1)


# class folders


def test_each_folder_is_a_class_and_each_file_in_it_an_image(tmp_path):
    data = load(two_classes(tmp_path))
    assert data.classes == ("cat", "dog")
    assert data.train.labels.tolist() == [0, 0, 1, 1]
    assert data.train.labels.dtype == np.int64
    assert data.train.pixels[:, 0, 0].tolist() == [list(RED)] * 2 + [list(BLUE)] * 2
    assert data.mirror
    assert data.test is None


def test_the_name_is_that_of_the_folder(tmp_path):
    assert load(two_classes(tmp_path / "pets")).name == "pets"


def test_order_does_not_depend_on_the_order_of_creation(tmp_path):
    for root, names in ((tmp_path / "one", "abc"), (tmp_path / "two", "cba")):
        for name in names:
            save(root / "x" / f"{name}.png", (ord(name), 0, 0))
        save(root / "y" / "a.png")
    assert np.array_equal(load(tmp_path / "one").train.pixels, load(tmp_path / "two").train.pixels)


def test_images_in_folders_of_a_class_folder_count(tmp_path):
    save(two_classes(tmp_path) / "cat" / "more" / "deeper" / "x.png")
    assert load(tmp_path).train.labels.tolist() == [0, 0, 0, 1, 1]


def test_train_and_test_folders_are_the_splits(tmp_path):
    two_classes(tmp_path / "train", count=3)
    two_classes(tmp_path / "test", count=1)
    two_classes(tmp_path / "val", count=2)
    data = load(tmp_path)
    assert (len(data.train), len(data.test)) == (6, 2)


@pytest.mark.parametrize("name", ["val", "validation"])
def test_a_validation_folder_is_the_test_split_where_there_is_no_other(tmp_path, name):
    two_classes(tmp_path / "train", count=3)
    two_classes(tmp_path / name, count=1)
    assert len(load(tmp_path).test) == 2


def test_a_class_may_be_called_train(tmp_path):
    save(tmp_path / "train" / "a.png")
    save(tmp_path / "car" / "a.png")
    assert load(tmp_path).classes == ("car", "train")


def test_dotfiles_and_text_beside_the_images_are_passed_over(tmp_path):
    two_classes(tmp_path)
    (tmp_path / "cat" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "cat" / "notes.txt").write_text("x")
    (tmp_path / ".cache").mkdir()
    assert len(load(tmp_path).train) == 4


def test_a_loop_of_links_is_walked_once(tmp_path):
    two_classes(tmp_path)
    (tmp_path / "cat" / "self").symlink_to(tmp_path / "cat")
    (tmp_path / "cat" / "all").symlink_to(tmp_path)
    assert load(tmp_path).train.labels.tolist() == [0, 0, 1, 1]


def test_a_linked_folder_of_images_is_followed(tmp_path):
    save(tmp_path / "elsewhere" / "x.png")
    two_classes(tmp_path / "data")
    (tmp_path / "data" / "cat" / "more").symlink_to(tmp_path / "elsewhere")
    assert load(tmp_path / "data").train.labels.tolist() == [0, 0, 0, 1, 1]


def test_paths_may_hold_spaces_and_emoji(tmp_path):
    assert load(two_classes(tmp_path / "my 🐈 pictures")).name == "my 🐈 pictures"


def test_a_class_name_that_is_not_unicode_can_be_printed(tmp_path):
    save(two_classes(tmp_path) / os.fsdecode(b"caf\xe9") / "0.png")
    assert load(tmp_path).classes == (r"caf\udce9", "cat", "dog")


def test_progress_ends_at_the_number_of_images(tmp_path):
    two_classes(tmp_path / "train", count=40)
    two_classes(tmp_path / "test", count=3)
    heard: list[tuple[int, int]] = []
    load_images(
        DataSection(source=str(tmp_path)), notify=lambda done, total: heard.append((done, total))
    )
    assert heard[-1] == (86, 86)
    assert [done for done, _ in heard] == sorted(done for done, _ in heard)


def test_progress_of_many_files_is_told_every_64(tmp_path):
    """A million files are so many steps of the same kind."""
    two_classes(tmp_path, count=1)
    for index in range(1000):
        os.link(tmp_path / "cat" / "0.png", tmp_path / "cat" / f"more{index}.png")
    heard = []
    load_images(DataSection(source=str(tmp_path)), notify=lambda *counts: heard.append(counts))
    assert {total for _, total in heard} == {1002}
    assert max(np.diff([done for done, _ in heard])) == 64


# from any image to the stored square


def test_the_stored_side_is_the_median_shorter_side(tmp_path):
    for index, size in enumerate([(10, 30), (20, 12), (50, 50)]):
        save(tmp_path / "a" / f"{index}.png", size=size)
    save(tmp_path / "b" / "0.png", size=(12, 12))
    save(tmp_path / "b" / "1.png", size=(12, 12))
    assert load(tmp_path).train.pixels.shape == (5, 12, 12, 3)


def test_the_stored_side_is_224_at_most_unless_asked_for(tmp_path):
    save(tmp_path / "a" / "0.png", size=(300, 400))
    save(tmp_path / "b" / "0.png", size=(300, 400))
    assert load(tmp_path).train.pixels.shape[1] == 224
    assert load(tmp_path, side=256).train.pixels.shape[1] == 256


def test_a_long_image_is_cropped_to_its_centre(tmp_path):
    image = Image.new("RGB", (24, 8), BLUE)
    image.paste(RED, (8, 0, 16, 8))
    (tmp_path / "a").mkdir()
    image.save(tmp_path / "a" / "0.png")
    save(tmp_path / "b" / "0.png")
    assert (pixels_of(tmp_path / "a" / "0.png", tmp_path, side=8) == RED).all()


def test_a_thread_of_one_pixel_is_an_image_too(tmp_path):
    save(tmp_path / "a" / "0.png", size=(1, 20000))
    save(tmp_path / "b" / "0.png")
    assert (pixels_of(tmp_path / "a" / "0.png", tmp_path, side=64) == RED).all()


def test_shrinking_averages_and_does_not_pick(tmp_path):
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    (tmp_path / "a").mkdir()
    Image.fromarray(stripes).save(tmp_path / "a" / "0.png")
    save(tmp_path / "b" / "0.png")
    pixels = pixels_of(tmp_path / "a" / "0.png", tmp_path, side=8)
    assert (abs(pixels.astype(int) - 127) < 8).all()


def test_a_large_jpeg_keeps_its_colours_on_the_short_way_down(tmp_path):
    image = Image.new("RGB", (800, 800), BLUE)
    image.paste(RED, (0, 0, 400, 800))
    (tmp_path / "a").mkdir()
    image.save(tmp_path / "a" / "0.jpg", quality=95)
    save(tmp_path / "b" / "0.png")
    pixels = pixels_of(tmp_path / "a" / "0.jpg", tmp_path, side=32).astype(int)
    assert (abs(pixels[:, :14] - RED) < 8).all()
    assert (abs(pixels[:, 18:] - BLUE) < 8).all()


def test_a_picture_is_turned_upright(tmp_path):
    image = Image.new("RGB", (8, 8), BLUE)
    image.paste(RED, (0, 0, 4, 8))
    exif = Image.Exif()
    exif[0x0112] = (
        6  # turn a quarter clockwise to see it upright: what is stored on the left is the top
    )
    (tmp_path / "a").mkdir()
    image.save(tmp_path / "a" / "0.png", exif=exif)
    save(tmp_path / "b" / "0.png")
    pixels = pixels_of(tmp_path / "a" / "0.png", tmp_path)
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
        pytest.param(Image.new("L", (8, 8), 77), "x.png", (77, 77, 77), id="grey"),
    ],
)
def test_every_mode_becomes_the_rgb_that_a_viewer_shows(tmp_path, image, name, expected):
    (tmp_path / "a").mkdir()
    image.save(tmp_path / "a" / name)
    save(tmp_path / "b" / "0.png")
    assert (pixels_of(tmp_path / "a" / name, tmp_path) == expected).all()


@pytest.mark.parametrize(
    ("name", "options"),
    [("0.gif", {}), ("0.webp", {"lossless": True}), ("0.png", {}), ("0.tif", {})],
)
def test_the_first_frame_of_an_animation_counts(tmp_path, name, options):
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, BLUE)]
    (tmp_path / "a").mkdir()
    frames[0].save(tmp_path / "a" / name, save_all=True, append_images=frames[1:], **options)
    save(tmp_path / "b" / "0.png")
    assert (pixels_of(tmp_path / "a" / name, tmp_path) == RED).all()


@pytest.mark.parametrize("name", ["x.png", "x.tif"])
def test_16_bits_are_rescaled_and_not_clipped(tmp_path, name):
    values = np.array([0, 128, 129, 257, 32768, 65535], np.uint16)
    (tmp_path / "a").mkdir()
    Image.fromarray(np.tile(values, (6, 1))).save(tmp_path / "a" / name)
    save(tmp_path / "b" / "0.png", size=(6, 6))
    assert pixels_of(tmp_path / "a" / name, tmp_path)[0, :, 0].tolist() == [0, 0, 1, 1, 128, 255]


def _png_of_16_bits(colour_type: int, *values: int) -> bytes:
    """Pillow writes grey ones only."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            len(content).to_bytes(4, "big")
            + kind
            + content
            + zlib.crc32(kind + content).to_bytes(4, "big")
        )

    header = (8).to_bytes(4, "big") * 2 + bytes([16, colour_type, 0, 0, 0])
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
def test_16_bits_a_channel_mean_what_8_bits_would(tmp_path, name, content, expected):
    (two_classes(tmp_path) / "a").mkdir()
    (tmp_path / "a" / name).write_bytes(content)
    assert (pixels_of(tmp_path / "a" / name, tmp_path) == expected).all()


def test_32_bit_whole_numbers_that_8_bits_would_hold_are_refused(tmp_path):
    two_classes(tmp_path)
    Image.fromarray(np.full((8, 8), 200, np.int32)).save(tmp_path / "cat" / "x.tif")
    assert "holds 32-bit numbers up to 200, 8 bits or 16" in failure(tmp_path)


def test_32_bit_whole_numbers_beyond_16_bits_are_refused(tmp_path):
    two_classes(tmp_path)
    Image.fromarray(np.full((8, 8), 70000, np.int32)).save(tmp_path / "cat" / "x.tif")
    assert "holds values from 70000 to 70000, beyond 16 bits" in failure(tmp_path)


def test_damaged_exif_does_not_spoil_a_good_picture(tmp_path):
    (tmp_path / "a").mkdir()
    Image.new("RGB", (8, 8), RED).save(
        tmp_path / "a" / "0.jpg", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff", quality=95
    )
    save(tmp_path / "b" / "0.png")
    assert (abs(pixels_of(tmp_path / "a" / "0.jpg", tmp_path).astype(int) - RED) < 8).all()


def test_large_images_keep_their_order_among_threads(tmp_path):
    noise = np.random.default_rng(0)
    for index in range(40):
        path = tmp_path / "ab"[index % 2] / f"{index:02}.png"
        path.parent.mkdir(exist_ok=True)
        picture = noise.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        picture[..., 0] = index
        Image.fromarray(picture).save(path)
    assert load(tmp_path).train.pixels[:, 0, 0, 0].tolist() == [*range(0, 40, 2), *range(1, 40, 2)]


# bad images


def _truncated(kind: str, *, side: int = 32) -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, kind)
    return buffer.getvalue()[:-600]


def _bomb() -> bytes:
    """A PNG of a few bytes whose header claims 30,000 x 30,000 pixels."""
    good = encoded()
    header = b"IHDR" + (30_000).to_bytes(4, "big") * 2 + good[24:29]
    return good[:12] + header + zlib.crc32(header).to_bytes(4, "big") + good[33:]


def _float_tiff() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ones((8, 8), np.float32)).save(buffer, "TIFF")
    return buffer.getvalue()


BAD = [
    pytest.param("x.png", b"", "cat/x.png: is empty (0 bytes)", id="empty"),
    pytest.param(
        "x.jpg",
        b"<!DOCTYPE html><html>",
        "is not an image that can be read (it begins with b'<!DOCTYPE html>')",
        id="HTML",
    ),
    pytest.param(
        "x.jpg",
        _truncated("JPEG"),
        "cannot be decoded: image file is truncated",
        id="truncated JPEG",
    ),
    pytest.param(
        "x.jpg", _truncated("JPEG", side=256), "image file is truncated", id="truncated large JPEG"
    ),
    pytest.param("x.png", _truncated("PNG"), "cannot be decoded", id="truncated PNG"),
    pytest.param("x.png", encoded()[:20], "cannot be opened", id="header cut short"),
    pytest.param("x.png", _bomb(), "decompression bomb", id="bomb"),
    pytest.param("x.tif", _float_tiff(), "floating-point pixels", id="float"),
    pytest.param(
        "x.eps",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n",
        "is not an image that can be read",
        id="program",
    ),
]


@pytest.mark.parametrize(("name", "content", "reason"), BAD)
def test_a_bad_image_is_an_error_with_name_reason_and_remedy(tmp_path, name, content, reason):
    (two_classes(tmp_path) / "cat" / name).write_bytes(content)
    message = failure(tmp_path, side=8)
    assert "1 of 5 images cannot be used" in message
    assert reason in message
    assert "--skip-bad-images" in message


@pytest.mark.parametrize(("name", "content", "reason"), BAD)
def test_a_bad_image_is_left_out_and_listed_on_request(tmp_path, name, content, reason):
    (two_classes(tmp_path) / "cat" / name).write_bytes(content)
    data = load(tmp_path, skip_bad_images=True)
    assert data.train.labels.tolist() == [0, 0, 1, 1]
    assert data.train.pixels[:, 0, 0].tolist() == [list(RED)] * 2 + [list(BLUE)] * 2
    assert len(data.skipped) == 1
    assert reason in data.skipped[0]


def test_a_link_to_nothing_is_a_bad_image(tmp_path):
    (two_classes(tmp_path) / "cat" / "x.png").symlink_to(tmp_path / "gone.png")
    assert "cat/x.png: cannot be read: No such file" in failure(tmp_path)


def test_a_link_to_itself_is_a_bad_image(tmp_path):
    (two_classes(tmp_path) / "cat" / "x.png").symlink_to(tmp_path / "cat" / "x.png")
    assert "cat/x.png: cannot be read: Too many levels of symbolic links" in failure(tmp_path)
    assert len(load(tmp_path, skip_bad_images=True).train) == 4


def test_a_class_folder_that_links_to_itself_is_named(tmp_path):
    (two_classes(tmp_path) / "eel").symlink_to(tmp_path / "eel")
    assert "eel: cannot be read: Too many levels of symbolic links" in failure(tmp_path)


def test_a_pipe_among_the_images_is_passed_over(tmp_path):
    os.mkfifo(two_classes(tmp_path) / "cat" / "x.png")
    assert len(load(tmp_path).train) == 4


def test_of_many_bad_images_five_are_named_and_the_rest_counted(tmp_path):
    two_classes(tmp_path)
    for index in range(8):
        (tmp_path / "dog" / f"bad{index}.png").write_bytes(b"")
    message = failure(tmp_path)
    assert "8 of 12 images" in message
    assert message.count("is empty") == 5
    assert "bad4.png" in message
    assert "and 3 more" in message


def test_bad_images_of_both_splits_are_told_at_once(tmp_path):
    two_classes(tmp_path / "train")
    two_classes(tmp_path / "test")
    for split in ("train", "test"):
        (tmp_path / split / "cat" / "x.png").write_bytes(b"")
    message = failure(tmp_path)
    assert "train/cat/x.png" in message
    assert "test/cat/x.png" in message


def test_a_name_with_a_newline_stays_in_one_line(tmp_path):
    (two_classes(tmp_path) / "cat" / "a\nb.png").write_bytes(b"")
    assert r"cat/a\nb.png: is empty" in failure(tmp_path)


def test_a_class_of_bad_images_only_is_an_error_though_they_are_skipped(tmp_path):
    two_classes(tmp_path)
    (tmp_path / "eel").mkdir()
    (tmp_path / "eel" / "x.png").write_bytes(b"")
    assert "no image of class 'eel'" in failure(tmp_path, skip_bad_images=True)


def test_bad_images_only_are_an_error_though_they_are_skipped(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").write_bytes(b"")
    assert "holds no images" in failure(tmp_path, skip_bad_images=True)


# structure


def test_a_misspelt_name_is_met_with_the_nearest():
    assert "'digit' does not exist; did you mean 'digits'?" in failure("digit")


def test_a_misspelt_path_is_met_with_the_nearest(tmp_path):
    (tmp_path / "flowers").mkdir()
    assert f"did you mean '{tmp_path / 'flowers'}'?" in failure(tmp_path / "flower")


@pytest.mark.parametrize("source", ["/nowhere/at/all", "nul\0l", "~nobody-here/x", "x" * 5000])
def test_a_path_that_does_not_exist_is_refused(source):
    assert failure(source)


def test_a_file_of_unknown_kind_is_refused(tmp_path):
    (tmp_path / "pets.zip").write_bytes(b"PK")
    assert "unknown kind '.zip'" in failure(tmp_path / "pets.zip")


def test_an_empty_folder_is_refused(tmp_path):
    assert "is empty; put the images of each class into a folder" in failure(tmp_path)


def test_images_without_class_folders_are_refused(tmp_path):
    save(tmp_path / "a.png")
    assert "holds files but no class folders" in failure(tmp_path)


def test_one_class_is_refused(tmp_path):
    save(tmp_path / "cat" / "a.png")
    assert "holds one class (cat); a classifier needs at least two" in failure(tmp_path)


def test_an_empty_class_folder_is_named(tmp_path):
    (two_classes(tmp_path) / "eel").mkdir()
    assert "no image in the class folder eel" in failure(tmp_path)


def test_classes_that_differ_between_the_splits_are_named(tmp_path):
    two_classes(tmp_path / "train")
    save(tmp_path / "test" / "cat" / "a.png")
    save(tmp_path / "test" / "eel" / "a.png")
    message = failure(tmp_path)
    assert "test has no class 'dog'" in message
    assert "train has no class 'eel'" in message


def test_a_side_beyond_all_memory_is_refused_before_it_is_tried(tmp_path):
    assert "data.side: at 9000000 pixels" in failure(two_classes(tmp_path), side=9_000_000)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_named(tmp_path):
    (two_classes(tmp_path) / "cat").chmod(0)
    assert "cannot be read: Permission denied" in failure(tmp_path)


# Parquet


def test_parquet_takes_class_names_from_the_metadata(tmp_path):
    path = write_parquet(
        tmp_path / "x.parquet",
        labels=[1, 0, 1],
        images=[encoded(BLUE), encoded(RED), encoded(BLUE)],
    )
    data = load(path)
    assert data.classes == ("cat", "dog")
    assert data.train.labels.tolist() == [1, 0, 1]
    assert data.train.pixels[:, 0, 0].tolist() == [list(BLUE), list(RED), list(BLUE)]
    assert data.test is None


def test_parquet_without_metadata_numbers_its_classes(tmp_path):
    assert load(write_parquet(tmp_path / "x.parquet", labels=[0, 2, 1], names=None)).classes == (
        "0",
        "1",
        "2",
    )


def test_parquet_may_hold_plain_binary_images(tmp_path):
    pq.write_table(
        pa.table({"image": [encoded(RED), encoded(BLUE)], "label": [0, 1]}), tmp_path / "x.parquet"
    )
    assert load(tmp_path / "x.parquet").train.pixels[:, 0, 0].tolist() == [list(RED), list(BLUE)]


@pytest.mark.parametrize(
    "names",
    [
        ("train-0.parquet", "train-1.parquet", "test-0.parquet"),
        ("data/train-0.parquet", "data/train-1.parquet", "data/test-0.parquet"),
        ("train/0.parquet", "train/1.parquet", "test/0.parquet"),
        ("train-0.parquet", "train-1.parquet", "validation-0.parquet"),
    ],
)
def test_a_folder_of_parquet_files_is_split_by_their_names(tmp_path, names):
    for name, labels in zip(names, ([0, 1], [0, 1, 1], [0, 1]), strict=True):
        write_parquet(tmp_path / name, labels=labels)
    data = load(tmp_path)
    assert data.train.labels.tolist() == [0, 1, 0, 1, 1]
    assert data.test.labels.tolist() == [0, 1]


def test_parquet_files_that_name_no_split_are_all_for_training(tmp_path):
    write_parquet(tmp_path / "0.parquet", labels=[0, 1])
    write_parquet(tmp_path / "1.parquet", labels=[0, 1])
    assert len(load(tmp_path).train) == 4


def test_a_bad_image_in_parquet_is_named_by_its_row(tmp_path):
    path = write_parquet(
        tmp_path / "x.parquet", labels=[0, 1, 0, 1], images=[encoded(), encoded(), b"", None]
    )
    message = failure(path)
    assert "x.parquet row 2: is empty" in message
    assert "x.parquet row 3: has no bytes" in message


def _table(path: Path, **columns: object) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def test_parquet_without_the_columns_is_refused(tmp_path):
    assert "has no column 'image', only pixels, label" in failure(
        _table(tmp_path / "x.parquet", pixels=[b""], label=[0])
    )
    assert "has no column 'label', only image, class" in failure(
        _table(tmp_path / "y.parquet", image=[b""], **{"class": [0]})
    )


def test_parquet_with_images_of_another_type_is_refused(tmp_path):
    assert "neither struct{bytes, path} nor binary" in failure(
        _table(tmp_path / "x.parquet", image=["a.png"], label=[0])
    )


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        pytest.param(pa.array([0.0, 1.0]), "label is double, not a whole number", id="float"),
        pytest.param(pa.array(["cat", "dog"]), "label is string, not a whole number", id="text"),
        pytest.param(pa.array([0, None]), "row 1 has none (1 in all)", id="missing"),
        pytest.param(pa.array([0, 2]), "row 1 is 2, outside 0 to 1", id="too large"),
        pytest.param(pa.array([0, -1]), "-1 marks a split without labels", id="unlabelled"),
    ],
)
def test_parquet_with_bad_labels_is_refused(tmp_path, labels, reason):
    assert reason in failure(write_parquet(tmp_path / "x.parquet", labels=labels))


def test_parquet_with_huge_labels_and_no_names_is_refused(tmp_path):
    assert "number the classes 0, 1, 2 on" in failure(
        write_parquet(tmp_path / "x.parquet", labels=[0, 10**15], names=None)
    )


def test_parquet_whose_files_differ_in_their_classes_is_refused(tmp_path):
    write_parquet(tmp_path / "train.parquet", labels=[0, 1])
    write_parquet(tmp_path / "test.parquet", labels=[0, 1], names=("dog", "cat"))
    assert "its classes differ from those of train.parquet" in failure(tmp_path)


def test_parquet_with_a_test_split_that_lacks_a_class_is_refused(tmp_path):
    write_parquet(tmp_path / "train.parquet", labels=[0, 1])
    write_parquet(tmp_path / "test.parquet", labels=[0, 0])
    assert "no image of class 'dog' in test" in failure(tmp_path)


def test_parquet_to_test_with_and_none_to_train_is_refused(tmp_path):
    write_parquet(tmp_path / "test.parquet", labels=[0, 1])
    assert "no train*.parquet" in failure(tmp_path)


def test_an_empty_parquet_file_is_refused(tmp_path):
    assert "holds no images" in failure(
        write_parquet(tmp_path / "x.parquet", labels=pa.array([], pa.int64()))
    )


@pytest.mark.parametrize(
    "damage", [lambda content: content[:-40], lambda _: b"", lambda _: b"<html></html>" * 9]
)
def test_a_broken_parquet_file_is_refused(tmp_path, damage):
    path = write_parquet(tmp_path / "x.parquet", labels=[0, 1])
    path.write_bytes(damage(path.read_bytes()))
    assert "is not a sound Parquet file" in failure(path)


def test_parquet_with_a_damaged_middle_is_refused(tmp_path):
    path = write_parquet(
        tmp_path / "x.parquet", labels=[0, 1] * 50, images=[encoded((i, i, i)) for i in range(100)]
    )
    content = bytearray(path.read_bytes())
    content[4:40] = b"\xff" * 36
    path.write_bytes(bytes(content))
    assert failure(path)


def test_a_missing_pyarrow_is_named_with_its_extra(tmp_path, monkeypatch):
    path = write_parquet(tmp_path / "x.parquet", labels=[0, 1])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert "pip install 'phinas[parquet]'" in failure(path)


@pytest.mark.slow
@pytest.mark.skipif(not CIFAR10.is_dir(), reason=f"CIFAR-10 is not at {CIFAR10}")
def test_cifar10_is_read_whole():
    data = load(CIFAR10)
    assert data.train.pixels.shape == (50000, 32, 32, 3)
    assert data.test.pixels.shape == (10000, 32, 32, 3)
    assert np.bincount(data.train.labels).tolist() == [5000] * 10
    assert data.classes[:2] == ("airplane", "automobile")
    # the README's figures, which are of the first 3,000 rows
    assert (data.train.pixels[:3000] / 255).mean(axis=(0, 1, 2)).round(4).tolist() == [
        0.4941,
        0.4821,
        0.4446,
    ]


# .npz

COLOUR = np.zeros((4, 6, 6, 3), np.uint8)
LABELS = np.array([0, 1, 0, 1])


@pytest.mark.parametrize(
    ("images", "labels"), [("images", "labels"), ("x", "y"), ("x_train", "y_train")]
)
def test_npz_is_read_under_its_usual_keys(tmp_path, images, labels):
    data = load(write_npz(tmp_path / "pets.npz", **{images: COLOUR, labels: LABELS}))
    assert data.name == "pets"
    assert data.train.pixels.shape == (4, 6, 6, 3)
    assert data.train.labels.tolist() == [0, 1, 0, 1]
    assert data.classes == ("0", "1")


@pytest.mark.parametrize(
    ("images", "labels"), [("x_test", "y_test"), ("test_images", "test_labels")]
)
def test_npz_may_bring_a_test_split(tmp_path, images, labels):
    data = load(
        write_npz(
            tmp_path / "x.npz", x=COLOUR, y=LABELS, **{images: COLOUR[:2], labels: LABELS[:2]}
        )
    )
    assert len(data.test) == 2


def test_npz_without_channels_is_grey(tmp_path):
    assert load(write_npz(tmp_path / "x.npz", x=COLOUR[..., 0], y=LABELS)).train.pixels.shape == (
        4,
        6,
        6,
        1,
    )


def test_npz_may_name_its_classes(tmp_path):
    assert load(
        write_npz(tmp_path / "x.npz", x=COLOUR, y=LABELS, classes=np.array(["cat", "dog"]))
    ).classes == ("cat", "dog")


def test_npz_labels_may_stand_in_a_column(tmp_path):
    assert load(write_npz(tmp_path / "x.npz", x=COLOUR, y=LABELS[:, None])).train.labels.shape == (
        4,
    )


def test_npz_is_stored_at_the_side_asked_for(tmp_path):
    path = write_npz(tmp_path / "x.npz", x=COLOUR + np.uint8(9), y=LABELS)
    data = load(path, side=3)
    assert data.train.pixels.shape == (4, 3, 3, 3)
    assert (data.train.pixels == 9).all()


def test_npz_images_that_are_not_square_are_cropped(tmp_path):
    assert load(write_npz(tmp_path / "x.npz", x=COLOUR[:, :4], y=LABELS)).train.pixels.shape == (
        4,
        4,
        4,
        3,
    )


@pytest.mark.parametrize(
    ("images", "remedy"),
    [
        pytest.param(
            COLOUR.transpose(0, 3, 1, 2),
            "channels first; store x.transpose(0, 2, 3, 1)",
            id="channels first",
        ),
        pytest.param(COLOUR / 255.0, "store (x * 255).round().astype(np.uint8)", id="floats to 1"),
        pytest.param(COLOUR + 200.0, "store x.round().astype(np.uint8)", id="floats to 255"),
        pytest.param(COLOUR - 1.5, "store the original pixels", id="normalised"),
        pytest.param(COLOUR + np.nan, "NaN or infinite", id="NaN"),
        pytest.param(COLOUR.astype(np.int64), "store x.round().astype(np.uint8)", id="int64"),
        pytest.param(
            COLOUR.astype(np.uint16) + 9999, "store (x // 257).astype(np.uint8)", id="16 bits"
        ),
        pytest.param(COLOUR.astype(bool), "store (x * 255)", id="boolean"),
        pytest.param(COLOUR.astype(str), "not a kind of pixel", id="text"),
        pytest.param(
            np.zeros((4, 6, 6, 4), np.uint8), "fourth channel; store x[..., :3]", id="RGBA"
        ),
        pytest.param(np.zeros((4, 36), np.uint8), "reshape it", id="flat"),
        pytest.param(np.zeros((4, 0, 6), np.uint8), "reshape it", id="no height"),
    ],
)
def test_npz_with_other_pixels_is_refused_with_the_line_that_mends_it(tmp_path, images, remedy):
    assert remedy in failure(write_npz(tmp_path / "x.npz", x=images, y=LABELS))


@pytest.mark.parametrize(
    ("labels", "remedy"),
    [
        pytest.param(LABELS.astype(float), "store y.astype(np.int64)", id="float"),
        pytest.param(np.array([0, 1, np.nan, 1]), "1 are NaN", id="NaN"),
        pytest.param(np.eye(2, dtype=np.int64)[LABELS], "store y.argmax(1)", id="one-hot"),
        pytest.param(np.array(["cat", "dog"] * 2), "np.unique(y, return_inverse=True)", id="text"),
        pytest.param(LABELS - 1, "-1 is negative", id="negative"),
        pytest.param(LABELS * 10**12, "number the classes 0, 1, 2 on", id="huge"),
        pytest.param(LABELS + 1, "no image of class '0'", id="from 1"),
        pytest.param(LABELS[:3], "4 images (x) but 3 labels (y)", id="too few"),
        pytest.param(LABELS.astype(bool), "bool is not a kind of label", id="boolean"),
        pytest.param(LABELS * 0, "holds one class (0)", id="one class"),
    ],
)
def test_npz_with_bad_labels_is_refused_with_the_line_that_mends_it(tmp_path, labels, remedy):
    assert remedy in failure(write_npz(tmp_path / "x.npz", x=COLOUR, y=labels))


def test_npz_with_other_keys_is_refused_with_those_it_has(tmp_path):
    message = failure(write_npz(tmp_path / "x.npz", pictures=COLOUR, y=LABELS))
    assert (
        "no images: wanted one of images, x, x_train, train_images, found pictures, y" in message
        or "found y, pictures" in message
    )


def test_npz_without_labels_is_refused(tmp_path):
    assert "no labels: wanted one of labels, y" in failure(write_npz(tmp_path / "x.npz", x=COLOUR))


def test_npz_with_half_a_test_split_is_refused(tmp_path):
    assert "no test labels" in failure(
        write_npz(tmp_path / "x.npz", x=COLOUR, y=LABELS, x_test=COLOUR)
    )


def test_npz_whose_splits_differ_in_channels_is_refused(tmp_path):
    path = write_npz(tmp_path / "x.npz", x=COLOUR, y=LABELS, x_test=COLOUR[..., 0], y_test=LABELS)
    assert "1 channels in the test images and 3" in failure(path)


def test_npz_with_labels_beyond_its_class_names_is_refused(tmp_path):
    path = write_npz(tmp_path / "x.npz", x=COLOUR, y=LABELS, classes=np.array(["cat"]))
    assert "labels run to 1, but classes has 1 names" in failure(path)


def test_npz_with_objects_is_not_unpickled(tmp_path):
    path = write_npz(tmp_path / "x.npz", x=np.array([object()] * 4, dtype=object), y=LABELS)
    assert "x: holds Python objects, which are not loaded" in failure(path)


def test_an_empty_npz_array_is_refused(tmp_path):
    assert "holds no images" in failure(write_npz(tmp_path / "x.npz", x=COLOUR[:0], y=LABELS[:0]))


@pytest.mark.parametrize(
    "content", [b"", b"<html></html>", b"PK\x03\x04 torn", "an array", "a torn member"]
)
def test_a_broken_npz_is_refused(tmp_path, content):
    path = tmp_path / "x.npz"
    if content == "an array":
        with path.open("wb") as file:
            np.save(file, COLOUR)
    elif content == "a torn member":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x.npy", b"\x93NUMPY\x01\x00")
            archive.writestr("y.npy", b"\x93NUMPY")
    else:
        path.write_bytes(content)
    assert ".npz" in failure(path)
