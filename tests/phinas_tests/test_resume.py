"""Runs that are killed, interrupted or started twice.

They lose no result, repeat no finished training and end with the same results.
"""

import json
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

SMALL_RUN = Path(__file__).parent / "small_run.yaml"
RESULT_FILES = (
    "search/baseline.yaml",
    "scaling/coefficients.yaml",
    "scaling/validation.yaml",
    "scaling/family/b2.yaml",
)


def start(*arguments: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "phinas", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition, process: "subprocess.Popen[str]", seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, f"ended too early: {process.communicate()[1]}"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def read_trials(run: Path, study: str) -> list[tuple[str, dict[str, object]]]:
    """State and attributes of every trial of a study, read without phinas."""
    connection = sqlite3.connect(f"file:{run / 'study.db'}?mode=ro", uri=True, timeout=60)
    try:
        rows = connection.execute(
            "SELECT t.number, t.state, a.key, a.value_json FROM trials t JOIN studies s USING "
            "(study_id) "
            "LEFT JOIN trial_user_attributes a USING (trial_id) WHERE s.study_name = ? ORDER BY "
            "t.number",
            (study,),
        ).fetchall()
    finally:
        connection.close()
    by_number: dict[int, tuple[str, dict[str, object]]] = {}
    for number, state, key, value in rows:
        by_number.setdefault(number, (state, {}))[1][key] = json.loads(value) if value else None
    return list(by_number.values())


def count_complete(run: Path) -> int:
    try:
        return sum(state == "COMPLETE" for study in STUDIES for state, _ in read_trials(run, study))
    except sqlite3.OperationalError:
        return 0


STUDIES = ("search", "finalists", "scaling", "validation")


def assert_same_results(run: Path, reference_run: Path) -> None:
    for study in STUDIES:
        rows = [attrs for state, attrs in read_trials(run, study) if state == "COMPLETE"]
        reference_rows = [
            attrs for state, attrs in read_trials(reference_run, study) if state == "COMPLETE"
        ]
        assert Counter(attrs["key"] for attrs in rows) == Counter(
            attrs["key"] for attrs in reference_rows
        )
        scores = {attrs["key"]: attrs["measurement"]["score"] for attrs in rows}
        assert scores == {attrs["key"]: attrs["measurement"]["score"] for attrs in reference_rows}
    proposals = [
        [
            attrs["network_id"]
            for _, attrs in read_trials(directory, "search")
            if "measurement" in attrs
        ]
        for directory in (run, reference_run)
    ]
    assert proposals[0] == proposals[1]
    for name in RESULT_FILES:
        text, expected = ((directory / name).read_text() for directory in (run, reference_run))
        # Times differ, and so do the numbers of trials after a trial that was started twice.
        ignored = ("train_seconds", "trial", "- ")
        contents = [
            [line for line in content.splitlines() if not line.strip().startswith(ignored)]
            for content in (text, expected)
        ]
        assert contents[0] == contents[1], name


@pytest.mark.slow
def test_run_killed_twice_ends_with_the_results_of_an_uninterrupted_run(
    finished_run: Path, tmp_path: Path, phinas_in_process
) -> None:
    run = tmp_path / "run"
    generator = random.Random(0)
    arguments: tuple[object, ...] = ("run", SMALL_RUN, "--out", run)
    for trainings in (3, 12):  # during the search and during the race
        process = start(*arguments)
        wait_for(lambda: count_complete(run) >= trainings, process)  # noqa: B023
        time.sleep(generator.uniform(0.0, 0.2))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert trainings <= count_complete(run) < count_complete(finished_run)
        arguments = ("resume", run)
    result = phinas_in_process("resume", run)
    assert result.returncode == 0, result.stderr
    assert_same_results(run, finished_run)


def test_resuming_a_finished_run_trains_nothing_and_changes_no_result(
    finished_run: Path, tmp_path: Path, phinas_in_process
) -> None:
    run = tmp_path / "moved run"
    shutil.copytree(finished_run, run)
    before = {study: len(read_trials(run, study)) for study in STUDIES}
    result = phinas_in_process("resume", run, "--json")
    assert result.returncode == 0, result.stderr
    assert {study: len(read_trials(run, study)) for study in STUDIES} == before
    for name in RESULT_FILES:
        assert (run / name).read_text() == (finished_run / name).read_text()
    assert json.loads(result.stdout)["baseline"]["network_id"]


def test_only_the_trial_storage_says_which_test_images_are_correct(
    finished_run: Path, tmp_path: Path, phinas_in_process
) -> None:
    measurements = [
        attrs["measurement"] for study in STUDIES for _, attrs in read_trials(finished_run, study)
    ]
    correct = [row["correct"] for row in measurements if row["split"] == "test"]
    assert all(correct)
    assert len(correct) == len(read_trials(finished_run, "validation"))
    assert not any("correct" in row for row in measurements if row["split"] != "test")
    run = tmp_path / "copy"
    shutil.copytree(finished_run, run)
    texts = [phinas_in_process("resume", run, "--json").stdout]
    texts += [
        path.read_text()
        for path in run.rglob("*")
        if path.suffix in {".yaml", ".json", ".csv", ".html", ".svg", ".md"}
    ]
    assert len(texts) > 10
    assert not any(encoded[:30] in text for encoded in correct for text in texts)


@pytest.mark.slow
# After the delay the signal comes at another moment of a training.
@pytest.mark.parametrize(
    ("delay_seconds", "signal_number", "code"),
    [
        (0.0, signal.SIGINT, 130),
        (0.4, signal.SIGTERM, 143),
    ],
)
def test_interrupted_run_prints_how_to_resume_it(
    tmp_path: Path, signal_number: signal.Signals, code: int, delay_seconds: float
) -> None:
    run = tmp_path / "run"
    process = start("run", SMALL_RUN, "--out", run)
    try:
        wait_for(lambda: count_complete(run) >= 1, process)
        time.sleep(delay_seconds)
        process.send_signal(signal_number)
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == code
    assert f"phinas resume {run}" in stderr
    assert "Traceback" not in stderr
    assert count_complete(run) >= 1


def test_second_process_on_a_run_is_rejected_and_the_first_is_named(
    tmp_path: Path, phinas_in_process
) -> None:
    run = tmp_path / "run"
    process = start("run", SMALL_RUN, "--out", run)
    try:
        wait_for((run / "config.yaml").exists, process)
        result = phinas_in_process("resume", run)
        assert result.returncode == 3
        assert str(process.pid) in result.stderr
        assert result.stderr.count("\n") == 1
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_number_of_trials_of_a_finished_run_can_be_raised(
    finished_run: Path, tmp_path: Path, phinas_in_process
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    before = [attrs["network_id"] for _, attrs in read_trials(run, "search")]
    result = phinas_in_process("search", SMALL_RUN, "--out", run, "--trials", 8)
    assert result.returncode == 0, result.stderr
    after = [attrs["network_id"] for _, attrs in read_trials(run, "search")]
    assert after[: len(before)] == before
    assert len(after) == 8


def test_changed_configuration_of_a_run_is_rejected_with_the_difference(
    finished_run: Path, phinas_in_process
) -> None:
    result = phinas_in_process(
        "run", SMALL_RUN, "--out", finished_run, "--set", "search.reward_exponent=-0.05"
    )
    assert result.returncode == 2
    assert "search.reward_exponent was -0.02 and is now -0.05" in result.stderr
