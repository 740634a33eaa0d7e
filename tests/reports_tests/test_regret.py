"""The figure of a bench."""

from phinas.reports.figure_export import report_style
from phinas.reports.regret import draw_regret


def test_a_regret_of_none_is_drawn_as_little_and_said_to_be_that_or_less():
    runs = {
        "random": [{"rewards": [0.5, 0.6], "true_rewards": [0.5, 0.6]}],
        "bayesian": [{"rewards": [0.6, 0.7], "true_rewards": [0.6, 0.7]}],
    }
    summary = {
        "optimum": 0.7,
        "seeds": 1,
        "noise_std": 0.0,
        "reference": "b0",
        "reference_reward": 0.6,
    }
    with report_style():
        axes = draw_regret(summary, runs).figure.axes[0]
        axes.figure.canvas.draw()
    assert axes.get_yticklabels()[0].get_text() == "0.01 or less"
