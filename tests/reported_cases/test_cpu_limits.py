"""Machines whose cores are not all this process's: an affinity mask, and cores that are busy."""

import json
import os
import re
import subprocess
import sys
from functools import partial

import pytest

expected_failure = partial(pytest.mark.xfail, strict=True, raises=AssertionError)

pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity") or (os.cpu_count() or 1) < 2,
    reason="needs an affinity mask and two cores",
)

# Runs phinas on one core; the last line of standard output is the number of threads of torch.
ON_ONE_CORE = """
import os, sys
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import torch
from phinas.cli import main
try:
    main(sys.argv[1:])
finally:
    print(torch.get_num_threads())
"""


def run_python(*words, cwd):
    """Run Python in a process of its own, where no environment variable limits the threads."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    result = subprocess.run(
        [sys.executable, *map(str, words)],
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
    return result


@expected_failure(reason="the threads are as many as the machine's cores")
def test_fit_takes_as_many_threads_as_cores_are_allowed(tmp_path, small_network):
    fit = ["fit", small_network, "--data", "digits", "--resolution", 8, "--recipe", "quick"]
    fit += ["--epochs", 1, "--set", "data.max_train_images=100", "--device", "cpu", "--out", "fit"]
    result = run_python("-c", ON_ONE_CORE, *fit, cwd=tmp_path)
    assert result.stdout.splitlines()[-1] == "1"


@pytest.mark.slow
@expected_failure(reason="the workers are as many as the machine's cores")
def test_run_takes_as_many_workers_as_cores_are_allowed(tmp_path):
    (tmp_path / "scorer.py").write_text("def score(spec, budget, seed):\n    return 0.5\n")
    search = ["search", "--evaluator", "scorer:score", "--space", "tiny", "--trials", 2]
    search += ["--set", "search.finalists=1", "--set", "search.finalist_seeds=1"]
    search += ["--set", "run.device=cpu", "--out", "run"]
    run_python("-c", ON_ONE_CORE, *search, cwd=tmp_path)
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["workers"] == 1


@pytest.fixture
def busy_cores():
    """Keep every core busy with another process."""
    spinners = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count())
    ]
    yield
    for spinner in spinners:
        spinner.kill()
        spinner.wait()


@pytest.mark.slow
@pytest.mark.usefixtures("busy_cores")
@expected_failure(reason="spinning OpenMP threads: 10 to 50 times slower than with one thread")
def test_fit_with_several_threads_keeps_its_speed_on_a_busy_machine(tmp_path, small_network):
    def images_per_second(threads):
        fit = ["fit", small_network, "--data", "digits", "--upsample", "--resolution", 32]
        fit += ["--recipe", "quick", "--epochs", 2, "--set", "data.max_train_images=500"]
        fit += ["--threads", threads, "--device", "cpu", "--out", f"fit_{threads}"]
        result = run_python("-m", "phinas", *fit, cwd=tmp_path)
        return float(re.findall(r"([\d,]+) images/s", result.stderr)[-1].replace(",", ""))

    assert images_per_second(2) > images_per_second(1) / 4
