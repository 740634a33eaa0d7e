"""The table and the figure of a comparison of search strategies."""

import pytest

from phinas.experiment.artifacts.bench import BenchRun, BenchSummary
from phinas.nas.benchmark.regret import summarize_runs
from phinas.reports.figure_export import report_style
from phinas.reports.regret import draw_regret, make_regret_cells, make_regret_table


def make_run(*rewards):
    count = len(rewards)
    return BenchRun(
        rewards=rewards, true_rewards=rewards, flops=(1,) * count, seconds=(0.01,) * count
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
    assert "Optimum: 0.7000; b0: 0.6000" in figure.caption


def test_strategies_are_ranked_by_final_regret_and_a_short_run_leaves_cells_empty(summary):
    titles, rows = make_regret_cells(summary)
    assert [row[0] for row in rows] == ["bayesian", "random"]
    assert titles[4:6] == ["regret x100 at 2", "regret x100 at 3"]
    assert [row[4:6] for row in rows] == [
        ["", "0.00 [0.00, 0.00]"],
        ["10.00 [10.00, 10.00]", ""],
    ]
    assert [row[1] for row in rows] == ["2 [2, 2]", "never [never, never]"]
    assert make_regret_table(summary).count("\n") == 3


def test_a_summary_survives_its_file(summary, tmp_path):
    summary.write(tmp_path / "bench.json")
    assert BenchSummary.read(tmp_path / "bench.json") == summary
