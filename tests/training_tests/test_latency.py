"""The timing of an inference: enough runs, bounded, on the device that was asked for, and the same
whoever calls it.
"""

import itertools
import time

import pytest
import torch

from phinas.experiment.errors import InputError
from phinas.experiment.executors.inline import InlineExecutor
from phinas.space.search_spaces.loading import load_space
from phinas.training.timing import latency
from phinas.training.timing.latency import (
    MIN_RUNS,
    MIN_SECONDS,
    LatencyTimer,
    make_synchronizer,
    measure_latency,
    time_repeatedly,
)

SPACE = load_space("tiny").adapt_to(channels=1, classes=10, resolution=8)


@pytest.fixture
def threads():
    """torch's number of threads, put back."""
    before = torch.get_num_threads()
    yield before
    torch.set_num_threads(before)


@pytest.fixture
def short(monkeypatch):
    """A tenth of the time that a timing takes at least, also on a busy machine."""
    monkeypatch.setattr(latency, "MIN_SECONDS", 0.05)
    monkeypatch.setattr(latency, "MAX_DISTURBED_SECONDS", 0.3)
    monkeypatch.setattr(latency, "_WARMUP_SECONDS", 0.02)


def test_a_timing_gives_median_quartiles_and_what_it_was_measured_on(threads, short):
    found = measure_latency(spec=SPACE.base.to_dict(), device="cpu", threads=1, batch=1)
    low, high = found["latency_quartiles_ms"]
    assert 0 < low <= found["latency_ms"] <= high
    assert found["latency_runs"] >= MIN_RUNS
    assert found["latency_hardware"].endswith(", 1 thread, batch of 1")


def test_more_images_take_longer(threads, short):
    one, many = (
        measure_latency(spec=SPACE.base.to_dict(), device="cpu", threads=1, batch=batch)
        for batch in (1, 128)
    )
    assert many["latency_ms"] > 3 * one["latency_ms"]
    assert many["latency_hardware"].endswith("batch of 128")


def test_torchs_generator_is_left_as_it_was(threads, short):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    measure_latency(spec=SPACE.base.to_dict(), device="cpu", threads=1, batch=1)
    assert torch.rand(1) == expected


def test_a_quick_run_is_repeated_until_its_time_is_up():
    began = time.perf_counter()
    milliseconds, _ = time_repeatedly(lambda: time.sleep(0.002), synchronize=lambda: None)
    assert time.perf_counter() - began >= MIN_SECONDS
    assert len(milliseconds) >= MIN_RUNS
    assert min(milliseconds) >= 2


def test_a_slow_run_is_repeated_often_enough_whatever_it_takes(monkeypatch):
    monkeypatch.setattr(latency, "_count_interruptions", lambda: 0)
    assert len(time_repeatedly(lambda: time.sleep(0.02), synchronize=lambda: None)[0]) == MIN_RUNS


def test_a_very_slow_run_is_ended(monkeypatch):
    monkeypatch.setattr(latency, "MAX_SECONDS", 0.1)
    assert len(time_repeatedly(lambda: time.sleep(0.06), synchronize=lambda: None)[0]) == 2


def test_runs_that_the_machine_disturbed_are_left_out(monkeypatch, short):
    counts = itertools.count()
    # every other run is disturbed
    monkeypatch.setattr(latency, "_count_interruptions", lambda: next(counts) // 2)
    milliseconds, num_excluded = time_repeatedly(
        lambda: time.sleep(0.002), synchronize=lambda: None
    )
    assert abs(len(milliseconds) - num_excluded) <= 1
    assert len(milliseconds) >= MIN_RUNS


def test_where_every_run_is_disturbed_all_count(monkeypatch, short):
    counts = itertools.count()
    monkeypatch.setattr(latency, "_count_interruptions", lambda: next(counts))
    monkeypatch.setattr(latency, "MAX_DISTURBED_SECONDS", 0.2)
    milliseconds, num_excluded = time_repeatedly(
        lambda: time.sleep(0.005), synchronize=lambda: None
    )
    assert len(milliseconds) >= MIN_RUNS
    assert num_excluded == 0


def test_the_time_until_the_device_is_done_counts_and_the_warm_up_does_not(short):
    calls = itertools.count()
    milliseconds, _ = time_repeatedly(
        lambda: time.sleep(0.2 if next(calls) == 0 else 0), synchronize=lambda: time.sleep(0.005)
    )
    assert min(milliseconds) >= 5
    assert max(milliseconds) < 200


def test_a_job_is_plain_data_and_its_key_follows_from_all_that_decides_it(threads, short):
    job = LatencyTimer("cpu", 1).make_job(SPACE.base)
    others = [LatencyTimer("cpu", 2), LatencyTimer("cpu", 1, batch=2), LatencyTimer("mps", 1)]
    assert len({job.key, *(other.make_job(SPACE.base).key for other in others)}) == 4
    executor = InlineExecutor(1)
    executor.submit(job)
    assert executor.next_result().value["latency_ms"] > 0


def test_a_device_that_is_not_there_is_said_to_be():
    with pytest.raises(InputError, match="cuda:99 is not there"):
        measure_latency(spec=SPACE.base.to_dict(), device="cuda:99", threads=1, batch=1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_a_timing_waits_for_its_kernels():
    device = torch.device("cuda")
    matrix = torch.randn(4096, 4096, device=device)
    waited, _ = time_repeatedly(lambda: matrix @ matrix, synchronize=make_synchronizer(device))
    launched, _ = time_repeatedly(lambda: matrix @ matrix, synchronize=lambda: None)
    assert waited[len(waited) // 2] > launched[0]
