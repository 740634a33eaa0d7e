"""The command as a person or a program calls it: quick to say what it can, and plain where a
machine reads.
"""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from phinas.errors import call

HEAVY = ("torch", "optuna", "pandas", "matplotlib", "numpy", "sklearn", "pydantic", "scipy")
VERBS = (
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
)


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom phinas.errors import call\nfrom phinas.cli import cli\ncall(cli, "
        "['--help'])\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stderr.strip() == "[]"
    for verb in VERBS:
        assert f"\n  {verb} " in told.stdout


def test_help_takes_under_half_a_second() -> None:
    times = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "phinas", "--help"], capture_output=True, check=True)
        times.append(time.perf_counter() - began)
    assert min(times) < 0.5


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str, phinas) -> None:
    told = phinas(verb, "--help")
    assert told.returncode == 0
    assert len(told.stdout.splitlines()) > 5


def test_a_run_ends_with_one_line_of_result_and_the_path_of_the_report(
    finished_run: Path, phinas
) -> None:
    told = phinas("report", finished_run)
    assert told.returncode == 0, told.stderr
    result, path = told.stdout.splitlines()
    assert "alpha" in result
    assert "test split" in result
    assert Path(path).is_file()


def test_json_is_all_that_standard_output_holds(finished_run: Path, phinas) -> None:
    facts = json.loads(phinas("resume", finished_run, "--json").stdout)
    assert facts["coefficients"]["alpha"] >= 1
    assert [row["name"] for row in facts["family"]] == [f"b{index}" for index in range(8)]
    assert {row["validated"] for row in facts["family"]} == {True, False}


def test_describe_verifies_a_found_network_with_fvcore(finished_run: Path, phinas) -> None:
    told = phinas("describe", finished_run / "search" / "baseline.yaml", "--verify")
    assert told.returncode == 0, told.stderr
    assert "equal" in told.stdout.splitlines()[-1]


def test_plan_counts_the_trainings_that_the_run_then_does(finished_run: Path, phinas) -> None:
    told = phinas("plan", Path(__file__).parent / "small_run.yaml", "--json")
    assert told.returncode == 0, told.stderr
    stages = {row["stage"]: row for row in json.loads(told.stdout)["stages"]}
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
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert ended.returncode == 0
    assert "Traceback" not in ended.stderr
    assert "BrokenPipe" not in ended.stderr


@pytest.mark.parametrize(
    "environment",
    [{"NO_COLOR": "1", "COLUMNS": "40"}, {"LANG": "C", "LC_ALL": "C"}, {"TERM": "dumb"}],
)
def test_poor_terminals_get_plain_text(
    environment: dict[str, str], finished_run: Path, phinas
) -> None:
    told = phinas("resume", finished_run, **environment)
    assert told.returncode == 0, told.stderr
    assert "\x1b" not in told.stdout + told.stderr


def test_a_bug_is_kept_in_a_crash_log_and_told_in_two_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise ZeroDivisionError("of ours")

    monkeypatch.chdir(tmp_path)
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        assert call(click.Command("broken", callback=fail), []) == 70
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
    said = capsys.readouterr().err
    assert said.splitlines()[0] == "phinas: a bug: ZeroDivisionError: of ours"
    assert "Traceback" not in said
    assert "in fail" in (tmp_path / "crash.log").read_text()


def test_two_runs_may_share_a_database_and_keep_their_trials_apart(tmp_path: Path, phinas) -> None:
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
        told = phinas(
            "search", *options, "--trials", trials, "--workers", 1, "--out", name, cwd=tmp_path
        )
        assert told.returncode == 0, told.stderr
    for name, trials in (("one", 3), ("two", 4)):
        told = phinas("resume", name, cwd=tmp_path)
        assert told.returncode == 0, told.stderr
        assert (
            len((tmp_path / name / "report" / "trials.csv").read_text().splitlines()) == trials + 1
        )
        assert not (tmp_path / name / "study.db").exists()


def test_the_python_calls_have_the_names_of_the_verbs() -> None:
    import phinas as package

    for _ in range(2):  # a module of the same name would take the call's place once it is imported
        for verb in VERBS:
            assert callable(getattr(package, verb))


def test_an_interrupt_that_a_library_swallows_is_raised_again() -> None:
    code = (
        "import os, signal, sys, time\nimport click\nfrom phinas import exits\n"
        "exits._LOST_AFTER_SECONDS = 0.2\n"
        "def work():\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGINT); time.sleep(1)\n"
        "    except BaseException:\n"
        "        pass\n"
        "    time.sleep(30)\n"
        "sys.exit(exits.call(click.Command('work', callback=work), []))\n"
    )
    began = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == 130
    assert time.monotonic() - began < 20
