"""The request for one training: a network, a recipe, a seed and the settings of the run.

The main decision: `TrainingSettings` are equal for all trainings of a run, and
`TrainingRequest` is one training. The request and the data decide the result of a training from
random weights. Checkpoints, processes and initial weights are separate arguments of
`phinas.training.engine.train.train`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Self

from phinas.experiment.schema.config import Recipe
from phinas.space.network import Network, network_from_dict

if TYPE_CHECKING:
    from phinas.training.augmentation.transforms import Augmentation

# Whether train steps are captured as CUDA graphs. After a failed capture the training continues
# with eager steps ("if_possible") or ends with an error ("required").
CapturePolicy = Literal["if_possible", "required", "never"]


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """The settings that all trainings of a run share.

    Args:
        max_shift: largest random translation, as a fraction of the image size (0: none).
        horizontal_flip: flip each training image with probability 0.5.
        metric: "accuracy", "balanced_accuracy" or "macro_f1". It is the score of the curve and of
            the result. The weights do not depend on it.
        device: "auto", "cpu", "mps", "cuda" or "cuda:N".
        threads: CPU threads of torch; None leaves their number unchanged.
        deterministic: use deterministic algorithms on a GPU.
        keep_images: keep the images on the device for the next training of the same process.
        capture: whether train steps are captured as CUDA graphs.
    """

    max_shift: float
    horizontal_flip: bool
    metric: str = "accuracy"
    device: str = "auto"
    threads: int | None = None
    deterministic: bool = False
    keep_images: bool = False
    capture: CapturePolicy = "if_possible"


@dataclass(frozen=True, slots=True)
class TrainingRequest:
    """A request to train one network.

    Args:
        network: the network to train.
        recipe: number of epochs, optimizer, augmentation and so on.
        seed: seed of the initial weights and of the order and augmentation of the images.
        settings: the settings that all trainings of the run share.
        stop_epoch: pause after this epoch; None trains all epochs. The learning rate follows the
            schedule of all epochs of the recipe in both cases.

    Raises:
        ValueError: `stop_epoch` is not an epoch of the recipe.
    """

    network: Network
    recipe: Recipe
    seed: int
    settings: TrainingSettings
    stop_epoch: int | None = None

    def __post_init__(self) -> None:
        if self.stop_epoch is not None and not 1 <= self.stop_epoch <= self.recipe.epochs:
            raise ValueError(
                f"stop_epoch: {self.stop_epoch} is not an epoch from 1 to {self.recipe.epochs}"
            )

    @property
    def last_epoch(self) -> int:
        """The epoch after which the training ends or pauses."""
        return self.stop_epoch or self.recipe.epochs

    @property
    def augmentation(self) -> "Augmentation":
        """The augmentation of the training images, from the settings and the recipe."""
        # imported here because the driver makes requests without importing torch
        from phinas.training.augmentation.transforms import Augmentation

        return Augmentation(
            self.settings.max_shift,
            self.settings.horizontal_flip,
            self.recipe.min_crop_area,
            self.recipe.cutout_size,
            self.recipe.randaugment_magnitude,
        )

    def with_batch_size(self, batch_size: int) -> Self:
        """Return the same request with another batch size, which also scales the learning rate."""
        recipe = self.recipe.model_copy(update={"batch_size": batch_size})
        return replace(self, recipe=recipe)

    def to_dict(self) -> dict[str, Any]:
        """Return the request as plain data, for a job."""
        return {
            "network": self.network.to_dict(),
            "recipe": self.recipe.model_dump(),
            "seed": self.seed,
            "settings": asdict(self.settings),
            "stop_epoch": self.stop_epoch,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Restore a request from the data of `to_dict`."""
        return cls(
            network_from_dict(data["network"]),
            Recipe(**data["recipe"]),
            data["seed"],
            TrainingSettings(**data["settings"]),
            data["stop_epoch"],
        )
