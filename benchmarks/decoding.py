"""How fast the images of a Parquet data set are decoded, beside Pillow in a loop."""

import os
import statistics
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
from paired import format_median_and_quartiles, paragraph, speedups, table, time_rounds
from PIL import Image

from phinas.training.data.decoding import SourceSplit, decode_all
from phinas.training.data.sources.parquet import list_parquet


def section(source: Path, *, count: int = 5) -> list[str]:
    """The table of `count` rounds over all images of `source`."""
    source_dataset = list_parquet(source)
    parts = [part for part in (source_dataset.train, source_dataset.test) if part is not None]
    images = sum(len(part.labels) for part in parts)
    side = first_side(parts[0])

    def ours() -> None:
        for part in parts:
            _, bad = decode_all(part, side=side, on_progress=lambda _done: None)
            assert not bad

    def pillow() -> None:
        for part in parts:
            pixels = np.empty((len(part.labels), side, side, 3), np.uint8)
            for index, content in enumerate(contents(part)):
                pixels[index] = Image.open(BytesIO(content)).convert("RGB")

    seconds = time_rounds({"pillow": pillow, "ours": ours}, count)
    gain = format_median_and_quartiles(speedups(seconds, "pillow", "ours"))
    names = {
        "pillow": "Pillow in a loop, one thread, nothing checked",
        "ours": "phinas.training.data.decoding.decode_all",
    }
    rows = [
        [
            names[way],
            f"{statistics.median(way_seconds):.1f}",
            f"{images / statistics.median(way_seconds):,.0f}",
            gain if way == "ours" else "",
        ]
        for way, way_seconds in seconds.items()
    ]
    description = f"""All {images:,} images of {source.name} ({side} px), read from Parquet and
    decoded, nothing cached; {os.cpu_count()} cores."""
    return [*paragraph(description), *table(("way", "seconds", "images/s", "times as fast"), rows)]


def contents(part: SourceSplit) -> Iterator[bytes]:
    for _, content in part.iter_images():
        assert isinstance(content, bytes)
        yield content


def first_side(part: SourceSplit) -> int:
    return int(Image.open(BytesIO(next(contents(part)))).width)
