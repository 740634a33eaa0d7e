"""Decoding speed for the images of a Parquet data set, compared with Pillow in a loop."""

import os
import statistics
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
from interleaved_timing import format_median_and_quartiles, speedups, time_rounds
from markdown_sections import paragraph, table
from PIL import Image

from phinas.training.data.decoding import decode_all
from phinas.training.data.source_dataset import ReadOptions, SourceSplit
from phinas.training.data.sources.parquet import list_parquet


def section(source: Path, *, count: int = 5) -> list[str]:
    """The table of `count` rounds over all images of `source`, which have one size."""
    source_dataset = list_parquet(source, ReadOptions())
    splits = [split for split in (source_dataset.train, source_dataset.test) if split is not None]
    images = sum(len(split.labels) for split in splits)
    image_size = first_image_width(splits[0])

    def decode_with_phinas() -> None:
        for split in splits:
            _, bad_images = decode_all(
                split, image_size=image_size, on_progress=lambda _count: None
            )
            assert not bad_images

    def decode_with_pillow() -> None:
        for split in splits:
            pixels = np.empty((len(split.labels), image_size, image_size, 3), np.uint8)
            for index, content in enumerate(encoded_images(split)):
                pixels[index] = Image.open(BytesIO(content)).convert("RGB")

    seconds = time_rounds({"pillow": decode_with_pillow, "phinas": decode_with_phinas}, count)
    speedup = format_median_and_quartiles(speedups(seconds, "pillow", "phinas"))
    titles = {
        "pillow": "Pillow in a loop, one thread, no checks",
        "phinas": "phinas.training.data.decoding.decode_all",
    }
    rows = [
        [
            titles[decoder],
            f"{statistics.median(decoder_seconds):.1f}",
            f"{images / statistics.median(decoder_seconds):,.0f}",
            speedup if decoder == "phinas" else "",
        ]
        for decoder, decoder_seconds in seconds.items()
    ]
    description = f"""All {images:,} images of {source.name} ({image_size} px), read from Parquet
    and decoded without a cache; {os.cpu_count()} cores."""
    return [*paragraph(description), *table(("decoder", "seconds", "images/s", "speedup"), rows)]


def encoded_images(split: SourceSplit) -> Iterator[bytes]:
    for _, content in split.iter_images():
        assert isinstance(content, bytes)
        yield content


def first_image_width(split: SourceSplit) -> int:
    return int(Image.open(BytesIO(next(encoded_images(split)))).width)
