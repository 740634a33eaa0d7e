"""Decode images into one array of 8-bit RGB squares.

An image with uncertain content is never guessed. It is a bad image, and the reason is reported: an
empty or truncated file, HTML with an image's name, more pixels than plausible, floating-point
pixels. Other images are normalized: turned upright (EXIF), first frame only, transparent pixels on
white, 16 bits scaled to 8. Then they are made square (bicubic, antialiased): `crop` resizes the
largest centered square, `squash` changes the aspect ratio, `letterbox` adds black edges.
"""

import statistics
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from io import BytesIO
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from phinas.experiment.cpu_threads import count_available_cpus
from phinas.experiment.schema.run import ResizeMode
from phinas.training.data.file_damage import find_damage
from phinas.training.data.foreign_formats import describe_content
from phinas.training.data.pixel_array import new_pixels
from phinas.training.data.source_dataset import ImageContent, SourceSplit, UnusableImage

# More pixels are a bad image. Pillow warns from here on: a quarter of a GiB as RGB.
MAX_PIXELS = 89_478_485
# About how many image headers are read to find the median size. At most twice as many.
HEADER_SAMPLE = 4096
CHUNK_IMAGES = 64  # encoded images in memory at a time
# Mean size of encoded images from which threads are faster. Below, Python's own work dominates.
MIN_BYTES_FOR_THREADS = 8192
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

Pixels = np.ndarray


class BadImage(Exception):  # noqa: N818 - a verdict on an image, which is collected and reported
    """The reason why an image cannot be used."""


@cache
def _formats() -> tuple[str, ...]:
    """The accepted formats that this Pillow can read.

    Other formats are refused, because the images may come from anywhere: to read an EPS file, for
    example, Pillow starts a program.
    """
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _open(content: bytes) -> Image.Image:
    if not content:
        raise BadImage("is empty (0 bytes)")
    damage = find_damage(content)
    if damage is not None and damage.changes_pixels:
        raise BadImage(damage.description)
    try:
        image = Image.open(BytesIO(content), formats=_formats())
    except UnidentifiedImageError:
        problem, remedy = describe_content(content) or (
            "is not in a supported image format",
            f"it begins with {content[:15]!r}",
        )
        raise BadImage(f"{problem} ({remedy})") from None
    except Exception as error:  # Pillow's parsers may raise anything on a damaged header.
        raise BadImage(f"cannot be opened: {_one_line(error)}") from None
    if image.width * image.height > MAX_PIXELS:
        raise BadImage(
            f"has {image.width} x {image.height} pixels, more than {MAX_PIXELS:,}; it may be a "
            "decompression bomb"
        )
    return image


def _load_image(content: ImageContent) -> Image.Image:
    if not callable(content):
        return _open(_content_bytes(content))
    try:
        image = content()
    except Exception as error:  # The reader is another library's, which may raise anything.
        raise BadImage(f"cannot be read: {_one_line(error)}") from None
    if not isinstance(image, Image.Image):
        raise BadImage(f"is of type {type(image).__name__}, not a PIL image")
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


def decode(content: ImageContent, *, image_size: int, resize_mode: ResizeMode = "crop") -> Pixels:
    """Decode one image to uint8 (image_size, image_size, 3).

    Raises:
        BadImage: The image cannot be used.
    """
    image = _load_image(content)
    try:
        if min(image.size) >= 4 * image_size:
            # The decoder of a large JPEG scales it to a half, a quarter or an eighth.
            image.draft(None, (2 * image_size, 2 * image_size))
        image.load()
    except Exception as error:  # Pillow's decoders may raise anything on damaged data.
        raise BadImage(f"cannot be decoded: {_one_line(error)}") from None
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except Exception:  # noqa: S110 - damaged EXIF does not say which way is up; the pixels are good
        pass
    try:
        image = to_rgb(image)
    except (ValueError, OSError) as error:  # Pillow cannot convert every mode.
        raise BadImage(
            f"has colors that cannot be converted to RGB (mode {image.mode}): {_one_line(error)}"
        ) from None
    return np.asarray(resize_to_square(image, image_size, resize_mode=resize_mode))


def resize_to_square(image: Image.Image, size: int, *, resize_mode: ResizeMode) -> Image.Image:
    """Resize an image of mode RGB or L to `size` x `size` px. An image of this size is unchanged.

    Raises:
        BadImage: The image is so narrow that letterbox leaves nothing of it.
    """
    if image.size == (size, size):
        return image
    if resize_mode == "squash":
        return image.resize((size, size), Image.Resampling.BICUBIC)
    if resize_mode == "crop":
        return ImageOps.fit(image, (size, size), method=Image.Resampling.BICUBIC)
    if round(min(image.size) / max(image.size) * size) < 1:
        raise BadImage(
            f"has {image.width} x {image.height} pixels, too narrow for data.resize_mode: "
            f"letterbox at {size} px"
        )
    return ImageOps.pad(image, (size, size), method=Image.Resampling.BICUBIC, color=0)


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any mode to RGB.

    Raises:
        BadImage: The range of the pixel values is unknown.
    """
    if image.mode == "F":
        raise BadImage(
            "has floating-point pixels, whose range is unknown; save it with 8 bits per channel"
        )
    if image.mode.startswith("I"):
        return _from_16_bit(image)
    if image.has_transparency_data:
        canvas = Image.new("RGBA", image.size, "white")
        canvas.alpha_composite(image.convert("RGBA"))
        return canvas.convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_16_bit(image: Image.Image) -> Image.Image:
    """Scale 0..65535 to 0..255 by rounding value / 257. Pillow would clip at 255."""
    values = np.asarray(image).astype(np.int64)
    # In a 32-bit TIFF, 200 may be bright (8 bits) or nearly black (16 bits).
    if image.mode == "I" and image.format == "TIFF" and values.max() <= 255:
        raise BadImage(
            f"has 32-bit pixels up to {values.max()}, so that 8 bits or 16 may be meant; save it "
            "with 8 bits per channel"
        )
    if values.min() < 0 or values.max() > 65535:
        raise BadImage(
            f"has pixel values from {values.min()} to {values.max()}, beyond 16 bits; save it "
            "with 8 bits per channel"
        )
    return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")


def native_size_of(size: tuple[int, int], *, resize_mode: ResizeMode) -> int:
    """The size in px at which an image becomes square without losing pixels or being enlarged.

    Args:
        size: Width and height.
        resize_mode: letterbox keeps the longer edge, other modes the shorter one.
    """
    return max(size) if resize_mode == "letterbox" else min(size)


def median_image_size(split: SourceSplit, *, resize_mode: ResizeMode = "crop") -> int:
    """The median of `native_size_of` in px, without bad images.

    Large sources are sampled at even intervals. Returns 1 if no image can be read.
    """
    step = max(1, len(split.labels) // HEADER_SAMPLE)
    image_sizes = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _, content in islice(split.iter_images(), 0, None, step):
            try:
                size = _header_size(content)
            except (BadImage, OSError):
                continue  # It is reported when all images are decoded.
            image_sizes.append(native_size_of(size, resize_mode=resize_mode))
    return statistics.median_low(image_sizes) if image_sizes else 1


def _header_size(content: ImageContent) -> tuple[int, int]:
    """Width and height in px. Of a file, only the header is read."""
    if isinstance(content, Path):
        try:
            with Image.open(content, formats=_formats()) as image:
                return image.size
        except Exception as error:  # Pillow's parsers may raise anything on a damaged header.
            raise BadImage(_one_line(error)) from None
    return _load_image(content).size


def _content_size(content: ImageContent) -> int:
    if isinstance(content, Path):
        try:
            return content.stat().st_size
        except OSError:
            return 0
    return len(content) if isinstance(content, bytes) else 0


def decode_all(
    split: SourceSplit,
    *,
    image_size: int,
    resize_mode: ResizeMode = "crop",
    on_progress: Callable[[int], None],
) -> tuple[Pixels, dict[int, UnusableImage]]:
    """Decode all images of a split.

    At most CHUNK_IMAGES encoded images are in memory. Large images are decoded by threads, for
    Pillow releases the GIL while it decodes. On the small images of CIFAR-10, two threads were
    measured to take 1.4 times as long as one.

    Args:
        split: The images.
        image_size: Height and width of the result, in px.
        resize_mode: How images become square.
        on_progress: Called with the number of decoded images.

    Returns:
        uint8 (count, image_size, image_size, 3), and for the index of each bad image its name and
        the reason. The pixels of bad images are 0.
    """
    count = len(split.labels)
    pixels = new_pixels((count, image_size, image_size, 3))
    bad_images: dict[int, UnusableImage] = {}

    def decode_one(job: tuple[int, tuple[str, ImageContent]]) -> None:
        index, (name, content) = job
        try:
            pixels[index] = decode(content, image_size=image_size, resize_mode=resize_mode)
        except BadImage as reason:
            pixels[index] = 0
            bad_images[index] = UnusableImage(name, str(reason))

    threads = max(2, min(4, count_available_cpus()))
    with warnings.catch_warnings(), ThreadPoolExecutor(threads) as pool:
        # Pillow warns of unusual files. Those that cannot be used are bad images anyway.
        warnings.simplefilter("ignore")
        jobs = enumerate(split.iter_images())
        num_done = 0
        while chunk := list(islice(jobs, CHUNK_IMAGES)):
            num_bytes = sum(_content_size(content) for _, (_, content) in chunk)
            use_threads = num_bytes > MIN_BYTES_FOR_THREADS * len(chunk)
            list(pool.map(decode_one, chunk) if use_threads else map(decode_one, chunk))
            num_done += len(chunk)
            on_progress(num_done)
    return pixels, dict(sorted(bad_images.items()))
