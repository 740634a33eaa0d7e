"""`manifest.json`: what a run was made with, on which machine, and the hashes of its results."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from phinas.experiment.artifacts.artifact import Artifact, Record

Count = Annotated[int, Field(ge=0)]
AutoPrecision = Literal["fp32", "bf16"]  # what `precision: auto` of a recipe may mean


class Machine(Record):
    """The hardware and software that a result depends on. No host name, no user name."""

    system: str = Field(description="Operating system and its version")
    processor: str = Field(description="Model of the CPU")
    cores: Count = Field(description="Number of logical CPU cores")
    memory_bytes: Count = Field(description="Main memory in bytes; 0 if unknown")
    python: str = Field(description="Version of Python")
    packages: dict[str, str | None] = Field(
        description="Versions of the main packages; null for one that is not installed"
    )


class DuplicateCounts(Record):
    """How many images of a run have equal pixels. Each image counts, not each distinct one."""

    test_in_train: Count = Field(
        default=0, description="Test images that are also training images of the source"
    )
    test_in_validation: Count = Field(
        default=0, description="Test images that are also in the official validation split"
    )
    validation_in_train: Count = Field(
        default=0, description="Validation images that are also in train"
    )
    repeats: Count = Field(default=0, description="Images that repeat another one of their split")
    with_other_label: Count = Field(
        default=0, description="Images of which a copy has another label"
    )
    dropped: Count = Field(
        default=0, description="Training images that data.drop_duplicates removed"
    )


class DatasetDescription(Record):
    """The images of a run, as `phinas.training.data.prepared_dataset` prepared them."""

    name: str = Field(description="Name of the data set")
    image_size: Count = Field(description="Height and width of the stored images in px")
    channels: Count = Field(description="Channels of an image")
    classes: Count = Field(description="Number of classes")
    train: Count = Field(description="Number of training images")
    validation: Count = Field(description="Number of validation images")
    test: Count = Field(description="Number of test images")
    fingerprint: str = Field(description="Hash of pixels, labels, class names and splits")
    duplicates: DuplicateCounts
    skipped_images: tuple[str, ...] = Field(
        description="Unreadable images that were skipped, each with the reason"
    )


class EvaluatorDescription(Record):
    """How an evaluator that trains nothing describes its scores."""

    scores: str = Field(description="Where the scores come from, in words")
    source_sha256: str = Field(
        default="", description="Hash of the module of a user's function; empty for any other"
    )
    held_out_r2: float | None = Field(
        default=None, description="R2 of a surrogate on networks that it was not fitted to"
    )
    held_out_kendall_tau: float | None = Field(
        default=None, description="Kendall's tau of a surrogate on the same networks"
    )
    noise_std: float = Field(default=0.0, description="Standard deviation of the added noise")


class BuilderDescription(Record):
    """The user's function that builds the networks of a run."""

    reference: str = Field(description="Name of the function, as the configuration has it")
    files: dict[str, str] = Field(
        description="SHA-256 of each of the user's files that it imports, by path"
    )
    packages: dict[str, str] = Field(
        description="Version of each package that these files import; empty if unknown"
    )


class FileRecord(Record):
    """The size and the hash of a file."""

    bytes: Count = Field(description="Size in bytes")
    sha256: str = Field(description="SHA-256 of the content in hexadecimal digits")


class Manifest(Artifact):
    """What a run was made with, and the hashes of its results."""

    FORMAT: ClassVar[str] = "phinas/manifest"

    id: str = Field(description="Random name of the run, which prefixes its studies in a database")
    phinas: str = Field(description="Version of phinas that started the run")
    commit: str | None = Field(description="Git commit of the source tree; null for an install")
    command: tuple[str, ...] = Field(description="Command line without passwords")
    seed: Count = Field(description="Random seed of the run")
    machine: Machine
    goal: tuple[str, ...] = Field(description="Stages that the run was started for, in order")
    seconds: float = Field(
        default=0.0, description="Duration of all stages so far, of all processes that resumed it"
    )
    workers: Count | None = Field(default=None, description="Jobs at a time; null before the first")
    executor: str | None = Field(
        default=None, description="Executor that was used instead of the configured one"
    )
    auto_precision: AutoPrecision | None = Field(
        default=None,
        description="What precision: auto of a recipe means in this run; null before the first "
        "training",
    )
    evaluator: EvaluatorDescription | None = Field(
        default=None, description="The evaluator's description of its scores; null for trainings"
    )
    builder: BuilderDescription | None = Field(
        default=None, description="The model builder; null for a network in stages"
    )
    data: DatasetDescription | None = Field(default=None, description="The images, if any")
    artifacts: dict[str, FileRecord] = Field(
        default={}, description="Result files by their path in the run directory"
    )
