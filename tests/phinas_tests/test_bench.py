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
from phinas.experiment.artifacts.bench import BenchRun, BenchSummary
from phinas.experiment.errors import SignalInterrupt
from phinas.experiment.run_dir import RunDir
from phinas.space.search_spaces.inactive_choices import InactiveChoices
from phinas.space.search_spaces.loading import load_space

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

def percent(spec, budget, seed): return 0.9

percent.optimum = 94.4

def by_choices(spec, budget, seed, choices):
    return 0.3 + 0.1 * sum(value == "identity" for value in choices.values()) / len(choices)

by_choices.optimum = 0.4

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


@pytest.mark.slow
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
    assert markdown.startswith("| strategy | evaluations to within 0.002 of the optimum |")
    table, _, note = markdown.strip().partition("\n\n")
    header, _, *rows = (
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()
    )
    printed_table, _, printed_note = result.stdout.strip().partition("\n\n")
    printed = [re.split(r" {2,}", line.strip()) for line in printed_table.splitlines()]
    assert printed == [header, *rows]
    assert printed_note.split() == note.split()
    assert note.startswith("The reward is the soft reward, without noise; 2 seeds of 12")
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
        (["--max-flops", "1", "--strategies", "random"], "the nearest has"),
        (["--optimum", "nan"], "--optimum: nan is not a finite number"),
        (["--optimum", "best"], "--optimum: 'best' is not"),
        (["--reward", "accuracy", "--optimum", "94.4"], "--optimum: 94.4 is no score"),
        (["--evaluator", "mine:percent"], "`optimum` of 'mine:percent' is 94.4"),
        (["--reward", "accuracy", "--set", "search.target_cost=3e6"], "has no effect with"),
        (["--reward", "accuracy", "--set", "search.reward_exponent=-0.1"], "has no effect with"),
        (
            ["--evaluator", "mine:by_choices", "--target-network", "efficientnet_b0"],
            "--target-network: efficientnet_b0 is not in the search space",
        ),
        (["--set", "search.finalists=3"], "--set search.finalists: has no effect in a benchmark"),
        (["--set", "run.seed=3"], "--set run.seed: has no effect in a benchmark"),
        (["--out", "mine.py"], "mine.py: is a file"),
        (["--out", "."], "contains 'chain.yaml' and is not a benchmark"),
        (
            ["--evaluator", "mine:refuses"],
            "--evaluator: mine:refuses could not score a network of 'chain': ValueError: no; "
            "correct the function",
        ),
        (
            ["--evaluator", "mine:nan"],
            "could not score a network of 'chain': score: nan is not a finite number",
        ),
        (
            ["--evaluator", "mine:nan", "--target-network", "base"],
            "--target-network: the base network of the search space could not be scored: "
            "score: nan is not a finite number; name another network",
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


@pytest.mark.slow
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


def test_evaluator_that_scores_choices_states_the_optimum(phinas_in_process, folder):
    arguments = ("--evaluator", "mine:by_choices", "--reward", "accuracy", "--seeds", 1)
    strategies = ("--strategies", "bayesian,optuna-tpe", "--json")
    result = bench(phinas_in_process, folder, *arguments, *strategies)
    assert result.returncode == 0, result.stderr
    summary = json.loads(result.stdout)
    assert (summary["optimum"], summary["optimum_source"]) == (0.4, "stated")
    assert summary["target_network"] is None
    space = load_space(str(folder / "chain.yaml"))
    inactive_choices = InactiveChoices(space)
    for path in (folder / "out" / "runs").iterdir():
        run = BenchRun.read(path)
        for values, network_id, reward in zip(
            run.choices, run.network_ids, run.rewards, strict=True
        ):
            choices = dict(zip(run.decisions, values, strict=True))
            assert space.decode(choices).network_id == network_id
            canonical = inactive_choices.canonical_choices(choices)
            identities = sum(value == "identity" for value in canonical.values())
            assert reward == pytest.approx(0.3 + 0.1 * identities / len(canonical))


@pytest.mark.parametrize(
    ("arguments", "optimum", "source"),
    [
        (("--optimum", "0.9"), 0.9, "stated"),
        (("--optimum", "0.1"), None, "best_run"),
        ((), None, "best_run"),
        # The stated optimum is that of the score, without limits.
        (("--evaluator", "mine:by_choices", "--reward", "soft"), None, "best_run"),
        (("--evaluator", "mine:by_choices", "--max-flops", "900k"), None, "best_run"),
    ],
)
def test_optimum_is_the_stated_one_unless_a_run_exceeds_it(
    phinas_in_process, folder, arguments, optimum, source
):
    fixed = ("--reward", "accuracy", "--seeds", 1, "--strategies", "random", "--json")
    result = bench(phinas_in_process, folder, *fixed, *arguments)
    assert result.returncode == 0, result.stderr
    summary = json.loads(result.stdout)
    (path,) = (folder / "out" / "runs").iterdir()
    best = max(BenchRun.read(path).true_rewards)
    assert summary["optimum_source"] == source
    assert summary["optimum"] == pytest.approx(best if optimum is None else optimum)
    message = "the stated optimum 0.1 is below the reward"
    assert (message in result.stderr) == ("0.1" in arguments)


def test_base_network_is_the_target_if_it_is_named(phinas_in_process, folder):
    arguments = ("--seeds", 1, "--strategies", "random", "--target-network", "base")
    assert bench(phinas_in_process, folder, *arguments).returncode == 0
    summary = BenchSummary.read(folder / "out" / "bench.json")
    assert summary.target_network == "the base of chain"
    assert summary.target_reward is not None
    assert summary.strategies["random"].to_beat_target is not None


def test_damaged_file_of_a_run_is_named(phinas_in_process, folder):
    arguments = ("--strategies", "random", "--seeds", 1)
    assert bench(phinas_in_process, folder, *arguments).returncode == 0
    (path,) = (folder / "out" / "runs").iterdir()
    path.write_text("{}")
    result = bench(phinas_in_process, folder, *arguments)
    assert result.returncode == 2
    assert f"{path.name}: format: is missing; delete the file and call again" in result.stderr
