"""The table and the figure of a comparison of search strategies."""

import pytest

from phinas.experiment.artifacts.bench import BenchRun, BenchSummary
from phinas.nas.benchmark.regret import summarize_runs
from phinas.reports.figure_export import report_style
from phinas.reports.regret import draw_regret, make_regret_cells, make_regret_table


def make_run(*rewards):
    count = len(rewards)
    return BenchRun(
        rewards=rewards,
        true_rewards=rewards,
        flops=(1,) * count,
        spent=tuple(map(float, range(1, count + 1))),
        seconds=(0.01,) * count,
        network_ids=("a",) * count,
        decisions=("stages.1.kernel",),
        choices=((3,),) * count,
    )


RUNS = {
    "random": [make_run(0.5, 0.6)],
    "bayesian": [make_run(0.6, 0.65, 0.7)],
}


@pytest.fixture
def summary():
    return BenchSummary(
        evaluator="mine:evaluate",
        evaluator_description=None,
        space="tiny",
        evaluations=3,
        seeds=1,
        noise_std=0.0,
        reward="accuracy",
        target_network="b0",
        target_reward=0.6,
        optimum=0.7,
        optimum_source="best_run",
        strategies={
            name: summarize_runs(runs, optimum=0.7, target_reward=0.6)
            for name, runs in RUNS.items()
        },
    )


def test_a_regret_of_none_is_drawn_as_little_and_said_to_be_that_or_less(summary):
    with report_style():
        figure = draw_regret(summary, RUNS)
        axes = figure.figure.axes[0]
        axes.figure.canvas.draw()
    assert axes.get_yticklabels()[0].get_text() == "0.01 or less"
    assert figure.caption.endswith(
        "The reward is the score, without noise; 1 seed of 3 evaluations. Optimum (best of all "
        "runs): 0.7000; b0: 0.6000."
    )


def test_without_a_target_network_there_is_no_column_for_it(summary):
    rows = {
        name: summarize_runs(runs, optimum=0.7, target_reward=None) for name, runs in RUNS.items()
    }
    changes = {"target_network": None, "target_reward": None, "optimum_source": "stated"}
    untargeted = summary.model_copy(update=changes | {"strategies": rows})
    titles, cells = make_regret_cells(untargeted)
    assert titles[:2] == ["strategy", "evaluations to within 0.002 of the optimum"]
    assert {len(row) for row in cells} == {len(titles)}
    with report_style():
        assert draw_regret(untargeted, RUNS).caption.endswith("Optimum (stated): 0.7000.")


def test_strategies_are_ranked_by_final_regret_and_a_short_run_leaves_cells_empty(summary):
    titles, rows = make_regret_cells(summary)
    assert [row[0] for row in rows] == ["bayesian", "random"]
    assert titles[4:6] == ["regret x100 at 2", "regret x100 at 3"]
    assert [row[4:6] for row in rows] == [
        ["", "0.00 [0.00, 0.00]"],
        ["10.00 [10.00, 10.00]", ""],
    ]
    assert [row[1] for row in rows] == ["2 [2, 2]", "never [never, never]"]
    table, note = make_regret_table(summary).split("\n\n")
    assert table.count("\n") == 3
    assert note.startswith("The reward is the score")


def test_a_summary_survives_its_file(summary, tmp_path):
    summary.write(tmp_path / "bench.json")
    assert BenchSummary.read(tmp_path / "bench.json") == summary
