"""From an encoded image to the stored square of 8-bit RGB, and from many of them to one array.

The one decision to know: a picture that cannot be shown to mean what it seems to (empty, torn, HTML
by another name, too large to be honest, floating point) is a bad image with a reason, never a
guess. The rest is made plain: turned upright (EXIF), first frame, transparency laid on white, 16
bits rescaled to 8, then the largest centered square resized (bicubic, antialiased), which is the
shorter side resized and the longer one cropped.
"""

import os
import statistics
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from phinas.experiment.errors import InputError

MAX_IMAGE_SIZE = 224  # of stored images, unless the configuration says otherwise
MAX_PIXELS = (
    89_478_485  # Pillow warns beyond this (a quarter of a gigabyte of RGB); here it is a bad image
)
MAX_HEADER_SAMPLE = 4096  # headers that are read, evenly spaced, to find the median side
CHUNK_IMAGES = 64  # encoded images held at a time
MIN_BYTES_FOR_THREADS = 8192  # encoded; smaller images cost more in Python than in decoding
_FORMATS = (
    "JPEG",
    "PNG",
    "WEBP",
    "GIF",
    "BMP",
    "TIFF",
    "PPM",
    "MPO",
    "JPEG2000",
    "AVIF",
    "ICO",
    "TGA",
    "QOI",
)

ImageContent = bytes | Path | Callable[[], Image.Image] | None  # encoded, or what gives it decoded
Pixels = np.ndarray


class BadImage(Exception):  # noqa: N818 - a verdict on a picture, collected and reported, not an error of the program
    """Why one picture cannot be used."""


@dataclass(frozen=True)
class SourceSplit:
    """One split of a source, before any pixel is decoded: class indices, a reader of (name,
    content) in their order, and what group each image is of, as text, if data.group_by is given.
    is_encoded: the content is what a file holds."""

    labels: np.ndarray
    iter_images: Callable[[], Iterator[tuple[str, ImageContent]]]
    groups: np.ndarray | None = None
    is_encoded: bool = True


@dataclass(frozen=True)
class SourceDataset:
    """A source, before any pixel is decoded; `test` is its official test split."""

    classes: tuple[str, ...]
    train: SourceSplit
    test: SourceSplit | None


@cache
def _formats() -> tuple[str, ...]:
    """Those of ours that this Pillow was built with. Others (EPS runs a program) are not for data
    from anywhere.
    """
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _open(content: bytes) -> Image.Image:
    if not content:
        raise BadImage("is empty (0 bytes)")
    try:
        image = Image.open(BytesIO(content), formats=_formats())
    except UnidentifiedImageError:
        raise BadImage(
            f"is not an image that can be read (it begins with {content[:15]!r})"
        ) from None
    except Exception as error:  # a damaged header may raise anything in Pillow's parsers
        raise BadImage(f"cannot be opened: {_one_line(error)}") from None
    if image.width * image.height > MAX_PIXELS:
        raise BadImage(
            f"has {image.width} x {image.height} pixels, more than {MAX_PIXELS:,}: a "
            "decompression bomb?"
        )
    return image


def _load_image(content: ImageContent) -> Image.Image:
    if not callable(content):
        return _open(_content_bytes(content))
    try:
        image = content()
    except Exception as error:  # as above, in somebody else's reader
        raise BadImage(f"cannot be read: {_one_line(error)}") from None
    if not isinstance(image, Image.Image):
        raise BadImage(f"is of type {type(image).__name__}, not a picture")
    return image


def _content_bytes(content: bytes | Path | None) -> bytes:
    if content is None:
        raise BadImage("has no bytes")
    if isinstance(content, bytes):
        return content
    try:
        return content.read_bytes()
    except OSError as error:
        raise BadImage(f"cannot be read: {error.strerror}") from None


def decode(content: ImageContent, *, image_size: int) -> Pixels:
    """One image as (side, side, 3) of uint8. Raises BadImage with the reason."""
    image = _load_image(content)
    try:
        if min(image.size) >= 4 * image_size:
            # a large JPEG is decoded at a half, quarter or eighth of its side
            image.draft(None, (2 * image_size, 2 * image_size))
        image.load()
    except Exception as error:  # as above: a damaged body
        raise BadImage(f"cannot be decoded: {_one_line(error)}") from None
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except Exception:  # noqa: S110 - damaged EXIF says nothing of which way is up; the pixels are good
        pass
    try:
        image = to_rgb(image)
        if image.size != (image_size, image_size):
            image = ImageOps.fit(image, (image_size, image_size), method=Image.Resampling.BICUBIC)
    except (ValueError, OSError) as error:  # a mode that Pillow does not convert
        raise BadImage(
            f"has colors that cannot be made RGB (mode {image.mode}): {_one_line(error)}"
        ) from None
    return np.asarray(image)


def to_rgb(image: Image.Image) -> Image.Image:
    """An image of any mode as RGB. Raises BadImage where the meaning of its numbers is unknown."""
    if image.mode == "F":
        raise BadImage(
            "holds floating-point pixels, whose range is unknown; save it with 8 bits a channel"
        )
    if image.mode.startswith("I"):
        return _from_16_bit(image)
    if image.has_transparency_data:
        canvas = Image.new("RGBA", image.size, "white")
        canvas.alpha_composite(image.convert("RGBA"))
        return canvas.convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_16_bit(image: Image.Image) -> Image.Image:
    """Pillow would clip at 255; 0..65535 is brought to 0..255 by the nearest multiple of 257."""
    values = np.asarray(image).astype(np.int64)
    # 32 bits a pixel: 200 is bright, or nearly black
    if image.mode == "I" and image.format == "TIFF" and values.max() <= 255:
        raise BadImage(
            f"holds 32-bit numbers up to {values.max()}, 8 bits or 16; save it with 8 bits a "
            "channel"
        )
    if values.min() < 0 or values.max() > 65535:
        raise BadImage(
            f"holds values from {values.min()} to {values.max()}, beyond 16 bits; save it with 8 "
            "bits a channel"
        )
    return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")


def median_image_size(split: SourceSplit) -> int:
    """The median shorter side of (at most SAMPLE, evenly spaced) images, LARGEST_SIDE at most. Bad
    ones don't count.
    """
    step = max(1, len(split.labels) // MAX_HEADER_SAMPLE)
    image_sizes = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _, content in islice(split.iter_images(), 0, None, step):
            try:
                image_sizes.append(_header_size(content))
            except (BadImage, OSError):
                continue  # decoding all of them, later, tells the reason
    return min(statistics.median_low(image_sizes), MAX_IMAGE_SIZE) if image_sizes else 1


def _header_size(content: ImageContent) -> int:
    """Of the header alone: a file's body is not read."""
    if isinstance(content, Path):
        try:
            with Image.open(content, formats=_formats()) as image:
                return min(image.size)
        except Exception as error:  # as in _open
            raise BadImage(_one_line(error)) from None
    return min(_load_image(content).size)


def _content_size(content: ImageContent) -> int:
    if isinstance(content, Path):
        try:
            return content.stat().st_size
        except OSError:
            return 0
    return len(content) if isinstance(content, bytes) else 0


def decode_all(
    split: SourceSplit, *, image_size: int, on_progress: Callable[[int], None]
) -> tuple[Pixels, dict[int, str]]:
    """Every image of a part as (count, side, side, 3), and the bad ones: index to "name: reason";
    their pixels are 0.

    At most CHUNK encoded images are held. Threads share the work where the images are large (Pillow
    decodes those without the interpreter's lock); measured on CIFAR-10's small ones, two threads
    take 1.4 times as long as one.
    """
    count = len(split.labels)
    pixels = np.empty((count, image_size, image_size, 3), np.uint8)
    bad_images: dict[int, str] = {}

    def decode_one(job: tuple[int, tuple[str, ImageContent]]) -> None:
        index, (name, content) = job
        try:
            pixels[index] = decode(content, image_size=image_size)
        except BadImage as reason:
            pixels[index] = 0
            bad_images[index] = f"{name}: {reason}"

    with warnings.catch_warnings(), ThreadPoolExecutor(max(2, min(4, os.cpu_count() or 2))) as pool:
        # Pillow's remarks on odd files; what matters is refused above
        warnings.simplefilter("ignore")
        jobs = enumerate(split.iter_images())
        num_done = 0
        while chunk := list(islice(jobs, CHUNK_IMAGES)):
            large = sum(
                _content_size(content) for _, (_, content) in chunk
            ) > MIN_BYTES_FOR_THREADS * len(chunk)
            list(pool.map(decode_one, chunk) if large else map(decode_one, chunk))
            num_done += len(chunk)
            on_progress(num_done)
    return pixels, dict(sorted(bad_images.items()))


def check_memory(count: int, *, image_size: int, channels: int = 3) -> None:
    """Raises InputError where the decoded images cannot fit this machine, before the kernel kills
    the process.
    """
    required = count * image_size * image_size * channels
    memory = (
        os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if hasattr(os, "sysconf")
        else required
    )
    if required > memory:
        sizes = (
            f"{count:,} images need {required / 1e9:,.1f} GB and this machine has "
            f"{memory / 1e9:,.1f}"
        )
        raise InputError(
            f"data.image_size: at {image_size} pixels {sizes}; choose a smaller data.image_size"
        )
