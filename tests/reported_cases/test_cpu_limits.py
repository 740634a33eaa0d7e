"""Tests on machines with an affinity mask or with busy cores."""

import json
import os
import subprocess
import sys

import pytest
import torch

pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity") or (os.cpu_count() or 1) < 2,
    reason="needs an affinity mask and two cores",
)


def run_command(*words, cwd):
    """Run phinas in a new process, without an environment variable that limits its threads."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    result = subprocess.run(
        [sys.executable, "-m", "phinas", *map(str, words)],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    if result.returncode != 0:
        raise RuntimeError(result.stderr)


@pytest.fixture
def one_core(monkeypatch):
    """Restrict this process to one core, but not by an environment variable."""
    allowed = os.sched_getaffinity(0)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    os.sched_setaffinity(0, {min(allowed)})
    yield
    os.sched_setaffinity(0, allowed)


@pytest.mark.usefixtures("one_core")
def test_fit_uses_as_many_threads_as_allowed_cores(small_network, run_phinas):
    fit = ["fit", small_network, "--data", "digits", "--resolution", 8, "--recipe", "quick"]
    fit += ["--epochs", 1, "--set", "data.max_train_images=40", "--device", "cpu", "--out", "fit"]
    assert run_phinas(*fit).exit_code == 0
    assert torch.get_num_threads() == 1


@pytest.mark.slow
@pytest.mark.usefixtures("one_core")
def test_search_uses_as_many_workers_as_allowed_cores(tmp_path, phinas_in_process):
    (tmp_path / "scorer.py").write_text("def score(spec, budget, seed):\n    return 0.5\n")
    search = ["search", "--evaluator", "scorer:score", "--space", "tiny", "--trials", 2]
    search += ["--set", "search.finalists=1", "--set", "search.finalist_seeds=1"]
    search += ["--set", "run.device=cpu", "--out", "run"]
    result = phinas_in_process(*search, cwd=tmp_path)
    if result.returncode != 0:
        raise RuntimeError(result.stderr)
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["workers"] == 1


@pytest.fixture
def busy_cores():
    """Keep every core busy with other processes."""
    spinners = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count())
    ]
    yield
    for spinner in spinners:
        spinner.kill()
        spinner.wait()


@pytest.mark.slow
@pytest.mark.usefixtures("busy_cores")
def test_fit_is_not_much_slower_than_with_one_thread_on_a_busy_machine(tmp_path, small_network):
    def images_per_second(threads, attempt):
        out = f"fit_{threads}_{attempt}"
        fit = ["fit", small_network, "--data", "digits", "--upsample", "--resolution", 32]
        fit += ["--recipe", "quick", "--epochs", 4, "--set", "data.max_train_images=1000"]
        fit += ["--threads", threads, "--device", "cpu", "--out", out]
        run_command(*fit, cwd=tmp_path)
        record = json.loads((tmp_path / out / "measurement.json").read_text())
        return record["measurement"]["images_per_second"]

    # other processes may disturb one of the two
    assert any(
        images_per_second("auto", attempt) > images_per_second(1, attempt) / 2
        for attempt in range(3)
    )
