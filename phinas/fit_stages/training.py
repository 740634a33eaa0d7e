"""The training of a fit: its snapshots, the signals that end it, and what is shown of it."""

import os
import signal
import time
from functools import partial

import torch

from phinas.experiment.errors import InputError, Interrupted, NothingFound
from phinas.experiment.executors import Conclusive
from phinas.experiment.fit_dir import FitDir
from phinas.experiment.job_list import job_key
from phinas.experiment.manifest import file_sha256
from phinas.experiment.schema.config import FitSection, flatten
from phinas.experiment.schema.fit import FREE
from phinas.fit_stages.record import Fit
from phinas.progress import Display, Notify
from phinas.space.blocks import ConvNet
from phinas.training.data.prepared_dataset import PreparedData
from phinas.training.data.sources.hf_hub import weights_file
from phinas.training.engine.checkpoint import Snapshots, stopped_by
from phinas.training.engine.device import resolve_device, settle
from phinas.training.engine.distributed import Ranks
from phinas.training.engine.initialization import Start
from phinas.training.engine.train import Trained, train
from phinas.training.engine.trainer import Paused
from phinas.training.engine.weights_io import load_pretrained


def train_it(
    place: FitDir, asked: Fit, data: PreparedData, ranks: Ranks, *, device: str, display: Display
) -> tuple[Trained, Snapshots]:
    """The training, from the last snapshot if there is one; and the snapshots, to be removed once
    its results are kept.

    Raises NothingFound where it came to nothing, Interrupted after a signal.
    """
    config = asked.config
    torch.set_num_threads(_threads(config))
    settle(deterministic=config.deterministic)
    decisive = {name: value for name, value in flatten(config).items() if name not in FREE}
    told = {
        "batch": asked.batch,
        "spec": asked.spec.to_dict(),
        "weights": asked.weights_sha256,
        "data": data.fingerprint,
    }
    snapshots = Snapshots(
        place.snapshot, job_key("fit", decisive | told), seconds=60 * config.snapshot_minutes
    )
    start = Start(
        partial(_load, asked) if config.weights else lambda _network: None, config.freeze_backbone
    )
    stopping = stopped_by(
        snapshots, signal.SIGINT, signal.SIGTERM, again=lambda number: os._exit(128 + number)
    )
    with display.stage("training", every_seconds=0.0) as notify, stopping as caught:
        watch = _Watch(asked, data, display, notify)
        try:
            trained = train(
                asked.spec,
                data,
                recipe=asked.recipe,
                shift=config.data.shift,
                flip=asked.mirrors(data),
                seed=config.seed,
                device=resolve_device(device),
                report=watch.report,
                start=start,
                snapshots=snapshots,
                ranks=ranks,
                tick=watch.tick,
            )
        except Paused:
            raise Interrupted(caught[0] if caught else signal.SIGTERM) from None
        except Conclusive as error:
            raise NothingFound(f"{error}, with a new --out") from None
    return trained, snapshots


def _load(asked: Fit, network: ConvNet) -> None:
    path = weights_file(str(asked.config.weights))
    if file_sha256(path) != asked.weights_sha256:
        raise InputError(
            f"weights: {asked.config.weights} changed while it was read; the same call again, "
            "with a new --out"
        )
    load_pretrained(network, path, spec=asked.spec)


def _threads(config: FitSection) -> int:
    if config.threads != "auto":
        return config.threads
    return max(1, (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


class _Watch:
    """Hears of epochs and steps, and tells them: on a terminal every step, else every epoch."""

    def __init__(self, asked: Fit, data: PreparedData, display: Display, notify: Notify) -> None:
        self._epochs, self._batch, self._each = (
            asked.recipe.epochs,
            asked.batch,
            data.train // asked.batch,
        )
        self._display, self._notify = display, notify
        self._epoch, self._told, self._heard = 1, "", 0
        self._first = self._last = (
            0,
            0.0,
        )  # step and time, of this epoch: evaluation is no part of the pace
        self._begun = False

    def tick(self, step: int) -> None:
        if not self._begun and step > 1:
            self._display.say(
                f"carried on after {step - 1:,} of {self._epochs * self._each:,} steps{self._told}"
            )
            if not self._display.live:
                self._notify(
                    self._epoch - 1, self._epochs, ""
                )  # the time that is left goes by what comes from here on
        self._begun = True
        self._last = step, time.monotonic()
        self._first = self._first if self._first[0] else self._last
        if self._display.live:
            text = f"epoch {self._epoch} of {self._epochs}{self._told}{self._pace()}"
            self._notify(step, self._epochs * self._each, text)

    def report(self, epoch: int, accuracy: float) -> bool:
        told = f"{accuracy:.1%} of validation images right"
        if (
            self._begun and epoch > self._heard and not self._display.live
        ):  # epochs of before are told again, and are no news
            self._notify(epoch, self._epochs, told + self._pace())
        self._heard = max(self._heard, epoch)
        self._epoch, self._told, self._first = min(epoch + 1, self._epochs), f", {told}", (0, 0.0)
        return True

    def _pace(self) -> str:
        steps, seconds = (late - early for early, late in zip(self._first, self._last, strict=True))
        return f", {self._batch * steps / seconds:,.0f} images/s" if steps and seconds else ""
