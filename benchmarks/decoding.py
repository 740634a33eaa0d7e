"""How fast the images of a Parquet data set are decoded, beside Pillow in a loop."""

import os
import statistics
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
from paired import paragraph, ratios, rounds, table, with_quartiles
from PIL import Image

from phinas.training.data.decoding import Part, decode_all
from phinas.training.data.sources.parquet import list_parquet


def section(source: Path, *, count: int = 5) -> list[str]:
    """The table of `count` rounds over all images of `source`."""
    listing = list_parquet(source)
    parts = [part for part in (listing.train, listing.test) if part is not None]
    images = sum(len(part.labels) for part in parts)
    side = first_side(parts[0])

    def ours() -> None:
        for part in parts:
            _, bad = decode_all(part, side=side, notify=lambda _done: None)
            assert not bad

    def pillow() -> None:
        for part in parts:
            pixels = np.empty((len(part.labels), side, side, 3), np.uint8)
            for index, content in enumerate(contents(part)):
                pixels[index] = Image.open(BytesIO(content)).convert("RGB")

    seconds = rounds({"pillow": pillow, "ours": ours}, count)
    gain = with_quartiles(ratios(seconds, "pillow", "ours"))
    names = {
        "pillow": "Pillow in a loop, one thread, nothing checked",
        "ours": "phinas.training.data.decoding.decode_all",
    }
    rows = [
        [
            names[way],
            f"{statistics.median(taken):.1f}",
            f"{images / statistics.median(taken):,.0f}",
            gain if way == "ours" else "",
        ]
        for way, taken in seconds.items()
    ]
    about = f"""All {images:,} images of {source.name} ({side} px), read from Parquet and decoded, nothing cached;
    {os.cpu_count()} cores."""
    return [*paragraph(about), *table(("way", "seconds", "images/s", "times as fast"), rows)]


def contents(part: Part) -> Iterator[bytes]:
    for _, content in part.read():
        assert isinstance(content, bytes)
        yield content


def first_side(part: Part) -> int:
    return int(Image.open(BytesIO(next(contents(part)))).width)
