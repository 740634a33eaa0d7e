"""Results on the test split as marks: mean, 95% interval, and the training with each seed."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from phinas.experiment.artifacts.validation_file import TestResult
from phinas.reports.figures.labels import Point
from phinas.reports.palette import SEED_MARKER_STYLE


def draw_results(
    axes: Axes,
    costs: Sequence[float],
    results: Sequence[TestResult],
    *,
    color: str,
    marker: str = "o",
    show_seeds: bool = True,
    gid: str | None = None,
) -> list[list[Point]]:
    """Draw the results of networks with these costs.

    Args:
        axes: The axes.
        costs: The costs, on the horizontal axis.
        results: The results of the same networks.
        color: The color of intervals and means.
        marker: The marker of means.
        show_seeds: Whether each training is a small dot.
        gid: The id of the means in an SVG.

    Returns:
        The lines of the intervals, which labels must not cover.
    """
    for cost, result in zip(costs, results, strict=True):
        axes.plot([cost, cost], result.interval, color=color, linewidth=1.2, zorder=2)
        if show_seeds:
            axes.scatter([cost] * len(result.scores), result.scores, **SEED_MARKER_STYLE)
    means = [result.score for result in results]
    axes.scatter(costs, means, s=34, marker=marker, color=color, linewidth=0, zorder=4, gid=gid)
    return [
        [(cost, end) for end in result.interval]
        for cost, result in zip(costs, results, strict=True)
    ]


def list_scores(results: Sequence[TestResult]) -> list[float]:
    """Every score that has to be inside the axes."""
    return [value for result in results for value in (*result.interval, *result.scores)]
