"""`phinas bench strategies` with a user's own space and evaluator: layer by layer, with layers left
out, nothing like B0.
"""

import json
import re
import sys
import time

import pytest

from phinas.api import bench as bench_api
from phinas.cli import cli
from phinas.errors import run_command
from phinas.experiment.errors import SignalInterrupt
from phinas.experiment.run_dir import RunDir

SPACE = """
name: chain
base:
  stem_width: 8
  head_width: 0
  resolution: 32
  classes: 10
  stages:
    - {width: 8, depth: 2, expansion: 2, se: 0}
    - {width: 16, depth: 3, stride: 2, expansion: 2, se: 0}
layers:
  kernel: [3, 5]
  block: [mbconv, conv, identity]
"""
EVALUATOR = """
def refuses(spec, budget, seed): raise ValueError("no")

def nan(spec, budget, seed): return float("nan")

def evaluate(spec, budget, seed):
    depth = sum(stage.depth for stage in spec.stages)
    return 0.4 + 0.02 * depth + 0.01 * sum(stage.kernel == 5 for stage in spec.stages)
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "chain.yaml").write_text(SPACE)
    (tmp_path / "mine.py").write_text(EVALUATOR)
    return tmp_path


ARGUMENTS = (
    "--evaluator",
    "mine:evaluate",
    "--space",
    "chain.yaml",
    "--evaluations",
    12,
    "--seeds",
    2,
    "--out",
    "out",
)
COMMAND = ("bench", "strategies", *ARGUMENTS)


def bench(phinas_in_process, folder, *arguments):
    return phinas_in_process(*COMMAND, *arguments, cwd=folder)


def test_a_users_own_space_and_evaluator_are_benched_and_widened_without_running_anything_twice(
    phinas_in_process, folder
):
    result = bench(phinas_in_process, folder, "--strategies", "bayesian,random", "--json")
    assert result.returncode == 0, result.stderr
    summary = json.loads(result.stdout)
    assert summary["strategies"]["bayesian"]["runs"] == 2
    assert summary["optimum_source"] == "the best that any of these runs met"
    runs = {path: path.stat().st_mtime_ns for path in (folder / "out" / "runs").iterdir()}
    assert len(runs) == 4
    next(iter(runs)).unlink()  # as if it had been killed before this one
    time.sleep(0.01)
    result = bench(phinas_in_process, folder, "--strategies", "bayesian,random,hill_climbing")
    assert result.returncode == 0, result.stderr
    after = {path: path.stat().st_mtime_ns for path in (folder / "out" / "runs").iterdir()}
    assert len(after) == 6
    assert sum(after[path] == when for path, when in runs.items()) == 3
    markdown = (folder / "out" / "bench.md").read_text()
    assert markdown.startswith("| strategy | to beat the base of chain |")
    header, _, *rows = (
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in markdown.splitlines()
    )
    printed = [re.split(r" {2,}", line.strip()) for line in result.stdout.splitlines()]
    assert printed == [header, *rows]
    assert (folder / "out" / "regret.png").read_bytes().startswith(b"\x89PNG")
    assert "bayesian" in (folder / "out" / "regret.svg").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--strategies", "bayesian,magic"], "--strategies: 'magic' is none of bayesian, random"),
        (["--reference", "efficientnet_b9"], "efficientnet_b9"),
        (["--seeds", "0"], "--seeds"),
        (["--noise-std", "nan"], "search.noise_std"),
        (["--space", "absent.yaml"], "absent.yaml"),
        (["--evaluator", "mine:absent"], "mine:absent"),
        (["--evaluator", "proxy"], "--evaluator: proxy trains networks"),
        (["--evaluator", "accel-nasbench:absent"], "does not exist"),
        (["--strategies", ""], "--strategies: '' is none of bayesian"),
        (
            ["--set", "search.cost=latency"],
            "search.cost: latency is timed network by network; a bench needs flops",
        ),
        (
            ["--set", "search.reward=pareto"],
            "search.reward: pareto has two aims and a bench compares one number; set soft",
        ),
        (
            ["--set", "search.reward_exponent=auto", "--evaluations", "30"],
            "search.reward_exponent: auto gives each run a reward of its own",
        ),
        (
            ["--set", "search.max_flops=1e6"],
            "search.max_flops: optuna-random, optuna-tpe, optuna-nsga2",
        ),
        (["--set", "search.max_flops=1", "--strategies", "random"], "the nearest has"),
        (["--set", "search.finalists=3"], "--set search.finalists: changes nothing in a bench"),
        (["--set", "run.seed=3"], "--set run.seed: changes nothing in a bench"),
        (["--out", "mine.py"], "mine.py: is a file"),
        (["--out", "."], "holds 'chain.yaml' and is no bench"),
        (
            ["--evaluator", "mine:refuses"],
            "--reference: the base of the space, which stands for it, can't be measured: "
            "ValueError: no",
        ),
        (
            ["--evaluator", "mine:nan"],
            "can't be measured: accuracy: nan is not a finite number; name a network that can be",
        ),
    ],
)
def test_a_wrong_call_is_told_in_a_line(folder, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    assert run_command(cli, [*map(str, COMMAND), *arguments]) == 2
    stderr = capsys.readouterr().err
    assert message in stderr
    assert len(stderr.splitlines()) == 1
    assert not (folder / "out").exists()


def test_a_function_that_was_edited_is_measured_anew(phinas_in_process, folder):
    arguments = ("--strategies", "random", "--seeds", 1)
    assert bench(phinas_in_process, folder, *arguments).returncode == 0
    (folder / "mine.py").write_text(EVALUATOR.replace("0.4", "0.3"))
    assert bench(phinas_in_process, folder, *arguments).returncode == 0
    assert len(list((folder / "out" / "runs").iterdir())) == 2


def test_a_searcher_that_is_named_twice_runs_once(phinas_in_process, folder):
    result = bench(
        phinas_in_process, folder, "--strategies", "random,random", "--seeds", 1, "--json"
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["strategies"]["random"]["runs"] == 1


def test_two_benches_do_not_run_in_one_directory(phinas_in_process, folder):
    with RunDir(folder / "out").locked():
        result = bench(phinas_in_process, folder, "--strategies", "random")
    assert result.returncode == 3
    assert "is in use by process" in result.stderr


def test_an_interrupted_bench_says_that_the_same_command_carries_on(monkeypatch, capsys, folder):
    def stop(*_, **__):
        raise SignalInterrupt(2)

    monkeypatch.setattr(bench_api, "bench", stop)
    monkeypatch.syspath_prepend(str(folder))
    assert (
        run_command(
            cli,
            ["bench", "strategies", "--evaluator", "mine:evaluate", "--out", str(folder / "out")],
        )
        == 130
    )
    assert (
        "the runs that had ended are kept; the same command carries on" in capsys.readouterr().err
    )
