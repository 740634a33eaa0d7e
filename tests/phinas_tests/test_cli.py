"""The command as a person or a program calls it: quick to say what it can, and plain where a
machine reads.
"""

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

HEAVY = ("torch", "optuna", "pandas", "matplotlib", "numpy", "sklearn", "pydantic", "scipy")
COMMANDS = (
    "run",
    "search",
    "scale",
    "validate",
    "report",
    "resume",
    "plan",
    "data",
    "describe",
    "export",
    "fit",
    "latency",
    "bench",
)


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom phinas.errors import run_command\nfrom phinas.cli import "
        "cli\nrun_command(cli, "
        "['--help'])\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stderr.strip() == "[]"
    for command in COMMANDS:
        assert f"\n  {command} " in result.stdout


def test_help_takes_under_half_a_second() -> None:
    """In seconds of a processor, which other processes on the machine do not change."""
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
def test_every_verb_explains_itself(command: str, phinas_in_process) -> None:
    result = phinas_in_process(command, "--help")
    assert result.returncode == 0
    assert len(result.stdout.splitlines()) > 5


def test_a_run_ends_with_one_line_of_result_and_the_path_of_the_report(
    finished_run: Path, phinas_in_process
) -> None:
    result = phinas_in_process("report", finished_run)
    assert result.returncode == 0, result.stderr
    summary_line, path = result.stdout.splitlines()
    assert "alpha" in summary_line
    assert "test split" in summary_line
    assert Path(path).is_file()


def test_json_is_all_that_standard_output_holds(finished_run: Path, phinas_in_process) -> None:
    summary = json.loads(phinas_in_process("resume", finished_run, "--json").stdout)
    assert summary["coefficients"]["alpha"] >= 1
    assert [row["name"] for row in summary["family"]] == [f"b{index}" for index in range(8)]
    assert {row["validated"] for row in summary["family"]} == {True, False}


def test_describe_verifies_a_found_network_with_fvcore(
    finished_run: Path, phinas_in_process
) -> None:
    result = phinas_in_process("describe", finished_run / "search" / "baseline.yaml", "--verify")
    assert result.returncode == 0, result.stderr
    assert "equal" in result.stdout.splitlines()[-1]


def test_plan_counts_the_trainings_that_the_run_then_does(phinas_in_process) -> None:
    result = phinas_in_process("plan", Path(__file__).parent / "small_run.yaml", "--json")
    assert result.returncode == 0, result.stderr
    stages = {row["stage"]: row for row in json.loads(result.stdout)["stages"]}
    assert stages["search"]["trainings"] == 6
    assert stages["finalists"]["trainings"] == 4
    assert "reference" not in stages  # B0 can't be made for so few pixels
    assert stages["scaling"]["trainings"] <= 6
    assert all(row["flops"] > 0 and row["hours"] > 0 for row in stages.values())


def test_a_reader_that_stops_early_is_no_error() -> None:
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
def test_poor_terminals_get_plain_text(
    environment: dict[str, str], finished_run: Path, phinas
) -> None:
    result = phinas("report", finished_run, **environment)
    assert result.returncode == 0, result.stderr
    assert "\x1b" not in result.stdout + result.stderr


def test_a_bug_is_kept_in_a_crash_log_and_told_in_two_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise ZeroDivisionError("of ours")

    monkeypatch.chdir(tmp_path)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        assert run_command(click.Command("broken", callback=fail), []) == 70
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    stderr = capsys.readouterr().err
    assert stderr.splitlines()[0] == "phinas: a bug: ZeroDivisionError: of ours"
    assert "Traceback" not in stderr
    assert "in fail" in (tmp_path / "crash.log").read_text()


@pytest.mark.slow
def test_two_runs_may_share_a_database_and_keep_their_trials_apart(
    tmp_path: Path, phinas_in_process
) -> None:
    (tmp_path / "mine.py").write_text(
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
        "mine:depth",
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


def test_the_python_calls_have_the_names_of_the_verbs() -> None:
    import phinas as package

    for _ in range(2):  # a module of the same name would take the call's place once it is imported
        for command in COMMANDS:
            assert callable(getattr(package, command))


def test_an_interrupt_that_a_library_swallows_is_raised_again() -> None:
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
