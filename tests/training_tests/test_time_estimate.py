"""Tests of the time model: what a few timed networks say about all others."""

import math
from dataclasses import replace

import pytest

from phinas.experiment.errors import InputError
from phinas.experiment.executors.interface import Result
from phinas.experiment.schema.config import Recipe
from phinas.space.loading import load_spec
from phinas.training.timing.step_timing import StepTiming
from phinas.training.timing.time_estimate import (
    MAX_TIMED_NETWORKS,
    TimeModel,
    TimingSettings,
    fit_time_model,
    select_spread,
)

RECIPE = Recipe(epochs=4, batch_size=64)
NETWORKS = [
    replace(load_spec("efficientnet_b0"), resolution=resolution)
    for resolution in (32, 48, 64, 96, 128, 160, 192, 224, 256, 320)
]
SETTINGS = TimingSettings(train_images=1000, image_size=64, device="cpu", threads=1)


def true_seconds(network, batch):
    """A device with a constant, a compute and a memory part."""
    cost = network.cost()
    return 0.002 + batch * (cost.flops / 2e10 + cost.activations / 1e9)


def timing_of(network, batch):
    seconds = true_seconds(network, batch)
    return StepTiming(batch, seconds, seconds / 3, 0.1 + 0.001 * batch, 2 * batch)


class SimulatedExecutor:
    """Answers timing jobs from `true_seconds`, at most as many at a time as it has workers."""

    def __init__(self, max_workers=2, *, reason=""):
        self.max_workers, self._reason = max_workers, reason
        self.jobs, self._running = [], []

    def submit(self, job):
        assert len(self._running) < self.max_workers
        self.jobs.append(job)
        self._running.append(job)

    def next_result(self):
        job = self._running.pop(0)
        if self._reason:
            return Result(job.key, None, self._reason, failure="exception")
        network = next(network for network in NETWORKS if network.network_id == job.key)
        timings = [timing_of(network, batch) for batch in (8, job.payload["recipe"]["batch_size"])]
        rows = [{name: getattr(row, name) for name in StepTiming.__slots__} for row in timings]
        return Result(job.key, {"timings": rows, "seconds": 4 * timings[-1].step_seconds})

    def close(self):
        pass


def fit(executor):
    progress = []
    model = fit_time_model(
        [(network, RECIPE) for network in NETWORKS],
        SETTINGS,
        executor,
        on_progress=lambda *counts: progress.append(counts[:2]),
    )
    return model, progress


def test_the_model_predicts_networks_that_were_not_timed():
    executor = SimulatedExecutor()
    model, _ = fit(executor)
    timed = {job.key for job in executor.jobs}
    others = [network for network in NETWORKS if network.network_id not in timed]
    assert others
    for network in others:
        assert model.step_seconds(network, 64) == pytest.approx(true_seconds(network, 64), rel=0.1)


def test_an_epoch_has_all_full_batches_and_the_evaluation():
    model = TimeModel.fit([(network, timing_of(network, 64)) for network in NETWORKS])
    network = NETWORKS[2]
    seconds = model.epoch_seconds(network, RECIPE, train_images=1000, val_images=128)
    expected = (1000 // 64 + 2 / 3) * true_seconds(network, 64)
    assert seconds == pytest.approx(expected, rel=0.1)


def test_loading_and_the_start_of_a_training_are_separate_from_its_epochs():
    timings = [(network, timing_of(network, batch)) for network in NETWORKS for batch in (8, 64)]
    model = TimeModel.fit(timings)
    assert model.load_seconds == pytest.approx(0.0005, rel=0.01)
    assert model.setup_seconds(1000) == pytest.approx(0.1 + 0.5, rel=0.01)


def test_one_timing_is_enough_and_predicts_itself():
    model = TimeModel.fit([(NETWORKS[3], timing_of(NETWORKS[3], 64))])
    assert model.step_seconds(NETWORKS[3], 64) == pytest.approx(true_seconds(NETWORKS[3], 64))


def test_a_few_networks_from_the_smallest_to_the_largest_are_timed_once_each():
    selected = select_spread([(network, RECIPE) for network in [*NETWORKS, *NETWORKS]])
    resolutions = [network.resolution for network, _ in selected]
    assert resolutions == sorted(set(resolutions))
    assert (resolutions[0], resolutions[-1], len(resolutions)) == (32, 320, MAX_TIMED_NETWORKS)


def test_a_network_that_would_take_too_long_is_not_timed():
    executor = SimulatedExecutor()
    seconds = true_seconds(NETWORKS[0], 64)
    settings = replace(SETTINGS, max_seconds=4 * seconds)
    fit_time_model(
        [(network, RECIPE) for network in NETWORKS],
        settings,
        executor,
        on_progress=lambda *_counts: None,
    )
    assert 0 < len(executor.jobs) < MAX_TIMED_NETWORKS
    assert all(math.isfinite(job.payload["seconds"]) for job in executor.jobs)


def test_progress_counts_the_timed_networks():
    _, progress = fit(SimulatedExecutor())
    assert progress[0] == (0, MAX_TIMED_NETWORKS)
    assert progress[-1] == (MAX_TIMED_NETWORKS, MAX_TIMED_NETWORKS)
    assert [done for done, _ in progress] == sorted(done for done, _ in progress)


def test_networks_that_all_fail_are_an_error_with_the_reason():
    with pytest.raises(InputError, match=r"cannot be timed: out of memory with .* 32 px"):
        fit(SimulatedExecutor(reason="out of memory with images of 32 px"))
