"""Tests of interleaved timing: load of the machine affects all networks alike, and a network that
fails does not affect the others.
"""

import itertools
import time
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from phinas.experiment.errors import NoResultError
from phinas.space.search_spaces.loading import load_space
from phinas.training.engine.device import set_determinism
from phinas.training.timing import interleaved_timing, latency
from phinas.training.timing.interleaved_timing import MIN_ROUNDS, TimedNetwork, time_interleaved
from phinas.training.timing.runtimes import InferenceBuilder
from phinas.training.timing.torch_inference import make_inference

SPACE = load_space("tiny").adapt_to(channels=1, classes=10, resolution=8)
CPU = torch.device("cpu")


@pytest.fixture
def short(monkeypatch):
    """Shorten turns and measurements."""
    monkeypatch.setattr(interleaved_timing, "_TURN_SECONDS", 0.01)
    monkeypatch.setattr(latency, "MIN_SECONDS", 0.05)
    monkeypatch.setattr(latency, "MAX_DISTURBED_SECONDS", 0.5)
    monkeypatch.setattr(latency, "_WARMUP_SECONDS", 0)


@pytest.fixture
def time_functions(monkeypatch, short):
    """Function that times other functions in place of networks' inferences."""
    monkeypatch.setattr(latency, "_count_interruptions", lambda: 0)

    def time_all(*functions):
        inferences = iter(functions)
        return time_interleaved(
            [SPACE.base] * len(functions), CPU, batch=1, make_inference=lambda _: next(inferences)
        )

    return time_all


def time_networks(*networks, batch=1, device=CPU, runtime="torch"):
    builder = InferenceBuilder(device, runtime)
    return time_interleaved(
        networks, device, batch=batch, make_inference=partial(builder.build, batch=batch, threads=1)
    )


def timing_of_turns(*turns_ms):
    return TimedNetwork(turn_medians_ms=list(turns_ms))


def test_a_network_compared_with_itself_has_the_ratio_one(short):
    first, second = time_networks(SPACE.base, SPACE.base)
    ratio = second.ratio_to(first)
    assert ratio.rounds == len(first.turn_medians_ms) == len(second.turn_medians_ms)
    assert ratio.rounds >= MIN_ROUNDS
    assert ratio.median == pytest.approx(1, rel=0.3)
    assert ratio.interval[0] <= ratio.median <= ratio.interval[1]


def test_a_network_with_larger_images_takes_longer(short):
    small, large = time_networks(
        SPACE.base,
        load_space("tiny").adapt_to(channels=1, classes=10, resolution=64).base,
        batch=4,
    )
    assert large.ratio_to(small).interval[0] > 1.5


def test_a_slowdown_of_the_machine_does_not_change_the_ratio(time_functions, monkeypatch):
    """With a simulated clock, so that other load has no effect."""
    seconds = 0.0
    clock = SimpleNamespace(perf_counter=lambda: seconds)
    monkeypatch.setattr(latency, "time", clock)

    def slowing(milliseconds):
        def run():
            nonlocal seconds
            seconds += milliseconds / 1e3 * (1 + 4 * seconds)

        return run

    fast, slow = time_functions(slowing(2), slowing(4))
    assert fast.turn_medians_ms[-1] > 1.5 * fast.turn_medians_ms[0]
    assert slow.ratio_to(fast).median == pytest.approx(2, rel=0.1)


def test_the_order_is_reversed_from_round_to_round(time_functions):
    order = []

    def recorded(name):
        def run():
            order.append(name)
            time.sleep(0.01)

        return run

    time_functions(recorded("a"), recorded("b"), recorded("c"))
    after_warm_up = "".join(name for name, _ in itertools.groupby(order))[3:]
    assert after_warm_up.startswith("abcbabcba")


def test_the_first_run_of_a_turn_counts_only_if_it_is_the_only_one():
    timing = TimedNetwork()
    timing.add_turn([(90.0, False), (10.0, False), (12.0, False)])
    assert [milliseconds for milliseconds, _ in timing.series.runs] == [10, 12]
    timing.add_turn([(30.0, False)])
    assert timing.turn_medians_ms == [11, 30]
    assert timing.seconds_used == pytest.approx(0.142)


def test_the_median_of_a_turn_is_of_its_undisturbed_runs_if_there_are_any():
    timing = TimedNetwork()
    timing.add_turn([(0.0, False), (10.0, False), (50.0, True), (60.0, True)])
    timing.add_turn([(0.0, False), (50.0, True), (60.0, True)])
    assert timing.turn_medians_ms == [10, 55]


def test_the_interval_of_a_ratio_is_that_of_the_sign_test():
    constant = timing_of_turns(*[1.0] * 10)
    ratio = timing_of_turns(*range(1, 11)).ratio_to(constant)
    # the second and the ninth of ten ratios: the coverage is 97.9%
    assert (ratio.median, ratio.interval) == (5.5, (2, 9))


def test_a_ratio_of_few_rounds_has_no_interval():
    ratio = timing_of_turns(2.0, 2.0, 4.0).ratio_to(timing_of_turns(1.0, 1.0, 1.0))
    assert (ratio.median, ratio.interval, ratio.rounds) == (2, None, 3)


def test_timing_of_a_slow_network_ends_and_a_fast_one_gets_as_much_time(
    time_functions, monkeypatch
):
    monkeypatch.setattr(interleaved_timing, "MAX_SECONDS", 0.5)
    slow, fast = time_functions(lambda: time.sleep(0.1), lambda: time.sleep(0.005))
    assert 0.5 <= slow.seconds_used < 0.8
    assert fast.seconds_used >= 0.4
    assert len(fast.series.runs) > 30


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        MemoryError(),
    ],
)
def test_a_network_too_large_for_the_memory_fails_and_the_others_continue(error, time_functions):
    def run():
        raise error

    intact, failed = time_functions(lambda: time.sleep(0.001), run)
    assert (intact.failure, failed.failure) == (None, "out of memory")
    assert len(intact.turn_medians_ms) >= MIN_ROUNDS
    assert failed.ratio_to(intact) is None
    assert intact.ratio_to(failed) is None


def test_memory_that_runs_out_later_fails_that_network_only(time_functions):
    calls = itertools.count()

    def run():
        if next(calls) >= latency._WARMUP_RUNS + MIN_ROUNDS - 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        time.sleep(0.003)

    intact, failed = time_functions(lambda: time.sleep(0.001), run)
    assert failed.failure == "out of memory"
    assert len(failed.turn_medians_ms) < MIN_ROUNDS <= len(intact.turn_medians_ms)


def test_any_other_error_is_raised(time_functions):
    def run():
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        time_functions(run)


def test_a_network_that_cannot_fit_the_memory_is_not_run(short):
    (timing,) = time_networks(SPACE.base, batch=2**40)
    assert "GB of memory; the machine has " in timing.failure


def test_network_that_cannot_be_exported_fails_and_the_others_continue(short):
    def make(network):
        if network.resolution == 16:
            raise NoResultError("it cannot be exported to ONNX")
        return make_inference(network, CPU, batch=1)

    other = load_space("tiny").adapt_to(channels=1, classes=10, resolution=16).base
    failed, intact = time_interleaved([other, SPACE.base], CPU, batch=1, make_inference=make)
    assert (failed.failure, intact.failure) == ("it cannot be exported to ONNX", None)


@pytest.mark.parametrize("deterministic", [True, False])
def test_latencies_do_not_depend_on_what_the_process_did_before(deterministic):
    """A training leaves the settings of cuDNN and the deterministic algorithms that it needed."""
    settings_in_runs = set()

    def settings():
        return torch.backends.cudnn.benchmark, torch.are_deterministic_algorithms_enabled()

    def make(network):
        run = make_inference(network, CPU, batch=1)
        return lambda: (settings_in_runs.add(settings()), run())

    set_determinism(deterministic=deterministic)
    try:
        before = settings()
        time_interleaved([SPACE.base], CPU, batch=1, make_inference=make)
        assert settings() == before
    finally:
        set_determinism(deterministic=False)
    assert settings_in_runs == {(True, False)}


def test_bf16_inference_computes_in_bfloat16():
    run = make_inference(SPACE.base, CPU, batch=2, precision="bf16")
    with torch.inference_mode():
        assert run().dtype == torch.bfloat16
        assert make_inference(SPACE.base, CPU, batch=2)().dtype == torch.float32


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_device_time_and_memory_are_recorded():
    (timing,) = time_networks(SPACE.base, batch=8, device=torch.device("cuda"))
    assert timing.peak_memory_bytes > 0
    assert len(timing.device_ms) == len(timing.series.runs)
    assert all(
        device <= wall
        for device, (wall, _) in zip(timing.device_ms, timing.series.runs, strict=True)
    )
