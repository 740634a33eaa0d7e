"""One training as a job of plain data, and the description that makes such jobs.

The key of a job hashes all that decides its result, and nothing that does not (paths, device,
threads, time limit), so a run can be moved and resumed elsewhere.
"""

import os
import signal
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phinas.experiment.executors import Conclusive, Job, Report
from phinas.experiment.job_list import job_key
from phinas.experiment.measurement import Measurement
from phinas.experiment.schema.config import DataSection, Recipe, RunSection
from phinas.space.spec import ArchSpec
from phinas.training.data.prepared_dataset import PreparedData, read_prepared

if TYPE_CHECKING:
    from phinas.training.engine.evaluate import Score
    from phinas.training.engine.train import Trained

FUNCTION = "phinas.training.engine.job:measure"


@dataclass(frozen=True)
class Trainer:
    """Everything about a training but the network, the recipe and the seed.

    snapshots: where long trainings leave their state, every `snapshot_seconds`; None: they don't.
    """

    data: PreparedData
    shift: float
    flip: bool
    device: str
    threads: int
    limit_seconds: float
    deterministic: bool = False
    snapshots: Path | None = None
    snapshot_seconds: float = 300.0

    @classmethod
    def of(
        cls,
        data: PreparedData,
        section: DataSection,
        *,
        run: RunSection,
        threads: int,
        snapshots: Path | None,
    ) -> "Trainer":
        return cls(
            data,
            section.shift,
            data.mirror if section.flip == "auto" else section.flip,
            run.device,
            threads,
            60 * run.trial_minutes,
            run.deterministic,
            snapshots,
            60 * run.snapshot_minutes,
        )

    def job(
        self,
        spec: ArchSpec,
        recipe: Recipe,
        seed: int,
        *,
        final: bool = False,
        weights: Path | None = None,
    ) -> Job:
        """The training of `spec`. final: measure on the test split; weights: where to write
        them.
        """
        decisive = {
            "spec": spec.to_dict(),
            "recipe": recipe.model_dump(),
            "seed": seed,
            "shift": self.shift,
            "flip": self.flip,
            "final": final,
        }
        key = job_key(FUNCTION, decisive | {"data": self.data.fingerprint})
        incidental = {
            "directory": str(self.data.directory),
            "device": self.device,
            "threads": self.threads,
            "deterministic": self.deterministic,
            "weights": str(weights) if weights else None,
            "snapshot": [str(self.snapshots / f"{key}.snapshot"), key, self.snapshot_seconds]
            if self.snapshots
            else None,
        }
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
    deterministic: bool,
    weights: str | None,
    snapshot: list[Any] | None,
    report: Report = lambda _step, _value: True,
) -> dict[str, Any]:
    """The job: train and measure; the Measurement as a dict. Its `curve` is of the proxy-validation
    split in any case.
    """
    import torch

    from phinas.training.data.dataloader import share_gpu
    from phinas.training.engine.checkpoint import Snapshots, stopped_by
    from phinas.training.engine.device import resolve_device, settle, sharing
    from phinas.training.engine.evaluate import evaluate_final
    from phinas.training.engine.train import train
    from phinas.training.engine.weights_io import save_weights

    torch.set_num_threads(threads)
    settle(deterministic=deterministic)
    share_gpu(sharing(device))
    network = ArchSpec.from_dict(spec)
    data = _data(directory)
    snapshots = Snapshots(Path(snapshot[0]), snapshot[1], seconds=snapshot[2]) if snapshot else None
    in_a_worker = (
        "PHINAS_SLOT" in os.environ
    )  # asked to end by SIGTERM; in the driver, signals are the driver's
    with stopped_by(snapshots, signal.SIGTERM) if snapshots and in_a_worker else nullcontext():
        try:
            trained = train(
                network,
                data,
                recipe=Recipe(**recipe),
                shift=shift,
                flip=flip,
                seed=seed,
                device=resolve_device(device),
                report=report,
                snapshots=snapshots,
            )
        except Conclusive:
            if snapshots:
                snapshots.remove()
            raise
    score = trained.curve[-1]
    if final:
        score = evaluate_final(
            trained.model, data, side=network.resolution, mean=trained.mean, std=trained.std
        )
    if weights:
        save_weights(trained.model, network, Path(weights))
    if snapshots:
        snapshots.remove()
    return measurement_of(
        trained, score, split="test" if final else "validation", seed=seed
    ).to_dict()


def measurement_of(trained: "Trained", score: "Score", *, split: str, seed: int) -> Measurement:
    """What a training came to, as `score` has it."""
    from phinas.training.engine.device import describe_device

    return Measurement(
        accuracy=score.accuracy,
        split=split,
        images=score.images,
        loss=score.loss,
        top5=score.top5,
        seed=seed,
        epochs=len(trained.curve),
        train_seconds=trained.train_seconds,
        images_per_second=trained.images_per_second,
        curve=tuple(point.accuracy for point in trained.curve),
        device=describe_device(trained.mean.device),
        correct=score.correct,
        by_class=tuple(round(accuracy, 6) for accuracy in score.by_class),
        ended=trained.ended,
        micro_batch=trained.micro_batch if trained.halved else 0,
        peak_bytes=trained.peak_bytes,
    )
