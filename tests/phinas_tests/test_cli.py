"""Output, exit codes and start-up time of the command line."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from phinas.errors import run_command
from phinas.experiment.errors import DiskError
from phinas.experiment.run_dir import write_atomic

HEAVY_LIBRARIES = ("torch", "optuna", "pandas", "matplotlib", "numpy", "sklearn", "scipy")
COMMANDS = (
    "run",
    "search",
    "scale",
    "validate",
    "report",
    "resume",
    "plan",
    "audit",
    "describe",
    "export",
    "fit",
    "latency",
    "bench",
)


def test_help_imports_no_heavy_library() -> None:
    code = (
        "import sys\nfrom phinas.errors import run_command\nfrom phinas.cli import "
        "cli\nrun_command(cli, "
        "['--help'])\n"
        f"print([name for name in {HEAVY_LIBRARIES!r} if name in sys.modules], file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stderr.strip() == "[]"
    for command in COMMANDS:
        assert f"\n  {command} " in result.stdout


def test_help_takes_less_than_half_a_second_of_cpu_time() -> None:
    # CPU time, because other processes on the machine change the elapsed time.
    times = []
    for _ in range(3):
        start = os.times()
        subprocess.run([sys.executable, "-m", "phinas", "--help"], capture_output=True, check=True)
        end = os.times()
        times.append(
            end.children_user - start.children_user + end.children_system - start.children_system
        )
    assert min(times) < 0.5


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, phinas_in_process) -> None:
    result = phinas_in_process(command, "--help")
    assert result.returncode == 0
    assert len(result.stdout.splitlines()) > 5


def test_report_prints_one_fact_a_line_and_the_path_of_the_page(
    finished_run: Path, phinas_in_process
) -> None:
    result = phinas_in_process("report", finished_run)
    assert result.returncode == 0, result.stderr
    *lines, path = result.stdout.splitlines()
    assert [line.split()[0] for line in lines][-3:] == ["alpha", "accuracy", "duration"]
    assert "on the test split: B0" in lines[-2]
    assert Path(path).is_file()


def test_json_option_prints_only_json_on_standard_output(
    finished_run: Path, phinas_in_process
) -> None:
    summary = json.loads(phinas_in_process("resume", finished_run, "--json").stdout)
    assert summary["coefficients"]["alpha"] >= 1
    assert [row["name"] for row in summary["family"]] == [f"b{index}" for index in range(8)]
    assert {row["validated"] for row in summary["family"]} == {True, False}


def test_describe_verifies_the_baseline_of_a_run_with_fvcore(
    finished_run: Path, phinas_in_process
) -> None:
    result = phinas_in_process("describe", finished_run / "search" / "baseline.yaml", "--verify")
    assert result.returncode == 0, result.stderr
    assert "equal" in result.stdout.splitlines()[-1]


def test_plan_counts_the_trainings_of_each_stage(phinas_in_process) -> None:
    result = phinas_in_process("plan", Path(__file__).parent / "small_run.yaml", "--json")
    assert result.returncode == 0, result.stderr
    stages = {row["stage"]: row for row in json.loads(result.stdout)["stages"]}
    assert stages["search"]["trainings"] == 6
    assert stages["finalists"]["trainings"] == 4
    assert "reference" not in stages  # the resolution is too low for EfficientNet-B0
    assert stages["scaling"]["trainings"] <= 6
    assert all(row["flops"] > 0 and row["hours"] > 0 for row in stages.values())


def test_closed_output_pipe_is_not_an_error() -> None:
    command = (
        f"{sys.executable} -m phinas describe efficientnet_b7 --json | head -c 10; exit "
        f"${{PIPESTATUS[0]}}"
    )
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert result.returncode == 0
    assert "Traceback" not in result.stderr
    assert "BrokenPipe" not in result.stderr


@pytest.mark.parametrize(
    "environment",
    [
        {"NO_COLOR": "1", "COLUMNS": "40"},
        pytest.param({"LANG": "C", "LC_ALL": "C"}, marks=pytest.mark.slow),
        pytest.param({"TERM": "dumb"}, marks=pytest.mark.slow),
    ],
)
def test_output_has_no_escape_codes_without_a_capable_terminal(
    environment: dict[str, str], finished_run: Path, phinas
) -> None:
    result = phinas("report", finished_run, **environment)
    assert result.returncode == 0, result.stderr
    assert "\x1b" not in result.stdout + result.stderr


def test_internal_error_is_reported_without_traceback_and_written_to_a_crash_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise ZeroDivisionError("test")

    monkeypatch.chdir(tmp_path)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        assert run_command(click.Command("broken", callback=fail), []) == 70
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    stderr = capsys.readouterr().err
    assert stderr.splitlines()[0] == "phinas: internal error: ZeroDivisionError: test"
    assert "Traceback" not in stderr
    assert "in fail" in (tmp_path / "crash.log").read_text()


@pytest.mark.slow
def test_two_runs_in_one_database_have_separate_trials(tmp_path: Path, phinas_in_process) -> None:
    (tmp_path / "user_evaluator.py").write_text(
        "def depth(spec, budget, seed):\n    return min(1.0, spec.depth / 10)\n"
    )
    shared = f"sqlite:///{tmp_path / 'shared.db'}"
    options = (
        "--data",
        "digits",
        "--space",
        "tiny",
        "--upsample",
        "--evaluator",
        "user_evaluator:depth",
        "--storage",
        shared,
    )
    for name, trials in (("one", 3), ("two", 4)):
        result = phinas_in_process(
            "search", *options, "--trials", trials, "--workers", 1, "--out", name, cwd=tmp_path
        )
        assert result.returncode == 0, result.stderr
    for name, trials in (("one", 3), ("two", 4)):
        result = phinas_in_process("resume", name, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        assert (
            len((tmp_path / name / "report" / "trials.csv").read_text().splitlines()) == trials + 1
        )
        assert not (tmp_path / name / "study.db").exists()


def test_each_command_has_a_python_function_of_the_same_name() -> None:
    import phinas as package

    # Twice, because a module of the same name could replace the function when it is imported.
    for _ in range(2):
        for command in COMMANDS:
            # `list` is a name of Python
            assert callable(getattr(package, {"list": "list_names"}.get(command, command)))


def test_interrupt_that_a_library_catches_is_raised_again() -> None:
    code = (
        "import os, signal, sys, time\nimport click\nfrom phinas import errors\n"
        "errors._RERAISE_SECONDS = 0.2\n"
        "def work():\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGINT); time.sleep(1)\n"
        "    except BaseException:\n"
        "        pass\n"
        "    time.sleep(30)\n"
        "sys.exit(errors.run_command(click.Command('work', callback=work), []))\n"
    )
    start = time.monotonic()
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert result.returncode == 130
    assert time.monotonic() - start < 20


@pytest.mark.parametrize("end", ["return", "raise ValueError('test')"])
def test_interrupt_that_is_ignored_until_the_command_ends_does_not_kill_the_process(
    end: str, tmp_path: Path
) -> None:
    code = (
        "import os, signal, sys, time\nimport click\nfrom phinas import errors\n"
        "errors._RERAISE_SECONDS = 0.2\n"
        "class Noisy:\n"
        "    def __del__(self):\n"
        "        os.kill(os.getpid(), signal.SIGINT); time.sleep(0.01)\n"
        "def work():\n"
        "    Noisy()\n"
        f"    {end}\n"
        "code = errors.run_command(click.Command('work', callback=work), [])\n"
        "time.sleep(0.5)\n"
        "sys.exit(code)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=tmp_path,
    )
    assert result.returncode == (0 if end == "return" else 70)
    assert "SignalInterrupt" not in result.stderr


def test_directory_in_place_of_a_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "baseline.yaml"
    path.mkdir()
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    command = click.Command("write", callback=lambda: write_atomic(path, "text"))
    assert run_command(command, []) == 5
    assert f"{path}: Is a directory; rename or remove it" in capsys.readouterr().err


def test_run_whose_trial_storage_cannot_be_made_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import phinas as package

    def fill_disk(path: Path, **_options: object) -> None:
        path.write_bytes(b"")
        raise DiskError("full")

    monkeypatch.setattr("phinas.experiment.storage.study_storage.open_storage", fill_disk)
    with pytest.raises(DiskError, match="full"):
        package.search(
            out=tmp_path / "run",
            space="tiny",
            evaluator="phinas.testing.functions:smooth",
            trials=1,
            quiet=True,
        )
    assert not (tmp_path / "run").exists()


def run_shell(command: str, directory: Path) -> "subprocess.CompletedProcess[str]":
    """Run `phinas describe efficientnet_b0` with the redirections of a shell."""
    return subprocess.run(
        ["bash", "-c", f"{sys.executable} -m phinas describe efficientnet_b0 {command}"],
        capture_output=True,
        text=True,
        check=False,
        cwd=directory,
    )


@pytest.mark.parametrize(
    ("redirection", "reason"),
    [(">&-", "Bad file descriptor"), (">/dev/full", "No space left on device")],
)
def test_result_that_cannot_be_printed_is_an_error(
    redirection: str, reason: str, tmp_path: Path
) -> None:
    result = run_shell(redirection, tmp_path)
    assert result.returncode == 5
    assert result.stderr.startswith(f"phinas: standard output: {reason}; ")
    assert len(result.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_closed_standard_output_and_error_leave_the_exit_code(tmp_path: Path) -> None:
    assert run_shell("<&- >&- 2>&-", tmp_path).returncode == 5
    assert list(tmp_path.iterdir()) == []


def test_error_message_that_cannot_be_printed_leaves_the_exit_code(tmp_path: Path) -> None:
    assert run_shell("--no-such-option 2>/dev/full", tmp_path).returncode == 2


@pytest.mark.parametrize("redirection", ["2>&-", "<&-", "| head -1"])
def test_closed_standard_error_and_a_closed_pipe_are_no_errors(
    redirection: str, tmp_path: Path
) -> None:
    result = run_shell(redirection, tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout
    assert list(tmp_path.iterdir()) == []
