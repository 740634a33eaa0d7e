"""`data/data.json`: what the prepared images are, how they were split, and their files' hashes."""

from typing import ClassVar, Self

from pydantic import Field

from phinas.experiment.artifacts.artifact import Artifact, Record
from phinas.experiment.artifacts.manifest import (
    Count,
    DatasetDescription,
    DuplicateCounts,
    FileRecord,
)
from phinas.experiment.schema.run import DataSection, ResizeMode

RECORD_FILE = "data.json"


class DatasetSummary(Record):
    """Summary of prepared images. Mean and standard deviation are of the training split."""

    name: str = Field(description="Name of the data set")
    classes: tuple[str, ...] = Field(description="Names of the classes, in the order of the labels")
    channels: Count = Field(description="Channels of an image")
    image_size: Count = Field(description="Height and width of the stored images in px")
    native_size: Count = Field(
        description="Median size of the images before they were resized, in px: of the shorter "
        "edge, or of the longer edge for resize_mode letterbox"
    )
    resize_mode: ResizeMode = Field(description="How images became square")
    allow_flip: bool = Field(description="Whether a mirrored image keeps its class")
    fingerprint: str = Field(description="Hash of pixels, labels, class names and splits")
    train: Count = Field(description="Number of training images")
    validation: Count = Field(description="Number of validation images")
    test: Count = Field(description="Number of test images")
    counts: tuple[int, ...] = Field(description="Number of training images of each class")
    test_counts: tuple[int, ...] = Field(description="Number of test images of each class")
    mean: tuple[float, ...] = Field(description="Mean of each channel, in 0 to 1")
    std: tuple[float, ...] = Field(
        description="Standard deviation of each channel, in 0 to 1 and at least 1/255"
    )
    skipped_images: tuple[str, ...] = Field(
        description="Unreadable images that were skipped, each with the reason"
    )
    notes: tuple[str, ...] = Field(
        description="What the user should know of how the source was read, one line each"
    )
    duplicates: DuplicateCounts
    groups: tuple[int, ...] = Field(
        description="Number of groups in train, validation and test, where data.group_by is set; "
        "0 for an official test split without groups"
    )
    shared_groups: tuple[str, ...] = Field(
        description="Groups of the official test split that are also in another split"
    )

    def describe(self) -> DatasetDescription:
        """The part that the manifest of a run holds."""
        return DatasetDescription(
            name=self.name,
            image_size=self.image_size,
            channels=self.channels,
            classes=len(self.classes),
            train=self.train,
            validation=self.validation,
            test=self.test,
            fingerprint=self.fingerprint,
            duplicates=self.duplicates,
            skipped_images=self.skipped_images,
        )


class PreparationSettings(Record):
    """The settings on which the prepared images depend; no other key of `data` changes them."""

    seed: Count = Field(description="Random seed of the splits")
    source: str = Field(description="data.source")
    image_size: int | None = Field(description="data.image_size in px")
    resize_mode: ResizeMode = Field(description="data.resize_mode")
    validation_fraction: float = Field(description="data.validation_fraction")
    test_fraction: float = Field(description="data.test_fraction")
    max_train_images: int | None = Field(description="data.max_train_images")
    max_validation_images: int | None = Field(description="data.max_validation_images")
    skip_bad_images: bool = Field(description="data.skip_bad_images")
    group_by: str | None = Field(description="data.group_by")
    drop_duplicates: bool = Field(description="data.drop_duplicates")
    image_column: str | None = Field(description="data.image_column")
    label_column: str | None = Field(description="data.label_column")
    min_images_per_class: Count = Field(description="data.min_images_per_class")

    @classmethod
    def from_section(cls, section: DataSection, *, seed: int) -> Self:
        return cls(
            seed=seed,
            source=section.source,
            image_size=section.image_size,
            resize_mode=section.resize_mode,
            validation_fraction=section.validation_fraction,
            test_fraction=section.test_fraction,
            max_train_images=section.max_train_images,
            max_validation_images=section.max_validation_images,
            skip_bad_images=section.skip_bad_images,
            group_by=section.group_by,
            drop_duplicates=section.drop_duplicates,
            image_column=section.image_column,
            label_column=section.label_column,
            min_images_per_class=section.min_images_per_class,
        )

    def first_difference(self, other: Self) -> tuple[str, object, object] | None:
        """The first setting that differs: its name, and the value here and in `other`."""
        for name in type(self).model_fields:
            value, other_value = getattr(self, name), getattr(other, name)
            if value != other_value:
                return name, value, other_value
        return None


class PreparedDataRecord(Artifact):
    """The metadata of prepared images."""

    FORMAT: ClassVar[str] = "phinas/prepared-data"
    ADVICE: ClassVar[str] = "`phinas resume` prepares the images again"

    data: DatasetSummary
    settings: PreparationSettings
    files: dict[str, FileRecord] = Field(description="Arrays by their path in the data directory")
