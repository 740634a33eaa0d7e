"""The images of an audit: all splits in one order, with names, sizes and labels."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from phinas.experiment.artifacts.manifest import DuplicateCounts
from phinas.training.data.audit.file_survey import FileSurvey
from phinas.training.data.dataset_splits import SPLITS, DatasetSplits, SplitImages
from phinas.training.data.dataset_summary import chunks
from phinas.training.data.file_damage import FileDamage
from phinas.training.data.image_dataset import ImageDataset


@dataclass(frozen=True)
class AuditedImages:
    """Train, validation and test images, in this order. Arrays have one row for each image.

    Attributes:
        data: The data set.
        splits: The splits by name.
        duplicates: How many images have equal pixels.
        notes: What the user should know of how the source was read, one line each.
        names: The name of each image.
        labels: int64 (count,), class indices.
        split_of: int64 (count,), indices in SPLITS.
        pixel_ids: int64 (count,), equal for images with equal pixels.
        sizes: Width and height of the file in px, int64 (count, 2). 0 where unknown.
        damages: The damage of files by the index of the image.
    """

    data: ImageDataset
    splits: dict[str, SplitImages]
    duplicates: DuplicateCounts
    notes: tuple[str, ...]
    names: list[str]
    labels: np.ndarray
    split_of: np.ndarray
    pixel_ids: np.ndarray
    sizes: np.ndarray
    damages: dict[int, FileDamage]

    @classmethod
    def from_splits(
        cls, data: ImageDataset, parts: DatasetSplits, surveys: dict[str, FileSurvey]
    ) -> "AuditedImages":
        """Join the splits.

        Args:
            data: The data set.
            parts: Its splits.
            surveys: The files of the official splits of the data set.
        """
        splits = {name: parts.splits[name] for name in SPLITS}
        files = []
        for name, split in splits.items():
            source = name if split.source is getattr(data, name) else "train"
            files.append(surveys[source].take(split.indices))
        starts = np.cumsum([0, *map(len, splits.values())])
        return cls(
            data=data,
            splits=splits,
            duplicates=parts.duplicates,
            notes=(*data.notes, *parts.notes),
            names=[name for survey in files for name in survey.names],
            labels=np.concatenate([split.labels for split in splits.values()]),
            split_of=np.repeat(np.arange(len(SPLITS)), list(map(len, splits.values()))),
            pixel_ids=np.concatenate([split.pixel_ids for split in splits.values()]),
            sizes=np.concatenate([survey.sizes for survey in files]),
            damages={
                int(start) + index: damage
                for start, survey in zip(starts, files, strict=False)
                for index, damage in survey.damages.items()
            },
        )

    @property
    def channels(self) -> int:
        return int(self.data.train.pixels.shape[3])

    @property
    def image_size(self) -> int:
        return int(self.data.train.pixels.shape[1])

    def iter_pixels(self) -> Iterator[np.ndarray]:
        """The stored pixels of all images, some images at a time."""
        for split in self.splits.values():
            yield from chunks(split.source.pixels, split.indices)

    def label_conflicts(self) -> tuple[tuple[str, ...], ...]:
        """For each distinct image with more than one label the names of its classes."""
        pairs = np.unique(np.stack([self.pixel_ids, self.labels]), axis=1)
        ids, counts = np.unique(pairs[0], return_counts=True)
        return tuple(
            tuple(self.data.classes[index] for index in pairs[1, pairs[0] == number])
            for number in ids[counts > 1]
        )
