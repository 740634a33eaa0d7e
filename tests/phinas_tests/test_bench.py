"""`phinas bench strategies` with a user's own space and evaluator: layer by layer, with layers left
out, nothing like B0.
"""

import json
import sys
import time

import pytest

from phinas.api import bench as bench_api
from phinas.cli import cli
from phinas.errors import call
from phinas.experiment.errors import Interrupted
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
    return 0.4 + 0.02 * sum(stage.depth for stage in spec.stages) + 0.01 * sum(stage.kernel == 5 for stage in spec.stages)
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "chain.yaml").write_text(SPACE)
    (tmp_path / "mine.py").write_text(EVALUATOR)
    return tmp_path


GIVEN = (
    "--evaluator",
    "mine:evaluate",
    "--space",
    "chain.yaml",
    "--evaluations",
    20,
    "--seeds",
    2,
    "--out",
    "out",
)
COMMAND = ("bench", "strategies", *GIVEN)


def bench(phinas, folder, *words):
    return phinas(*COMMAND, *words, cwd=folder)


def test_a_users_own_space_and_evaluator_are_benched_and_widened_without_running_anything_twice(
    phinas, folder
):
    ended = bench(phinas, folder, "--strategies", "predictor,random", "--json")
    assert ended.returncode == 0, ended.stderr
    facts = json.loads(ended.stdout)
    assert facts["searchers"]["predictor"]["runs"] == 2
    assert facts["optimum_is"] == "the best that any of these runs met"
    runs = {path: path.stat().st_mtime_ns for path in (folder / "out" / "runs").iterdir()}
    assert len(runs) == 4
    next(iter(runs)).unlink()  # as if it had been killed before this one
    time.sleep(0.01)
    ended = bench(phinas, folder, "--strategies", "predictor,random,local")
    assert ended.returncode == 0, ended.stderr
    after = {path: path.stat().st_mtime_ns for path in (folder / "out" / "runs").iterdir()}
    assert len(after) == 6
    assert sum(after[path] == when for path, when in runs.items()) == 3
    assert ended.stdout.startswith("| searcher | to beat the base of chain |")
    assert ended.stdout == (folder / "out" / "bench.md").read_text()
    assert (folder / "out" / "regret.png").read_bytes().startswith(b"\x89PNG")
    assert "predictor" in (folder / "out" / "regret.svg").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--strategies", "predictor,magic"], "--strategies: 'magic' is none of predictor, random"),
        (["--reference", "efficientnet_b9"], "efficientnet_b9"),
        (["--seeds", "0"], "--seeds"),
        (["--noise", "nan"], "search.noise"),
        (["--space", "absent.yaml"], "absent.yaml"),
        (["--evaluator", "mine:absent"], "mine:absent"),
        (["--evaluator", "proxy"], "--evaluator: proxy trains networks"),
        (["--evaluator", "accel-nasbench:absent"], "does not exist"),
        (["--strategies", ""], "--strategies: '' is none of predictor"),
        (
            ["--set", "search.cost=latency"],
            "search.cost: latency is timed network by network; a bench needs flops",
        ),
        (
            ["--set", "search.reward=pareto"],
            "search.reward: pareto has two aims and a bench compares one number; set soft",
        ),
        (
            ["--set", "search.weight=auto", "--evaluations", "30"],
            "search.weight: auto gives each run a reward of its own",
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
def test_a_wrong_call_is_told_in_a_line(folder, monkeypatch, capsys, words, message):
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    assert call(cli, [*map(str, COMMAND), *words]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert len(told.splitlines()) == 1
    assert not (folder / "out").exists()


def test_a_function_that_was_edited_is_measured_anew(phinas, folder):
    assert bench(phinas, folder, "--strategies", "random").returncode == 0
    (folder / "mine.py").write_text(EVALUATOR.replace("0.4", "0.3"))
    assert bench(phinas, folder, "--strategies", "random").returncode == 0
    assert len(list((folder / "out" / "runs").iterdir())) == 4


def test_a_searcher_that_is_named_twice_runs_once(phinas, folder):
    ended = bench(phinas, folder, "--strategies", "random,random", "--seeds", 1, "--json")
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["searchers"]["random"]["runs"] == 1


def test_two_benches_do_not_run_in_one_directory(phinas, folder):
    with RunDir(folder / "out").locked():
        ended = bench(phinas, folder, "--strategies", "random")
    assert ended.returncode == 3
    assert "is in use by process" in ended.stderr


def test_an_interrupted_bench_says_that_the_same_command_carries_on(monkeypatch, capsys, folder):
    def stop(*_, **__):
        raise Interrupted(2)

    monkeypatch.setattr(bench_api, "bench_strategies", stop)
    monkeypatch.syspath_prepend(str(folder))
    assert (
        call(
            cli,
            ["bench", "strategies", "--evaluator", "mine:evaluate", "--out", str(folder / "out")],
        )
        == 130
    )
    assert (
        "the runs that had ended are kept; the same command carries on" in capsys.readouterr().err
    )
