"""One training as a job of plain data, and the description that makes such jobs.

The key of a job hashes all that decides its result, and nothing that does not (paths, device, threads, time limit), so
a run can be moved and resumed elsewhere.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from experiment.batch import job_key
from experiment.config import DataSection, Recipe
from experiment.executors import Job, Report
from experiment.measurement import Measurement
from space.spec import ArchSpec
from training.prepared import PreparedData, read_prepared

FUNCTION = "training.job:measure"


@dataclass(frozen=True)
class Trainer:
    """Everything about a training but the network, the recipe and the seed."""

    data: PreparedData
    shift: float
    flip: bool
    device: str
    threads: int
    limit_seconds: float

    @classmethod
    def of(cls, data: PreparedData, section: DataSection, *, device: str, threads: int, limit_seconds: float) -> "Trainer":
        flip = data.mirror if section.flip == "auto" else section.flip
        return cls(data, section.shift, flip, device, threads, limit_seconds)

    def job(self, spec: ArchSpec, recipe: Recipe, seed: int, *, final: bool = False, weights: Path | None = None) -> Job:
        """The training of `spec`. final: measure on the test split; weights: where to write them."""
        decisive = {
            "spec": spec.to_dict(),
            "recipe": recipe.model_dump(),
            "seed": seed,
            "shift": self.shift,
            "flip": self.flip,
            "final": final,
        }
        incidental = {
            "directory": str(self.data.directory),
            "device": self.device,
            "threads": self.threads,
            "weights": str(weights) if weights else None,
        }
        key = job_key(FUNCTION, decisive | {"data": self.data.fingerprint})
        return Job(key, FUNCTION, decisive | incidental, self.limit_seconds)


@lru_cache(maxsize=4)
def _data(directory: str) -> PreparedData:
    return read_prepared(Path(directory), hashed=False)  # the driver has compared the hashes


def measure(
    *,
    spec: dict[str, Any],
    recipe: dict[str, Any],
    seed: int,
    shift: float,
    flip: bool,
    final: bool,
    directory: str,
    device: str,
    threads: int,
    weights: str | None,
    report: Report = lambda _step, _value: True,
) -> dict[str, Any]:
    """The job: train and measure; the Measurement as a dict. Its `curve` is of the proxy-validation split in any case."""
    import torch

    from training.checkpoint import save_weights
    from training.device import describe_device, resolve_device
    from training.evaluate import evaluate_final
    from training.loop import Augmentation, train

    torch.set_num_threads(threads)
    network = ArchSpec.from_dict(spec)
    data = _data(directory)
    where = resolve_device(device)
    trained = train(
        network,
        data,
        recipe=Recipe(**recipe),
        augmentation=Augmentation(shift, flip),
        seed=seed,
        device=where,
        report=report,
    )
    score = trained.curve[-1]
    if final:
        score = evaluate_final(trained.model, data, side=network.resolution, mean=trained.mean, std=trained.std)
    if weights:
        save_weights(trained.model, network, Path(weights))
    return Measurement(
        accuracy=score.accuracy,
        split="test" if final else "validation",
        images=score.images,
        loss=score.loss,
        top5=score.top5,
        seed=seed,
        epochs=len(trained.curve),
        train_seconds=trained.train_seconds,
        images_per_second=trained.images_per_second,
        curve=tuple(point.accuracy for point in trained.curve),
        device=describe_device(where),
        correct=score.correct,
    ).to_dict()
