"""Tests of `phinas status`."""

import json
import os
import re
import shutil

import optuna
import pytest

import phinas as package
from phinas.experiment.errors import InputError
from phinas.experiment.run_dir import RunDir


@pytest.fixture
def run(finished_run, tmp_path):
    """A copy of a finished run."""
    shutil.copytree(finished_run, tmp_path / "run")
    return tmp_path / "run"


def states(result):
    return {stage.name: stage.state for stage in result.stages}


def add_failed_trial(run, study_name, **user_attrs):
    study = optuna.load_study(study_name=study_name, storage=f"sqlite:///{run}/study.db")
    study.add_trial(
        optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL, user_attrs=user_attrs)
    )


def test_a_finished_run_has_all_stages_done_and_the_number_of_their_trials(run):
    result = package.status(run)
    assert result.state == "finished"
    assert set(states(result).values()) == {"done"}
    assert [*states(result)] == ["data", "search", "finalists", "scaling", "validation", "report"]
    complete = {stage.name: stage.complete for stage in result.stages}
    assert (complete["search"], complete["finalists"]) == (6, 4)
    assert complete["data"] == complete["report"] == 0
    assert not result.failures


def test_an_interrupted_run_names_the_stage_and_the_command_that_continues_it(
    run, phinas_in_process
):
    for path in (RunDir(run).coefficients, RunDir(run).validation, RunDir(run).report_page):
        path.unlink()
    result = package.status(run)
    assert result.state == "unfinished"
    assert states(result) == {
        "data": "done",
        "search": "done",
        "finalists": "done",
        "scaling": "unfinished",
        "validation": "waiting",
        "report": "waiting",
    }
    text = phinas_in_process("status", run).stdout
    assert f"is not finished; continue it with phinas resume {run}" in text
    assert "scaling     unfinished" in text


def test_a_running_run_names_its_process_and_a_killed_one_is_not_running(run):
    RunDir(run).coefficients.unlink()
    with RunDir(run).locked():
        result = package.status(run)
        assert (result.state, states(result)["scaling"]) == ("running", "running")
        assert result.holder.startswith(f"process {os.getpid()} on ")
        holder = (run / "holder.json").read_text()
    (run / "holder.json").write_text(holder)  # as after SIGKILL
    assert package.status(run).state == "unfinished"
    with RunDir(run).locked():  # the lock was not held
        pass


def test_nothing_is_written(run):
    (run / "holder.json").write_text('{"pid": 1, "host": "here"}')
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    package.status(run)
    after = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    assert {path for path in before if after.get(path) != before[path]} <= {run / ".lock"}
    assert after.keys() - before.keys() <= {run / "study.db-shm", run / "study.db-wal"}


def test_failures_are_listed_with_their_reasons(run, phinas_in_process):
    add_failed_trial(run, "search", reason="the loss was nan in epoch 1", attempts=1)
    add_failed_trial(run, "scaling", reason="its process ended", attempts=3, network_id="abc")
    summary = phinas_in_process("status", run).stdout
    assert f"2 trials failed: phinas status {run} --failures" in summary
    assert "the loss was nan" not in summary
    text = phinas_in_process("status", run, "--failures").stdout
    assert re.search(r"^search +6 +1 +the loss was nan in epoch 1$", text, re.MULTILINE)
    assert "abc" in text
    assert "is not repeated by `phinas resume`" in text
    data = json.loads(phinas_in_process("status", run, "--json").stdout)
    assert [row["attempts"] for row in data["failures"]] == [1, 3]
    assert data["stages"][1]["failed"] == 1


def test_the_traceback_of_a_users_evaluator_is_shown_once_for_each_reason(
    tmp_path, phinas_in_process
):
    (tmp_path / "scores.py").write_text(
        "def look_up(name):\n"
        "    return {'known': 0.5}[name]\n"
        "\n\n"
        "def evaluate(spec, budget, seed):\n"
        "    return look_up('known' if int(spec.network_id, 16) % 3 else 'unknown')\n"
    )
    options = ("--evaluator", "scores:evaluate", "--space", "tiny", "--trials", "8")
    settings = ("--set", "run.executor=inline", "--set", "search.max_consecutive_failures=8")
    phinas_in_process("search", *options, *settings, "--out", "run", cwd=tmp_path)
    failures = package.status(tmp_path / "run").failures
    assert len(failures) > 1
    assert {row.reason for row in failures} == {"KeyError: 'unknown'"}
    for row in failures:
        assert row.traceback.startswith("Traceback (most recent call last):")
        assert "return {'known': 0.5}[name]" in row.traceback
        assert "executors" not in row.traceback
    text = phinas_in_process("status", tmp_path / "run", "--failures").stdout
    assert text.count("Traceback (most recent call last):") == 1
    assert f"traceback of trial {failures[0].number} (search):" in text


def test_a_run_without_failures_says_so(run, phinas_in_process):
    assert "no trial failed" in phinas_in_process("status", run, "--failures").stdout


def test_a_directory_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="is not a run directory"):
        package.status(tmp_path)
