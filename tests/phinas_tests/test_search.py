"""A search whose evaluator needs no images: a user's own space and function, or a published
benchmark.
"""

import hashlib
import json
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

ARCHIVE = (
    Path(__file__).resolve().parents[3]
    / "shared"
    / "data"
    / "accel-nasbench"
    / "anb_dataset_jsons.tar.gz"
)

# Layer-wise with layers that may be left out: nothing to do with B0.
USER_SPACE = """
name: own
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
from phinas.space.cost import network_cost

def accuracy(spec, budget, seed):
    time.sleep(0.02)
    kernels = sum(stage.depth * (stage.kernel == 5) for stage in spec.stages)
    return 1 - math.exp(-0.08 * math.log(network_cost(spec).flops) - 0.02 * kernels)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    (folder / "own.yaml").write_text(USER_SPACE)
    (folder / "mine.py").write_text(USER_EVALUATOR)
    return folder


USER_SEARCH = (
    "--evaluator",
    "mine:accuracy",
    "--space",
    "own.yaml",
    "--set",
    "run.workers=1",
    "--trials",
    "24",
)


@pytest.fixture(scope="module")
def finished_search(folder, phinas_in_process):
    """A finished search with a user's own space and function."""
    result = phinas_in_process("search", *USER_SEARCH, "--out", "run", cwd=folder)
    assert result.returncode == 0, result.stderr
    return folder / "run", result


def proposals(run):
    lines = (run / "report" / "trials.csv").read_text().splitlines()
    column = lines[0].split(",").index("spec_id")
    return [line.split(",")[column] for line in lines[1:]]


def arguments(page):
    """What a reader of the page reads."""
    text = re.sub(r"<(style|script|svg)\b.*?</\1>", " ", page, flags=re.S)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))


def test_a_users_own_space_and_function_are_searched_without_images(finished_search):
    run, result = finished_search
    assert "accuracies: what mine:accuracy returns\n" in result.stderr
    assert re.match(r"baseline [0-9a-f]{12} of ", result.stdout)
    assert len(set(proposals(run))) == 24
    assert json.loads((run / "manifest.json").read_text())["evaluator"] == {
        "accuracies": "what mine:accuracy returns",
        "source_sha256": hashlib.sha256((run.parent / "mine.py").read_bytes()).hexdigest(),
    }


def test_the_report_says_where_accuracies_come_from_and_speaks_of_no_training(finished_search):
    page = arguments((finished_search[0] / "report" / "index.html").read_text())
    assert "accuracies: what mine:accuracy returns." in page
    assert (
        "Nothing is trained in a run without images; phinas scale --baseline "
        "DIR/search/baseline.yaml" in page
    )
    for false_statement in (
        "validation images",
        "validation accuracy",
        "short training",
        "each trained",
        "Trainings are short",
        "test split",
        "trained on",
        "time in training",
        "None",
        "nan",
    ):
        assert false_statement not in page, false_statement
    for section in (
        "The search",
        "The baseline",
        "Stage by stage",
        "The finalists",
        "How to scale it",
        "The family",
    ):
        assert section in page


@pytest.mark.slow
def test_a_search_that_was_killed_goes_on_to_the_same_end(
    finished_search, folder, phinas_in_process
):
    run = folder / "killed"
    command = [sys.executable, "-m", "phinas", "search", *USER_SEARCH, "--out", str(run)]
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 120
    while not (run / "config.yaml").exists() or len(recorded(run)) < 6:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(recorded(run)) < 24
    result = phinas_in_process("resume", run, cwd=folder)
    assert result.returncode == 0, result.stderr
    assert proposals(run) == proposals(finished_search[0])
    assert baseline_of(run) == baseline_of(finished_search[0])


def recorded(run):
    connection = sqlite3.connect(f"file:{run / 'study.db'}?mode=ro", uri=True, timeout=60)
    try:
        return connection.execute("SELECT number FROM trials WHERE state = 'COMPLETE'").fetchall()
    finally:
        connection.close()


def baseline_of(run):
    return re.search(r"^spec_id: .*$", (run / "search" / "baseline.yaml").read_text(), re.M).group()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (
                "run",
                "--evaluator",
                "mine:accuracy",
                "--space",
                "own.yaml",
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
        (("search", "--space", "own.yaml", "--out", "new"), "--data: missing"),
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
def test_what_needs_images_or_a_benchmark_is_refused_in_a_line(
    finished_search, folder, phinas_in_process, arguments, message
):
    result = phinas_in_process(*arguments, cwd=folder)
    assert result.returncode == 2, result.stderr
    last_line = result.stderr.splitlines()[-1]
    assert message in last_line
    assert last_line.startswith("phinas: ")
    assert "Traceback" not in result.stderr
    assert not (folder / "new").exists()


def test_a_plan_without_images_is_refused_in_a_line(folder, phinas_in_process):
    (folder / "no_images.yaml").write_text(
        "search: {evaluator: 'mine:accuracy', space: own.yaml}\n"
    )
    result = phinas_in_process("plan", "no_images.yaml", cwd=folder)
    assert result.returncode == 2, result.stderr
    assert "data.source: missing" in result.stderr.splitlines()[-1]


def test_a_plan_prices_no_training_where_the_search_looks_up(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "mine", raising=False)  # another test's
    arguments = [
        "--data",
        "digits",
        "--upsample",
        "--space",
        "tiny",
        "--evaluator",
        "mine:accuracy",
        "--set",
        "data.max_train_images=200",
    ]
    small = [
        "--set",
        "scaling.max_grid_members=2",
        "--set",
        "scaling.tolerance=0.2",
        "--set",
        "validation.max_flops_multiple=1",
    ]
    assert (
        run_command(cli, ["plan", *arguments, *small, "--trials", "30", "--cost", "latency"]) == 0
    )
    output = capsys.readouterr().out
    assert [line.split()[0] for line in output.splitlines()[:4]] == [
        "stage",
        "scaling",
        "validation",
        "all",
    ]
    assert (
        "the search trains nothing: what mine:accuracy takes for its 30 networks is not in it"
        in output
    )
    assert (
        "each of the search's 30 networks is timed first, 0.5 to 20 s each, which is not in it"
        in output
    )


def test_a_benchmark_is_not_searched_for_other_images(folder, monkeypatch, capsys):
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
        "accel-nasbench knows networks for its own images, not for those of data.source; search "
        "without images" in stderr
    )
    assert "phinas scale --baseline RUN/search/baseline.yaml --data IMAGES --out NEW_RUN" in stderr
    assert not (folder / "new").exists()


def test_a_file_that_is_no_benchmark_leaves_nothing_behind(folder, phinas_in_process):
    result = phinas_in_process(
        "search", "--evaluator", "accel-nasbench:own.yaml", "--out", "new", cwd=folder
    )
    assert result.returncode == 2, result.stderr
    assert "is not the archive of Accel-NASBench's records" in result.stderr.splitlines()[-1]
    assert not (folder / "new").exists()


@pytest.mark.slow
def test_what_was_found_is_scaled_on_images_by_the_command_that_the_refusal_names(
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
@pytest.mark.skipif(not ARCHIVE.is_file(), reason=f"the released measurements are not at {ARCHIVE}")
def test_imagenet_is_searched_in_seconds_and_the_report_says_how_sure_its_accuracies_are(
    tmp_path, phinas
):
    cache_home = os.environ.get("XDG_CACHE_HOME", str(tmp_path / "cache"))
    call = (
        "search",
        "--evaluator",
        f"accel-nasbench:{ARCHIVE}",
        "--trials",
        "30",
        "--set",
        "search.noise_std=0.0031",
    )
    result = phinas(*call, "--out", tmp_path / "run", XDG_CACHE_HOME=cache_home)
    assert result.returncode == 0, result.stderr
    scores = (
        r"Gaussian process fitted to 5,125 networks of Accel-NASBench \(held-out R2 "
        r"0\.9[89]\d, Kendall tau 0\.9[23]\d\)"
    )
    sentence = re.compile(rf"accuracies: {scores}, with noise of 0\.31 points added")
    assert sentence.search(result.stderr)
    assert sentence.search(arguments((tmp_path / "run" / "report" / "index.html").read_text()))
    page = arguments((tmp_path / "run" / "report" / "index.html").read_text())
    assert "workers 1 (inline)" in page
    assert "One measurement at a time" in page
    record = json.loads((tmp_path / "run" / "manifest.json").read_text())["evaluator"]
    assert record["held_out_r2"] >= 0.983
    assert record["held_out_kendall_tau"] >= 0.917
    assert record["noise_std"] == 0.0031
