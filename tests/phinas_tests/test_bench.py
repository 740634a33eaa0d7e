"""`phinas bench strategies` with a user's own space and evaluator: layer by layer, with layers left out, nothing like B0."""

import json
import time

import pytest

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
def evaluate(spec, budget, seed):
    return 0.4 + 0.02 * sum(stage.depth for stage in spec.stages) + 0.01 * sum(stage.kernel == 5 for stage in spec.stages)
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "chain.yaml").write_text(SPACE)
    (tmp_path / "mine.py").write_text(EVALUATOR)
    return tmp_path


def bench(phinas, folder, *words):
    given = ("--evaluator", "mine:evaluate", "--space", "chain.yaml", "--evaluations", 20, "--seeds", 2, "--out", "out")
    return phinas("bench", "strategies", *given, *words, cwd=folder)


def test_a_users_own_space_and_evaluator_are_benched_and_widened_without_running_anything_twice(phinas, folder):
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
    ],
)
def test_a_wrong_call_is_told_in_a_line(phinas, folder, words, message):
    ended = bench(phinas, folder, *words)
    assert ended.returncode == 2
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (folder / "out" / "bench.json").exists()
