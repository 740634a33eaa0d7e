"""Searches without images, with a user's space and function or with a published benchmark."""

import hashlib
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from phinas.cli import cli
from phinas.errors import run_command
from phinas.experiment.artifacts.manifest import EvaluatorDescription
from phinas.experiment.manifest import read_manifest
from phinas.experiment.run_dir import RunDir

NASBENCH_ARCHIVE = (
    Path(__file__).resolve().parents[3]
    / "shared"
    / "data"
    / "accel-nasbench"
    / "anb_dataset_jsons.tar.gz"
)

# A layer-wise space with optional layers, which has nothing in common with EfficientNet-B0.
USER_SPACE = """
name: user_space
base:
  {stem_width: 16, head_width: 128, resolution: 64, classes: 10,
   stages: [{width: 16, depth: 1, expansion: 1}, {width: 24, depth: 3, stride: 2},
            {width: 48, depth: 3, stride: 2}]}
stages: {width: {multiply: [0.75, 1, 1.25]}}
layers: {block: [mbconv, fused_mbconv, identity], kernel: [3, 5]}
overrides: {1: {layers: {block: [mbconv, fused_mbconv]}}}
"""
USER_EVALUATOR = """
import math, time

def accuracy(spec, budget, seed):
    time.sleep(0.02)
    kernels = sum(stage.depth * (stage.kernel == 5) for stage in spec.stages)
    return 1 - math.exp(-0.08 * math.log(spec.cost().flops) - 0.02 * kernels)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("user_files")
    (folder / "user_space.yaml").write_text(USER_SPACE)
    (folder / "user_code.py").write_text(USER_EVALUATOR)
    return folder


USER_SEARCH = (
    "--evaluator",
    "user_code:accuracy",
    "--space",
    "user_space.yaml",
    "--set",
    "run.workers=1",
    "--trials",
    "24",
)


@pytest.fixture(scope="module")
def finished_search(folder, phinas_in_process):
    """A finished search with a user's space and function."""
    result = phinas_in_process("search", *USER_SEARCH, "--out", "run", cwd=folder)
    assert result.returncode == 0, result.stderr
    return folder / "run", result


def proposed_networks(run):
    lines = (run / "report" / "trials.csv").read_text().splitlines()
    column = lines[0].split(",").index("network_id")
    return [line.split(",")[column] for line in lines[1:]]


def visible_text(page):
    """The text of a page without markup, styles, scripts and figures."""
    text = re.sub(r"<(style|script|svg)\b.*?</\1>", " ", page, flags=re.S)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))


def test_user_space_and_function_are_searched_without_images(finished_search):
    run, result = finished_search
    assert "scores: the return values of user_code:accuracy\n" in result.stderr
    assert re.match(r"baseline network [0-9a-f]{12} with ", result.stdout)
    assert len(set(proposed_networks(run))) == 24
    assert read_manifest(RunDir(run)).evaluator == EvaluatorDescription(
        scores="the return values of user_code:accuracy",
        source_sha256=hashlib.sha256((run.parent / "user_code.py").read_bytes()).hexdigest(),
    )


def test_report_says_where_scores_come_from_and_mentions_no_training(finished_search):
    page = visible_text((finished_search[0] / "report" / "index.html").read_text())
    assert "scores: the return values of user_code:accuracy." in page
    assert (
        "Networks are not trained in a run without images; phinas scale --baseline "
        "DIR/search/baseline.yaml" in page
    )
    for false_statement in (
        "validation images",
        "validation accuracy",
        "trainings",
        "each trained",
        "test split",
        "training device",
        "training time",
        "epochs",
        "None",
        "nan",
    ):
        assert false_statement not in page, false_statement
    for section in (
        "The search",
        "The baseline",
        "Stages",
        "Finalists",
        "The scaling coefficients",
        "The family",
    ):
        assert section in page


@pytest.mark.slow
def test_killed_search_resumes_and_ends_with_the_same_results(
    finished_search, folder, phinas_in_process
):
    run = folder / "killed"
    command = [sys.executable, "-m", "phinas", "search", *USER_SEARCH, "--out", str(run)]
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 120
    while not (run / "config.yaml").exists() or len(read_complete_trials(run)) < 6:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(read_complete_trials(run)) < 24
    result = phinas_in_process("resume", run, cwd=folder)
    assert result.returncode == 0, result.stderr
    assert proposed_networks(run) == proposed_networks(finished_search[0])
    assert read_baseline_id(run) == read_baseline_id(finished_search[0])


def read_complete_trials(run):
    connection = sqlite3.connect(f"file:{run / 'study.db'}?mode=ro", uri=True, timeout=60)
    try:
        return connection.execute("SELECT number FROM trials WHERE state = 'COMPLETE'").fetchall()
    finally:
        connection.close()


def read_baseline_id(run):
    return re.search(
        r"^network_id: .*$", (run / "search" / "baseline.yaml").read_text(), re.M
    ).group()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (
                "run",
                "--evaluator",
                "user_code:accuracy",
                "--space",
                "user_space.yaml",
                "--set",
                "data=null",
                "--out",
                "new",
            ),
            "data",
        ),
        (
            ("scale", "run"),
            "phinas scale --baseline RUN/search/baseline.yaml --data IMAGES --out NEW_RUN",
        ),
        (("validate", "run"), "phinas scale"),
        (("search", "--space", "user_space.yaml", "--out", "new"), "--data: is missing"),
        (
            (
                "search",
                "--data",
                "digits",
                "--space",
                "tiny",
                "--set",
                "search.noise_std=0.01",
                "--out",
                "new",
            ),
            "search.noise_std: 0.01",
        ),
    ],
    ids=["run", "scale", "validate", "search without evaluator", "noise on trainings"],
)
def test_command_without_the_required_images_or_evaluator_is_an_error_in_one_line(
    finished_search, folder, phinas_in_process, arguments, message
):
    result = phinas_in_process(*arguments, cwd=folder)
    assert result.returncode == 2, result.stderr
    last_line = result.stderr.splitlines()[-1]
    assert message in last_line
    assert last_line.startswith("phinas: ")
    assert "Traceback" not in result.stderr
    assert not (folder / "new").exists()


def test_plan_without_images_is_an_error_in_one_line(folder, phinas_in_process):
    (folder / "no_images.yaml").write_text(
        "search: {evaluator: 'user_code:accuracy', space: user_space.yaml}\n"
    )
    result = phinas_in_process("plan", "no_images.yaml", cwd=folder)
    assert result.returncode == 2, result.stderr
    assert "data.source: is missing" in result.stderr.splitlines()[-1]


def test_plan_estimates_no_search_trainings_for_a_user_function(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "user_code", raising=False)  # from another test
    arguments = [
        "--data",
        "digits",
        "--upsample",
        "--space",
        "tiny",
        "--evaluator",
        "user_code:accuracy",
        "--set",
        "data.max_train_images=200",
    ]
    small_scaling = [
        "--set",
        "scaling.max_grid_members=2",
        "--set",
        "scaling.tolerance=0.2",
        "--set",
        "validation.max_flops_multiple=1",
    ]
    assert (
        run_command(
            cli, ["plan", *arguments, *small_scaling, "--trials", "30", "--cost", "latency"]
        )
        == 0
    )
    output = capsys.readouterr().out
    assert [line.split()[0] for line in output.splitlines()[:4]] == [
        "stage",
        "scaling",
        "validation",
        "start,",
    ]
    assert (
        "not included: the time that user_code:accuracy takes for the 30 networks of the search"
        in output
    )
    assert (
        "not included: the latency measurement of the 30 networks of the search, 0.5 to 20 s each"
        in output
    )


def test_benchmark_evaluator_cannot_be_used_with_images(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    arguments = [
        "search",
        "--data",
        "digits",
        "--evaluator",
        "accel-nasbench:absent.tar.gz",
        "--out",
        "new",
    ]
    assert run_command(cli, arguments) == 2
    stderr = capsys.readouterr().err
    assert (
        "--evaluator: accel-nasbench has scores for its own images only, and --data names others; "
        "use `phinas search` without" in stderr
    )
    assert "phinas scale --baseline RUN/search/baseline.yaml --data IMAGES --out NEW_RUN" in stderr
    assert not (folder / "new").exists()


def test_file_that_is_not_a_benchmark_is_an_error_and_leaves_no_files(folder, phinas_in_process):
    result = phinas_in_process(
        "search", "--evaluator", "accel-nasbench:user_space.yaml", "--out", "new", cwd=folder
    )
    assert result.returncode == 2, result.stderr
    assert "is not the archive of Accel-NASBench's records" in result.stderr.splitlines()[-1]
    assert not (folder / "new").exists()


@pytest.mark.slow
def test_baseline_of_a_search_without_images_can_be_scaled_on_images(
    finished_search, folder, phinas_in_process
):
    result = phinas_in_process(
        "plan",
        "--baseline",
        "run/search/baseline.yaml",
        "--data",
        "digits",
        "--upsample",
        "--set",
        "data.max_train_images=200",
        "--set",
        "validation.max_flops_multiple=1",
        "--set",
        "scaling.max_grid_members=2",
        cwd=folder,
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
@pytest.mark.skipif(
    not NASBENCH_ARCHIVE.is_file(),
    reason=f"the data set of Accel-NASBench is not at {NASBENCH_ARCHIVE}",
)
def test_nasbench_search_reports_the_error_of_its_surrogate(tmp_path, phinas):
    cache_home = os.environ.get("XDG_CACHE_HOME", str(tmp_path / "cache"))
    options = (
        "search",
        "--evaluator",
        f"accel-nasbench:{NASBENCH_ARCHIVE}",
        "--trials",
        "30",
        "--set",
        "search.noise_std=0.0031",
    )
    result = phinas(*options, "--out", tmp_path / "run", XDG_CACHE_HOME=cache_home)
    assert result.returncode == 0, result.stderr
    scores = (
        r"Gaussian process fitted to 5,125 networks of Accel-NASBench \(held-out R2 "
        r"0\.9[89]\d, Kendall tau 0\.9[23]\d\)"
    )
    sentence = re.compile(rf"scores: {scores}, with noise of 0\.31 points added")
    assert sentence.search(result.stderr)
    assert sentence.search(visible_text((tmp_path / "run" / "report" / "index.html").read_text()))
    page = visible_text((tmp_path / "run" / "report" / "index.html").read_text())
    assert "workers 1 (inline)" in page
    assert "Measurements run one at a time" in page
    description = read_manifest(RunDir(tmp_path / "run")).evaluator
    assert description.held_out_r2 >= 0.983
    assert description.held_out_kendall_tau >= 0.917
    assert description.noise_std == 0.0031
