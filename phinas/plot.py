"""Figures of runs for papers and notebooks.

Each function returns a matplotlib Figure that is drawn like the figures of the report: labels next
to the marks, hues that people with common color vision deficiencies can distinguish, and a marker
of its own for each series. `save` writes it as SVG, PDF or PNG. A notebook shows it after
`%matplotlib inline`.

A run is what `phinas.load` returns, or a run directory. With `compact`, a figure is 3.65 inches
wide, for one column of a paper, and otherwise 8.2 inches.

Examples:
    >>> run = phinas.load("runs/photos")
    >>> phinas.plot.save(phinas.plot.family(run, compact=True), "family.pdf")
"""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import matplotlib as mpl
from matplotlib.figure import Figure

from phinas.experiment.errors import InputError, NoResultError
from phinas.experiment.run_dir import write_atomic
from phinas.loaded_run import LoadedRun
from phinas.reports.figure_export import PNG_DPI, report_style
from phinas.reports.figures import FIGURES, cost_accuracy, depth_resolution, scaling_methods
from phinas.reports.figures.cost_accuracy import ComputedCost
from phinas.reports.formatting import join_names
from phinas.reports.run_data import RunData

Run: TypeAlias = LoadedRun | str | Path

_FORMATS = ("svg", "pdf", "png")
# without the time of writing, so that the same figure gives the same file
_FILE_METADATA = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}
# what a run lacks, and the command that makes it
_NO_TRIAL = "no trial of its search is complete; resume it with `phinas resume {path}`"
_NO_RACE = "it has no searched coefficients; search for them with `phinas scale {path}`"
_NO_MEMBER = "no member of its family is trained; train them with `phinas validate {path}`"
_NO_CONTROL = "no control is trained; add some to validation.controls, in a new run"
_NO_SINGLE_DIMENSION = (
    "B0, or every control of a single dimension, is not trained; train them with "
    "`phinas validate {path}`"
)


def accuracy_vs_flops(runs: Run | Sequence[Run], *, compact: bool = False) -> Figure:
    """Plot the test score of the trained family over FLOPs, of one run or of several.

    A dot is the mean over the seeds, small dots are the trainings, and a vertical line is the 95%
    interval for the number of test images. Scores of several runs are comparable only on the same
    test images. A run that is alone is drawn with its controls, as gray marks.

    Args:
        runs: A run, or several with the same metric.
        compact: Whether the figure is as wide as one column of a paper.

    Raises:
        InputError: The runs have different metrics, or one is not a run directory.
        NoResultError: A run has no trained member.
    """
    return _plot_costs(runs, "flops", compact=compact)


def accuracy_vs_params(runs: Run | Sequence[Run], *, compact: bool = False) -> Figure:
    """Plot the test score of the trained family over the number of parameters, of one run or of
    several, as figure 1 of the EfficientNet paper (arXiv:1905.11946).

    Marks are those of `accuracy_vs_flops`.

    Args:
        runs: A run, or several with the same metric.
        compact: Whether the figure is as wide as one column of a paper.

    Raises:
        InputError: The runs have different metrics, or one is not a run directory.
        NoResultError: A run has no trained member.
    """
    return _plot_costs(runs, "params", compact=compact)


def pareto(run: Run, *, compact: bool = False) -> Figure:
    """Plot the score of all trials of the search over their cost, with the Pareto front.

    The dashed curve joins points of the same reward as the best trial. The diamond is the baseline
    with its 95% interval for the number of validation images, and the square the published network
    that was trained like the finalists.

    Args:
        run: The run.
        compact: Whether the figure is as wide as one column of a paper.

    Raises:
        InputError: It is not a run directory.
        NoResultError: No trial of its search is complete.
    """
    return _plot_report_figure(run, "front", _NO_TRIAL, compact=compact)


def search_progress(run: Run, *, compact: bool = False) -> Figure:
    """Plot the reward of each trial by number, and the best so far. For a search of a Pareto front,
    plot the hypervolume of the front.

    Args:
        run: The run.
        compact: Whether the figure is as wide as one column of a paper.

    Raises:
        InputError: It is not a run directory.
        NoResultError: No trial of its search is complete.
    """
    return _plot_report_figure(run, "progress", _NO_TRIAL, compact=compact)


def scaling_grid(run: Run, *, compact: bool = False) -> Figure:
    """Plot how far each network of the scaling search is behind the best, with 95% intervals.

    The networks have about equal FLOPs. Those that are not significantly different from the best
    are blue.

    Args:
        run: The run.
        compact: Whether the figure is as wide as one column of a paper.

    Raises:
        InputError: It is not a run directory.
        NoResultError: Its scaling search has not ended, or its coefficients are user-supplied.
    """
    return _plot_report_figure(run, "grid", _NO_RACE, compact=compact)


def family(run: Run, *, compact: bool = False) -> Figure:
    """Plot the test score of the family over FLOPs, with the fitted curve and its 95% band.

    Hollow dots with dashed intervals are members that were not trained and are predicted by the
    curve. Gray marks are the controls: triangle depth, square width, diamond resolution, cross the
    coefficients of EfficientNet, triangle down those of another run, hexagon a published network,
    and pentagon a network of a spec file.

    Args:
        run: The run.
        compact: Whether the figure is as wide as one column of a paper.

    Raises:
        InputError: It is not a run directory.
        NoResultError: No member of its family has been trained.
    """
    return _plot_report_figure(run, "family", _NO_MEMBER, compact=compact)


def controls(run: Run, *, compact: bool = False) -> Figure:
    """Plot the score of a member of the family minus that of each control, at equal FLOPs.

    Lines are 95% intervals that cover training noise and test-set sampling error and are corrected
    for multiple comparisons. Right of 0, the family is better.

    Args:
        run: The run.
        compact: Whether the figure is as wide as one column of a paper.

    Raises:
        InputError: It is not a run directory.
        NoResultError: No control has been trained and compared.
    """
    return _plot_report_figure(run, "controls", _NO_CONTROL, compact=compact)


def single_dimensions(run: Run, *, compact: bool = False) -> Figure:
    """Plot what scaling depth, width or resolution alone gives, one dimension at a time, as figure
    3 of the EfficientNet paper (arXiv:1905.11946).

    Each line leads from B0 to the control of this dimension. The numbers are the factors of the
    dimension, before rounding. Intervals are those of `accuracy_vs_flops`.

    Args:
        run: The run.
        compact: Whether the figure is as wide as one column of a paper.

    Raises:
        InputError: It is not a run directory.
        NoResultError: B0, or all controls of a single dimension, are not trained.
    """
    return _plot(run, scaling_methods.draw_dimensions, _NO_SINGLE_DIMENSION, compact=compact)


def dimension_pairs(run: Run, *, compact: bool = False) -> Figure:
    """Plot the networks of the scaling search by depth and resolution, as an answer to the question
    of figure 4 of the EfficientNet paper (arXiv:1905.11946): dimensions have to be balanced.

    All networks have about the same FLOPs, so the width follows from depth and resolution (gray
    lines). Darker networks are better. The numbers are points of the score relative to the best
    network. Those with a dark edge are not significantly different from it.

    Args:
        run: The run.
        compact: Whether the figure is as wide as one column of a paper.

    Raises:
        InputError: It is not a run directory.
        NoResultError: Its scaling search has not ended, or its coefficients are user-supplied.
    """
    return _plot(run, depth_resolution.draw, _NO_RACE, compact=compact)


def compound_vs_single(run: Run, *, compact: bool = False) -> Figure:
    """Plot compound scaling and scaling of depth, width or resolution alone over FLOPs, as figure 8
    of the EfficientNet paper (arXiv:1905.11946).

    Intervals are those of `accuracy_vs_flops`. They do not cover training noise: `controls` shows
    which differences are significant.

    Args:
        run: The run.
        compact: Whether the figure is as wide as one column of a paper.

    Raises:
        InputError: It is not a run directory.
        NoResultError: B0, or all controls of a single dimension, are not trained.
    """
    return _plot(run, scaling_methods.draw, _NO_SINGLE_DIMENSION, compact=compact)


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure as SVG, PDF or PNG.

    Fonts are embedded (TrueType in a PDF, outlines in an SVG), so the file looks the same
    everywhere. The same figure gives the same bytes.

    Args:
        figure: The figure.
        path: The file, which is overwritten. Its suffix is the format: .svg, .pdf or .png (200 dots
            per inch).

    Raises:
        InputError: The suffix is another one, or the file cannot be written.
    """
    target = Path(path).expanduser()
    file_format = target.suffix.lower().removeprefix(".")
    if file_format not in _FORMATS:
        raise InputError(f"path: {str(path)!r} does not end in .svg, .pdf or .png; rename the file")
    content = io.BytesIO()
    with report_style(), mpl.rc_context({"svg.fonttype": "path"}):
        figure.savefig(
            content, format=file_format, dpi=PNG_DPI, metadata=_FILE_METADATA[file_format]
        )
    try:
        write_atomic(target, content.getvalue())
    except OSError as error:
        raise InputError(
            f"path: {target} cannot be written ({error.strerror or error}); use another file"
        ) from None


def _load(run: Run) -> LoadedRun:
    return run if isinstance(run, LoadedRun) else LoadedRun(run)


def _plot(run: Run, draw: Callable[..., Figure | None], problem: str, *, compact: bool) -> Figure:
    """Draw a figure of one run.

    Args:
        run: The run.
        draw: A function of `phinas.reports.figures`.
        problem: What the run lacks if there is nothing to draw.
        compact: Whether the figure is as wide as one column of a paper.
    """
    loaded = _load(run)
    with report_style():
        figure = draw(loaded.data, compact=compact)
        if figure is None:
            raise _make_error(loaded, problem)
        figure.set_dpi(PNG_DPI)  # of notebooks and files; it is drawn at one px for each point
        return figure


def _plot_report_figure(run: Run, name: str, problem: str, *, compact: bool) -> Figure:
    """Draw a figure of the report by its name."""

    def draw(run_data: RunData, *, compact: bool) -> Figure | None:
        report_figure = FIGURES[name].draw(run_data, compact=compact)
        return report_figure.figure if report_figure else None

    return _plot(run, draw, problem, compact=compact)


def _plot_costs(runs: Run | Sequence[Run], cost_metric: ComputedCost, *, compact: bool) -> Figure:
    run_list = [runs] if isinstance(runs, LoadedRun | str | Path) else list(runs)
    loaded = [_load(run) for run in run_list]
    if not loaded:
        raise InputError("runs: is empty; name at least one run")
    for run in loaded:
        if not run.data.tested_members:
            raise _make_error(run, _NO_MEMBER)
    metrics = sorted({run.data.test_score_label for run in loaded})
    if len(metrics) > 1:
        raise InputError(
            f"runs: their scores are {join_names(metrics)}, which are not comparable; plot runs "
            "with the same metric"
        )
    with report_style():
        figure = cost_accuracy.draw(
            dict(zip(_make_names(loaded), [run.data for run in loaded], strict=True)),
            cost_metric=cost_metric,
            compact=compact,
        )
        assert figure is not None
        figure.set_dpi(PNG_DPI)  # of notebooks and files; it is drawn at one px for each point
        return figure


def _make_names(runs: Sequence[LoadedRun]) -> list[str]:
    """A different name for each run: those of the configurations, or else the directories."""
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        names = [run.path.name for run in runs]
    return names if len(set(names)) == len(names) else [str(run.path) for run in runs]


def _make_error(run: LoadedRun, problem: str) -> NoResultError:
    return NoResultError(f"{run.path}: {problem.format(path=run.path)}")
