"""Searches that learn from earlier ones: what they record, what they need, and what they refuse."""

import json
import shutil

import pytest

from phinas.experiment.artifacts.earlier_searches import EarlierSearchesFile
from phinas.experiment.manifest import read_manifest
from phinas.experiment.run_dir import RunDir

SPACE = """
name: user_space
base:
  {stem_width: 16, head_width: 128, resolution: 64, classes: 10,
   stages: [{width: 16, depth: 1, expansion: 1}, {width: 24, depth: 2, stride: 2},
            {width: 48, depth: 2, stride: 2}]}
stages: {width: {multiply: [0.75, 1, 1.25]}, depth: {add: [0, 1, 2]}}
layers: {kernel: [3, 5]}
"""
CODE = """
import math

def early(spec, budget, seed):
    kernels = sum(stage.depth * (stage.kernel == 5) for stage in spec.stages)
    return 0.5 * (1 - math.exp(-0.08 * math.log(spec.cost().flops) - 0.02 * kernels))

def late(spec, budget, seed):
    return 1.4 * early(spec, budget, seed)
"""
COMMON = ("--space", "user_space.yaml", "--set", "run.workers=1", "--reference", "none")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, phinas_in_process):
    """A folder with two finished searches, `first` and `second`."""
    folder = tmp_path_factory.mktemp("learn_from")
    (folder / "user_space.yaml").write_text(SPACE)
    (folder / "other_space.yaml").write_text(SPACE.replace("[3, 5]", "[3, 7]"))
    (folder / "transfer_code.py").write_text(CODE)
    for seed, name in enumerate(("first", "second")):
        options = ("--evaluator", "transfer_code:early", "--trials", "16", "--seed", str(seed))
        result = phinas_in_process("search", *COMMON, *options, "--out", name, cwd=folder)
        assert result.returncode == 0, result.stderr
    return folder


def search(folder, phinas_in_process, out, *options, learn_from="first", trials=8):
    return phinas_in_process(
        "search",
        *COMMON,
        "--evaluator",
        "transfer_code:late",
        "--trials",
        str(trials),
        "--learn-from",
        learn_from,
        *options,
        "--out",
        out,
        cwd=folder,
    )


def networks_of(run):
    """The networks of a run in the order of its trials."""
    lines = (run / "report" / "trials.csv").read_text().splitlines()
    column = lines[0].split(",").index("network_id")
    return [line.split(",")[column] for line in lines[1:]]


def test_the_earlier_trials_are_recorded_and_named_in_the_report(folder, phinas_in_process):
    result = search(folder, phinas_in_process, "two", learn_from="first,second")
    assert result.returncode == 0, result.stderr
    run = RunDir(folder / "two")
    record = EarlierSearchesFile.read(run.earlier_searches)
    assert [(row.run, len(row.scores), len(row.choices)) for row in record.searches] == [
        ("first", 16, 16),
        ("second", 16, 16),
    ]
    assert record.searches[0].run_id == read_manifest(RunDir(folder / "first")).id
    assert record.searches[0].data_fingerprint is None
    assert set(record.searches[0].scores) != set(record.searches[1].scores)
    assert "search/earlier_searches.json" in read_manifest(run).artifacts
    assert (
        "The search began with what it learned from the earlier searches first (16 trials) and "
        "second (16 trials)." in (run.report_page).read_text()
    )


@pytest.mark.slow
def test_a_resumed_search_does_not_need_the_earlier_run(folder, phinas_in_process, monkeypatch):
    shutil.copytree(folder / "first", folder / "deleted")
    assert search(folder, phinas_in_process, "whole", learn_from="deleted").returncode == 0
    from phinas.nas.search_loop import SearchLoop

    original = SearchLoop.run

    def interrupted(self, on_progress):
        def stop_after_five(done, total, text):
            on_progress(done, total, text)
            if done == 5:
                raise KeyboardInterrupt

        return original(self, stop_after_five)

    monkeypatch.setattr(SearchLoop, "run", interrupted)
    assert search(folder, phinas_in_process, "parts", learn_from="deleted").returncode != 0
    monkeypatch.undo()
    shutil.rmtree(folder / "deleted")
    result = phinas_in_process("resume", "parts", cwd=folder)
    assert result.returncode == 0, result.stderr
    assert networks_of(folder / "parts") == networks_of(folder / "whole")


@pytest.mark.slow
def test_learning_changes_the_proposals(folder, phinas_in_process):
    assert search(folder, phinas_in_process, "learned", trials=10).returncode == 0
    command = ("search", *COMMON, "--evaluator", "transfer_code:late", "--trials", "10")
    assert phinas_in_process(*command, "--out", "alone", cwd=folder).returncode == 0
    assert networks_of(folder / "learned") != networks_of(folder / "alone")
    assert not RunDir(folder / "alone").earlier_searches.exists()
    assert "earlier search" not in RunDir(folder / "alone").report_page.read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"learn_from": "missing"},
            "--learn-from: missing: is not a run directory; name the --out of an earlier "
            "`phinas search` or `phinas run`",
        ),
        (
            {"options": ("--space", "other_space.yaml")},
            "--learn-from: first: searched another space than 'user_space' (it chose ",
        ),
        (
            {"options": ("--strategy", "random")},
            "--learn-from: has no effect with --strategy random; leave it out, or set --strategy "
            "bayesian",
        ),
        (
            {"options": ("--reward", "pareto")},
            "--learn-from: has no effect with --reward pareto; leave it out, or set another reward",
        ),
    ],
)
def test_wrong_values_are_refused_before_a_file_is_written(
    folder, phinas_in_process, options, message
):
    arguments = {"learn_from": "first"} | options
    extra = arguments.pop("options", ())
    result = search(folder, phinas_in_process, "refused", *extra, **arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (folder / "refused").exists()


def test_too_few_trials_are_refused(folder, phinas_in_process):
    command = ("search", *COMMON, "--evaluator", "transfer_code:early", "--trials", "3")
    assert phinas_in_process(*command, "--out", "short", cwd=folder).returncode == 0
    result = search(folder, phinas_in_process, "refused", learn_from="short")
    assert result.returncode == 2
    assert "--learn-from: short: has 3 complete trials, and 4 are needed" in result.stderr


def test_a_damaged_record_is_reported(folder, phinas_in_process):
    assert search(folder, phinas_in_process, "damaged").returncode == 0
    path = RunDir(folder / "damaged").earlier_searches
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"searches": "none"}))
    result = phinas_in_process("resume", "damaged", cwd=folder)
    assert result.returncode == 2
    assert f"{path}: searches" in result.stderr
