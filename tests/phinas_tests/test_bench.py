"""`phinas bench strategies` with a user's space, evaluator and strategy."""

import json
import re
import sys
import time

import pytest

import phinas
from phinas.api import bench as bench_api
from phinas.cli import cli
from phinas.errors import run_command
from phinas.experiment.artifacts.bench import BenchSummary
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
    "--trials",
    12,
    "--seeds",
    2,
    "--out",
    "out",
)
COMMAND = ("bench", "strategies", *ARGUMENTS)


def bench(phinas_in_process, folder, *arguments):
    return phinas_in_process(*COMMAND, *arguments, cwd=folder)


def test_benchmark_of_a_user_space_and_evaluator_resumes_and_is_extended(phinas_in_process, folder):
    result = bench(phinas_in_process, folder, "--strategies", "bayesian,random", "--json")
    assert result.returncode == 0, result.stderr
    summary = json.loads(result.stdout)
    assert summary["strategies"]["bayesian"]["runs"] == 2
    assert summary["optimum_source"] == "best_run"
    runs = {path: path.stat().st_mtime_ns for path in (folder / "out" / "runs").iterdir()}
    assert len(runs) == 4
    next(iter(runs)).unlink()  # as if the benchmark had been killed before this run
    time.sleep(0.01)
    result = bench(phinas_in_process, folder, "--strategies", "bayesian,random,hill_climbing")
    assert result.returncode == 0, result.stderr
    after = {path: path.stat().st_mtime_ns for path in (folder / "out" / "runs").iterdir()}
    assert len(after) == 6
    assert sum(after[path] == when for path, when in runs.items()) == 3
    markdown = (folder / "out" / "bench.md").read_text()
    assert markdown.startswith("| strategy | evaluations to beat the base of chain |")
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
        (["--target-network", "efficientnet_b9"], "efficientnet_b9"),
        (["--seeds", "0"], "--seeds"),
        (["--noise-std", "nan"], "--noise-std: nan is not a finite number"),
        (["--space", "absent.yaml"], "absent.yaml"),
        (["--evaluator", "mine:absent"], "mine:absent"),
        (["--evaluator", "proxy"], "--evaluator: 'proxy' trains networks"),
        (["--evaluator", "accel-nasbench:absent"], "does not exist"),
        (["--strategies", ""], "--strategies: '' is none of bayesian"),
        (
            ["--set", "search.cost=latency"],
            "search.cost: latency is measured network by network; a benchmark needs flops",
        ),
        (
            ["--set", "search.reward=pareto"],
            "search.reward: pareto has two objectives and a benchmark compares one number",
        ),
        (
            ["--set", "search.reward_exponent=auto", "--trials", "30"],
            "search.reward_exponent: auto gives each run another reward",
        ),
        (
            ["--set", "search.max_flops=1e6"],
            "search.max_flops: optuna-random, optuna-tpe, optuna-nsga2",
        ),
        (["--set", "search.max_flops=1", "--strategies", "random"], "the nearest has"),
        (["--set", "search.finalists=3"], "--set search.finalists: has no effect in a benchmark"),
        (["--set", "run.seed=3"], "--set run.seed: has no effect in a benchmark"),
        (["--out", "mine.py"], "mine.py: is a file"),
        (["--out", "."], "contains 'chain.yaml' and is not a benchmark"),
        (
            ["--evaluator", "mine:refuses"],
            "--target-network: the base network of the search space could not be scored: "
            "ValueError: no",
        ),
        (
            ["--evaluator", "mine:nan"],
            "could not be scored: score: nan is not a finite number; name another network",
        ),
    ],
)
def test_wrong_call_is_one_line_and_leaves_no_files(
    folder, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    assert run_command(cli, [*map(str, COMMAND), *arguments]) == 2
    stderr = capsys.readouterr().err
    assert message in stderr
    assert len(stderr.splitlines()) == 1
    assert not (folder / "out").exists()


def test_edited_function_runs_again(phinas_in_process, folder):
    arguments = ("--strategies", "random", "--seeds", 1)
    assert bench(phinas_in_process, folder, *arguments).returncode == 0
    (folder / "mine.py").write_text(EVALUATOR.replace("0.4", "0.3"))
    assert bench(phinas_in_process, folder, *arguments).returncode == 0
    assert len(list((folder / "out" / "runs").iterdir())) == 2


def test_strategy_that_is_named_twice_runs_once(phinas_in_process, folder):
    result = bench(
        phinas_in_process, folder, "--strategies", "random,random", "--seeds", 1, "--json"
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["strategies"]["random"]["runs"] == 1


def test_second_benchmark_in_the_same_directory_is_refused(phinas_in_process, folder):
    with RunDir(folder / "out").locked():
        result = bench(phinas_in_process, folder, "--strategies", "random")
    assert result.returncode == 3
    assert "is in use by process" in result.stderr


def test_interrupted_benchmark_says_how_to_resume(monkeypatch, capsys, folder):
    def stop(*_, **__):
        raise SignalInterrupt(2)

    monkeypatch.setattr(bench_api, "run_bench", stop)
    monkeypatch.syspath_prepend(str(folder))
    assert (
        run_command(
            cli,
            ["bench", "strategies", "--evaluator", "mine:evaluate", "--out", str(folder / "out")],
        )
        == 130
    )
    message = "finished runs are saved; to resume, run the same command again"
    assert message in capsys.readouterr().err


def test_user_strategy_is_compared_and_runs_again_after_an_edit(phinas_in_process, folder):
    (folder / "own_sampler.py").write_text(
        "import optuna\n\nclass Mine(optuna.samplers.RandomSampler):\n    pass\n"
    )
    arguments = ("--strategies", "random,own_sampler:Mine", "--seeds", 1, "--json")
    result = bench(phinas_in_process, folder, *arguments)
    assert result.returncode == 0, result.stderr
    assert set(json.loads(result.stdout)["strategies"]) == {"random", "own_sampler:Mine"}
    assert len(list((folder / "out" / "runs").iterdir())) == 2
    with (folder / "own_sampler.py").open("a") as file:
        file.write("# edited\n")
    assert bench(phinas_in_process, folder, *arguments).returncode == 0
    assert len(list((folder / "out" / "runs").iterdir())) == 3


def test_python_function_takes_the_options_as_keywords(monkeypatch, folder):
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    summary = phinas.bench(
        "mine:evaluate",
        out=folder / "out",
        strategies=["random"],
        seeds=1,
        quiet=True,
        space="chain.yaml",
        trials=5,
    )
    assert summary.strategies["random"].runs == 1
    assert summary.evaluations == 5
    assert BenchSummary.read(folder / "out" / "bench.json") == summary
    with pytest.raises(TypeError, match="'trails'; did you mean 'trials'"):
        phinas.bench("mine:evaluate", out=folder / "out", trails=5)


def test_damaged_file_of_a_run_is_named(phinas_in_process, folder):
    arguments = ("--strategies", "random", "--seeds", 1)
    assert bench(phinas_in_process, folder, *arguments).returncode == 0
    (path,) = (folder / "out" / "runs").iterdir()
    path.write_text("{}")
    result = bench(phinas_in_process, folder, *arguments)
    assert result.returncode == 2
    assert f"{path.name}: format: is missing; delete the file and call again" in result.stderr
