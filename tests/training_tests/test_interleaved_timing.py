"""Networks timed in turns: what hits the machine hits all alike, and what can't be run keeps nobody
else from it.
"""

import itertools
import time

import pytest
import torch

from phinas.space.search_spaces.loading import load_space
from phinas.training.timing import interleaved_timing, latency
from phinas.training.timing.interleaved_timing import MIN_ROUNDS, TimedNetwork, time_interleaved

SPACE = load_space("tiny").adapt_to(channels=1, classes=10, resolution=8)
CPU = torch.device("cpu")


@pytest.fixture
def short(monkeypatch):
    """Turns of a few runs, and few of them in all."""
    monkeypatch.setattr(interleaved_timing, "_TURN_SECONDS", 0.01)
    monkeypatch.setattr(latency, "MIN_SECONDS", 0.05)
    monkeypatch.setattr(latency, "MAX_DISTURBED_SECONDS", 0.5)
    monkeypatch.setattr(latency, "_WARMUP_SECONDS", 0)


@pytest.fixture
def sleepers(monkeypatch, short):
    """Networks that only sleep: the milliseconds of the next of them, call by call, from these
    functions.
    """
    monkeypatch.setattr(latency, "_count_interruptions", lambda: 0)

    def enter(*sleeps):
        waiting = iter(sleeps)
        monkeypatch.setattr(interleaved_timing, "make_inference", lambda *_, **__: next(waiting))
        return time_interleaved([SPACE.base] * len(sleeps), CPU, batch=1)

    return enter


def timed(*turns_ms):
    return TimedNetwork(turn_medians_ms=list(turns_ms))


def test_a_network_against_itself_takes_as_long(short):
    one, same = time_interleaved([SPACE.base, SPACE.base], CPU, batch=1)
    ratio = same.ratio_to(one)
    assert ratio.rounds == len(one.turn_medians_ms) == len(same.turn_medians_ms) >= MIN_ROUNDS
    assert ratio.median == pytest.approx(1, rel=0.3)
    assert ratio.interval[0] <= ratio.median <= ratio.interval[1]


def test_a_network_of_larger_images_takes_longer(short):
    small, large = time_interleaved(
        [SPACE.base, load_space("tiny").adapt_to(channels=1, classes=10, resolution=64).base],
        CPU,
        batch=4,
    )
    assert large.ratio_to(small).interval[0] > 1.5


def test_a_machine_that_slows_down_leaves_the_ratio_as_it_is(sleepers):
    began = time.perf_counter()

    def pause(milliseconds):
        return lambda: time.sleep(milliseconds / 1e3 * (1 + 4 * (time.perf_counter() - began)))

    one, double = sleepers(pause(2), pause(4))
    assert one.turn_medians_ms[-1] > 1.5 * one.turn_medians_ms[0]
    assert double.ratio_to(one).median == pytest.approx(2, rel=0.15)


def test_the_order_of_a_round_is_turned_about(sleepers):
    order = []

    def run(name):
        def noted():
            order.append(name)
            time.sleep(0.01)

        return noted

    sleepers(run("a"), run("b"), run("c"))
    after_warm_up = "".join(name for name, _ in itertools.groupby(order))[3:]
    assert after_warm_up.startswith("abcbabcba")


def test_the_first_run_of_a_turn_does_not_count_but_where_it_is_alone():
    found = TimedNetwork()
    found.add_turn([(90.0, False), (10.0, False), (12.0, False)])
    assert [milliseconds for milliseconds, _ in found.series.runs] == [10, 12]
    found.add_turn([(30.0, False)])
    assert found.turn_medians_ms == [11, 30]
    assert found.seconds_used == pytest.approx(0.142)


def test_a_turn_is_told_by_its_undisturbed_runs_if_it_has_any():
    found = TimedNetwork()
    found.add_turn([(0.0, False), (10.0, False), (50.0, True), (60.0, True)])
    found.add_turn([(0.0, False), (50.0, True), (60.0, True)])
    assert found.turn_medians_ms == [10, 55]


def test_the_interval_of_a_ratio_is_that_of_the_sign_test():
    first = timed(*[1.0] * 10)
    ratio = timed(*range(1, 11)).ratio_to(first)
    # of ten, the second and the ninth: 97.9%
    assert (ratio.median, ratio.interval) == (
        5.5,
        (2, 9),
    )


def test_few_rounds_have_a_ratio_and_no_interval():
    ratio = timed(2.0, 2.0, 4.0).ratio_to(timed(1.0, 1.0, 1.0))
    assert (ratio.median, ratio.interval, ratio.rounds) == (2, None, 3)


def test_a_slow_network_is_ended_and_a_quick_one_beside_it_has_had_as_much_time(
    sleepers, monkeypatch
):
    monkeypatch.setattr(interleaved_timing, "MAX_SECONDS", 0.5)
    slow, quick = sleepers(lambda: time.sleep(0.1), lambda: time.sleep(0.005))
    assert 0.5 <= slow.seconds_used < 0.8
    assert quick.seconds_used >= 0.4
    assert len(quick.series.runs) > 30


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        MemoryError(),
    ],
)
def test_a_network_too_large_for_the_memory_fails_and_the_others_go_on(error, sleepers):
    def run():
        raise error

    whole, failed = sleepers(lambda: time.sleep(0.001), run)
    assert (whole.failure, failed.failure) == (None, "out of memory")
    assert len(whole.turn_medians_ms) >= MIN_ROUNDS
    assert failed.ratio_to(whole) is None
    assert whole.ratio_to(failed) is None


def test_memory_that_runs_out_later_fails_that_network_only(sleepers):
    calls = itertools.count()

    def run():
        if next(calls) >= latency._WARMUP_RUNS + MIN_ROUNDS - 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        time.sleep(0.003)

    whole, failed = sleepers(lambda: time.sleep(0.001), run)
    assert failed.failure == "out of memory"
    assert len(failed.turn_medians_ms) < MIN_ROUNDS <= len(whole.turn_medians_ms)


def test_any_other_error_is_raised(sleepers):
    def run():
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        sleepers(run)


def test_what_can_not_fit_is_not_tried(short):
    (found,) = time_interleaved([SPACE.base], CPU, batch=2**40)
    assert "GB at least, of " in found.failure


def test_bf16_is_what_the_network_computes_in():
    run = latency.make_inference(SPACE.base, CPU, batch=2, precision="bf16")
    with torch.inference_mode():
        assert run().dtype == torch.bfloat16
        assert latency.make_inference(SPACE.base, CPU, batch=2)().dtype == torch.float32


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_device_tells_its_own_time_and_memory():
    (found,) = time_interleaved([SPACE.base], torch.device("cuda"), batch=8)
    assert found.peak_memory_bytes > 0
    assert len(found.device_ms) == len(found.series.runs)
    assert all(
        device <= wall for device, (wall, _) in zip(found.device_ms, found.series.runs, strict=True)
    )
