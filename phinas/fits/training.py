"""The training of a fit: its snapshots, the signals that end it, and what is shown of it."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType

import torch

from experiment.batch import job_key
from experiment.config import FitSection, flatten
from experiment.errors import Interrupted, NothingFound
from experiment.executors import Conclusive
from experiment.fitdir import FitDir
from experiment.sections.fit import FREE
from phinas.fits.record import Fit
from phinas.progress import Display
from space.blocks import ConvNet
from training.checkpoint import load_pretrained
from training.course import Interrupted as Stopped
from training.course import Start
from training.device import resolve_device, settle
from training.loop import Trained, train
from training.prepared import PreparedData
from training.ranks import Ranks
from training.snapshot import Snapshots


def train_it(
    place: FitDir, asked: Fit, data: PreparedData, ranks: Ranks, *, device: str, display: Display
) -> tuple[Trained, Snapshots]:
    """The training, from the last snapshot if there is one; and the snapshots, to be removed once its results are kept.

    Raises NothingFound where it came to nothing, Interrupted after a signal.
    """
    config = asked.config
    torch.set_num_threads(_threads(config))
    settle(deterministic=config.deterministic)
    decisive = {name: value for name, value in flatten(config).items() if name not in FREE}
    told = {"batch": asked.batch, "spec": asked.spec.to_dict(), "weights": asked.weights_sha256, "data": data.fingerprint}
    snapshots = Snapshots(place.snapshot, job_key("fit", decisive | told), seconds=60 * config.snapshot_minutes)
    start = Start(partial(_load, asked) if config.weights else lambda _network: None, config.freeze_backbone)
    with _shown(asked, data, display) as (report, tick), _stopping(snapshots) as caught:
        try:
            trained = train(
                asked.spec,
                data,
                recipe=asked.recipe,
                shift=config.data.shift,
                flip=data.mirror if config.data.flip == "auto" else config.data.flip,
                seed=config.seed,
                device=resolve_device(device),
                report=report,
                start=start,
                snapshots=snapshots,
                ranks=ranks,
                tick=tick,
            )
        except Stopped:
            raise Interrupted(caught[0] if caught else signal.SIGTERM) from None
        except Conclusive as error:
            raise NothingFound(f"{error} (--set recipe.KEY=VALUE), with a new --out") from None
        except RuntimeError as error:
            if "can't allocate memory" not in str(error):
                raise
            raise NothingFound("out of memory; lower recipe.micro_batch (--set), or --resolution, with a new --out") from None
    return trained, snapshots


def _load(asked: Fit, network: ConvNet) -> None:
    load_pretrained(network, Path(str(asked.config.weights)).expanduser(), spec=asked.spec)


def _threads(config: FitSection) -> int:
    if config.threads != "auto":
        return config.threads
    return max(1, (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


@contextmanager
def _stopping(snapshots: Snapshots) -> Iterator[list[int]]:
    """The first SIGINT or SIGTERM ends the training after its step, with a snapshot; the next one at once."""
    caught: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        if caught:
            os._exit(128 + number)
        caught.append(number)
        snapshots.stop = True

    if threading.current_thread() is not threading.main_thread():  # only there may Python hear signals
        yield caught
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _shown(
    asked: Fit, data: PreparedData, display: Display
) -> Iterator[tuple[Callable[[int, float], bool], Callable[[int], None]]]:
    """What hears of epochs and steps: on a terminal a bar of steps, else a line an epoch."""
    epochs, batch = asked.recipe.epochs, asked.batch
    total = epochs * (data.train // batch)
    epoch, accuracy, began, first = 1, "", 0.0, 0
    with display.stage("training", every_seconds=0.0) as notify:

        def pace(step: int) -> str:
            passed = time.monotonic() - began
            return f", {batch * (step - first) / passed:,.0f} images/s" if began and step > first and passed > 0 else ""

        def tick(step: int) -> None:
            nonlocal began, first
            if not began:
                began, first = time.monotonic(), step
            if display.live:
                notify(step, total, f"epoch {epoch} of {epochs}{accuracy}{pace(step)}")

        def report(number: int, value: float) -> bool:
            nonlocal epoch, accuracy, began
            step = number * (data.train // batch)
            text = f"{value:.1%} of validation images right{pace(step)}"
            epoch, accuracy, began = min(number + 1, epochs), f", {value:.1%} of validation images right", 0.0
            if display.live:
                notify(step, total, f"epoch {number} of {epochs}, {text}")
            else:
                notify(number, epochs, text)
            return True

        yield report, tick
