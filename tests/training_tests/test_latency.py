"""Tests of latency measurement: number of runs, time limits, disturbed runs, device."""

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
    """torch's number of threads, which is restored after the test."""
    before = torch.get_num_threads()
    yield before
    torch.set_num_threads(before)


@pytest.fixture
def short(monkeypatch):
    """Shorten timings to a tenth, also on a busy machine."""
    monkeypatch.setattr(latency, "MIN_SECONDS", 0.05)
    monkeypatch.setattr(latency, "MAX_DISTURBED_SECONDS", 0.3)
    monkeypatch.setattr(latency, "_WARMUP_SECONDS", 0.02)


def test_a_timing_has_median_quartiles_and_hardware(threads, short):
    result = measure_latency(spec=SPACE.base.to_dict(), device="cpu", threads=1, batch=1)
    low, high = result["latency_quartiles_ms"]
    assert 0 < low <= result["latency_ms"] <= high
    assert result["latency_runs"] >= MIN_RUNS
    assert result["latency_hardware"].endswith(", 1 thread, batch of 1")


def test_more_images_take_longer(threads, short):
    one, many = (
        measure_latency(spec=SPACE.base.to_dict(), device="cpu", threads=1, batch=batch)
        for batch in (1, 128)
    )
    assert many["latency_ms"] > one["latency_ms"]  # about 20 times; a busy machine may disturb one
    assert many["latency_hardware"].endswith("batch of 128")


def test_timing_does_not_change_torchs_generator(threads, short):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    measure_latency(spec=SPACE.base.to_dict(), device="cpu", threads=1, batch=1)
    assert torch.rand(1) == expected


def test_a_fast_run_is_repeated_for_the_minimum_time():
    start = time.perf_counter()
    milliseconds, _ = time_repeatedly(lambda: time.sleep(0.002), synchronize=lambda: None)
    assert time.perf_counter() - start >= MIN_SECONDS
    assert len(milliseconds) >= MIN_RUNS
    assert min(milliseconds) >= 2


def test_a_slow_run_is_repeated_the_minimum_number_of_times(monkeypatch):
    monkeypatch.setattr(latency, "_count_interruptions", lambda: 0)
    assert len(time_repeatedly(lambda: time.sleep(0.02), synchronize=lambda: None)[0]) == MIN_RUNS


def test_timing_of_a_very_slow_run_ends_at_the_limit(monkeypatch):
    monkeypatch.setattr(latency, "MAX_SECONDS", 0.1)
    assert len(time_repeatedly(lambda: time.sleep(0.06), synchronize=lambda: None)[0]) == 2


def test_disturbed_runs_are_excluded(monkeypatch, short):
    counts = itertools.count()
    # every other run is disturbed
    monkeypatch.setattr(latency, "_count_interruptions", lambda: next(counts) // 2)
    monkeypatch.setattr(latency, "MAX_DISTURBED_SECONDS", 60.0)  # also on a busy machine
    milliseconds, num_excluded = time_repeatedly(
        lambda: time.sleep(0.002), synchronize=lambda: None
    )
    assert abs(len(milliseconds) - num_excluded) <= 1
    assert len(milliseconds) >= MIN_RUNS


def test_all_runs_count_if_every_run_is_disturbed(monkeypatch, short):
    counts = itertools.count()
    monkeypatch.setattr(latency, "_count_interruptions", lambda: next(counts))
    monkeypatch.setattr(latency, "MAX_DISTURBED_SECONDS", 0.2)
    milliseconds, num_excluded = time_repeatedly(
        lambda: time.sleep(0.005), synchronize=lambda: None
    )
    assert len(milliseconds) >= MIN_RUNS
    assert num_excluded == 0


def test_the_time_includes_the_wait_for_the_device_but_not_the_warm_up(short):
    calls = itertools.count()
    milliseconds, _ = time_repeatedly(
        lambda: time.sleep(0.2 if next(calls) == 0 else 0), synchronize=lambda: time.sleep(0.005)
    )
    assert min(milliseconds) >= 5
    assert max(milliseconds) < 200


def test_the_key_of_a_latency_job_depends_on_threads_batch_device_and_runtime(threads, short):
    job = LatencyTimer("cpu", 1).make_job(SPACE.base)
    others = [
        LatencyTimer("cpu", 2),
        LatencyTimer("cpu", 1, batch=2),
        LatencyTimer("mps", 1),
        LatencyTimer("cpu", 1, runtime="onnxruntime"),
        LatencyTimer("cpu", 1, runtime="onnxruntime-int8"),
    ]
    assert len({job.key, *(other.make_job(SPACE.base).key for other in others)}) == 6
    executor = InlineExecutor(1)
    executor.submit(job)
    assert executor.next_result().value["latency_ms"] > 0


def test_timing_on_a_missing_device_is_refused():
    with pytest.raises(InputError, match="cuda:99 is not available"):
        measure_latency(spec=SPACE.base.to_dict(), device="cuda:99", threads=1, batch=1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_a_timing_waits_for_its_kernels():
    device = torch.device("cuda")
    matrix = torch.randn(4096, 4096, device=device)
    full_times, _ = time_repeatedly(lambda: matrix @ matrix, synchronize=make_synchronizer(device))
    launch_times, _ = time_repeatedly(lambda: matrix @ matrix, synchronize=lambda: None)
    assert full_times[len(full_times) // 2] > launch_times[0]
