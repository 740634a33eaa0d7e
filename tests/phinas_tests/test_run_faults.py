"""Faults of a run: files that vanish, a full or read-only disk, a clock that jumps, two signals.

A run without its files ends with exit code 5 and records nothing false.
"""

import os
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path

import pytest

SMALL_RUN = Path(__file__).parent / "small_run.yaml"
TRIALS = 5
EVALUATOR = """
import os, signal, time
from pathlib import Path

HERE = Path(__file__).parent

def wait(spec, budget, seed):
    # until the test allows the next trial
    with open(HERE / "calls", "a") as file: file.write("x")
    number = (HERE / "calls").stat().st_size
    deadline = time.monotonic() + 200
    while not (HERE / "end").exists() and number > 1 and time.monotonic() < deadline:
        time.sleep(0.02)
    if number == 3: time.sleep(1)  # so that it is running when the second one ends
    return (int(spec.network_id, 16) % 1000) / 1000

def stubborn(spec, budget, seed):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return wait(spec, budget, seed)
"""


def search_command(
    folder: Path, out: Path, *, function: str = "wait", **options: object
) -> list[str]:
    (folder / "own_evaluator.py").write_text(EVALUATOR)
    settings = {"run.workers": 1, "search.reference": "none", "search.finalists": 1} | options
    return [
        sys.executable, "-m", "phinas", "search", "--space", "tiny", "--trials", str(TRIALS),
        "--evaluator", f"own_evaluator:{function}", "--out", str(out),
        *(f"--set={name}={value}" for name, value in settings.items()),
    ]  # fmt: skip


class Run:
    """A search that waits in its second trial, until `finish`."""

    def __init__(self, folder: Path, *, prefix: Sequence[str] = (), **options: object) -> None:
        self.folder, self.path, self._prefix = folder, folder / "run", prefix
        working_directory = folder / "work"
        working_directory.mkdir()
        self.process = subprocess.Popen(
            [*prefix, *search_command(folder, self.path, **options)],
            cwd=working_directory,
            env=os.environ
            | {"PYTHONPATH": f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.wait_for(lambda: self.num_calls == 2)

    @property
    def num_calls(self) -> int:
        calls = self.folder / "calls"
        return calls.stat().st_size if calls.exists() else 0

    def wait_for(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 200
        while not condition():
            assert self.process.poll() is None, self.process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def finish(self) -> tuple[int, str]:
        """The exit code and standard error, after the trials may end."""
        (self.folder / "end").touch()
        _, stderr = self.process.communicate(timeout=200)
        return self.process.returncode, stderr

    def resume(self) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*self._prefix, sys.executable, "-m", "phinas", "resume", str(self.path)],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def start_run(**options: object) -> Run:
        runs.append(Run(tmp_path, **options))
        return runs[-1]

    yield start_run
    for run in runs:
        run.process.kill()
        run.process.communicate()


def states(path: Path) -> list[str]:
    """The states of the trials of the search, read without phinas."""
    with closing(sqlite3.connect(path / "study.db")) as connection:
        rows = connection.execute(
            "SELECT state FROM trials JOIN studies USING (study_id) WHERE study_name = 'search' "
            "ORDER BY number"
        )
        return [state for (state,) in rows]


def assert_resumes(run: Run) -> None:
    result = run.resume()
    assert result.returncode == 0, result.stderr
    # the trial that was running has been replaced by another one
    assert sorted(states(run.path)) == ["COMPLETE"] * TRIALS + ["FAIL"]
    assert run.num_calls == TRIALS + 3  # with the two of the finalist, and one that was interrupted


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["processes", "inline"])
def test_a_run_directory_that_vanishes_ends_the_run_and_comes_back(
    start: Callable[..., Run], tmp_path: Path, executor: str
) -> None:
    run = start(**{"run.executor": executor})
    run.path.rename(tmp_path / "elsewhere")
    code, stderr = run.finish()
    assert code == 5
    assert f"phinas: {run.path}: was removed while phinas used it; put it back" in stderr
    assert "Traceback" not in stderr
    assert not run.path.exists()
    assert states(tmp_path / "elsewhere") == ["COMPLETE", "RUNNING"]
    (tmp_path / "elsewhere").rename(run.path)
    assert_resumes(run)


@pytest.mark.slow
def test_another_run_in_place_of_the_run_directory_is_not_changed(
    start: Callable[..., Run], tmp_path: Path
) -> None:
    run = start()
    run.path.rename(tmp_path / "elsewhere")
    shutil.copytree(tmp_path / "elsewhere", run.path)
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    code, stderr = run.finish()
    assert (code, "was replaced by another directory" in stderr) == (5, True)
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_a_record_that_vanishes_is_named(start: Callable[..., Run], tmp_path: Path) -> None:
    run = start()
    for path in run.path.glob("study.db*"):
        path.rename(tmp_path / path.name)
    code, stderr = run.finish()
    assert (code, f"{run.path / 'study.db'}: was removed or replaced" in stderr) == (5, True)
    for path in tmp_path.glob("study.db*"):
        path.rename(run.path / path.name)
    assert_resumes(run)


@pytest.mark.slow
def test_a_run_directory_that_becomes_read_only_ends_the_run(start: Callable[..., Run]) -> None:
    prefix: list[str] = []
    if os.getuid() == 0:  # root may write to any directory, unless it gives up this capability
        prefix = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"]
        if not shutil.which("setpriv"):
            pytest.skip("root needs setpriv for this test; on Debian: apt-get install util-linux")
    run = start(prefix=prefix)
    run.path.chmod(0o500)
    code, stderr = run.finish()
    run.path.chmod(0o700)
    assert (code, f"phinas: {run.path}: cannot be written any more" in stderr) == (5, True), stderr
    # The running job had a result. The third trial had begun, but its job had not.
    assert states(run.path) == ["COMPLETE", "COMPLETE", "RUNNING"]
    result = run.resume()
    assert result.returncode == 0, result.stderr
    assert sorted(states(run.path)) == ["COMPLETE"] * TRIALS + ["FAIL"]


@pytest.mark.slow
def test_a_full_disk_ends_the_run_and_it_resumes_with_free_space(
    start: Callable[..., Run], tmp_path: Path
) -> None:
    disk = tmp_path / "run"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    result = subprocess.run(mount, capture_output=True, text=True, check=False)
    if result.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {result.stderr.strip()}")
    ballast = tmp_path / "run" / "checkpoints" / "ballast"
    try:
        run = start()
        ballast.parent.mkdir(exist_ok=True)
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(b"0" * 512)
        code, stderr = run.finish()
        assert code == 5, stderr
        assert "full" in stderr
        assert states(disk)[0] == "COMPLETE"
        assert "FAIL" not in states(disk)
        ballast.unlink()
        assert_resumes(run)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.slow
def test_a_working_directory_that_is_removed_does_not_matter(start: Callable[..., Run]) -> None:
    run = start()
    shutil.rmtree(run.folder / "work")
    code, stderr = run.finish()
    assert code == 0, stderr


@pytest.mark.slow
def test_images_that_vanish_end_the_run_without_failed_trials(tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = ["search", SMALL_RUN, "--out", run, "--set", "search.recipe.epochs=6"]
    with subprocess.Popen(
        [sys.executable, "-m", "phinas", *map(str, arguments)], stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 200
        while not (run / "config.yaml").exists() or "COMPLETE" not in states(run):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        (run / "data").rename(tmp_path / "data")
        _, stderr = process.communicate(timeout=200)
    assert process.returncode == 5
    assert f"phinas: {run / 'data'}: holds no prepared images" in stderr
    assert "FAIL" not in states(run)
    (tmp_path / "data").rename(run / "data")
    resume = [sys.executable, "-m", "phinas", "resume", str(run)]
    result = subprocess.run(resume, capture_output=True, text=True, timeout=250, check=False)
    assert result.returncode == 0, result.stderr
    assert states(run).count("COMPLETE") == 6


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_signal_ends_the_run_at_once(
    start: Callable[..., Run], number: signal.Signals, code: int
) -> None:
    run = start(function="stubborn")
    begin = time.monotonic()
    run.process.send_signal(number)
    time.sleep(0.5)  # the driver waits for the job, which ignores SIGTERM
    assert run.process.poll() is None
    run.process.send_signal(number)
    run.process.communicate(timeout=60)
    assert time.monotonic() - begin < 3.5  # less than the time to save a running job
    assert run.process.returncode == code
    (run.folder / "end").touch()
    assert_resumes(run)


CLOCK = """
import time
from pathlib import Path

_time, _jumped = time.time, Path(__file__).parent / "jumped"
time.time = lambda: _time() + (float(_jumped.read_text()) if _jumped.exists() else 0.0)
"""


@pytest.mark.slow
@pytest.mark.parametrize("shift_seconds", [3600, -3600])
def test_a_clock_that_jumps_by_an_hour_fails_no_trial(
    start: Callable[..., Run], tmp_path: Path, shift_seconds: int
) -> None:
    # in the driver and in its workers, which have the same PYTHONPATH
    (tmp_path / "sitecustomize.py").write_text(CLOCK)
    run = start(**{"run.trial_timeout_minutes": 30, "run.workers": 2})
    run.wait_for(lambda: run.num_calls == 3)
    (tmp_path / "jumped").write_text(str(shift_seconds))
    code, stderr = run.finish()
    assert code == 0, stderr
    assert states(run.path) == ["COMPLETE"] * TRIALS


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["describe", "efficientnet_b0"], 0, ""),
        (
            ["search", "--evaluator", "phinas.testing.functions:smooth", "--out", "run"],
            5,
            "phinas: the current directory was removed; change to another one",
        ),
    ],
)
def test_a_command_in_a_removed_directory_has_no_traceback(
    tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    script = f"rmdir {shlex.quote(str(tmp_path / 'work'))} && exec {shlex.quote(sys.executable)}"
    (tmp_path / "work").mkdir()
    result = subprocess.run(
        ["sh", "-c", f"{script} -m phinas {shlex.join(arguments)}"],
        cwd=tmp_path / "work",
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    assert message in result.stderr
