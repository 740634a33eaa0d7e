"""A run that is killed, interrupted or started twice: nothing is lost, nothing is done twice, and
the end is the same.
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
DERIVED = (
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
        assert process.poll() is None, f"ended before it was disturbed: {process.communicate()[1]}"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def trials(run: Path, study: str) -> list[tuple[str, dict[str, object]]]:
    """State and attributes of every trial of a study, straight from the file."""
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
    found: dict[int, tuple[str, dict[str, object]]] = {}
    for number, state, key, value in rows:
        found.setdefault(number, (state, {}))[1][key] = json.loads(value) if value else None
    return list(found.values())


def complete(run: Path) -> int:
    try:
        return sum(state == "COMPLETE" for study in STUDIES for state, _ in trials(run, study))
    except sqlite3.OperationalError:
        return 0


STUDIES = ("search", "finalists", "scaling", "validation")


def assert_same_end(run: Path, undisturbed: Path) -> None:
    for study in STUDIES:
        done = [attrs for state, attrs in trials(run, study) if state == "COMPLETE"]
        reference_rows = [
            attrs for state, attrs in trials(undisturbed, study) if state == "COMPLETE"
        ]
        assert Counter(attrs["key"] for attrs in done) == Counter(
            attrs["key"] for attrs in reference_rows
        )
        accuracies = {attrs["key"]: attrs["measurement"]["accuracy"] for attrs in done}
        assert accuracies == {
            attrs["key"]: attrs["measurement"]["accuracy"] for attrs in reference_rows
        }
    proposals = [
        [attrs["spec_id"] for _, attrs in trials(directory, "search") if "measurement" in attrs]
        for directory in (run, undisturbed)
    ]
    assert proposals[0] == proposals[1]
    for name in DERIVED:
        text, expected = ((directory / name).read_text() for directory in (run, undisturbed))
        # what differs is the clock and the numbers of trials that were begun twice
        drop = (
            "train_seconds",
            "trial",
            "- ",
        )
        contents = [
            [line for line in each.splitlines() if not line.strip().startswith(drop)]
            for each in (text, expected)
        ]
        assert contents[0] == contents[1], name


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_as_an_undisturbed_one(
    finished_run: Path, tmp_path: Path, phinas_in_process
) -> None:
    run = tmp_path / "run"
    moments = random.Random(0)
    arguments: tuple[object, ...] = ("run", SMALL_RUN, "--out", run)
    for trainings in (3, 12):  # in the search, and where networks race
        process = start(*arguments)
        wait_for(lambda: complete(run) >= trainings, process)  # noqa: B023
        time.sleep(moments.uniform(0.0, 0.2))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert trainings <= complete(run) < complete(finished_run)
        arguments = ("resume", run)
    result = phinas_in_process("resume", run)
    assert result.returncode == 0, result.stderr
    assert_same_end(run, finished_run)


def test_resuming_a_finished_run_trains_nothing_and_changes_no_result(
    finished_run: Path, tmp_path: Path, phinas_in_process
) -> None:
    run = tmp_path / "moved elsewhere"
    shutil.copytree(finished_run, run)
    before = {study: len(trials(run, study)) for study in STUDIES}
    result = phinas_in_process("resume", run, "--json")
    assert result.returncode == 0, result.stderr
    assert {study: len(trials(run, study)) for study in STUDIES} == before
    for name in DERIVED:
        assert (run / name).read_text() == (finished_run / name).read_text()
    assert json.loads(result.stdout)["baseline"]["spec_id"]


def test_only_the_record_of_trials_says_which_test_images_are_right(
    finished_run: Path, tmp_path: Path, phinas_in_process
) -> None:
    measurements = [
        attrs["measurement"] for study in STUDIES for _, attrs in trials(finished_run, study)
    ]
    correct = [one["correct"] for one in measurements if one["split"] == "test"]
    assert all(correct)
    assert len(correct) == len(trials(finished_run, "validation"))
    assert not any("correct" in one for one in measurements if one["split"] != "test")
    run = tmp_path / "copy"
    shutil.copytree(finished_run, run)
    texts = [phinas_in_process("resume", run, "--json").stdout]
    texts += [
        path.read_text()
        for path in run.rglob("*")
        if path.suffix in {".yaml", ".json", ".csv", ".html", ".svg", ".md"}
    ]
    assert len(texts) > 10
    assert not any(bits[:30] in text for bits in correct for text in texts)


@pytest.mark.slow
# The pause lets the signal come at different moments of a training.
@pytest.mark.parametrize(
    ("pause", "signal_number", "code"),
    [
        (0.0, signal.SIGINT, 130),
        (0.4, signal.SIGTERM, 143),
    ],
)
def test_an_interrupted_run_says_how_to_carry_on(
    tmp_path: Path, signal_number: signal.Signals, code: int, pause: float
) -> None:
    run = tmp_path / "run"
    process = start("run", SMALL_RUN, "--out", run)
    try:
        wait_for(lambda: complete(run) >= 1, process)
        time.sleep(pause)
        process.send_signal(signal_number)
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == code
    assert f"phinas resume {run}" in stderr
    assert "Traceback" not in stderr
    assert complete(run) >= 1


def test_a_second_process_on_a_run_is_refused_with_the_holder(
    tmp_path: Path, phinas_in_process
) -> None:
    run = tmp_path / "run"
    process = start("run", SMALL_RUN, "--out", run)
    try:
        wait_for((run / "config.yaml").exists, process)
        refused = phinas_in_process("resume", run)
        assert refused.returncode == 3
        assert str(process.pid) in refused.stderr
        assert refused.stderr.count("\n") == 1
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_more_trials_may_be_asked_of_a_finished_run(
    finished_run: Path, tmp_path: Path, phinas_in_process
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    before = [attrs["spec_id"] for _, attrs in trials(run, "search")]
    result = phinas_in_process("search", SMALL_RUN, "--out", run, "--trials", 8)
    assert result.returncode == 0, result.stderr
    after = [attrs["spec_id"] for _, attrs in trials(run, "search")]
    assert after[: len(before)] == before
    assert len(after) == 8


def test_another_configuration_of_a_run_is_refused_with_the_difference(
    finished_run: Path, phinas_in_process
) -> None:
    refused = phinas_in_process(
        "run", SMALL_RUN, "--out", finished_run, "--set", "search.reward_exponent=-0.05"
    )
    assert refused.returncode == 2
    assert "search.reward_exponent was -0.02 and is now -0.05" in refused.stderr
