"""The transform of one image gives what the prepared images of a data set are."""

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from phinas.experiment.artifacts.preprocessing import Preprocessing
from phinas.training.augmentation.transforms import normalize, resize
from phinas.training.data.decoding import BadImage, decode
from phinas.training.data.image_transform import ImageTransform

STEPS = Preprocessing(
    image_size=20,
    resolution=16,
    resize_mode="crop",
    channel_order="RGB",
    mean=(0.1, 0.2, 0.3),
    std=(0.4, 0.5, 0.6),
)


def photo(width: int = 61, height: int = 35) -> Image.Image:
    levels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(levels)


def saved(image: Image.Image, image_format: str, **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, image_format, **options)
    return content.getvalue()


def exif_rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(photo(), "JPEG", exif=exif)


def sixteen_bits() -> bytes:
    levels = np.random.default_rng(1).integers(0, 65536, (40, 30), dtype=np.uint16)
    return saved(Image.fromarray(levels), "PNG")


FILES = {
    "JPEG": lambda: saved(photo(), "JPEG"),
    "large JPEG, which its decoder reduces": lambda: saved(photo(300, 170), "JPEG"),
    "turned by EXIF": exif_rotated,
    "palette": lambda: saved(photo().quantize(32), "PNG"),
    "transparent": lambda: saved(photo().convert("RGBA").rotate(30), "PNG"),
    "gray": lambda: saved(photo().convert("L"), "PNG"),
    "black and white": lambda: saved(photo().convert("1"), "PNG"),
    "16 bits": sixteen_bits,
    "CMYK": lambda: saved(photo().convert("CMYK"), "JPEG"),
}


@pytest.mark.parametrize("resize_mode", ["crop", "squash", "letterbox"])
@pytest.mark.parametrize("name", FILES)
def test_a_file_becomes_what_the_prepared_images_are(name, resize_mode, tmp_path) -> None:
    content = FILES[name]()
    (tmp_path / "image").write_bytes(content)
    steps = STEPS.model_copy(update={"resize_mode": resize_mode})
    stored = decode(content, image_size=20, resize_mode=resize_mode)
    images = resize(torch.from_numpy(stored.copy()).permute(2, 0, 1)[None], 16)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (STEPS.mean, STEPS.std))
    expected = normalize(images, mean, std)[0]
    transform = ImageTransform(steps)
    assert torch.equal(transform(content), expected)
    assert torch.equal(transform(tmp_path / "image"), expected)
    assert torch.equal(transform(str(tmp_path / "image")), expected)
    with Image.open(tmp_path / "image") as image:
        assert torch.equal(transform(image), expected)


@pytest.mark.parametrize("name", FILES)
def test_the_image_of_the_caller_is_left_unchanged(name) -> None:
    content = FILES[name]()
    image = Image.open(io.BytesIO(content))
    ImageTransform(STEPS)(image)
    untouched = Image.open(io.BytesIO(content))
    assert (image.size, image.mode) == (untouched.size, untouched.mode)
    assert image.tobytes() == untouched.tobytes()


def test_gray_input_is_the_luminance() -> None:
    steps = Preprocessing(
        image_size=8, resolution=8, resize_mode="crop", channel_order="L", mean=(0.5,), std=(0.5,)
    )
    levels = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    pixels = ImageTransform(steps).decode(saved(Image.fromarray(levels), "PNG"))
    assert np.array_equal(pixels[..., 0], levels)
    assert ImageTransform(steps)(photo()).shape == (1, 8, 8)


def test_transform_can_be_pickled_for_data_loaders() -> None:
    transform = pickle.loads(pickle.dumps(ImageTransform(STEPS)))
    assert torch.equal(transform(photo()), ImageTransform(STEPS)(photo()))


@pytest.mark.parametrize(("content", "reason"), [(b"", "is empty"), (b"<html>", "is an HTML page")])
def test_a_bad_image_is_refused_with_the_reason(content, reason) -> None:
    with pytest.raises(BadImage, match=reason):
        ImageTransform(STEPS)(content)


def test_a_missing_file_is_a_bad_image(tmp_path: Path) -> None:
    with pytest.raises(BadImage, match="No such file"):
        ImageTransform(STEPS)(tmp_path / "gone.png")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean": (0.5,)}, "one number for each channel of RGB"),
        ({"std": (0.5, 0.5, 0.0)}, "std must be positive"),
        ({"resize_mode": "zoom"}, "crop"),
        ({"image_size": 0}, "greater than or equal to 1"),
    ],
)
def test_impossible_preprocessing_is_refused(change, message) -> None:
    with pytest.raises(ValueError, match=message):
        Preprocessing.model_validate(STEPS.model_dump() | change)


def test_steps_name_every_value_that_a_reader_must_repeat() -> None:
    text = "\n".join(STEPS.steps())
    for part in ("20 x 20 px (bicubic", "16 x 16 px (bilinear", "0.1, 0.2, 0.3", "0.4, 0.5, 0.6"):
        assert part in text
    same_size = STEPS.model_copy(update={"resolution": 20})
    assert "bilinear" not in "\n".join(same_size.steps())
